/* How fast items go to one table: no limit until DynamoDB refuses most of them; then half as fast, or as fast as it was seen to
 * take them if that is more, until it takes most; then faster again bit by bit. Time comes in; loop thread. */
#ifndef PLUGIN_SINK_DYNAMODB_PACE_H
#define PLUGIN_SINK_DYNAMODB_PACE_H

#include "base/backoff.h"

#define PACE_WINDOW_MS 500u    /* what was taken and refused is judged once in so long */
#define PACE_BAD_MS 100u       /* or so long, if it is bad */
#define PACE_BAD_ITEMS 100u    /* not enough items to say that it is bad */
#define PACE_MIN 25.0          /* items a second, the slowest: one batch */
#define PACE_UNLIMITED 20000.0 /* beyond this there is no limit any more */
#define PACE_RAISE 1.5         /* times faster after a window without refusals */
#define PACE_GOOD 0.98         /* share of items taken that counts as "without refusals" */
#define PACE_BAD 0.5           /* below this share it gets slower; between the two the rate stays */

struct pace {
    double rate; /* items a second, 0 = no limit */
    struct token_bucket bucket;
    struct mono window; /* its start; a pause begins a new one */
    struct mono last;
    double taken, refused; /* in this window */
};

void pace_init(struct pace *p, struct mono now);
/* Takes n items' worth from the bucket. */
void pace_take(struct pace *p, size_t n, struct mono now);
/* When n items may go; `now` if they may already. */
struct mono pace_ready(const struct pace *p, size_t n, struct mono now);
/* Of the items of a request so many were taken, so many refused. */
void pace_result(struct pace *p, size_t taken, size_t refused, struct mono now);

#endif
