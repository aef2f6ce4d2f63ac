/* Shared by the session's own files. */
#ifndef MQTT_SESSION_END_H
#define MQTT_SESSION_END_H

#include "mqtt/session.h"

/* The session is over because of `why`: keeps reason and detail, tells a 5.0 server. Returns `why`. */
MUST_CHECK enum err mqtt_session_end(struct mqtt_session *s, struct buffer *out, enum err why, uint8_t reason,
                                     const char *detail);

#endif
