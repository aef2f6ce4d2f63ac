#include "mqttsn/topics.h"

#include <stdlib.h>

enum { ID_COUNT = 0xfffe }; /* 0x0000 and 0xffff are reserved */

/* Part of what the ids depend on: never changes. */
static const uint64_t id_seed = 0x6d71747473;

static uint16_t first_id(struct bytes name)
{
    return (uint16_t)(1 + bytes_hash(name, id_seed) % ID_COUNT);
}

static uint16_t next_id(uint16_t id)
{
    return id == ID_COUNT ? 1 : (uint16_t)(id + 1);
}

/* Where the id is, or where it would be put in. */
static uint16_t position(const struct topics *t, uint16_t id)
{
    uint16_t low = 0, high = t->count;
    while (low < high) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (t->entries[middle].id < id) {
            low = (uint16_t)(middle + 1);
        } else {
            high = middle;
        }
    }
    return low;
}

struct topics_entry *topics_by_id(const struct topics *t, uint16_t id)
{
    uint16_t at = position(t, id);
    return at < t->count && t->entries[at].id == id ? &t->entries[at] : NULL;
}

/* The entry of that name, or NULL and in *free_id the id that the name would get. */
static struct topics_entry *probe(const struct topics *t, struct bytes name, uint16_t *free_id)
{
    uint16_t id = first_id(name);
    for (;;) { /* ends: TOPICS_MAX is less than ID_COUNT */
        struct topics_entry *e = topics_by_id(t, id);
        if (!e) {
            *free_id = id;
            return NULL;
        }
        if (bytes_equal(topics_name(e), name)) {
            return e;
        }
        id = next_id(id);
    }
}

struct topics_entry *topics_by_name(const struct topics *t, struct bytes name)
{
    uint16_t id;
    return probe(t, name, &id);
}

static enum err grow(struct topics *t)
{
    if (t->count < t->cap) {
        return E_OK;
    }
    uint16_t cap = (uint16_t)(t->cap ? t->cap * 2 : 2);
    struct topics_entry *entries = realloc(t->entries, cap * sizeof(*entries));
    if (!entries) {
        return E_NOMEM;
    }
    t->entries = entries;
    t->cap = cap;
    return E_OK;
}

enum err topics_add(struct topics *t, struct bytes name, struct topics_entry **out)
{
    uint16_t id;
    struct topics_entry *e = probe(t, name, &id);
    if (e) {
        *out = e;
        return E_OK;
    }
    if (t->count >= TOPICS_MAX || name.len > TOPICS_BYTES_MAX - t->bytes) {
        return E_FULL;
    }
    enum err err = grow(t);
    uint8_t *copy = err == E_OK ? malloc(name.len ? name.len : 1) : NULL;
    if (!copy) {
        return E_NOMEM;
    }
    memcpy(copy, name.data, name.len);
    uint16_t at = position(t, id);
    memmove(&t->entries[at + 1], &t->entries[at], (size_t)(t->count - at) * sizeof(*t->entries));
    t->entries[at] = (struct topics_entry){.name = copy, .len = (uint16_t)name.len, .id = id};
    t->count++;
    t->bytes += (uint32_t)name.len;
    *out = &t->entries[at];
    return E_OK;
}

void topics_reconnected(struct topics *t)
{
    for (uint16_t i = 0; i < t->count; i++) {
        t->entries[i].known = t->entries[i].asked;
        t->entries[i].refused = false;
    }
}

void topics_clear(struct topics *t)
{
    for (uint16_t i = 0; i < t->count; i++) {
        free(t->entries[i].name);
    }
    free(t->entries);
    *t = (struct topics){0};
}
