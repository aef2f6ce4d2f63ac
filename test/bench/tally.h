/* Counts the numbered messages of mqload as they arrive. */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include "wire.h"

struct tally {
    uint64_t count; /* numbers expected: 0 .. count-1 */
    uint8_t *marks; /* a byte for each: how often it came, 255 at most */
    uint64_t received;
    uint64_t distinct;
    uint64_t backwards; /* arrived behind a higher number */
    uint64_t highest;
    uint64_t first_sent_ns;
    uint64_t last_ns;
    struct wire_histogram latency;
};

/* marks in the file, or in memory when file is NULL. false: no memory, or the file cannot be made. */
bool tally_init(struct tally *t, uint64_t count, const char *file);
/* One payload that arrived at `now`; what is not of mqload is ignored. */
void tally_add(struct tally *t, const uint8_t *payload, size_t len, uint64_t now);
/* One line of JSON. */
void tally_print(const struct tally *t);

#endif
