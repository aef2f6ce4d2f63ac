/* The time by which old rows are deleted: the wall clock, unless that has just leapt ahead.
 *
 * A clock that is years ahead for some minutes (a board without a battery, a bad answer of NTP) would delete a history that
 * nobody can bring back. So a leap ahead of more than RETENTION_LEAP_MS is not believed at once: deletion goes on by the time
 * that it was before, counted on by the monotonic clock, until the wall clock has stayed so for a while. A step back
 * is believed at once, since it deletes less. What the clock was before the start is told by the file: its last write.
 * One thread at a time; the clocks come in. */
#ifndef PLUGIN_RETENTION_CLOCK_H
#define PLUGIN_RETENTION_CLOCK_H

#include "base/clock.h"

#define RETENTION_LEAP_MS INT64_C(3600000)
/* So long a leap must last; shorter when the retention is: then there is no more history to lose than that. */
#define RETENTION_HOLD_MS 3600000u

struct retention_clock {
    int64_t offset_ms; /* of the time that is believed, to the monotonic clock */
    int64_t leapt_ms;  /* of the leap that is not */
    struct mono until; /* then it is; MONO_NEVER: there is none */
};

/* `seen`: the latest time that an earlier run has seen; INT64_MAX: none has. */
void retention_clock_init(struct retention_clock *c, struct wall seen, struct wall wall, struct mono now);

/* The time to delete by. `hold_ms`: how long a leap must last. Logs a leap once. */
struct wall retention_clock_now(struct retention_clock *c, struct wall wall, struct mono now, uint64_t hold_ms);

/* When the file of a store was written last: the later of it and its write-ahead log; INT64_MAX: there is none. */
struct wall retention_clock_seen(const char *path);

#endif
