/* What a message on a shadow's update topic measures. Any thread. */
#ifndef STORE_SHADOW_H
#define STORE_SHADOW_H

#include "store/measurement.h"

/* `state.desired` with `state.reported` laid over it, the way the shadow service applies an update ("Device Shadow service
 * documents"): objects are merged member by member, anything else (arrays too) is replaced as a whole, and a member that is
 * null is one that is deleted: it is left out. Objects deeper than the service allows (8 levels, "AWS IoT Device Shadow
 * endpoints and quotas") are replaced as a whole. Members come in the order in which they were first sent.
 *
 * Appends the object to `text`. E_INVALID: not a shadow update, or neither section is there. E_FULL, E_NOMEM. */
MUST_CHECK enum err shadow_message(struct bytes payload, struct buffer *text, struct measurement_error *error);

#endif
