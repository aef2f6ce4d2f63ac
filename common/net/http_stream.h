/* http.h on streams of our own: http_stream.c has the client, its queue and its requests, http_stream_head.c writes a request's first
 * lines, http_stream_connection.c is one connection at work. Internal to net/. */
#ifndef NET_HTTP_STREAM_H
#define NET_HTTP_STREAM_H

#include "base/clock.h"
#include "net/http_proxy.h"
#include "net/http_reader.h"
#include "net/http_rules.h"
#include "net/http_trust.h"
#include "net/stream.h"
#include "net/turn.h"

/* Where a request goes. Requests with equal routes may share a connection. */
struct http_route {
    struct http_url server;  /* its slices are not used; host "" = any: plain HTTP by way of a proxy */
    struct http_proxy proxy; /* host "" = none; before an https server: a tunnel */
};

struct http_answer_headers {
    const struct http_reader *reader;
};

struct http_request {
    struct http_client *client;
    struct http_request *next; /* links the client's requests, oldest first */
    struct http_request **link;
    struct http_connection *connection; /* NULL = waits for one */
    struct http_route route;
    const char *bad_proxy; /* the variable of the environment that cannot be understood; NULL = none */
    struct buffer head;    /* request line and headers */
    struct bytes body;     /* the caller's */
    size_t max_answer;
    bool is_head;
    bool wants_new; /* not on a connection that has served before: one has just been found closed */
    bool reached;
    uint32_t deadline_ms;
    uv_timer_t deadline;
    http_done_fn *on_done;
    void *ctx;
};

enum http_connection_state {
    HTTP_CONNECTING, /* to the server, by TLS where that is wanted, or to the proxy -> TUNNELLING, BUSY, CLOSED */
    HTTP_TUNNELLING, /* the proxy has been asked for the server -> SECURING, CLOSED */
    HTTP_SECURING,   /* TLS through the tunnel -> BUSY, CLOSED */
    HTTP_BUSY,       /* with a request -> IDLE, CLOSED */
    HTTP_IDLE,       /* kept alive -> BUSY, CLOSED */
    HTTP_CLOSED,     /* waits for the end of the stream, then it is freed */
};

struct http_connection {
    struct http_client *client;
    struct http_connection *next; /* links the client's connections, the last used first */
    enum http_connection_state state;
    struct http_route route;
    struct stream *stream;
    struct http_reader *reader;
    struct http_request *request; /* NULL in IDLE and CLOSED */
    uv_timer_t timer;             /* connect timeout from TUNNELLING on */
    unsigned holds;               /* the timer, and the stream until its end */
    size_t body_sent;
    bool has_served;
    struct mono since; /* the connecting, or the being idle */
};

struct http_client {
    struct turn_item item; /* first member; runs the queue */
    uv_loop_t *loop;
    struct turn *turn;
    unsigned holds; /* what libuv and the turn still know, and 1 until closed */
    bool closing;
    struct http_limits limits;
    char *user_agent;
    struct http_trust trust;
    struct http_request *first; /* links through http_request.next */
    struct http_request **last;
    size_t request_count;
    size_t ended_count;                  /* requests that have left the list, ever */
    struct http_connection *connections; /* links through http_connection.next */
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

/* --- http_stream_head.c --- */

/* Route and head of a new request. E_INVALID: no URL; E_NOMEM. */
MUST_CHECK enum err http_request_address(struct http_request *r, const struct http_request_options *o);
/* What asks the proxy for a tunnel to the server. */
MUST_CHECK enum err http_append_connect(const struct http_route *route, const char *user_agent, struct buffer *out);
bool http_same_route(const struct http_route *a, const struct http_route *b);

/* --- http_stream_connection.c --- */

/* A connection for a request. `error` says why not. */
MUST_CHECK enum err http_connection_open(struct http_request *r, struct tls_error *error);
/* Gives a request to an idle connection. False: it has ended meanwhile. */
bool http_connection_take(struct http_connection *k, struct http_request *r);
/* What it waits for, in words. Valid until the next call. */
const char *http_connection_phase(struct http_connection *k);
/* Ends it, whatever it does; its request is left without connection. */
void http_connection_close(struct http_connection *k);

/* --- http_stream.c, for connections --- */

/* The end of a request: err and detail, or the complete answer in `reader`. */
void http_request_end(struct http_request *r, enum err err, const char *detail, const struct http_reader *reader);
/* A connection has become idle, or is gone, or a request waits: looks at the queue at the end of this turn. */
void http_client_wake(struct http_client *c);
/* One hold less. The last one: on_closed, and the client is freed. */
void http_client_release(struct http_client *c);

#endif
