#include "mqtt/flights.h"

#include <stdlib.h>

enum { SMALLEST_SIZE = 8, LARGEST_SIZE = 65536 };

void flights_init(struct flights *f, uint16_t first)
{
    *f = (struct flights){.last_id = first > 0 ? (uint16_t)(first - 1) : 0};
}

void flights_finish(struct flights *f)
{
    free(f->slots);
    f->slots = NULL;
    f->size = 0;
    f->used = 0;
}

/* Twice the size: two entries that did not share a slot do not share one then either. */
static enum err grow(struct flights *f)
{
    uint32_t size = f->size > 0 ? f->size * 2 : SMALLEST_SIZE;
    struct flight *slots = calloc(size, sizeof(*slots));
    if (!slots) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < f->size; i++) {
        if (f->slots[i].state != FLIGHT_FREE) {
            slots[f->slots[i].id & (size - 1)] = f->slots[i];
        }
    }
    free(f->slots);
    f->slots = slots;
    f->size = size;
    return E_OK;
}

enum err flights_take(struct flights *f, enum flight_state state, uint64_t token, struct flight **out)
{
    if (f->used >= FLIGHTS_MAX) {
        return E_FULL;
    }
    if (f->used >= f->size / 2 && f->size < LARGEST_SIZE) {
        enum err err = grow(f);
        if (err != E_OK) {
            return err;
        }
    }
    struct flight *flight;
    do {
        f->last_id = f->last_id == UINT16_MAX ? 1 : (uint16_t)(f->last_id + 1);
        flight = &f->slots[f->last_id & (f->size - 1)];
    } while (flight->state != FLIGHT_FREE);
    *flight = (struct flight){.token = token, .id = f->last_id, .state = (uint8_t)state};
    f->used++;
    *out = flight;
    return E_OK;
}

struct flight *flights_find(struct flights *f, uint16_t id)
{
    if (f->size == 0) {
        return NULL;
    }
    struct flight *flight = &f->slots[id & (f->size - 1)];
    return flight->state != FLIGHT_FREE && flight->id == id ? flight : NULL;
}

void flights_release(struct flights *f, struct flight *flight)
{
    flight->state = FLIGHT_FREE;
    f->used--;
}
