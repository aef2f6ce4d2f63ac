#include "websensor/seen.h"

#include <stdlib.h>

/* Sets of WAYS keys; in each the one that was touched longest ago gives way. */
enum { WAYS = 8 };

struct entry {
    uint64_t key; /* 0 = free */
    uint64_t touched;
    enum seen_state state;
};

struct seen {
    size_t sets;
    uint64_t now;
    struct entry entries[];
};

enum err seen_create(size_t count, struct seen **out)
{
    size_t sets = count / WAYS + 1;
    struct seen *s = calloc(1, sizeof(*s) + sets * WAYS * sizeof(s->entries[0]));
    if (!s) {
        return E_NOMEM;
    }
    s->sets = sets;
    *out = s;
    return E_OK;
}

void seen_destroy(struct seen *s)
{
    free(s);
}

static struct entry *find(struct seen *s, uint64_t key)
{
    struct entry *set = s->entries + key % s->sets * WAYS;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].key == key) {
            return &set[i];
        }
    }
    return NULL;
}

static struct entry *oldest(struct seen *s, uint64_t key)
{
    struct entry *set = s->entries + key % s->sets * WAYS;
    struct entry *best = set;
    for (size_t i = 1; i < WAYS; i++) {
        best = set[i].touched < best->touched ? &set[i] : best;
    }
    return best;
}

enum seen_state seen_begin(struct seen *s, uint64_t key)
{
    struct entry *e = find(s, key);
    enum seen_state before = e ? e->state : SEEN_NEVER;
    e = e ? e : oldest(s, key);
    e->key = key;
    e->touched = ++s->now;
    e->state = before == SEEN_DONE ? SEEN_DONE : SEEN_UNDER_WAY;
    return before;
}

void seen_end(struct seen *s, uint64_t key, enum seen_state state)
{
    struct entry *e = find(s, key);
    if (e) {
        e->state = state;
    }
}
