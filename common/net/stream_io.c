#include "net/stream_internal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#define WIRE_BATCH 131072u /* TLS records are given to the kernel when so much has come together */
#define READS_AT_END 256u  /* receives from a socket that has broken; then what is left is dropped */

/* What is written cannot be sent. A borrower of the loop leaves the end of the stream to the loop's thread, which closes descriptors. */
static void fail_output(struct stream *s, enum err e, const char *detail)
{
    if (s->borrowed) {
        s->write_error = ECONNABORTED;
        s->write_broken = true;
    } else {
        stream_finish(s, e, detail);
    }
}

/* Bytes that the kernel took. Sets blocked or write_broken when it did not take all. */
static size_t send_some(struct stream *s, const uint8_t *data, size_t len)
{
    ssize_t n = 0;
    do {
        n = send(s->fd, data, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        /* The peer may have said why before it closed: that is read first. */
        s->write_error = errno;
        s->write_broken = true;
        return 0;
    }
    size_t taken = n < 0 ? 0 : (size_t)n;
    s->blocked = taken < len;
    s->acknowledge &= taken == 0; /* it travels with this */
    return taken;
}

static void flush_wire(struct stream *s)
{
    size_t left = s->wire.len - s->wire_sent;
    if (left > 0) {
        s->wire_sent += send_some(s, s->wire.data + s->wire_sent, left);
        if (s->wire_sent == s->wire.len) {
            s->wire_sent = 0;
            s->wire.len = 0;
            turn_take_back(s->turn, &s->wire);
        }
    }
}

void stream_send_wire(struct stream *s)
{
    struct buffer *wire = turn_wire(s->turn);
    size_t sent = 0;
    if (wire->len > 0 && !s->write_broken && s->wire.len == 0 && !s->blocked) {
        sent = send_some(s, wire->data, wire->len);
    }
    if (sent < wire->len && !s->write_broken) {
        turn_lend(s->turn, &s->wire);
        if (buffer_append(&s->wire, bytes_sub(buffer_bytes(wire), sent, wire->len)) != E_OK) {
            fail_output(s, E_NOMEM, "output of TLS");
        }
    }
    buffer_clear(wire);
    if (s->write_broken) {
        turn_add(s->turn, &s->item);
    }
}

/* --- output --- */

static void flush_plain(struct stream *s)
{
    s->sent += send_some(s, s->sending.data + s->sent, s->sending.len - s->sent);
}

static void flush_tls(struct stream *s)
{
    struct buffer *wire = turn_wire(s->turn);
    while (s->sent < s->sending.len && s->wire.len == 0 && !s->write_broken && s->state < STREAM_CLOSED) {
        struct bytes record = bytes_sub(buffer_bytes(&s->sending), s->sent, TLS_RECORD_MAX);
        enum err e = tls_session_write(s->tls, record, wire);
        if (e != E_OK) {
            fail_output(s, e, tls_session_detail(s->tls));
            return;
        }
        s->sent += record.len;
        if (wire->len >= WIRE_BATCH || s->sent == s->sending.len) {
            stream_send_wire(s);
        }
    }
}

/* Takes what the owner has written since the last time. False when there is nothing to send. */
static bool load(struct stream *s)
{
    if (s->sending.len == 0 && s->out.len > 0) {
        struct buffer empty = s->sending;
        s->sending = s->out;
        s->out = empty;
    }
    return s->sending.len > 0;
}

static void flush_written(struct stream *s)
{
    while (!s->blocked && !s->write_broken && s->state < STREAM_CLOSED && load(s)) {
        if (s->tls) {
            flush_tls(s);
        } else {
            flush_plain(s);
        }
        if (s->sent == s->sending.len) {
            s->sent = 0;
            s->sending.len = 0;
            turn_take_back(s->turn, &s->sending);
        }
    }
    s->sending.max = s->write_max;
    s->out.max = s->write_max - (s->sending.len - s->sent);
}

void stream_flush(struct stream *s)
{
    if (!s->blocked && !s->write_broken) {
        flush_wire(s);
        if (s->state >= STREAM_OPEN) {
            flush_written(s);
        }
    }
    if (s->write_broken) {
        stream_read(s, true);
    }
}

void stream_send_through(struct stream *s, int fd)
{
    bool more = s->state != STREAM_OPEN || s->blocked || s->write_broken || s->acknowledge || s->want_drain ||
                s->gathers || stream_pending(s) != s->out.len;
    if (more) {
        return; /* it stands in the turn's list */
    }
    const int own = s->fd;
    s->fd = fd;
    s->borrowed = true;
    flush_written(s);
    s->borrowed = false;
    s->fd = own;
    if (stream_pending(s) == 0 && !s->write_broken && stream_wanted(s) == s->watched) {
        turn_take_back(s->turn, &s->out);
        turn_remove(s->turn, &s->item);
    }
}

/* --- input --- */

static void deliver(struct stream *s, struct bytes data)
{
    if (data.len > 0 && s->state == STREAM_OPEN) {
        s->events.on_data(s->ctx, data);
    }
}

static void read_records(struct stream *s, struct bytes *in)
{
    uint8_t *plain = turn_plain_space(s->turn);
    enum err e = E_OK;
    while (e == E_OK && s->state == STREAM_OPEN) {
        size_t len = 0;
        e = tls_session_read(s->tls, in, turn_wire(s->turn), plain, TURN_READ_SIZE, &len);
        stream_send_wire(s);
        deliver(s, bytes_make(plain, len));
    }
    if (s->state != STREAM_OPEN) {
        return; /* closed by the owner */
    }
    if (e == E_CLOSED) {
        stream_finish(s, E_CLOSED, "");
    } else if (e != E_AGAIN) {
        stream_finish(s, e, tls_session_detail(s->tls));
    }
}

void stream_handshake(struct stream *s, struct bytes *in)
{
    enum err e = tls_session_handshake(s->tls, in, turn_wire(s->turn));
    stream_send_wire(s);
    if (e == E_OK) {
        stream_enter_open(s);
    } else if (e != E_AGAIN) {
        stream_finish(s, e, tls_session_detail(s->tls));
    }
}

static void take(struct stream *s, struct bytes in)
{
    if (s->state == STREAM_LINGERING) {
        return; /* read so that the kernel does not answer our end with a reset */
    }
    if (!s->tls) {
        deliver(s, in);
        return;
    }
    if (s->state == STREAM_HANDSHAKING) {
        stream_handshake(s, &in);
    }
    if (s->state == STREAM_OPEN) {
        read_records(s, &in);
    }
}

static void take_failure(struct stream *s, int errnum)
{
    char detail[160];
    if (s->state == STREAM_LINGERING) {
        stream_finish(s, E_CANCELLED, "");
        return;
    }
    if (s->write_broken) {
        errnum = s->write_error;
        snprintf(detail, sizeof(detail), "sending: %s", uv_strerror(-errnum));
    } else {
        snprintf(detail, sizeof(detail), "receiving: %s%s", uv_strerror(-errnum),
                 s->state == STREAM_HANDSHAKING ? ", during the TLS handshake" : "");
    }
    enum err e = err_from_errno(errnum);
    stream_finish(s, e == E_IO ? E_RESET : e, detail);
}

static void take_end(struct stream *s)
{
    if (s->state == STREAM_LINGERING) {
        stream_finish(s, E_CANCELLED, "");
    } else if (s->write_broken) {
        take_failure(s, 0);
    } else if (s->state == STREAM_HANDSHAKING) {
        stream_finish(s, E_RESET, "the server closed the connection during the TLS handshake");
    } else {
        stream_finish(s, E_CLOSED, s->tls ? "without TLS close_notify" : "");
    }
}

/* True when there may be more at once. */
static bool receive(struct stream *s, bool all)
{
    uint8_t *space = turn_read_space(s->turn);
    ssize_t n = 0;
    do {
        n = recv(s->fd, space, TURN_READ_SIZE, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        take(s, bytes_make(space, (size_t)n));
        return true;
    }
    if (n == 0) {
        take_end(s);
    } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
        take_failure(s, errno);
    } else if (all) {
        int errnum = 0;
        socklen_t len = sizeof(errnum);
        (void)getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
        take_failure(s, errnum ? errnum : ECONNRESET);
    }
    return false;
}

void stream_read(struct stream *s, bool all)
{
    /* One receive a turn keeps the loop fair; poll tells again when there is more. */
    unsigned limit = all ? READS_AT_END : 1;
    bool more = true;
    s->pulled = false;
    for (unsigned i = 0; more && i < limit + s->pulled && s->state < STREAM_CLOSED; i++) {
        more = receive(s, all);
    }
    if (all && s->state < STREAM_CLOSED) {
        take_failure(s, ECONNRESET);
    }
}
