/* The parts of a stream: stream.c has its life (connect, open, close), stream_io.c moves the bytes. Internal to net/. */
#ifndef NET_STREAM_INTERNAL_H
#define NET_STREAM_INTERNAL_H

#include "net/dial.h"
#include "net/stream.h"
#include "net/tls_session.h"
#include "net/turn.h"

enum stream_state {
    STREAM_DIALING,     /* -> HANDSHAKING or OPEN when connected; CLOSED */
    STREAM_HANDSHAKING, /* TLS only -> OPEN; CLOSED */
    STREAM_OPEN,        /* -> LINGERING by stream_close; CLOSED */
    STREAM_LINGERING,   /* sends what is left, says that it is the end, waits for the peer's -> CLOSED */
    STREAM_CLOSED,      /* on_close is due -> ENDED */
    STREAM_ENDED,       /* on_close has been called; freed when libuv has let go of the handles */
};

/* Output goes through three buffers: `out` is being filled by the owner; at the end of the turn it becomes `sending`, whose bytes
 * [sent..len) are still to be given to the kernel (or to TLS); `wire` holds TLS records that the kernel did not take. */
struct stream {
    struct turn_item item; /* first member */
    struct turn *turn;
    struct stream_events events;
    void *ctx;
    struct dial *dial;       /* while DIALING */
    struct tls_session *tls; /* NULL = plain */
    uv_poll_t poll;          /* from the connection on */
    uv_timer_t timer;        /* for one thing at a time: connecting, then `later`, then lingering */
    int fd;
    enum stream_state state;
    enum err reason; /* of on_close */
    unsigned holds;  /* handles that libuv still knows, and 1 until on_close */
    int watched;     /* events that poll waits for */
    int write_error; /* errno of write_broken */

    uint32_t connect_timeout_ms;
    bool later : 1;        /* stream_read_later: until `timer` */
    bool blocked : 1;      /* the kernel takes no more: wait for writable */
    bool want_drain : 1;   /* on_drain is due when pending has fallen */
    bool write_broken : 1; /* what the peer has sent before is still read */
    bool shut : 1;         /* our end has been told to the peer */
    bool pulled : 1;       /* stream_pull: one read more in this turn */
    bool acknowledge : 1;  /* what was received, also without anything to send */
    bool gathers : 1;      /* stream_options.gather */
    bool shared : 1;       /* others have descriptors of the socket */
    bool borrowed : 1;     /* in stream_send_through: `fd` is the caller's */
    bool gathered : 1;     /* the poll to be waited for is the next one */

    size_t write_max;
    struct buffer out;
    struct buffer sending;
    size_t sent;
    struct buffer wire;
    size_t wire_sent;
    char *detail; /* of on_close; NULL = "" */
};

/* Ends the stream: on_close follows at the end of this turn. Does nothing when it has ended already. */
void stream_finish(struct stream *s, enum err reason, const char *detail);
/* HANDSHAKING or DIALING -> OPEN. */
void stream_enter_open(struct stream *s);
/* What poll has to wait for, by the flags and the state. */
int stream_wanted(const struct stream *s);
/* Sets it. */
void stream_watch(struct stream *s);

/* The socket became readable; `all`: it has an error behind the data, read up to that. */
void stream_read(struct stream *s, bool all);
/* Begins (or goes on with) the TLS handshake. */
void stream_handshake(struct stream *s, struct bytes *in);
/* Gives the kernel as much as it takes. */
void stream_flush(struct stream *s);
/* TLS records that an operation has put on the turn's wire buffer: to the kernel, the rest to s->wire. */
void stream_send_wire(struct stream *s);

#endif
