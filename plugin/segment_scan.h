/* Reads a whole segment: what is in it, what is missing. No I/O; any thread. */
#ifndef PLUGIN_SEGMENT_SCAN_H
#define PLUGIN_SEGMENT_SCAN_H

#include "plugin/segment_format.h"

struct segment_scan {
    /* In: each sink's place; records below it are confirmed. */
    uint64_t from[SINK_COUNT];

    uint64_t last_sequence; /* of the last sound record; first_sequence - 1 if there is none */
    size_t tail;            /* behind the last sound record */
    uint32_t records;
    uint32_t count[SINK_COUNT];        /* records for each sink */
    uint32_t before[SINK_COUNT];       /* of those, below from[] */
    uint64_t missing;                  /* sequences missing before the last sound record */
    uint64_t missing_from[SINK_COUNT]; /* of those, not below from[] */
    int64_t capture_high;              /* of records with a sensor (capture_clock_high); INT64_MIN = none */
    bool damaged;                      /* bytes that are no record stand before a sound record */
    bool tail_dirty;                   /* bytes that are not zero follow the last sound record */
};

/* `image` is the whole file. `incomplete`: sequences that are left out between two records are no news. */
void segment_scan(struct bytes image, uint64_t first_sequence, bool incomplete, struct segment_scan *s);

/* Sequences of [first, end) that are not below `from`. */
uint64_t sequences_from(uint64_t first, uint64_t end, uint64_t from);

#endif
