/* Measurements of a time range brought down to a given number of points: for each metric minimum, maximum and average of each
 * bucket, in one pass and in memory that depends on points and metrics only. No I/O. One thread at a time.
 *
 * Buckets are equally wide and lie on a grid that starts at 1970, so that a live view, whose range moves on, can ask for its newest
 * buckets alone. There are never more than points: a range that the grid would cut into one more has slightly wider ones, so
 * the view has to compare meta.width. A bucket's time is the mean of its measurements'
 * times: that of the measurement where there is one. Empty buckets do not appear; where a sensor was silent for
 * more than three times its usual interval a row of nulls stands between, so that a chart shows a gap. (A single metric that is
 * missing while others of its sensor come has nulls in rows of theirs.)
 *
 *   {"t":[ms,..],"meta":{..,"last":{"temperature":21.5}},"temperature":{"min":[..],"max":[..],"avg":[..],"count":[..]},
 *    "walking":{"state":["true",..],"changes":[..]}}
 *
 * meta.last has the last number of each metric. `count` is left out where no bucket has more than one number. `state` is the
 * last one of its bucket, `changes` how often it differed from the one before. A metric with both numbers and text has all of
 * them. A metric that is called "t" or "meta" stands there as ".t" or ".meta". */
#ifndef DASHBOARD_DOWNSAMPLE_H
#define DASHBOARD_DOWNSAMPLE_H

#include "base/buffer.h"

#define DOWNSAMPLE_METRICS_MAX 64u /* more are left out and counted in meta.omitted */
#define DOWNSAMPLE_STATES_MAX 64u  /* different states of a metric; others become "(other)" */
#define DOWNSAMPLE_STATE_BYTES 64u /* longer states are cut */

struct downsample;

struct downsample_options {
    int64_t from_ms, to_ms; /* inclusive, 0 <= from <= to */
    uint32_t points;        /* at least 1 */
    struct bytes metric;    /* only this one; data NULL = all; borrowed */
};

MUST_CHECK enum err downsample_create(const struct downsample_options *o, struct downsample **out);
void downsample_destroy(struct downsample *d); /* NULL is allowed */

/* Start of the bucket that holds `time_ms`. */
int64_t downsample_bucket_start(const struct downsample *d, int64_t time_ms);

/* Adds a measurement. Those outside the range, and messages that are no JSON objects, are left out. E_NOMEM. */
MUST_CHECK enum err downsample_add(struct downsample *d, int64_t time_ms, struct bytes message);

/* Appends the JSON. `complete`: the whole range was read. */
MUST_CHECK enum err downsample_write(const struct downsample *d, bool complete, struct buffer *out);

/* Appends a finite double, as short as it can be without changing it. */
MUST_CHECK enum err downsample_append_number(struct buffer *out, double value);

#endif
