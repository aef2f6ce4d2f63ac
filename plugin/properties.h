/* MQTT 5 properties: from the broker's lists into records, and from outbox messages into lists for the broker. Broker's thread.
 *
 * Not every mosquitto 2.0 lets plugins read properties: the executable of Debian 12 exports what mosquitto.h promises, that of
 * Debian 13 (and any that was linked with mosquitto's own linker.syms) only the functions that make them. There the reading ones come
 * from libmosquitto.so.1, which is made from the same source; it is opened for nothing else, and aside (RTLD_LOCAL), because its
 * names collide with the broker's. */
#ifndef PLUGIN_PROPERTIES_H
#define PLUGIN_PROPERTIES_H

#include "plugin/outbox.h"
#include "plugin/record.h"

#include "base/buffer.h"

struct mqtt5__property; /* mosquitto_property */
struct property_reader;

#define USER_PROPERTIES_MAX (256u * 1024u)

/* Finds the functions and proves them: a list that the broker's own functions made is read back. E_UNSUPPORTED, after a line in
 * the log: they are nowhere, or of another version. */
MUST_CHECK enum err property_reader_create(struct property_reader **out);
void property_reader_destroy(struct property_reader *p); /* NULL is allowed */

/* Sets the properties of `r`, which borrows them until the next call. E_TOO_LARGE: more than USER_PROPERTIES_MAX bytes of user
 * properties; E_NOMEM. */
MUST_CHECK enum err property_reader_take(struct property_reader *p, const struct mqtt5__property *list,
                                         struct record *r);

/* Adds the message's properties to a list; a MOSQ_ERR_ code. The list is the caller's also after an error. */
int properties_make(const struct outbox_message *m, struct mqtt5__property **list);

#endif
