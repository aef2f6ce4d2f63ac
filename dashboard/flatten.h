/* A message (a JSON object) as named values: members of nested objects get names joined by dots ("state.temperature"), numbers stay
 * numbers, true, false and text become states. null and arrays have no value that could be drawn and are left out. No I/O. One
 * thread at a time per flattener. */
#ifndef DASHBOARD_FLATTEN_H
#define DASHBOARD_FLATTEN_H

#include "base/buffer.h"

#define FLATTEN_NAME_MAX 256u /* bytes; values with longer names are left out */
#define FLATTEN_DEPTH_MAX 8u  /* objects in objects; what lies deeper is left out */

struct flatten_value {
    struct bytes name; /* UTF-8; borrowed during the callback, as everything here */
    bool is_number;
    double number;     /* is_number: finite */
    struct bytes text; /* is_number: as it was sent; otherwise the state, UTF-8 */
};

/* What it keeps between calls is memory only. */
struct flatten {
    struct buffer name;
    struct buffer text;
};

void flatten_init(struct flatten *f);
void flatten_finish(struct flatten *f);

/* Calls fn for each value in the order of the message until it returns false. E_MALFORMED: not a JSON object (what came before
 * the offence has been given); E_NOMEM. */
MUST_CHECK enum err flatten_message(struct flatten *f, struct bytes message,
                                    bool (*fn)(void *ctx, const struct flatten_value *value), void *ctx);

/* A JSON number as the nearest double. False: beyond what a double can hold. */
bool flatten_number(struct bytes text, double *out);

#endif
