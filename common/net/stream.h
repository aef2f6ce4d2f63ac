/* A client byte stream over TCP, or over TLS on TCP (OpenSSL with memory BIOs), on a uv loop.
 *
 * One state machine: resolving -> connecting -> (handshaking) -> open -> closed. Every stream ends in exactly one
 * on_close, after which it makes no further calls. TCP_NODELAY is set; writes made within one turn of the loop leave in one
 * piece. All calls and callbacks on the loop's thread. Callbacks may call any function here, stream_close included.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/buffer.h"
#include "base/err.h"
#include "net/tls.h"

#include <uv.h>

struct stream;

struct stream_options {
    const char *host; /* name or address; copied */
    uint16_t port;
    struct tls_context *tls;     /* NULL = plain TCP; the stream takes a reference of its own */
    const char *server_name;     /* for SNI and verification; NULL = host */
    uint32_t connect_timeout_ms; /* for all until open, DNS and handshake included; 0 = 30 s */
    size_t write_max;            /* ceiling of bytes written and not yet taken by the kernel; 0 = 4 MiB */
    /* For a stream with many small messages from many sources: what a turn has written leaves after one more poll of the loop (which
     * does not wait), together with what that brings. */
    bool gather;
};

struct stream_events {
    void (*on_open)(void *ctx);
    void (*on_data)(void *ctx, struct bytes data); /* valid during the call */
    /* Bytes waiting are below a quarter of write_max, after stream_write said E_FULL or stream_await_drain was called. */
    void (*on_drain)(void *ctx);
    /* Last call. E_CLOSED: end of file from the peer, with a detail only when TLS was not ended by close_notify (something may be
     * missing); E_REFUSED: it does not accept our certificate. `detail` (may be "") says more for the log; valid during the call. */
    void (*on_close)(void *ctx, enum err reason, const char *detail);
};

/* Starts connecting; the outcome comes by callback, never before this returns. `events` is copied; on_drain may be NULL.
 * An idle plain stream costs under 1 KiB, libuv's handles included. */
MUST_CHECK enum err stream_connect(uv_loop_t *loop, const struct stream_options *o, const struct stream_events *events,
                                   void *ctx, struct stream **out);

/* Begins TLS on an open plain stream through which somebody else's protocol (a proxy's) has been spoken so far. server_name: as in the
 * options. on_open follows again, or on_close; connect_timeout_ms counts from now. E_INVALID unless open, plain and with nothing left to
 * send; E_NOMEM. */
MUST_CHECK enum err stream_start_tls(struct stream *s, struct tls_context *tls, const char *server_name);

/* What a stream that is not open yet is doing, in words for the log. Valid until the next call. */
const char *stream_progress(struct stream *s);

/* Takes in what has come since the loop last polled (on_data is called as usual). False: the stream is not open, or no longer; on_close
 * follows then. For a stream that has slept while the loop did not run. */
bool stream_look(struct stream *s);

/* Copies bytes into the output; they leave at the end of this turn of the loop. E_CLOSED unless open. E_FULL: nothing was
 * taken, on_drain follows. E_TOO_LARGE: more than write_max. */
MUST_CHECK enum err stream_write(struct stream *s, struct bytes data);
/* The output buffer itself, for encoders that write in place: append (its ceiling is write_max less what waits already), then
 * call stream_commit(). Until the end of this turn only. NULL unless open. */
struct buffer *stream_out(struct stream *s);
void stream_commit(struct stream *s);
/* What was received is acknowledged by TCP when what this turn writes leaves, also if that is nothing.
 * A peer that has Nagle's algorithm on (mosquitto by default) sends no more small packets before that. */
void stream_acknowledge(struct stream *s);
/* In on_data: TCP acknowledges at once what was received, and the stream reads once more in this turn. What a peer with Nagle's algorithm
 * held back until then comes along if the peer is on this host. Has no effect in the on_data that this leads to. */
void stream_pull(struct stream *s);
/* An encoder's append said E_FULL: one on_drain follows, at the end of this turn at the earliest. */
void stream_await_drain(struct stream *s);
/* For a loop that is lent (net/loop.h). The socket, to be handed over; -1 unless open. The peer is told of the end of the stream also
 * while somebody has other descriptors of the socket. */
int stream_share(struct stream *s);
/* Sends what was written, now and through `fd`, the caller's own descriptor of the socket. What the kernel does not take, and whatever
 * else is due at the end of the turn, is left to the loop's thread. */
void stream_send_through(struct stream *s, int fd);
/* Bytes written that the kernel has not taken. */
size_t stream_pending(const struct stream *s);

/* For input that nobody waits for, such as acknowledgements: what comes from now on is looked at in `ms` milliseconds, all of it together,
 * and in between does not wake the loop; the end of the connection is noticed as late. Once: then every input counts again. 0 ends it early.
 * Does nothing unless open, nor (but for 0) while it lasts. */
void stream_read_later(struct stream *s, uint32_t ms);

/* Sends what is pending, tells the peer that this is the end and waits for its end, all for up to linger_ms; 0 drops what is
 * pending and closes at once. No on_data comes any more. on_close follows with E_CANCELLED, after this returned.
 * The stream frees itself after on_close; do not use the pointer after that. */
void stream_close(struct stream *s, uint32_t linger_ms);

/* When open: name of the TLS version and cipher ("TLSv1.3 TLS_AES_256_GCM_SHA384") or "plain". For logs. */
const char *stream_security(const struct stream *s);

#endif
