#include "net/stream_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 30000u
#define WRITE_MAX (4u * 1024u * 1024u)
#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES 4

static void stream_free(struct stream *s)
{
    tls_session_destroy(s->tls);
    buffer_finish(&s->out);
    buffer_finish(&s->sending);
    buffer_finish(&s->wire);
    free(s->detail);
    turn_put(s->turn);
    free(s);
}

static void release(struct stream *s)
{
    if (--s->holds == 0) {
        stream_free(s);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    release(handle->data);
}

void stream_finish(struct stream *s, enum err reason, const char *detail)
{
    if (s->state >= STREAM_CLOSED) {
        return;
    }
    if (s->dial) {
        dial_cancel(s->dial);
        s->dial = NULL;
    }
    s->state = STREAM_CLOSED;
    s->reason = reason;
    s->detail = detail[0] ? strdup(detail) : NULL;
    if (s->fd >= 0) {
        uv_close((uv_handle_t *)&s->poll, on_handle_closed);
        if (s->shared) {
            (void)shutdown(s->fd, SHUT_RDWR);
        }
        close(s->fd);
        s->fd = -1;
    }
    uv_close((uv_handle_t *)&s->timer, on_handle_closed);
    s->sent = s->wire_sent = 0;
    buffer_finish(&s->out);
    buffer_finish(&s->sending);
    buffer_finish(&s->wire);
    turn_add(s->turn, &s->item);
}

static void enter_ended(struct stream *s)
{
    s->state = STREAM_ENDED;
    s->events.on_close(s->ctx, s->reason, s->detail ? s->detail : "");
    release(s);
}

const char *stream_progress(struct stream *s)
{
    return s->dial ? dial_progress(s->dial) : "no end of the TLS handshake";
}

/* --- the turn --- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct stream *s = poll->data;
    if (status < 0) {
        s->watched = 0; /* libuv has stopped it */
        stream_read(s, true);
        return;
    }
    if (events & UV_WRITABLE) {
        s->blocked = false;
        turn_add(s->turn, &s->item);
    }
    if (events & UV_READABLE) {
        stream_read(s, false);
    }
    if (!s->item.waiting) {
        stream_watch(s); /* else the turn does */
    }
}

int stream_wanted(const struct stream *s)
{
    int wanted = 0;
    if (s->state != STREAM_OPEN || !s->later) {
        wanted |= UV_READABLE;
    }
    if (s->blocked) {
        wanted |= UV_WRITABLE;
    }
    return wanted;
}

void stream_watch(struct stream *s)
{
    if (s->fd < 0) {
        return;
    }
    int wanted = stream_wanted(s);
    if (wanted != s->watched) {
        s->watched = wanted;
        uv_poll_start(&s->poll, wanted, on_poll); /* fails only for a handle that is closing */
    }
}

/* Everything is sent: tell the peer, once. */
static void linger(struct stream *s)
{
    if (s->shut || stream_pending(s) > 0) {
        return;
    }
    s->shut = true;
    if (s->tls) {
        tls_session_shutdown(s->tls, turn_wire(s->turn));
        stream_send_wire(s);
    }
    if (s->fd >= 0 && stream_pending(s) == 0) {
        (void)shutdown(s->fd, SHUT_WR); /* a failure shows in what is read next */
    }
}

/* Leaves the stream's work of this turn to the turn behind the next poll, once. */
static bool gather(struct stream *s)
{
    bool wanted = s->gathers && s->state == STREAM_OPEN && s->sending.len == 0 && (s->out.len > 0 || s->acknowledge);
    s->gathered = wanted && !s->gathered;
    if (s->gathered) {
        turn_add_after_poll(s->turn, &s->item);
    }
    return s->gathered;
}

static void acknowledge_now(struct stream *s)
{
    /* An even value: this once, the kernel goes on to let acknowledgements travel with data. */
    const int once = 2;
    s->acknowledge = false;
    /* Where it is not possible, the acknowledgement comes later. */
    (void)setsockopt(s->fd, IPPROTO_TCP, TCP_QUICKACK, &once, sizeof(once));
}

/* Nothing has been sent since stream_acknowledge, which the acknowledgement could have travelled with. */
static void acknowledge(struct stream *s)
{
    if (s->acknowledge && s->state == STREAM_OPEN) {
        acknowledge_now(s);
    }
}

static void on_turn(struct turn_item *item)
{
    struct stream *s = (struct stream *)item;
    if (s->state == STREAM_CLOSED) {
        enter_ended(s);
        return;
    }
    if (gather(s)) {
        return;
    }
    stream_flush(s);
    acknowledge(s);
    if (s->out.len == 0) {
        turn_take_back(s->turn, &s->out);
    }
    if (s->state == STREAM_LINGERING) {
        linger(s);
    } else if (s->state == STREAM_OPEN && s->want_drain && stream_pending(s) < (s->write_max + 3) / 4) {
        s->want_drain = false;
        if (s->events.on_drain) {
            s->events.on_drain(s->ctx);
        }
    }
    stream_watch(s);
}

/* --- the timer --- */

static void on_connect_timeout(uv_timer_t *timer)
{
    struct stream *s = timer->data;
    char detail[320];
    snprintf(detail, sizeof(detail), "not connected after %u ms: %s", s->connect_timeout_ms, stream_progress(s));
    stream_finish(s, E_TIMEOUT, detail);
}

static void on_later(uv_timer_t *timer)
{
    struct stream *s = timer->data;
    s->later = false;
    stream_read(s, false);
    turn_add(s->turn, &s->item);
}

static void on_linger_end(uv_timer_t *timer)
{
    stream_finish(timer->data, E_CANCELLED, "");
}

/* In place of what it was waited for before. */
static void start_timer(struct stream *s, uv_timer_cb on_timer, uint32_t ms)
{
    uv_update_time(turn_loop(s->turn)); /* the loop's idea of now may be old */
    uv_timer_start(&s->timer, on_timer, ms, 0);
}

/* --- connecting --- */

static void set_socket_options(int fd)
{
    /* A socket without one of these still works. */
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
    }
}

void stream_enter_open(struct stream *s)
{
    s->state = STREAM_OPEN;
    uv_timer_stop(&s->timer);
    s->events.on_open(s->ctx);
}

static void on_dialed(void *ctx, enum err err, int fd, const char *detail)
{
    struct stream *s = ctx;
    s->dial = NULL;
    if (err != E_OK) {
        stream_finish(s, err, detail);
        return;
    }
    int rc = uv_poll_init(turn_loop(s->turn), &s->poll, fd);
    if (rc != 0) {
        close(fd);
        stream_finish(s, err_from_errno(-rc), "watching the socket");
        return;
    }
    set_socket_options(fd);
    s->fd = fd;
    s->poll.data = s;
    s->holds++;
    if (s->tls) {
        s->state = STREAM_HANDSHAKING;
        struct bytes nothing = {NULL, 0};
        stream_handshake(s, &nothing);
    } else {
        stream_enter_open(s);
    }
    stream_watch(s);
}

enum err stream_connect(uv_loop_t *loop, const struct stream_options *o, const struct stream_events *events, void *ctx,
                        struct stream **out)
{
    struct stream *s = calloc(1, sizeof(*s));
    if (!s) {
        return E_NOMEM;
    }
    s->item.run = on_turn;
    s->events = *events;
    s->ctx = ctx;
    s->fd = -1;
    s->write_max = o->write_max ? o->write_max : WRITE_MAX;
    s->gathers = o->gather;
    s->connect_timeout_ms = o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    buffer_init(&s->out, s->write_max);
    buffer_init(&s->sending, s->write_max);
    buffer_init(&s->wire, (size_t)2 * TURN_WIRE_MAX);
    enum err e = turn_get(loop, &s->turn);
    if (e != E_OK) {
        free(s);
        return e;
    }
    if (o->tls && o->host) {
        e = tls_session_create(o->tls, o->server_name ? o->server_name : o->host, &s->tls);
        if (e != E_OK) {
            goto fail;
        }
    }
    e = dial_start(loop, o->host, o->port, on_dialed, s, &s->dial);
    if (e != E_OK) {
        goto fail;
    }
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    s->holds = 2;
    start_timer(s, on_connect_timeout, s->connect_timeout_ms);
    *out = s;
    return E_OK;

fail:
    stream_free(s);
    return e;
}

/* --- when open --- */

enum err stream_start_tls(struct stream *s, struct tls_context *tls, const char *server_name)
{
    if (s->state != STREAM_OPEN || s->tls || stream_pending(s) > 0) {
        return E_INVALID;
    }
    enum err e = tls_session_create(tls, server_name, &s->tls);
    if (e != E_OK) {
        return e;
    }
    s->later = false;
    s->state = STREAM_HANDSHAKING;
    start_timer(s, on_connect_timeout, s->connect_timeout_ms);
    struct bytes nothing = {NULL, 0};
    stream_handshake(s, &nothing);
    return E_OK;
}

bool stream_look(struct stream *s)
{
    if (s->state == STREAM_OPEN) {
        stream_read(s, false);
    }
    return s->state == STREAM_OPEN;
}

int stream_share(struct stream *s)
{
    s->shared = s->state == STREAM_OPEN;
    return s->shared ? s->fd : -1;
}

size_t stream_pending(const struct stream *s)
{
    return s->out.len + (s->sending.len - s->sent) + (s->wire.len - s->wire_sent);
}

enum err stream_write(struct stream *s, struct bytes data)
{
    if (s->state != STREAM_OPEN) {
        return E_CLOSED;
    }
    if (data.len > s->write_max) {
        return E_TOO_LARGE;
    }
    turn_lend(s->turn, &s->out);
    turn_add(s->turn, &s->item);
    enum err e = buffer_append(&s->out, data);
    if (e == E_FULL) {
        s->want_drain = true;
    }
    return e;
}

struct buffer *stream_out(struct stream *s)
{
    if (s->state != STREAM_OPEN) {
        return NULL;
    }
    turn_lend(s->turn, &s->out);
    turn_add(s->turn, &s->item);
    return &s->out;
}

void stream_commit(struct stream *s)
{
    if (s->state == STREAM_OPEN) {
        turn_add(s->turn, &s->item);
    }
}

void stream_acknowledge(struct stream *s)
{
    if (s->state == STREAM_OPEN) {
        s->acknowledge = true;
        turn_add(s->turn, &s->item);
    }
}

void stream_pull(struct stream *s)
{
    if (s->state == STREAM_OPEN && !s->pulled) {
        s->pulled = true;
        acknowledge_now(s);
    }
}

void stream_await_drain(struct stream *s)
{
    if (s->state == STREAM_OPEN) {
        s->want_drain = true;
        turn_add(s->turn, &s->item);
    }
}

void stream_read_later(struct stream *s, uint32_t ms)
{
    if (s->state != STREAM_OPEN || s->later == (ms > 0)) {
        return;
    }
    s->later = ms > 0;
    if (s->later) {
        uv_timer_start(&s->timer, on_later, ms, 0); /* by the loop's time as it is: this comes often */
    } else {
        uv_timer_stop(&s->timer);
    }
    turn_add(s->turn, &s->item);
}

void stream_close(struct stream *s, uint32_t linger_ms)
{
    if (s->state >= STREAM_CLOSED) {
        return;
    }
    if (s->state < STREAM_OPEN || linger_ms == 0) {
        if (s->state == STREAM_OPEN && s->tls && !s->blocked) {
            tls_session_shutdown(s->tls, turn_wire(s->turn));
            stream_send_wire(s);
        }
        stream_finish(s, E_CANCELLED, "");
        return;
    }
    s->state = STREAM_LINGERING;
    start_timer(s, on_linger_end, linger_ms);
    turn_add(s->turn, &s->item);
}

const char *stream_security(const struct stream *s)
{
    return s->tls ? tls_session_security(s->tls) : "plain";
}
