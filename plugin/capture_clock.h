/* Times of capture: no sensor gets the same millisecond twice, neither when messages come faster than milliseconds, nor after
 * a small step back of the wall clock, nor across a restart.
 *
 * A table of fixed size holds the last time given out, by a hash of the sensor's name: the next is the wall clock or the last
 * + 1, whichever is later. Sensors that share a place cost each other a millisecond now and then, nothing more. When the wall
 * clock was set back by more than CAPTURE_STEP_MAX_MS, it is believed: times start from it again. One thread at a time. */
#ifndef PLUGIN_CAPTURE_CLOCK_H
#define PLUGIN_CAPTURE_CLOCK_H

#include "base/clock.h"

#define CAPTURE_SLOTS 8192u
#define CAPTURE_STEP_MAX_MS INT64_C(3600000)

struct capture_clock {
    int64_t last[CAPTURE_SLOTS]; /* latest time given to a sensor of this place */
    int64_t high;                /* latest time given to any sensor */
    int64_t wall_high;           /* latest wall clock seen */
};

/* `high`: the latest time that an earlier run gave out (INT64_MIN: none). Later times follow it, unless it lies so far ahead of
 * `now` that the wall clock must have been set back. */
void capture_clock_init(struct capture_clock *c, struct wall now, int64_t high);

/* The latest of times that were given out in this order, `high` before `next`, for capture_clock_init; INT64_MIN: none. After a
 * large step back of the wall clock those before it do not count. Any thread. */
int64_t capture_clock_high(int64_t high, int64_t next);

/* The time of capture of a message of this sensor at `now`. An empty name gets `now` as it is. */
int64_t capture_clock_next(struct capture_clock *c, struct bytes sensor, struct wall now);

#endif
