/* Last wills. Mosquitto 2.0 shows them to no plugin, so the topics on which they are expected (`will` lines) are watched through a session
 * at the broker itself: what comes there and has not passed the plugin as somebody's publish is a will, and is captured like one.
 *
 *   loop's thread:    session (QoS 1) --message--> outbox             receipt --PUBACK--> session
 *   broker's thread:                     outbox --no publish? then capture_take--> receipt
 *
 * A will is acknowledged to the broker once it is in the spool; when the spool does not take it, the session is renewed and the broker sends
 * it again. It has no client id. Whatever other plugins publish on these topics counts as a will. A message is told from a will by
 * its topic and payload (plugin/echo.h): where thousands a second are published on the topics watched, some may be captured twice, and so
 * may what was under way when the session broke.
 */
#ifndef PLUGIN_WILLS_H
#define PLUGIN_WILLS_H

#include "plugin/capture.h"
#include "plugin/outbox.h"

#include <uv.h>

struct wills;

/* Bytes of a will's payload (MQTT 5.0 section 3.1.3.4); a longer message is none. */
#define WILL_PAYLOAD_MAX 65535u

/* Starts connecting when the loop runs. Takes a reference to `o`, which has at least one `will` line. After an error, too, *out has to
 * be stopped unless it is NULL. Loop's thread. */
MUST_CHECK enum err wills_create(uv_loop_t *loop, struct outbox *outbox, const struct plugin_options *o,
                                 struct wills **out);
/* Lets go of the loop, frees itself, then calls on_stopped(ctx). NULL is allowed and calls back at once. Loop's thread, while the
 * broker's thread waits. */
void wills_stop(struct wills *w, void (*on_stopped)(void *ctx), void *ctx);

/* Where wills go; before the first event. Broker's thread. */
void wills_attach(struct wills *w, struct capture *capture);
/* A message that is no will: when it comes by the session, it is not taken. Called before the broker delivers it. Broker's thread. */
void wills_passed(struct wills *w, struct bytes topic, struct bytes payload);

#endif
