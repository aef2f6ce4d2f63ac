/* A hash table of nodes that live in their owners; grows with its content. One thread at a time. */
#ifndef MQTTSN_TABLE_H
#define MQTTSN_TABLE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next; /* links the nodes of one bucket */
    uint64_t hash;
};

struct table {
    struct table_node **buckets;
    size_t size; /* of buckets, a power of two; 0 = none yet */
    size_t count;
};

/* Frees the buckets, not the nodes. */
void table_finish(struct table *t);
/* E_NOMEM only when there is no bucket at all; a table that cannot grow gets slower. */
MUST_CHECK enum err table_add(struct table *t, struct table_node *node, uint64_t hash);
/* The node must be in the table. */
void table_remove(struct table *t, struct table_node *node);
/* The first node of that hash for which `equal` is true, or NULL. */
struct table_node *table_find(const struct table *t, uint64_t hash,
                              bool (*equal)(const struct table_node *node, const void *key), const void *key);
/* Every node in turn: start with NULL. The table must not change in between. */
struct table_node *table_next(const struct table *t, const struct table_node *node);

#endif
