/* The gateway: sockets towards the devices, sessions, links to the broker.
 *
 *   devices --UDP/DTLS--> gateway_input.c --> session.h --> links.c (one connection per client)  --> broker
 *                                                       \-> shared.c (aggregate: one for all)   -/
 *
 * Clients are found by client id and by place (listener, address, forwarder's node id); clients.c keeps both tables and the heap of
 * deadlines. One loop, one thread.
 */
#ifndef MQTTSN_GATEWAY_H
#define MQTTSN_GATEWAY_H

#include "mqttsn/config.h"

#include <uv.h>

struct gateway;

/* Reads the files that `c` names, opens the sockets and starts the uplink. `c` must outlive the gateway. On failure `error` says
 * what is wrong (a mistake in the configuration: E_INVALID and the like; a socket: its error) and nothing is left. */
MUST_CHECK enum err gateway_create(uv_loop_t *loop, const struct mqttsn_config *c, struct gateway **out,
                                   struct option_error *error);

/* Reads predefined topics, clients file, keys and certificates again; what has a mistake stays as it was, and is logged. */
void gateway_reload(struct gateway *g);

/* Tells the clients, ends the links without wills, publishes the offline status, closes the sockets; on_stopped follows when all
 * has ended (connections linger for 2 s at most). No new client is taken meanwhile. */
void gateway_stop(struct gateway *g, void (*on_stopped)(void *ctx), void *ctx);
/* After on_stopped, when the loop has run out of handles. NULL is allowed. */
void gateway_destroy(struct gateway *g);

/* Port of the first listener, for tests and logs. */
uint16_t gateway_port(const struct gateway *g);

#endif
