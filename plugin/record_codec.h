/* Records <-> bytes of a segment. Format: docs/spool-format.md. No I/O; any thread.
 *
 * A record is written in two steps, so that a process that dies at any instruction leaves either the whole record or a place
 * that reads as "nothing here yet": record_encode() writes everything but the length word, record_commit() stores that word. */
#ifndef PLUGIN_RECORD_CODEC_H
#define PLUGIN_RECORD_CODEC_H

#include "base/err.h"
#include "plugin/record.h"

#define RECORD_HEADER_SIZE 32u
#define RECORD_ALIGN 8u
#define RECORD_FIELD_MAX 0xFFFFFFu /* bytes of an optional field (client id, sensor, user properties, ...) */

/* Room in a segment for a record of this many bytes. */
static inline size_t record_room(size_t length)
{
    return (length + (RECORD_ALIGN - 1)) & ~(size_t)(RECORD_ALIGN - 1);
}

/* Bytes that the record takes. E_TOO_LARGE: a field is longer than the format can say. */
MUST_CHECK enum err record_length(const struct record *r, size_t *out);

/* Writes all of the record but its length word. `length` is what record_length said; `out` is aligned to RECORD_ALIGN and has
 * that much room. The length word keeps what it was (0 in a fresh segment). */
void record_encode(const struct record *r, size_t length, uint8_t *out);
/* Makes the encoded record valid: one aligned store, after everything that was written before it. */
void record_commit(uint8_t *out, size_t length);

/* The first bytes of a record, not checked against its CRC. */
struct record_head {
    size_t length;
    uint64_t sequence;
    uint8_t sinks;
};

/* False if `data` cannot begin a record: too short, a length that does not fit into it, or 0. */
bool record_peek(struct bytes data, struct record_head *out);

/* Reads the record at the beginning of `data`; the result borrows from it. E_CORRUPT: length or CRC is wrong; E_MALFORMED: the
 * CRC is right and the fields contradict one another. */
MUST_CHECK enum err record_decode(struct bytes data, struct record *out);

#endif
