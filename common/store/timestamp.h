/* Times in payloads: epoch seconds, epoch milliseconds or ISO 8601. Any thread. */
#ifndef STORE_TIMESTAMP_H
#define STORE_TIMESTAMP_H

#include "base/json.h"

/* A NUMBER, or a STRING that holds one, is seconds below 1e11 (year 5138) and milliseconds from there to below 1e14; it may
 * have a fraction and an exponent, is taken digit by digit and cut to whole milliseconds. Any other STRING is ISO 8601 as
 * in wall_parse_iso8601(). E_MALFORMED: neither of them, or before 1970. */
MUST_CHECK enum err timestamp_parse(const struct json_token *value, int64_t *ms);

#endif
