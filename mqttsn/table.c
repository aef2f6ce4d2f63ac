#include "mqttsn/table.h"

#include <stdlib.h>

enum { FIRST_SIZE = 64 };

void table_finish(struct table *t)
{
    free(t->buckets);
    *t = (struct table){0};
}

static struct table_node **bucket(const struct table *t, uint64_t hash)
{
    return &t->buckets[hash & (t->size - 1)];
}

static void grow(struct table *t)
{
    struct table bigger = {.size = t->size ? t->size * 2 : FIRST_SIZE, .count = t->count};
    bigger.buckets = calloc(bigger.size, sizeof(struct table_node *));
    if (!bigger.buckets) {
        return;
    }
    for (size_t i = 0; i < t->size; i++) {
        for (struct table_node *node = t->buckets[i], *next; node; node = next) {
            next = node->next;
            node->next = *bucket(&bigger, node->hash);
            *bucket(&bigger, node->hash) = node;
        }
    }
    free(t->buckets);
    *t = bigger;
}

enum err table_add(struct table *t, struct table_node *node, uint64_t hash)
{
    if (t->count >= t->size) {
        grow(t);
    }
    if (t->size == 0) {
        return E_NOMEM;
    }
    node->hash = hash;
    node->next = *bucket(t, hash);
    *bucket(t, hash) = node;
    t->count++;
    return E_OK;
}

void table_remove(struct table *t, struct table_node *node)
{
    struct table_node **at = bucket(t, node->hash);
    while (*at != node) {
        at = &(*at)->next;
    }
    *at = node->next;
    t->count--;
}

struct table_node *table_find(const struct table *t, uint64_t hash,
                              bool (*equal)(const struct table_node *node, const void *key), const void *key)
{
    struct table_node *node = t->size ? *bucket(t, hash) : NULL;
    while (node && !(node->hash == hash && equal(node, key))) {
        node = node->next;
    }
    return node;
}

struct table_node *table_next(const struct table *t, const struct table_node *node)
{
    if (node && node->next) {
        return node->next;
    }
    for (size_t i = node ? (size_t)(node->hash & (t->size - 1)) + 1 : 0; i < t->size; i++) {
        if (t->buckets[i]) {
            return t->buckets[i];
        }
    }
    return NULL;
}
