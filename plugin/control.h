/* The control API: commands on CONTROL_TOPIC, answers on CONTROL_RESPONSE_TOPIC, JSON in the way of mosquitto's dynamic
 * security plugin (docs/man/mosquitto_aws.5 "CONTROL").
 *
 *   {"commands":[{"command":"getStatus","correlationData":"x"}]}
 *   {"responses":[{"command":"getStatus","correlationData":"x","data":{...}}]}      or "error":"<why>"
 *
 * Commands are carried out on the loop's thread, where sinks and rejected/ live; what must be appended to the spool again goes
 * back through the outbox to the broker's thread. */
#ifndef PLUGIN_CONTROL_H
#define PLUGIN_CONTROL_H

#include "plugin/forwarder.h"

#define CONTROL_TOPIC "$CONTROL/mosquitto-aws/v1"
#define CONTROL_RESPONSE_TOPIC CONTROL_TOPIC "/response"

/* Ceilings of one request. */
#define CONTROL_PAYLOAD_MAX (64u * 1024u)
#define CONTROL_COMMANDS_MAX 100
#define CONTROL_LIST_MAX 1000

struct control;

/* Borrows both; they must outlive it. Broker's thread. */
MUST_CHECK enum err control_create(struct forwarder *f, struct outbox *outbox, struct control **out);
void control_destroy(struct control *c); /* after the loop has ended; NULL is allowed */

/* Takes a request: copies it and has it carried out. What is wrong with it is said in the answer; the log says who changed
 * something. Broker's thread. */
void control_request(struct control *c, const char *client_id, struct bytes payload);

#endif
