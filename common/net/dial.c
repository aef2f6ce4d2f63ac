#include "net/dial.h"

#include "net/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* One connect(2) under way. */
struct attempt {
    uv_poll_t poll;
    struct dial *dial;
    struct attempt *next; /* links the dial's attempts */
    int fd;
    unsigned address;
};

struct dial {
    uv_loop_t *loop;
    dial_done_fn *on_done;
    void *ctx;
    struct resolve *resolving; /* NULL: no query is under way */
    uv_timer_t timer;
    unsigned holds; /* handles and requests that libuv still knows: the memory stays until they are gone */
    bool ended;
    bool resolved;
    uint16_t port;
    struct attempt *attempts; /* links through attempt.next */
    unsigned count;           /* of addresses */
    unsigned tried;           /* addresses[0..tried) have been tried */
    union address addresses[DIAL_ADDRESSES_MAX];
    enum err err; /* of the last attempt that failed */
    char failure[128];
    char progress[256];
    char host[];
};

static void release(struct dial *d)
{
    if (--d->holds == 0) {
        free(d);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_attempt_closed(uv_handle_t *handle)
{
    struct attempt *a = handle->data;
    release(a->dial);
    free(a);
}

/* Unlinks and closes one attempt; its socket too unless it is the winner's. */
static void attempt_end(struct attempt *a, bool keep_socket)
{
    struct attempt **link = &a->dial->attempts;
    while (*link != a) {
        link = &(*link)->next;
    }
    *link = a->next;
    uv_close((uv_handle_t *)&a->poll, on_attempt_closed);
    if (!keep_socket) {
        close(a->fd);
    }
}

static void end(struct dial *d)
{
    d->ended = true;
    while (d->attempts) {
        attempt_end(d->attempts, false);
    }
    if (d->resolving) {
        resolve_cancel(d->resolving);
        d->resolving = NULL;
    }
    uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

static void fail(struct dial *d)
{
    end(d);
    d->on_done(d->ctx, d->err, -1, dial_progress(d));
}

static const char *address_text(const union address *a, char *text, size_t size)
{
    int rc = a->any.sa_family == AF_INET ? uv_ip4_name(&a->v4, text, size) : uv_ip6_name(&a->v6, text, size);
    return rc == 0 ? text : "?";
}

static void note_failure(struct dial *d, unsigned address, int errnum)
{
    char text[INET6_ADDRSTRLEN];
    d->err = errnum == EADDRNOTAVAIL || errnum == EAFNOSUPPORT ? E_UNREACHABLE : err_from_errno(errnum);
    snprintf(d->failure, sizeof(d->failure), "%s: %s", address_text(&d->addresses[address], text, sizeof(text)),
             uv_strerror(-errnum));
}

static void try_next(struct dial *d);

static void on_writable(uv_poll_t *poll, int status, int events)
{
    struct attempt *a = poll->data;
    struct dial *d = a->dial;
    int errnum = 0;
    socklen_t len = sizeof(errnum);
    (void)events;
    (void)status; /* an error is told by SO_ERROR in more detail */
    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &errnum, &len) != 0) {
        errnum = errno;
    }
    if (errnum == 0 && status < 0) {
        errnum = ECONNRESET;
    }
    if (errnum == 0) {
        int fd = a->fd;
        attempt_end(a, true);
        end(d);
        d->on_done(d->ctx, E_OK, fd, "");
        return;
    }
    note_failure(d, a->address, errnum);
    attempt_end(a, false);
    try_next(d);
}

/* 0, or the errno of why this address cannot even be tried. */
static int attempt_start(struct dial *d, unsigned address)
{
    const union address *to = &d->addresses[address];
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
        return errno;
    }
    int errnum = 0;
    socklen_t len = to->any.sa_family == AF_INET ? sizeof(to->v4) : sizeof(to->v6);
    if (connect(fd, &to->any, len) != 0 && errno != EINPROGRESS) {
        errnum = errno;
        goto fail;
    }
    struct attempt *a = calloc(1, sizeof(*a));
    if (!a) {
        errnum = ENOMEM;
        goto fail;
    }
    int rc = uv_poll_init(d->loop, &a->poll, fd);
    if (rc != 0) {
        errnum = -rc;
        free(a);
        goto fail;
    }
    a->poll.data = a;
    a->dial = d;
    a->fd = fd;
    a->address = address;
    a->next = d->attempts;
    d->attempts = a;
    d->holds++;
    uv_poll_start(&a->poll, UV_WRITABLE, on_writable);
    return 0;

fail:
    close(fd);
    return errnum;
}

static void on_stagger(uv_timer_t *timer)
{
    try_next(timer->data);
}

/* Starts the next address that can be tried; the end when there is none and none is under way. */
static void try_next(struct dial *d)
{
    bool started = false;
    while (!started && d->tried < d->count) {
        unsigned address = d->tried++;
        int errnum = attempt_start(d, address);
        started = errnum == 0;
        if (!started) {
            note_failure(d, address, errnum);
        }
    }
    if (started && d->tried < d->count) {
        uv_timer_start(&d->timer, on_stagger, DIAL_STAGGER_MS, 0);
        return;
    }
    uv_timer_stop(&d->timer);
    if (!d->attempts) {
        fail(d);
    }
}

/* The resolver's order, but the families in turn, beginning with the one that the resolver put first. */
static void take_addresses(struct dial *d, const struct addrinfo *list)
{
    const struct addrinfo *next[2] = {list, list};
    int family = list->ai_family;
    for (unsigned turn = 0; d->count < DIAL_ADDRESSES_MAX && (next[0] || next[1]); turn ^= 1) {
        bool wanted = turn == 0;
        const struct addrinfo *a = next[turn];
        while (a && ((a->ai_family == family) != wanted || (a->ai_family != AF_INET && a->ai_family != AF_INET6))) {
            a = a->ai_next;
        }
        next[turn] = a ? a->ai_next : NULL;
        if (a && a->ai_addrlen <= sizeof(d->addresses[0])) {
            memcpy(&d->addresses[d->count++], a->ai_addr, a->ai_addrlen);
        }
    }
}

static void on_resolved(void *ctx, int code, struct addrinfo *list)
{
    struct dial *d = ctx;
    d->resolved = true;
    d->resolving = NULL;
    if (code == 0) {
        take_addresses(d, list);
        freeaddrinfo(list);
    } else {
        d->err = code == EAI_MEMORY ? E_NOMEM : E_DNS;
        snprintf(d->failure, sizeof(d->failure), "%s", gai_strerror(code));
    }
    if (d->count > 0) {
        try_next(d);
        return;
    }
    if (code == 0) {
        d->err = E_DNS;
        snprintf(d->failure, sizeof(d->failure), "no address");
    }
    fail(d);
}

enum err dial_start(uv_loop_t *loop, const char *host, uint16_t port, dial_done_fn *on_done, void *ctx,
                    struct dial **out)
{
    if (!host || host[0] == '\0' || port == 0) {
        return E_INVALID;
    }
    size_t host_size = strlen(host) + 1;
    struct dial *d = calloc(1, sizeof(*d) + host_size);
    if (!d) {
        return E_NOMEM;
    }
    memcpy(d->host, host, host_size);
    d->loop = loop;
    d->port = port;
    d->on_done = on_done;
    d->ctx = ctx;
    if (uv_ip4_addr(host, port, &d->addresses[0].v4) == 0 || uv_ip6_addr(host, port, &d->addresses[0].v6) == 0) {
        d->count = 1;
        d->resolved = true;
    } else {
        memset(&d->addresses[0], 0, sizeof(d->addresses[0]));
        enum err e = resolve_start(loop, host, port, on_resolved, d, &d->resolving);
        if (e != E_OK) {
            free(d);
            return e;
        }
    }
    uv_timer_init(loop, &d->timer);
    d->timer.data = d;
    d->holds++;
    if (d->count > 0) {
        uv_timer_start(&d->timer, on_stagger, 0, 0);
    }
    *out = d;
    return E_OK;
}

void dial_cancel(struct dial *d)
{
    end(d);
}

const char *dial_progress(struct dial *d)
{
    const char *did = !d->resolved || d->count == 0 ? "resolving" : "connecting to";
    snprintf(d->progress, sizeof(d->progress), "%s %.100s port %u%s%s", did, d->host, (unsigned)d->port,
             d->failure[0] ? ": " : "", d->failure);
    return d->progress;
}
