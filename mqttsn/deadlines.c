#include "mqttsn/deadlines.h"

#include <stdlib.h>

void deadlines_finish(struct deadlines *d)
{
    free(d->heap);
    *d = (struct deadlines){0};
}

static void put(struct deadlines *d, size_t place, struct deadline *node)
{
    d->heap[place] = node;
    node->place = place;
}

static void sift_up(struct deadlines *d, struct deadline *node)
{
    size_t place = node->place;
    while (place > 1 && d->heap[place / 2]->at.ns > node->at.ns) {
        put(d, place, d->heap[place / 2]);
        place /= 2;
    }
    put(d, place, node);
}

static void sift_down(struct deadlines *d, struct deadline *node)
{
    size_t place = node->place;
    for (;;) {
        size_t child = place * 2;
        if (child < d->count && d->heap[child + 1]->at.ns < d->heap[child]->at.ns) {
            child++;
        }
        if (child > d->count || d->heap[child]->at.ns >= node->at.ns) {
            break;
        }
        put(d, place, d->heap[child]);
        place = child;
    }
    put(d, place, node);
}

enum err deadlines_reserve(struct deadlines *d, size_t nodes)
{
    if (nodes < d->cap) {
        return E_OK;
    }
    size_t cap = d->cap ? d->cap : 64;
    while (cap <= nodes) {
        cap *= 2;
    }
    struct deadline **heap = realloc(d->heap, cap * sizeof(struct deadline *));
    if (!heap) {
        return E_NOMEM;
    }
    d->heap = heap;
    d->cap = cap;
    return E_OK;
}

void deadlines_remove(struct deadlines *d, struct deadline *node)
{
    size_t place = node->place;
    if (place == 0) {
        return;
    }
    node->place = 0;
    struct deadline *last = d->heap[d->count--];
    if (last != node) {
        put(d, place, last);
        sift_up(d, last);
        sift_down(d, last);
    }
}

enum err deadlines_set(struct deadlines *d, struct deadline *node, struct mono at)
{
    if (at.ns == MONO_NEVER.ns) {
        deadlines_remove(d, node);
        return E_OK;
    }
    if (node->place == 0) {
        if (deadlines_reserve(d, d->count + 1) != E_OK) {
            return E_NOMEM;
        }
        put(d, ++d->count, node);
    }
    node->at = at;
    sift_up(d, node);
    sift_down(d, node);
    return E_OK;
}

struct deadline *deadlines_first(const struct deadlines *d)
{
    return d->count > 0 ? d->heap[1] : NULL;
}
