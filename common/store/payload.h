/* Members of payloads, with errors in words. Internal to store/. Any thread. */
#ifndef STORE_PAYLOAD_H
#define STORE_PAYLOAD_H

#include "store/measurement.h"

/* The member of a JSON object at a path (json_find). E_NOT_FOUND: no such member (`error` is not set); E_INVALID with a
 * reason: not JSON, or nested too deep. */
MUST_CHECK enum err payload_find(struct bytes payload, struct bytes path, struct json_token *value,
                                 struct measurement_error *error);

/* Several members of one object in one pass: values[i] is that of names[i], of type JSON_END when there is none. When
 * `object` is another kind of value, none is there. Errors as above, never E_NOT_FOUND. */
MUST_CHECK enum err payload_members(struct bytes object, const char *const *names, struct json_token *values,
                                    size_t count, struct measurement_error *error);

/* An error of the JSON reader as E_INVALID with a reason. */
MUST_CHECK enum err payload_error(enum err e, struct measurement_error *error);

#endif
