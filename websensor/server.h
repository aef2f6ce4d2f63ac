/* The server: listeners, requests, tokens, the uplink. Reads as the way of a request:
 *
 *   front.h (sockets, libmicrohttpd) -> exchange.c (one request) -> ingest.h (what it says) -> access.h (may it?)
 *      -> devices.h (walking or not) -> delivery.h (to the broker, PUBACK) -> exchange.c (the answer)
 *
 * One loop, one thread.
 */
#ifndef WEBSENSOR_SERVER_H
#define WEBSENSOR_SERVER_H

#include "websensor/config.h"

#include <uv.h>

struct server;

/* Reads the files that `c` names, opens the sockets and starts the uplink. `c` must outlive the server. On failure `error`
 * says what is wrong. */
MUST_CHECK enum err server_create(uv_loop_t *loop, const struct websensor_config *c, struct server **out,
                                  struct option_error *error);
/* Reads tokens and certificates again; what has a mistake stays as it was, and is logged. */
void server_reload(struct server *s);
/* Takes no more connections, answers what is under way (3 s at most), publishes the offline status; then on_stopped. */
void server_stop(struct server *s, void (*on_stopped)(void *ctx), void *ctx);
/* After on_stopped, when the loop has run out of handles. NULL is allowed. */
void server_destroy(struct server *s);

#endif
