/* Metrics under $SYS/broker/aws/ (CONFIG.md "Control and status"). Broker's thread. */
#ifndef PLUGIN_STATUS_H
#define PLUGIN_STATUS_H

#include "plugin/forwarder.h"

struct status;

/* Publishes one retained value on the local broker. */
typedef enum err status_publish_fn(void *ctx, const char *topic, const char *value);

/* Borrows the forwarder. */
MUST_CHECK enum err status_create(struct forwarder *f, struct status **out);
void status_destroy(struct status *s); /* NULL is allowed */

/* Publishes every value that changed since the last call. */
void status_publish(struct status *s, status_publish_fn *publish, void *ctx);

#endif
