/* Uplinks of The Things Stack v3 as its MQTT server and webhooks send them ("Data Formats", "Uplink Messages"; fields that
 * are empty or 0 are left out there). Any thread. */
#ifndef STORE_THINGS_STACK_H
#define STORE_THINGS_STACK_H

#include "store/measurement.h"

/* `uplink_message.decoded_payload`, or without one {"frm_payload": "<base64>"} (which is "" when nothing was sent), and the
 * members rssi and snr of the gateway that heard it best (highest snr, then highest rssi), unless the decoded payload has
 * members of these names itself. Appends the object to `text`. *received_ms: `received_at`, untouched when there is none.
 * E_INVALID: not an uplink. E_FULL, E_NOMEM. */
MUST_CHECK enum err things_stack_message(struct bytes payload, struct buffer *text, int64_t *received_ms,
                                         struct measurement_error *error);

#endif
