/* The bytes of a segment: its header, and walking over its records even where bytes are damaged. Format:
 * docs/spool-format.md. No I/O; any thread. */
#ifndef PLUGIN_SEGMENT_FORMAT_H
#define PLUGIN_SEGMENT_FORMAT_H

#include "base/err.h"
#include "plugin/record.h"

#define SEGMENT_VERSION 1u
#define SEGMENT_HEADER_SIZE 128u
#define SEQUENCE_MAX (UINT64_MAX / 2) /* no spool gets that far: a larger one is damage */
#define SEGMENT_MARKS 3u
#define SEGMENT_SINKS 8u /* as many as record.sinks has bits */

/* What is noted in the header of a segment later on. Each is a byte of its own, outside of the checksum, so that nobody who notes
 * one can undo another. */
enum segment_mark {
    SEGMENT_INCOMPLETE, /* sequences are missing in it or behind it, and are accounted for */
    SEGMENT_FOLLOWED,   /* a newer segment has been made */
    SEGMENT_FIRST,      /* the older ones were removed when they were not needed any more, or dropped */
};

struct segment_header {
    uint64_t size;              /* of the file */
    uint64_t first_sequence;    /* of the first record, or of the one that would be it */
    uint64_t previous_sequence; /* of the last record before this segment, 0 = none */
    int64_t created_ms;         /* wall clock */
    int64_t capture_high_ms;    /* latest capture time given to a sensor before this segment (capture_clock.h) */
    uint64_t records_before[SEGMENT_SINKS]; /* records of each sink in all earlier segments since the spool was made */
    bool marks[SEGMENT_MARKS];
};

/* The byte of a mark in the header, and its value once it is set. */
size_t segment_mark_offset(enum segment_mark mark);
#define SEGMENT_MARKED 0xA5u

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_SIZE]);

/* E_VERSION: a sound header of another format version; E_CORRUPT: not a sound header. */
MUST_CHECK enum err segment_header_decode(struct bytes data, struct segment_header *out);

/* A place in a segment. */
struct segment_walk {
    struct bytes image; /* from the segment's first byte to where reading ends */
    size_t offset;      /* of the next record */
    uint64_t expected;  /* sequence of the next record */
};

enum segment_step {
    SEGMENT_RECORD, /* *out is filled; the walk stands behind it */
    SEGMENT_GAP, /* damage or missing sequences: the walk stands before the next sound record, which is `expected` now */
    SEGMENT_END,  /* nothing or only zeros follow */
    SEGMENT_TAIL, /* something follows, and no sound record is in it */
};

static inline struct segment_walk segment_walk_start(struct bytes image, uint64_t first_sequence)
{
    return (struct segment_walk){image, SEGMENT_HEADER_SIZE, first_sequence};
}

/* One step. What it returns as a record has passed its CRC and has a sequence not below `expected`. The record borrows from
 * the image. END and TAIL do not move the walk. */
enum segment_step segment_walk(struct segment_walk *w, struct record *out);

/* Passes over records that are for none of `sinks` or are older than `from`, by their headers alone (no CRC). Stops before the
 * first that is wanted, at anything odd, and at the end. */
void segment_walk_skip(struct segment_walk *w, uint8_t sinks, uint64_t from);

/* True if every byte from `offset` on is 0. */
bool segment_is_blank(struct bytes image, size_t offset);

#endif
