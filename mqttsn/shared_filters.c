#include "mqttsn/shared.h"

#include <stdlib.h>

#define FILTER_OF(node, member) ((struct filter *)(void *)((char *)(node)-offsetof(struct filter, member)))
#define CONST_FILTER_OF(node, member)                                                                                  \
    ((const struct filter *)(const void *)((const char *)(node)-offsetof(struct filter, member)))

static bool equal_text(const struct table_node *node, const void *key)
{
    const struct filter *f = CONST_FILTER_OF(node, by_text);
    return bytes_equal(bytes_make(f->text, f->len), *(const struct bytes *)key);
}

static bool equal_filter_id(const struct table_node *node, const void *key)
{
    return CONST_FILTER_OF(node, by_id)->id == *(const uint32_t *)key;
}

struct filter *shared_filter_find(struct shared *s, struct bytes text)
{
    struct table_node *node = table_find(&s->filters, bytes_hash(text, s->gateway->seed), equal_text, &text);
    return node ? FILTER_OF(node, by_text) : NULL;
}

struct filter *shared_filter_by_id(struct shared *s, uint32_t id)
{
    struct table_node *node = table_find(&s->filter_ids, id, equal_filter_id, &id);
    return node ? FILTER_OF(node, by_id) : NULL;
}

struct filter *shared_filter_next(struct shared *s, struct filter *f)
{
    struct table_node *node = table_next(&s->filters, f ? &f->by_text : NULL);
    return node ? FILTER_OF(node, by_text) : NULL;
}

static uint32_t next_id(struct shared *s)
{
    do { /* Subscription Identifiers are 1 to 268,435,455 (MQTT 5, 3.8.2.1.2) */
        s->last_filter_id = s->last_filter_id >= 268435455u ? 1 : s->last_filter_id + 1;
    } while (shared_filter_by_id(s, s->last_filter_id));
    return s->last_filter_id;
}

static enum err create(struct shared *s, struct bytes text, struct filter **out)
{
    struct filter *f = calloc(1, sizeof(*f) + text.len);
    if (!f) {
        return E_NOMEM;
    }
    f->len = text.len;
    memcpy(f->text, text.data, text.len);
    f->id = next_id(s);
    enum err e = table_add(&s->filters, &f->by_text, bytes_hash(text, s->gateway->seed));
    if (e == E_OK && (e = table_add(&s->filter_ids, &f->by_id, f->id)) != E_OK) {
        table_remove(&s->filters, &f->by_text);
    }
    if (e != E_OK) {
        free(f);
        return e;
    }
    *out = f;
    return E_OK;
}

void shared_filter_destroy(struct shared *s, struct filter *f)
{
    table_remove(&s->filters, &f->by_text);
    table_remove(&s->filter_ids, &f->by_id);
    free(f->subscribers);
    free(f);
}

static struct subscriber *find_subscriber(const struct filter *f, struct shared_ref client)
{
    for (size_t i = 0; i < f->count; i++) {
        if (shared_ref_equal(f->subscribers[i].client, client)) {
            return &f->subscribers[i];
        }
    }
    return NULL;
}

enum err shared_filter_add(struct shared *s, struct bytes text, struct shared_ref client, uint8_t qos,
                           struct filter **filter)
{
    struct filter *f = shared_filter_find(s, text);
    enum err e = f ? E_OK : create(s, text, &f);
    if (e != E_OK) {
        return e;
    }
    struct subscriber *there = find_subscriber(f, client);
    if (!there && f->count == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 1;
        struct subscriber *grown =
            f->cap < SHARED_SUBSCRIBERS_MAX ? realloc(f->subscribers, cap * sizeof(*grown)) : NULL;
        if (!grown) {
            if (f->count == 0) {
                shared_filter_destroy(s, f);
            }
            return E_NOMEM;
        }
        f->subscribers = grown;
        f->cap = cap;
    }
    if (!there) {
        there = &f->subscribers[f->count++];
        there->client = client;
    }
    there->qos = qos;
    *filter = f;
    return E_OK;
}

bool shared_filter_leave(struct filter *f, struct shared_ref client)
{
    struct subscriber *there = find_subscriber(f, client);
    if (there) {
        *there = f->subscribers[--f->count];
    }
    return there != NULL;
}

uint8_t shared_filter_qos(const struct filter *f)
{
    uint8_t qos = 0;
    for (size_t i = 0; i < f->count; i++) {
        qos = f->subscribers[i].qos > qos ? f->subscribers[i].qos : qos;
    }
    return qos;
}

void shared_filters_finish(struct shared *s)
{
    for (struct filter *f = shared_filter_next(s, NULL), *next; f; f = next) {
        next = shared_filter_next(s, f);
        free(f->subscribers);
        free(f);
    }
    table_finish(&s->filters);
    table_finish(&s->filter_ids);
}
