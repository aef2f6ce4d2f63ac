#include "plugin/sink_dynamodb_window.h"

#include <stdlib.h>

#define SLOTS 16384u /* power of two, twice as many as entries */

#define MISTAKE_BASE_MS 10000u
#define MISTAKE_CAP_MS 300000u

static void queue_init(struct queue *q)
{
    *q = (struct queue){.last = &q->first};
}

static void queue_push(struct queue *q, struct entry *e)
{
    e->next = NULL;
    *q->last = e;
    q->last = &e->next;
    q->count++;
    q->bytes += e->item.len;
}

static void queue_push_front(struct queue *q, struct entry *e)
{
    e->next = q->first;
    q->first = e;
    if (!e->next) {
        q->last = &e->next;
    }
    q->count++;
    q->bytes += e->item.len;
}

static struct entry *queue_pop(struct queue *q)
{
    struct entry *e = q->first;
    q->first = e->next;
    if (!q->first) {
        q->last = &q->first;
    }
    q->count--;
    q->bytes -= e->item.len;
    e->next = NULL;
    return e;
}

enum err window_init(struct window *w)
{
    *w = (struct window){0};
    w->slots = calloc(SLOTS, sizeof(struct entry *));
    w->heap = calloc(WINDOW_ENTRIES_MAX, sizeof(struct entry *));
    if (!w->slots || !w->heap) {
        free(w->slots);
        free(w->heap);
        return E_NOMEM;
    }
    return E_OK;
}

static void free_entry(struct entry *e)
{
    while (e->covered) {
        struct entry *c = e->covered;
        e->covered = c->next;
        free(c);
    }
    free((void *)(uintptr_t)e->item.data);
    free(e);
}

void window_finish(struct window *w)
{
    for (size_t i = 0; w->slots && i < SLOTS; i++) {
        while (w->slots[i]) {
            struct entry *e = w->slots[i];
            w->slots[i] = e->chain;
            if (e->behind) {
                free_entry(e->behind);
            }
            free_entry(e);
        }
    }
    while (w->tables) {
        struct table *t = w->tables;
        w->tables = t->next;
        while (t->groups) {
            struct group *g = t->groups;
            t->groups = g->next;
            free(g);
        }
        free(t->name);
        free(t);
    }
    free(w->slots);
    free(w->heap);
    *w = (struct window){0};
}

bool window_has_room(const struct window *w)
{
    return w->entries < WINDOW_ENTRIES_MAX && w->bytes < WINDOW_BYTES_MAX;
}

/* Tables. */

static void drop_idle_table(struct window *w)
{
    for (struct table **at = &w->tables; *at; at = &(*at)->next) {
        struct table *t = *at;
        if (t->entries == 0) {
            *at = t->next;
            free(t->name);
            free(t);
            w->table_count--;
            return;
        }
    }
}

enum err window_table(struct window *w, struct bytes name, struct mono now, struct table **out)
{
    for (struct table *t = w->tables; t; t = t->next) {
        if (bytes_equal(bytes_str(t->name), name)) {
            *out = t;
            return E_OK;
        }
    }
    if (w->table_count == WINDOW_TABLES_MAX) {
        drop_idle_table(w);
        if (w->table_count == WINDOW_TABLES_MAX) {
            return E_FULL;
        }
    }
    struct table *t = calloc(1, sizeof(*t));
    char *copy = bytes_dup_str(name);
    if (!t || !copy) {
        free(t);
        free(copy);
        return E_NOMEM;
    }
    t->name = copy;
    queue_init(&t->ready);
    t->last_group = &t->groups;
    pace_init(&t->pace, now);
    backoff_init(&t->mistake, MISTAKE_BASE_MS, MISTAKE_CAP_MS, random_seed());
    t->next = w->tables;
    w->tables = t;
    w->table_count++;
    *out = t;
    return E_OK;
}

/* Keys. */

static uint64_t hash_of(const struct table *t, struct bytes sensor, int64_t timestamp_ms)
{
    return bytes_hash(sensor, (uint64_t)(uintptr_t)t ^ ((uint64_t)timestamp_ms * UINT64_C(0x9E3779B97F4A7C15)));
}

static struct entry *find(const struct window *w, const struct table *t, struct bytes sensor, int64_t timestamp_ms,
                          uint64_t hash)
{
    for (struct entry *e = w->slots[hash & (SLOTS - 1)]; e; e = e->chain) {
        if (e->hash == hash && e->table == t && e->timestamp_ms == timestamp_ms &&
            bytes_equal(e->record.sensor, sensor)) {
            return e;
        }
    }
    return NULL;
}

static void hash_insert(struct window *w, struct entry *e)
{
    struct entry **slot = &w->slots[e->hash & (SLOTS - 1)];
    e->chain = *slot;
    *slot = e;
}

static void hash_remove(struct window *w, struct entry *e)
{
    struct entry **at = &w->slots[e->hash & (SLOTS - 1)];
    while (*at != e) {
        at = &(*at)->chain;
    }
    *at = e->chain;
}

struct entry *window_find_sent(struct entry *first, struct bytes sensor, int64_t timestamp_ms)
{
    for (struct entry *e = first; e; e = e->next) {
        if (e->timestamp_ms == timestamp_ms && bytes_equal(e->record.sensor, sensor)) {
            return e;
        }
    }
    return NULL;
}

/* Adding. */

static void make_ready(struct window *w, struct entry *e, bool front, struct mono now)
{
    struct table *t = e->table;
    if (t->ready.count == 0) {
        t->ready_since = now;
    }
    e->state = ENTRY_READY;
    w->ready++;
    if (front) {
        queue_push_front(&t->ready, e);
    } else {
        queue_push(&t->ready, e);
    }
}

/* `from`, the later one of the same keys, takes the place of `to`: they change contents, and what `to` was is covered now. */
static void replace(struct window *w, struct entry *to, struct entry *from)
{
    if (to->state == ENTRY_READY) {
        to->table->ready.bytes += from->item.len - to->item.len;
    }
    w->bytes -= to->item.len;
    free((void *)(uintptr_t)to->item.data);
    to->item = from->item;
    from->item = bytes_make(NULL, 0);
    struct record older = to->record;
    to->record = from->record;
    from->record = older;
    to->refusals = 0;
    from->state = ENTRY_COVERED;
    from->table->entries--;
    struct entry **end = &from->covered;
    while (*end) {
        end = &(*end)->next;
    }
    *end = to->covered; /* of several, one list */
    to->covered = from->covered;
    from->covered = NULL;
    from->next = to->covered;
    to->covered = from;
}

enum err window_add(struct window *w, struct table *t, const struct record *record,
                    const struct dynamodb_measurement *m, struct bytes item, struct mono now)
{
    struct entry *e = calloc(1, sizeof(*e));
    uint8_t *copy = malloc(item.len);
    if (!e || !copy) {
        free(e);
        free(copy);
        return E_NOMEM;
    }
    memcpy(copy, item.data, item.len);
    uint64_t hash = hash_of(t, m->sensor, m->timestamp_ms);
    *e = (struct entry){
        .table = t, .record = *record, .timestamp_ms = m->timestamp_ms, .item = {copy, item.len}, .hash = hash};
    struct entry *older = find(w, t, m->sensor, m->timestamp_ms, hash);
    w->entries++;
    w->bytes += item.len;
    t->entries++;
    if (!older) {
        hash_insert(w, e);
        make_ready(w, e, false, now);
    } else if (older->state != ENTRY_SENT) {
        replace(w, older, e);
    } else if (older->behind) {
        replace(w, older->behind, e);
    } else {
        e->state = ENTRY_BEHIND;
        older->behind = e;
    }
    return E_OK;
}

/* Sending. */

struct entry *window_send(struct window *w, struct table *t, size_t max, size_t max_bytes, size_t *count)
{
    struct entry *first = NULL;
    struct entry **last = &first;
    size_t bytes = 0;
    *count = 0;
    while (t->ready.first && *count < max && (*count == 0 || bytes + t->ready.first->item.len <= max_bytes)) {
        struct entry *e = queue_pop(&t->ready);
        bytes += e->item.len;
        e->state = ENTRY_SENT;
        *last = e;
        last = &e->next;
        ++*count;
    }
    w->ready -= *count;
    t->in_flight += *count;
    return first;
}

struct entry *window_send_group(struct window *w, struct table *t, size_t *count)
{
    struct group *g = t->groups;
    if (!g) {
        return NULL;
    }
    t->groups = g->next;
    if (!t->groups) {
        t->last_group = &t->groups;
    }
    struct entry *first = g->entries;
    *count = g->count;
    free(g);
    for (struct entry *e = first; e; e = e->next) {
        e->state = ENTRY_SENT;
    }
    w->ready -= *count;
    t->in_flight += *count;
    return first;
}

void window_rotate(struct window *w, struct table *t)
{
    struct table **at = &w->tables;
    while (*at) {
        if (*at == t) {
            *at = t->next;
        } else {
            at = &(*at)->next;
        }
    }
    t->next = NULL;
    *at = t;
}

/* Outcomes. */

void window_done(struct window *w, struct entry *e,
                 void (*on_record)(void *ctx, const struct record *record, bool covered), void *ctx, struct mono now)
{
    on_record(ctx, &e->record, false);
    w->entries--;
    for (struct entry *c = e->covered; c; c = c->next) {
        on_record(ctx, &c->record, true);
        w->entries--;
    }
    hash_remove(w, e);
    w->bytes -= e->item.len;
    e->table->in_flight--;
    e->table->entries--;
    if (e->behind) {
        hash_insert(w, e->behind);
        make_ready(w, e->behind, false, now);
    }
    free_entry(e);
}

/* No longer sent. A later one that waited behind it need not wait any more. */
static void end_sent(struct window *w, struct entry *e)
{
    e->table->in_flight--;
    e->unprocessed = false;
    struct entry *behind = e->behind;
    e->behind = NULL;
    if (behind) {
        replace(w, e, behind);
    }
}

void window_return(struct window *w, struct entry *e, struct mono now)
{
    end_sent(w, e);
    make_ready(w, e, true, now);
}

void window_suspect(struct window *w, struct table *t, struct entry *entries, size_t count, struct mono now)
{
    struct group *g = malloc(sizeof(*g));
    if (!g) {
        while (entries) {
            struct entry *e = entries;
            entries = e->next;
            window_return(w, e, now);
        }
        return;
    }
    *g = (struct group){.entries = entries, .count = count};
    for (struct entry *e = entries; e; e = e->next) {
        end_sent(w, e);
        e->state = ENTRY_SUSPECT;
    }
    w->ready += count;
    *t->last_group = g;
    t->last_group = &g->next;
}

/* The heap of delayed entries. */

static void sift_up(struct window *w, size_t i)
{
    struct entry *e = w->heap[i];
    while (i > 0 && w->heap[(i - 1) / 2]->due.ns > e->due.ns) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = e;
}

static void sift_down(struct window *w, size_t i)
{
    struct entry *e = w->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->delayed) {
            break;
        }
        if (child + 1 < w->delayed && w->heap[child + 1]->due.ns < w->heap[child]->due.ns) {
            child++;
        }
        if (w->heap[child]->due.ns >= e->due.ns) {
            break;
        }
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = e;
}

void window_delay(struct window *w, struct entry *e, struct mono due)
{
    end_sent(w, e);
    e->state = ENTRY_DELAYED;
    e->due = due;
    w->heap[w->delayed] = e;
    sift_up(w, w->delayed++);
}

void window_release(struct window *w, struct mono now)
{
    while (w->delayed && mono_reached(now, w->heap[0]->due)) {
        struct entry *e = w->heap[0];
        w->heap[0] = w->heap[--w->delayed];
        if (w->delayed) {
            sift_down(w, 0);
        }
        make_ready(w, e, true, now);
    }
}

void window_hurry(struct window *w, struct mono due)
{
    for (size_t i = 0; i < w->delayed; i++) {
        w->heap[i]->due = mono_min(w->heap[i]->due, due);
    }
    for (size_t i = w->delayed / 2; i-- > 0;) {
        sift_down(w, i);
    }
}

struct mono window_next_due(const struct window *w)
{
    return w->delayed ? w->heap[0]->due : MONO_NEVER;
}
