/* The sockets of the uplink's connections, for the broker's thread: it sends a message that comes alone itself (sink_ops.send_alone).
 * The loop's thread has a table of open files of its own (net/file_table.h), so the broker's has descriptors of its own for the same
 * sockets, which come by loop_hand_over. */
#ifndef PLUGIN_UPLINK_SOCKETS_H
#define PLUGIN_UPLINK_SOCKETS_H

#include "net/loop.h"
#include "plugin/options.h"

struct uplink_sockets;

MUST_CHECK enum err uplink_sockets_create(struct loop *l, struct uplink_sockets **out);
/* After the loop's thread has ended. NULL is allowed. */
void uplink_sockets_destroy(struct uplink_sockets *u);

/* Connection `index` is open on the loop's descriptor `fd`. Loop's thread. */
void uplink_sockets_opened(struct uplink_sockets *u, unsigned index, int fd);
/* The descriptor got lost on its way, because the broker could open no more files: uplink_sockets_opened is to be called once more. Loop's
 * thread. */
bool uplink_sockets_wanted(const struct uplink_sockets *u, unsigned index);
/* ... has ended. Loop's thread. */
void uplink_sockets_closed(struct uplink_sockets *u, unsigned index);

/* The broker's descriptor of the connection that is open now; -1: it has none. Broker's thread, which has borrowed the loop. */
int uplink_sockets_get(struct uplink_sockets *u, unsigned index);
/* Closes those of connections that have ended, so that the system can let go of the sockets; asks for lost ones again. Broker's thread, now
 * and then. */
void uplink_sockets_tidy(struct uplink_sockets *u);

#endif
