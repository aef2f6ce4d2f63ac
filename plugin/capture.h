/* From a message event to a record in the spool: the routes decide which sinks it is for, and everything that the sinks must
 * know later is fixed here. Broker's thread. */
#ifndef PLUGIN_CAPTURE_H
#define PLUGIN_CAPTURE_H

#include "plugin/options.h"
#include "plugin/spool.h"

struct capture;

/* `sinks`: SINK_BIT()s that run. Borrows the spool. */
MUST_CHECK enum err capture_create(const struct plugin_options *o, uint8_t sinks, struct spool *spool,
                                   struct capture **out);
void capture_destroy(struct capture *c); /* NULL is allowed */

/* Takes over the routes of new options. On an error the old ones stay. */
MUST_CHECK enum err capture_reload(struct capture *c, const struct plugin_options *o);

/* Does any route want this topic? Allocates nothing. */
bool capture_wants(const struct capture *c, struct bytes topic, struct route_match *match);

/* Appends a message to the spool. The caller has filled topic, payload, qos, retain, client id and properties of `r`; the rest
 * is set here. A message whose topic towards AWS would be empty or too long is not forwarded (logged), but stored all the same.
 * Errors of spool_append; E_NOMEM. */
MUST_CHECK enum err capture_take(struct capture *c, const struct route_match *match, struct record *r);

#endif
