#define _GNU_SOURCE /* recvmmsg, sendmmsg, struct in6_pktinfo */
#include "mqttsn/udp.h"

#include "base/log.h"
#include "net/turn.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

LOG_POINT(log_socket, "mqttsn.socket", LOG_WARNING, "UDP socket reports an error");

enum {
    BATCH = 64,         /* datagrams in one system call */
    RECEIVE_ROUNDS = 4, /* batches in one turn, so that the broker's side gets its turn, too */
    CONTROL_SIZE = 64,
    ARENA_SIZE = 1 << 20, /* bytes waiting to be sent */
    QUEUE_MAX = 4096,     /* datagrams waiting to be sent */
};

/* A datagram waiting in the arena. */
struct waiting {
    struct address to, from;
    uint32_t offset, size;
};

/* What the kernel wants to see for one batch. */
struct batch {
    struct mmsghdr headers[BATCH];
    struct iovec pieces[BATCH];
    struct sockaddr_storage addresses[BATCH];
    uint8_t controls[BATCH][CONTROL_SIZE] __attribute__((aligned(8)));
};

struct udp {
    struct turn_item item; /* first member: sends what waits at the end of the turn */
    struct turn *turn;
    uv_poll_t poll;
    int fd;
    bool pktinfo; /* the kernel tells the address that datagrams are sent to */
    bool blocked; /* the kernel takes no more: wait for writable */
    bool closing;
    int watched; /* what poll waits for */
    struct address bound;
    const struct udp_events *events;
    void *ctx;
    struct udp_stats stats;

    uint32_t arena_used;
    uint32_t first, count; /* of queue: what waits is queue[first..count) */
    struct waiting queue[QUEUE_MAX];
    uint8_t arena[ARENA_SIZE]; /* touched only as far as it is used */

    struct batch in, out; /* two, because what comes in is answered at once */
    uint8_t input[BATCH][65536];
};

/* --- control data: the local address of a datagram */

static struct address local_address(const struct udp *u, struct msghdr *h)
{
    struct address a = {.family = 0};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            a.family = AF_INET;
            memcpy(a.ip, &info.ipi_addr, 4);
            if (!address_is_multicast(&a) && !address_is_broadcast(&a)) {
                memcpy(a.ip, &info.ipi_spec_dst, 4); /* ours, also when it was sent to the subnet's broadcast */
            }
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            a.family = AF_INET6;
            a.scope = info.ipi6_ifindex;
            memcpy(a.ip, &info.ipi6_addr, 16);
        }
    }
    a.port = u->bound.port;
    return a;
}

/* Writes the control data for sending from `from`; its length. */
static size_t put_local_address(const struct address *from, uint8_t *control)
{
    struct msghdr h = {.msg_control = control, .msg_controllen = CONTROL_SIZE};
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    memset(control, 0, CONTROL_SIZE);
    if (from->family == AF_INET) {
        struct in_pktinfo info = {.ipi_ifindex = 0};
        memcpy(&info.ipi_spec_dst, from->ip, 4);
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof(info));
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        return CMSG_SPACE(sizeof(info));
    }
    bool link_local = from->ip[0] == 0xfe && (from->ip[1] & 0xc0) == 0x80;
    struct in6_pktinfo info = {.ipi6_ifindex = link_local ? from->scope : 0};
    memcpy(&info.ipi6_addr, from->ip, 16);
    c->cmsg_level = IPPROTO_IPV6;
    c->cmsg_type = IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(c), &info, sizeof(info));
    return CMSG_SPACE(sizeof(info));
}

/* --- receiving */

/* One batch; the number of datagrams. */
static int receive_batch(struct udp *u)
{
    struct batch *b = &u->in;
    for (int i = 0; i < BATCH; i++) {
        b->pieces[i] = (struct iovec){u->input[i], sizeof(u->input[i])};
        b->headers[i].msg_hdr = (struct msghdr){.msg_name = &b->addresses[i],
                                                .msg_namelen = sizeof(b->addresses[i]),
                                                .msg_iov = &b->pieces[i],
                                                .msg_iovlen = 1,
                                                .msg_control = u->pktinfo ? b->controls[i] : NULL,
                                                .msg_controllen = u->pktinfo ? CONTROL_SIZE : 0};
    }
    int n;
    do {
        n = recvmmsg(u->fd, b->headers, BATCH, MSG_DONTWAIT, NULL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ECONNREFUSED) {
            log_emit(&log_socket, "receiving error=%s", uv_strerror(-errno));
        }
        return 0;
    }
    u->stats.received += (uint64_t)n;
    for (int i = 0; i < n && !u->closing; i++) {
        struct msghdr *h = &b->headers[i].msg_hdr;
        struct address from = address_from_sockaddr((const struct sockaddr *)&b->addresses[i]);
        struct address to = u->pktinfo ? local_address(u, h) : u->bound;
        if (from.family != 0 && !(h->msg_flags & MSG_TRUNC)) {
            u->events->on_datagram(u->ctx, &from, &to, bytes_make(u->input[i], b->headers[i].msg_len));
        }
    }
    return n;
}

static void watch(struct udp *u);

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct udp *u = poll->data;
    if (status < 0) {
        u->watched = 0; /* libuv has stopped it */
    }
    if (events & UV_WRITABLE) {
        u->blocked = false;
        udp_flush(u);
    }
    if (status < 0 || events & UV_READABLE) {
        for (int i = 0; i < RECEIVE_ROUNDS && !u->closing && receive_batch(u) == BATCH; i++) {
        }
    }
    if (!u->closing) {
        watch(u);
    }
}

static void watch(struct udp *u)
{
    int wanted = UV_READABLE | (u->blocked ? UV_WRITABLE : 0);
    if (wanted != u->watched) {
        u->watched = wanted;
        uv_poll_start(&u->poll, wanted, on_poll); /* fails only for a handle that is closing */
    }
}

/* --- sending */

/* Sends up to one batch of what waits. false: nothing more now. */
static bool send_batch(struct udp *u)
{
    struct batch *b = &u->out;
    uint32_t size = u->count - u->first < BATCH ? u->count - u->first : BATCH;
    for (uint32_t i = 0; i < size; i++) {
        const struct waiting *w = &u->queue[u->first + i];
        bool local = w->from.family != 0;
        b->pieces[i] = (struct iovec){u->arena + w->offset, w->size};
        b->headers[i].msg_hdr =
            (struct msghdr){.msg_name = &b->addresses[i],
                            .msg_namelen = address_to_sockaddr(&w->to, &b->addresses[i]),
                            .msg_iov = &b->pieces[i],
                            .msg_iovlen = 1,
                            .msg_control = local ? b->controls[i] : NULL,
                            .msg_controllen = local ? put_local_address(&w->from, b->controls[i]) : 0};
    }
    int n;
    do {
        n = sendmmsg(u->fd, b->headers, size, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
            u->blocked = true;
            return false;
        }
        /* The first datagram is what the kernel does not like (no route, too large); the others may be all right. */
        if (errno != ECONNREFUSED) {
            log_emit(&log_socket, "sending error=%s", uv_strerror(-errno));
        }
        u->stats.unsent++;
        u->first++;
        return true;
    }
    u->stats.sent += (uint64_t)n;
    u->first += (uint32_t)n;
    return true;
}

void udp_flush(struct udp *u)
{
    if (u->closing) {
        return;
    }
    bool was_blocked = u->blocked;
    while (!u->blocked && u->first < u->count && send_batch(u)) {
    }
    if (u->first == u->count) {
        u->first = u->count = u->arena_used = 0;
    }
    if (u->blocked && !was_blocked) {
        watch(u);
    }
}

uint8_t *udp_reserve(struct udp *u, size_t size)
{
    if (size > UDP_DATAGRAM_MAX || u->closing) {
        u->stats.unsent++;
        return NULL;
    }
    if (u->count == QUEUE_MAX || size > ARENA_SIZE - u->arena_used) {
        udp_flush(u);
    }
    if (u->count == QUEUE_MAX || size > ARENA_SIZE - u->arena_used) {
        u->stats.unsent++;
        return NULL;
    }
    return u->arena + u->arena_used;
}

void udp_commit(struct udp *u, const struct address *to, const struct address *from, size_t size)
{
    struct waiting *w = &u->queue[u->count++];
    w->to = *to;
    w->from.family = 0;
    if (from && u->pktinfo && from->family == to->family && !address_is_multicast(from) &&
        !address_is_broadcast(from)) {
        w->from = *from;
    }
    w->offset = u->arena_used;
    w->size = (uint32_t)size;
    u->arena_used += (uint32_t)size;
    turn_add(u->turn, &u->item);
}

void udp_send(struct udp *u, const struct address *to, const struct address *from, struct bytes datagram)
{
    uint8_t *room = udp_reserve(u, datagram.len);
    if (room) {
        memcpy(room, datagram.data, datagram.len);
        udp_commit(u, to, from, datagram.len);
    }
}

static void on_turn_end(struct turn_item *item)
{
    udp_flush((struct udp *)item);
}

/* --- life */

static void set_buffers(int fd, size_t size)
{
    int wanted = (int)size;
    static const int options[][2] = {{SO_RCVBUFFORCE, SO_RCVBUF}, {SO_SNDBUFFORCE, SO_SNDBUF}};
    for (size_t i = 0; size > 0 && i < 2; i++) {
        /* By force needs a capability; otherwise as much as net.core.rmem_max and wmem_max allow. */
        if (setsockopt(fd, SOL_SOCKET, options[i][0], &wanted, sizeof(wanted)) != 0) {
            (void)setsockopt(fd, SOL_SOCKET, options[i][1], &wanted, sizeof(wanted));
        }
    }
}

static int join(int fd, const struct address *group)
{
    struct group_req request = {.gr_interface = group->scope};
    struct sockaddr_storage sa;
    address_to_sockaddr(group, &sa);
    memcpy(&request.gr_group, &sa, sizeof(sa));
    int level = group->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    return setsockopt(fd, level, MCAST_JOIN_GROUP, &request, sizeof(request));
}

enum err udp_join(struct udp *u, const struct address *group)
{
    return join(u->fd, group) == 0 || errno == EADDRINUSE ? E_OK : err_from_errno(errno);
}

/* The socket, bound; -1 and errno. *step says what went wrong. */
static int bound_socket(const struct udp_options *o, bool *pktinfo, const char **step)
{
    int one = 1;
    struct sockaddr_storage sa;
    socklen_t len = address_to_sockaddr(&o->bind, &sa);
    *step = "socket";
    int fd = socket(o->bind.family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    set_buffers(fd, o->buffer_size);
    if (o->shared) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
    if (o->bind.family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (address_is_any(&o->bind)) {
        *pktinfo = o->bind.family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one)) == 0
                                             : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one)) == 0;
    }
    *step = "bind";
    int result = bind(fd, (const struct sockaddr *)&sa, len);
    if (result == 0 && o->group.family != 0) {
        *step = "joining the group";
        result = join(fd, &o->group);
    }
    if (result != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static void start(struct udp *u)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    if (getsockname(u->fd, (struct sockaddr *)&sa, &len) == 0) {
        u->bound = address_from_sockaddr((const struct sockaddr *)&sa);
    }
    u->poll.data = u;
    u->item.run = on_turn_end;
    watch(u);
}

enum err udp_open(uv_loop_t *loop, const struct udp_options *o, const struct udp_events *events, void *ctx,
                  struct udp **out, struct option_error *error)
{
    char text[ADDRESS_TEXT_SIZE];
    const char *step = "";
    struct udp *u = calloc(1, sizeof(*u)); /* from the kernel, untouched: costs what is used */
    if (!u) {
        return E_NOMEM;
    }
    enum err e = turn_get(loop, &u->turn);
    if (e != E_OK) {
        free(u);
        return e;
    }
    u->events = events;
    u->ctx = ctx;
    u->fd = bound_socket(o, &u->pktinfo, &step);
    int errnum = u->fd < 0 ? errno : -uv_poll_init(loop, &u->poll, u->fd);
    if (errnum != 0) {
        option_error_set(error, "%s: %s: %s", address_format(&o->bind, text), step, uv_strerror(-errnum));
        if (u->fd >= 0) {
            close(u->fd);
        }
        turn_put(u->turn);
        free(u);
        return errnum == EADDRINUSE ? E_BUSY : err_from_errno(errnum);
    }
    start(u);
    *out = u;
    return E_OK;
}

static void free_at_turn_end(struct turn_item *item)
{
    struct udp *u = (struct udp *)item;
    turn_put(u->turn);
    free(u);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct udp *u = handle->data;
    if (u->item.waiting) {
        u->item.run = free_at_turn_end;
    } else {
        free_at_turn_end(&u->item);
    }
}

void udp_close(struct udp *u)
{
    if (!u || u->closing) {
        return;
    }
    udp_flush(u);
    u->closing = true;
    uv_close((uv_handle_t *)&u->poll, on_poll_closed);
    close(u->fd);
    u->fd = -1;
}

const struct address *udp_address(const struct udp *u)
{
    return &u->bound;
}

void udp_stats(const struct udp *u, struct udp_stats *out)
{
    *out = u->stats;
}

size_t udp_receive_buffer(const struct udp *u)
{
    int size = 0;
    socklen_t len = sizeof(size);
    return getsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &size, &len) == 0 && size > 0 ? (size_t)size : 0;
}
