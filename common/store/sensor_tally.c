#include "store/sensor_tally.h"

#include <stdlib.h>

enum { SMALLEST = 64 };

/* The slot of a sensor, or the free one where it belongs. `size` is not 0. */
static struct sensor_tally *find_slot(struct sensor_tally *slots, size_t size, struct bytes sensor)
{
    size_t i = (size_t)bytes_hash(sensor, 0) & (size - 1);
    while (slots[i].sensor.data && !bytes_equal(slots[i].sensor, sensor)) {
        i = (i + 1) & (size - 1);
    }
    return &slots[i];
}

static enum err grow(struct sensor_tallies *t)
{
    size_t size = t->size ? t->size * 2 : SMALLEST;
    if (t->used >= SENSOR_TALLY_MAX) {
        return E_FULL;
    }
    struct sensor_tally *slots = calloc(size, sizeof(*slots));
    if (!slots) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < t->size; i++) {
        if (t->slots[i].sensor.data) {
            *find_slot(slots, size, t->slots[i].sensor) = t->slots[i];
        }
    }
    free(t->slots);
    t->slots = slots;
    t->size = size;
    return E_OK;
}

enum err sensor_tallies_add(struct sensor_tallies *t, struct bytes sensor, int64_t timestamp_ms)
{
    if (t->used >= t->size / 2) {
        enum err e = grow(t);
        if (e != E_OK) {
            return e;
        }
    }
    struct sensor_tally *slot = find_slot(t->slots, t->size, sensor);
    if (!slot->sensor.data) {
        *slot = (struct sensor_tally){sensor, timestamp_ms, timestamp_ms, 0};
        t->used++;
    }
    slot->first = timestamp_ms < slot->first ? timestamp_ms : slot->first;
    slot->last = timestamp_ms > slot->last ? timestamp_ms : slot->last;
    slot->count++;
    return E_OK;
}

void sensor_tallies_clear(struct sensor_tallies *t)
{
    if (t->used > 0) {
        memset(t->slots, 0, t->size * sizeof(t->slots[0]));
        t->used = 0;
    }
}

void sensor_tallies_finish(struct sensor_tallies *t)
{
    free(t->slots);
    *t = (struct sensor_tallies){0};
}
