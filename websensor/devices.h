/* The walk sensors: a stream of samples for each (walking.h), and the message about it. As many as the ceiling are kept; of more
 * the one that was silent longest is forgotten. One thread. */
#ifndef WEBSENSOR_DEVICES_H
#define WEBSENSOR_DEVICES_H

#include "base/clock.h"
#include "websensor/ingest.h"
#include "websensor/walking.h"

struct devices;

MUST_CHECK enum err devices_create(size_t max, struct devices **out);
void devices_destroy(struct devices *d);

/* Takes the samples of in->walk (fresh; or only judges what was taken before) and says what they are. Too few samples yet:
 * not walking, confidence 0. `sender` tells apart those who give no name: the original's pages.
 *
 * The original's arrays are the last 128 sums x+y+z without gravity, sent each second: what overlaps with the array before is
 * recognised and taken once. A sum is the acceleration along (1,1,1), times the root of 3, so the rule can be used; movement
 * across that direction is not seen. */
MUST_CHECK enum err devices_judge(struct devices *d, const struct ingest *in, uint64_t sender, bool fresh,
                                  struct mono now, struct walking_verdict *out);

/* Writes the payload of in's message: the original's shadow layout with cadence and confidence. */
MUST_CHECK enum err devices_message(struct ingest *in, const struct walking_verdict *v);

#endif
