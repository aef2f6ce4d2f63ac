/* A rejected record <-> the text of its file. Loop thread. */
#ifndef PLUGIN_REJECTED_JSON_H
#define PLUGIN_REJECTED_JSON_H

#include "base/buffer.h"
#include "plugin/record.h"

/* Appends the JSON of a record. Bytes that are no plain text stand as base64 under "<name>_base64". */
MUST_CHECK enum err rejected_print(const struct record *r, enum sink_id sink, const char *reason, int64_t rejected_ms,
                                   struct buffer *out);

/* Reads it back; the record borrows from `memory`, whose contents are replaced, and is for `sink` alone. E_MALFORMED; E_FULL: over
 * the ceiling of `memory`. */
MUST_CHECK enum err rejected_parse(struct bytes json, struct buffer *memory, struct record *out, enum sink_id *sink);

#endif
