/* Deadlines of many things, the earliest first: a binary heap of nodes that live in their owners. One thread at a time. */
#ifndef MQTTSN_DEADLINES_H
#define MQTTSN_DEADLINES_H

#include "base/clock.h"
#include "base/err.h"

struct deadline {
    struct mono at;
    size_t place; /* in the heap, from 1; 0 = not in it */
};

struct deadlines {
    struct deadline **heap; /* heap[0] is not used */
    size_t count, cap;
};

void deadlines_finish(struct deadlines *d);
/* Puts the node in, or moves it; MONO_NEVER takes it out. E_NOMEM only when it was not in before (make room with
 * deadlines_reserve). */
MUST_CHECK enum err deadlines_set(struct deadlines *d, struct deadline *node, struct mono at);
void deadlines_remove(struct deadlines *d, struct deadline *node);
/* Room for one node more than are in: then deadlines_set cannot fail. */
MUST_CHECK enum err deadlines_reserve(struct deadlines *d, size_t nodes);
/* The earliest, or NULL. */
struct deadline *deadlines_first(const struct deadlines *d);

#endif
