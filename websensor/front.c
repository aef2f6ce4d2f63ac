#include "websensor/front.h"

#include "base/log.h"
#include "net/turn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    /* libmicrohttpd's memory of one connection: request line, headers and the answer's headers. */
    CONNECTION_MEMORY = 16384,
    MEMORY_STEP = 2048,
    /* Connections above our own ceiling, so that the one that has to go and the one that comes can be open together. */
    SPARE_CONNECTIONS = 256,
    PASSES = 2, /* of libmicrohttpd in a turn of the loop, if there is more to do than to await */
    AWAITED_MAX = 256,
    AWAITED_POLL_MS = 1,
    IDLE_PASSES = 8, /* in a row that are run at once */
    IDLE_PAUSE_MS = 10,
    BUSY_PER_MS = 20, /* answers, from which on the loop stays awake */
};

LOG_POINT(log_listening, "http.listening", LOG_NOTICE, "listening");

struct front_daemon {
    struct front_daemon *next; /* links the daemons of a front, the newest first */
    struct front *front;
    struct MHD_Daemon *mhd; /* NULL: stopped */
    struct turn *turn;
    struct turn_item item; /* libmicrohttpd is to be run in this turn */
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned open_handles;
    unsigned awaited;   /* requests whose answer is awaited without suspending them */
    unsigned answering; /* requests that have an answer which is not sent yet */
    /* Answers given in the millisecond busy_ms (of the loop's clock) so far, and for each between the one before it and then. */
    uint64_t busy_ms;
    uint64_t busy_count;
    uint64_t busy_rate;
    unsigned idle; /* passes in a row in which libmicrohttpd had something to do and called nothing of ours */
    bool called;   /* in this pass */
    bool running;  /* libmicrohttpd's callbacks may come */
    bool draining;
};

struct front {
    uv_loop_t *loop;
    struct front_options options;
    struct front_daemon *daemons;
};

/* --- what libmicrohttpd calls */

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **request)
{
    struct front_daemon *d = cls;
    d->called = true;
    return d->front->options.on_request(cls, connection, url, method, version, data, size, request);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct front_daemon *d = cls;
    d->called = true;
    d->front->options.on_completed(cls, connection, request, code);
}

/* --- running libmicrohttpd */

static void on_timer(uv_timer_t *timer)
{
    struct front_daemon *d = timer->data;
    turn_add(d->turn, &d->item);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct front_daemon *d = poll->data;
    (void)status;
    (void)events;
    turn_add(d->turn, &d->item);
}

/* libmicrohttpd wants to be run at once for a connection whose input cannot go on (a chunk extension larger than its memory), as
 * long as that lasts. What really goes on pauses seldom, and not for long. */
static MHD_UNSIGNED_LONG_LONG pause_of(struct front_daemon *d, MHD_UNSIGNED_LONG_LONG ms)
{
    d->idle = d->called || ms > 0 ? 0 : d->idle + 1;
    return d->idle <= IDLE_PASSES ? ms : d->idle - IDLE_PASSES < IDLE_PAUSE_MS ? d->idle - IDLE_PASSES : IDLE_PAUSE_MS;
}

static bool is_busy(struct front_daemon *d)
{
    uint64_t now = uv_now(d->front->loop);
    if (now != d->busy_ms) {
        d->busy_rate = d->busy_count / (now - d->busy_ms);
        d->busy_count = 0;
        d->busy_ms = now;
    }
    return d->busy_count >= BUSY_PER_MS || d->busy_rate >= BUSY_PER_MS;
}

/* Once at the end of each turn, so that the answers to what the broker has acknowledged and the requests that have come share it. */
static void run(struct turn_item *item)
{
    struct front_daemon *d = (struct front_daemon *)((char *)item - offsetof(struct front_daemon, item));
    MHD_UNSIGNED_LONG_LONG ms = 0;
    bool timed = true;
    if (!d->mhd) {
        return;
    }
    d->called = false;
    for (unsigned i = 0; i < PASSES && timed && ms == 0 && (i == 0 || d->awaited == 0 || d->answering > 0); i++) {
        d->running = true;
        (void)MHD_run(d->mhd);
        d->running = false;
        timed = MHD_get_timeout(d->mhd, &ms) == MHD_YES;
    }
    if (timed) {
        /* Requests that are awaited keep it at 0; what wakes them is front_wake. */
        uv_timer_start(&d->timer, on_timer, ms == 0 && d->awaited > 0 ? AWAITED_POLL_MS : pause_of(d, ms), 0);
    } else {
        uv_timer_stop(&d->timer);
    }
    if (is_busy(d)) {
        turn_stay_awake(d->turn);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct front_daemon *d = handle->data;
    if (--d->open_handles == 0) {
        turn_put(d->turn);
        free(d);
    }
}

static void stop_daemon(struct front_daemon *d)
{
    uv_poll_stop(&d->poll);
    uv_timer_stop(&d->timer);
    (void)MHD_run(d->mhd); /* takes up what has been resumed */
    MHD_stop_daemon(d->mhd);
    d->mhd = NULL;
    uv_close((uv_handle_t *)&d->poll, on_handle_closed);
    uv_close((uv_handle_t *)&d->timer, on_handle_closed);
}

static struct MHD_Daemon *start_mhd(struct front_daemon *d, int fd, const char *cert, const char *key)
{
    const struct front_options *o = &d->front->options;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (o->tls ? MHD_USE_TLS : 0u);
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, d, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)(o->max_connections + SPARE_CONNECTIONS), MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
        (size_t)MEMORY_STEP, MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_URI_LOG_CALLBACK, o->on_uri, d, MHD_OPTION_NOTIFY_COMPLETED, on_completed, d,
        MHD_OPTION_NOTIFY_CONNECTION, o->on_connection, d, MHD_OPTION_ARRAY, o->tls ? tls : tls + 3, MHD_OPTION_END);
}

static bool same_socket(int fd, const struct stat *wanted)
{
    struct stat now;
    return fstat(fd, &now) == 0 && now.st_ino == wanted->st_ino && now.st_dev == wanted->st_dev;
}

/* Takes `fd` over, also on failure. */
static enum err add_daemon(struct front *f, int fd, const char *cert, const char *key)
{
    struct stat socket_stat;
    struct front_daemon *d = calloc(1, sizeof(*d));
    if (!d || fstat(fd, &socket_stat) != 0) {
        free(d);
        close(fd);
        return E_NOMEM;
    }
    d->front = f;
    d->item.run = run;
    enum err e = turn_get(f->loop, &d->turn);
    if (e != E_OK) {
        free(d);
        close(fd);
        return e;
    }
    d->mhd = start_mhd(d, fd, cert, key);
    const union MHD_DaemonInfo *info = d->mhd ? MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info || uv_poll_init(f->loop, &d->poll, info->epoll_fd) != 0) {
        if (d->mhd) {
            MHD_stop_daemon(d->mhd);
        }
        if (same_socket(fd, &socket_stat)) { /* libmicrohttpd closes it in some cases and not in others */
            close(fd);
        }
        turn_put(d->turn);
        free(d);
        return f->options.tls ? E_TLS : E_IO;
    }
    uv_timer_init(f->loop, &d->timer);
    d->poll.data = d;
    d->timer.data = d;
    d->open_handles = 2;
    d->next = f->daemons;
    f->daemons = d;
    uv_poll_start(&d->poll, UV_READABLE, on_ready);
    turn_add(d->turn, &d->item);
    return E_OK;
}

/* --- sockets */

static int open_socket(const struct sockaddr *address, bool both_families)
{
    bool v6 = address->sa_family == AF_INET6;
    int on = 1;
    int only = !both_families;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    socklen_t len = v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) != 0) || bind(fd, address, len) != 0 ||
        listen(fd, BACKLOG) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int open_at(const char *address, uint16_t port, bool both_families)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (uv_ip4_addr(address, port, &v4) == 0) {
        return open_socket((const struct sockaddr *)&v4, false);
    }
    if (uv_ip6_addr(address, port, &v6) == 0) {
        return open_socket((const struct sockaddr *)&v6, both_families);
    }
    errno = EINVAL;
    return -1;
}

/* The sockets of a listener; a machine without IPv6 has IPv4 alone. */
static size_t open_listener(const struct listener *l, bool tls, int fds[FRONT_SOCKETS_MAX])
{
    size_t count = 0;
    int fd;
    if (l->address[0]) {
        fd = open_at(l->address, l->port, false);
    } else if (tls) {
        fd = open_at("::", l->port, true);
        if (fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
            fd = open_at("0.0.0.0", l->port, false);
        }
    } else {
        fd = open_at("127.0.0.1", l->port, false);
        int second = fd >= 0 ? open_at("::1", l->port, false) : -1;
        if (second >= 0) {
            fds[count++] = second;
        }
    }
    if (fd >= 0) {
        fds[count++] = fd;
    }
    return count;
}

enum err front_create(uv_loop_t *loop, const struct front_options *o, struct front *fronts[FRONT_SOCKETS_MAX],
                      size_t *count, struct option_error *error)
{
    int fds[FRONT_SOCKETS_MAX];
    const char *option = o->tls ? "listener" : "http_listener";
    size_t n = open_listener(&o->listener, o->tls, fds);
    *count = 0;
    if (n == 0) {
        enum err e = err_from_errno(errno);
        option_error_set(error, "option %s: cannot listen on port %u: %s", option, o->listener.port, strerror(errno));
        return e;
    }
    for (size_t i = 0; i < n; i++) {
        struct front *f = calloc(1, sizeof(*f));
        enum err e = E_NOMEM;
        if (f) {
            f->loop = loop;
            f->options = *o;
            e = add_daemon(f, fds[i], o->cert, o->key);
        } else {
            close(fds[i]);
        }
        if (e != E_OK) {
            option_error_set(error, o->tls ? "options certfile and keyfile: not a certificate and its key"
                                           : "option http_listener: the HTTP server does not start");
            free(f);
            for (i++; i < n; i++) {
                close(fds[i]);
            }
            return e;
        }
        fronts[(*count)++] = f;
    }
    log_emit(&log_listening, "port=%u address=%s tls=%d", o->listener.port,
             o->listener.address[0] ? o->listener.address
             : o->tls               ? "*"
                                    : "localhost",
             o->tls);
    return E_OK;
}

enum err front_set_certificate(struct front *f, const char *cert, const char *key)
{
    struct front_daemon *old = f->daemons;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(old->mhd, MHD_DAEMON_INFO_LISTEN_FD);
    int fd = info ? dup(info->listen_fd) : -1;
    enum err e = fd >= 0 ? add_daemon(f, fd, cert, key) : E_IO;
    if (e == E_OK) {
        int quiesced = MHD_quiesce_daemon(old->mhd);
        if (quiesced != MHD_INVALID_SOCKET) {
            close(quiesced);
        }
        old->draining = true;
    }
    return e;
}

void front_quiesce(struct front *f)
{
    if (!f->daemons->draining) {
        int fd = MHD_quiesce_daemon(f->daemons->mhd);
        if (fd != MHD_INVALID_SOCKET) {
            close(fd);
        }
        f->daemons->draining = true;
    }
}

void front_destroy(struct front *f)
{
    while (f->daemons) {
        struct front_daemon *d = f->daemons;
        f->daemons = d->next;
        stop_daemon(d);
    }
    free(f);
}

static size_t connections_of(const struct front_daemon *d)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info ? info->num_connections : 0;
}

void front_tick(struct front *f)
{
    for (struct front_daemon **at = &f->daemons->next; *at;) {
        struct front_daemon *d = *at;
        if (connections_of(d) == 0) {
            *at = d->next;
            stop_daemon(d);
        } else {
            at = &d->next;
        }
    }
}

void front_wake(void *cls)
{
    struct front_daemon *d = cls;
    turn_add(d->turn, &d->item); /* without threads libmicrohttpd does not wake itself */
}

bool front_is_running(void *cls)
{
    return ((struct front_daemon *)cls)->running;
}

bool front_await(void *cls)
{
    struct front_daemon *d = cls;
    if (d->awaited >= AWAITED_MAX) {
        return false;
    }
    d->awaited++;
    return true;
}

void front_await_end(void *cls)
{
    ((struct front_daemon *)cls)->awaited--;
}

void front_answer(void *cls)
{
    struct front_daemon *d = cls;
    d->answering++;
    d->busy_count++;
}

void front_answer_end(void *cls)
{
    ((struct front_daemon *)cls)->answering--;
}

void *front_ctx(void *cls)
{
    return ((struct front_daemon *)cls)->front->options.ctx;
}

bool front_is_draining(void *cls)
{
    return ((struct front_daemon *)cls)->draining;
}

bool front_is_tls(void *cls)
{
    return ((struct front_daemon *)cls)->front->options.tls;
}

size_t front_connections(const struct front *f)
{
    size_t n = 0;
    for (const struct front_daemon *d = f->daemons; d; d = d->next) {
        n += connections_of(d);
    }
    return n;
}
