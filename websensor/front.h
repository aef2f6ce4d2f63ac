/* One listening socket with libmicrohttpd behind it, run by our uv loop (its epoll descriptor is one of the loop's). When the
 * certificate changes, a new daemon takes the socket over and the old one serves its connections to their end. One thread.
 */
#ifndef WEBSENSOR_FRONT_H
#define WEBSENSOR_FRONT_H

#include "base/err.h"
#include "websensor/config.h"

#include <microhttpd.h>
#include <uv.h>

struct front;
/* What the callbacks get as their first argument: one daemon of a front. */
struct front_daemon;

struct front_options {
    struct listener listener;
    bool tls;
    size_t max_connections;
    const char *cert; /* PEM text; TLS only. Copied by libmicrohttpd */
    const char *key;
    void *ctx; /* front_ctx() of the callbacks' argument */
    MHD_AccessHandlerCallback on_request;
    void *(*on_uri)(void *cls, const char *uri, struct MHD_Connection *connection);
    MHD_RequestCompletedCallback on_completed;
    MHD_NotifyConnectionCallback on_connection;
};

/* Opens a socket for each address that the listener stands for (up to FRONT_SOCKETS_MAX) and serves them. */
#define FRONT_SOCKETS_MAX 2u
MUST_CHECK enum err front_create(uv_loop_t *loop, const struct front_options *o,
                                 struct front *fronts[FRONT_SOCKETS_MAX], size_t *count, struct option_error *error);

/* New connections get this certificate. On failure the old one stays. */
MUST_CHECK enum err front_set_certificate(struct front *f, const char *cert, const char *key);

/* No new connections from now on. */
void front_quiesce(struct front *f);
/* Ends what is left of the connections and frees; no request may be suspended. The loop closes the handles later. */
void front_destroy(struct front *f);

/* Frees daemons of old certificates that have no connection left. About once a second. */
void front_tick(struct front *f);

/* A request can be answered now or has been, or its connection was resumed: what is to be done follows in this turn of the loop. */
void front_wake(void *cls);
/* Is libmicrohttpd at work? Then nothing but its callback's own request may be answered. */
bool front_is_running(void *cls);

/* libmicrohttpd asks again and again for an answer that is neither given nor suspended. For a wait of a few milliseconds that
 * costs less than suspending, which takes the socket out of epoll and puts it back in: while something is awaited,
 * libmicrohttpd is run when something happens, and each millisecond. false: too many are awaited, suspend. */
bool front_await(void *cls);
/* One of them is settled, suspended after all, or gone. */
void front_await_end(void *cls);

/* An answer is given to libmicrohttpd; it is sent, or the connection is gone. */
void front_answer(void *cls);
void front_answer_end(void *cls);

void *front_ctx(void *cls);
/* Is the connection one that should end after this answer? */
bool front_is_draining(void *cls);
bool front_is_tls(void *cls);
/* Connections that are open, also of old daemons. */
size_t front_connections(const struct front *f);

#endif
