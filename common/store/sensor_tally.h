/* What one batch adds to each sensor: rows, earliest and latest time. A hash table of borrowed names. One thread at a time. */
#ifndef STORE_SENSOR_TALLY_H
#define STORE_SENSOR_TALLY_H

#include "base/bytes.h"
#include "base/err.h"

struct sensor_tally {
    struct bytes sensor; /* borrowed; data NULL = free slot */
    int64_t first;
    int64_t last;
    uint64_t count;
};

struct sensor_tallies {
    struct sensor_tally *slots; /* owned; `size` of them, at most half in use */
    size_t size;                /* 0 or a power of two */
    size_t used;
};

/* Ceiling of distinct sensors: more rows than this are in no batch. */
#define SENSOR_TALLY_MAX (1u << 20)

/* One more row of a sensor. The name must stay valid until the table is cleared. E_FULL, E_NOMEM: nothing is changed. */
MUST_CHECK enum err sensor_tallies_add(struct sensor_tallies *t, struct bytes sensor, int64_t timestamp_ms);
/* Empties the table; memory is kept. */
void sensor_tallies_clear(struct sensor_tallies *t);
void sensor_tallies_finish(struct sensor_tallies *t);

#endif
