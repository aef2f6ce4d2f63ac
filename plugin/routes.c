#include "plugin/routes.h"

#include "mqtt/topic.h"

#include <stdlib.h>

#define NONE UINT32_MAX
#define MANY (UINT32_MAX - 1)

/* One level of a filter's path. The numbers are indexes of the first line that ends here, NONE without one. */
struct node {
    uint32_t literal;    /* edge of its only literal child, NONE without one, MANY */
    uint32_t plus;       /* child node for '+', NONE without one */
    uint32_t topic_end;  /* `topic` line whose filter ends at this level */
    uint32_t topic_hash; /* ... or continues with '#' */
    uint32_t store_end;
    uint32_t store_hash;
};

/* A literal child: found by parent and text of the level. */
struct edge {
    uint64_t hash;
    struct bytes level; /* borrowed from `text` */
    uint32_t parent;
    uint32_t child; /* NONE = empty slot */
};

struct routes {
    const struct topic_route *topics;
    const struct store_route *stores;
    struct node *nodes; /* [0] is the root */
    uint32_t node_count;
    struct edge *edges; /* open addressing, edge_mask + 1 slots, at most half full */
    size_t edge_mask;
    char *text; /* the local filters, one behind the other */
    size_t text_len;
};

struct walk {
    const struct routes *routes;
    bool dollar;
    uint32_t topic;
    uint32_t store;
};

static uint64_t edge_hash(uint32_t parent, struct bytes level)
{
    return bytes_hash(level, parent);
}

static struct edge *find_edge(const struct routes *r, uint32_t parent, struct bytes level)
{
    uint64_t hash = edge_hash(parent, level);
    for (size_t i = (size_t)hash & r->edge_mask;; i = (i + 1) & r->edge_mask) {
        struct edge *e = &r->edges[i];
        if (e->child == NONE || (e->hash == hash && e->parent == parent && bytes_equal(e->level, level))) {
            return e;
        }
    }
}

static uint32_t add_node(struct routes *r)
{
    r->nodes[r->node_count] = (struct node){NONE, NONE, NONE, NONE, NONE, NONE};
    return r->node_count++;
}

/* The first level of *rest; *rest moves behind it. *last: nothing follows. */
static struct bytes take_level(struct bytes *rest, bool *last)
{
    const uint8_t *slash = rest->len ? memchr(rest->data, '/', rest->len) : NULL;
    size_t len = slash ? (size_t)(slash - rest->data) : rest->len;
    struct bytes level = {rest->data, len};
    *last = !slash;
    *rest = bytes_sub(*rest, len + 1, SIZE_MAX);
    return level;
}

static void set_first(uint32_t *slot, uint32_t index)
{
    if (index < *slot) {
        *slot = index;
    }
}

static uint32_t enter_level(struct routes *r, uint32_t at, struct bytes level)
{
    if (bytes_equal(level, BYTES("+"))) {
        if (r->nodes[at].plus == NONE) {
            uint32_t child = add_node(r);
            r->nodes[at].plus = child;
        }
        return r->nodes[at].plus;
    }
    struct edge *e = find_edge(r, at, level);
    if (e->child == NONE) {
        *e = (struct edge){edge_hash(at, level), level, at, add_node(r)};
        uint32_t *literal = &r->nodes[at].literal;
        *literal = *literal == NONE ? (uint32_t)(e - r->edges) : MANY;
    }
    return e->child;
}

static void add_filter(struct routes *r, struct bytes filter, uint32_t index, bool store)
{
    uint32_t at = 0;
    bool last = false;
    while (!last) {
        struct bytes level = take_level(&filter, &last);
        if (bytes_equal(level, BYTES("#"))) {
            set_first(store ? &r->nodes[at].store_hash : &r->nodes[at].topic_hash, index);
            return;
        }
        at = enter_level(r, at, level);
    }
    set_first(store ? &r->nodes[at].store_end : &r->nodes[at].topic_end, index);
}

/* Copies prefix and filter into the text; the result is borrowed from it. */
static struct bytes keep_text(struct routes *r, const char *prefix, const char *filter)
{
    struct bytes out = {(uint8_t *)r->text + r->text_len, strlen(prefix) + strlen(filter)};
    memcpy(r->text + r->text_len, prefix, strlen(prefix));
    memcpy(r->text + r->text_len + strlen(prefix), filter, strlen(filter));
    r->text_len += out.len;
    return out;
}

static size_t count_levels(const char *s)
{
    size_t n = 1;
    for (; *s; s++) {
        n += *s == '/';
    }
    return n;
}

static bool goes_out(const struct topic_route *t)
{
    return t->direction != ROUTE_IN;
}

enum err routes_compile(const struct topic_route *topics, size_t topic_count, const struct store_route *stores,
                        size_t store_count, struct routes **out)
{
    size_t levels = 1;
    size_t text = 1;
    for (size_t i = 0; i < topic_count; i++) {
        levels += count_levels(topics[i].local_prefix) + count_levels(topics[i].filter);
        text += strlen(topics[i].local_prefix) + strlen(topics[i].filter);
    }
    for (size_t i = 0; i < store_count; i++) {
        levels += count_levels(stores[i].filter);
        text += strlen(stores[i].filter);
    }
    if (levels > UINT32_MAX / 4 || topic_count >= NONE || store_count >= NONE) {
        return E_TOO_LARGE;
    }
    size_t slots = 16;
    while (slots < 2 * levels) {
        slots *= 2;
    }
    struct routes *r = calloc(1, sizeof(*r));
    if (!r) {
        return E_NOMEM;
    }
    r->nodes = calloc(levels, sizeof(*r->nodes));
    r->edges = calloc(slots, sizeof(*r->edges));
    r->text = malloc(text);
    if (!r->nodes || !r->edges || !r->text) {
        routes_destroy(r);
        return E_NOMEM;
    }
    r->topics = topics;
    r->stores = stores;
    r->edge_mask = slots - 1;
    for (size_t i = 0; i < slots; i++) {
        r->edges[i].child = NONE;
    }
    add_node(r);
    for (size_t i = 0; i < topic_count; i++) {
        if (goes_out(&topics[i])) {
            add_filter(r, keep_text(r, topics[i].local_prefix, topics[i].filter), (uint32_t)i, false);
        }
    }
    for (size_t i = 0; i < store_count; i++) {
        add_filter(r, keep_text(r, "", stores[i].filter), (uint32_t)i, true);
    }
    *out = r;
    return E_OK;
}

void routes_destroy(struct routes *r)
{
    if (r) {
        free(r->nodes);
        free(r->edges);
        free(r->text);
        free(r);
    }
}

/* The child of node `at` for the first level of *rest, NONE without one; then *rest moves behind it. */
static uint32_t find_literal(const struct routes *r, uint32_t at, struct bytes *rest, bool *last)
{
    uint32_t literal = r->nodes[at].literal;
    if (literal == NONE) {
        return NONE;
    }
    if (literal == MANY) {
        struct bytes level = take_level(rest, last);
        return find_edge(r, at, level)->child;
    }
    const struct edge *only = &r->edges[literal];
    size_t len = only->level.len;
    if (!bytes_starts_with(*rest, only->level) || (rest->len > len && rest->data[len] != '/')) {
        return NONE;
    }
    *last = rest->len == len;
    *rest = bytes_sub(*rest, len + 1, SIZE_MAX);
    return only->child;
}

static void visit_plus(struct walk *w, uint32_t child, struct bytes rest);

/* Visits every node that the topic reaches from `at` on. `end`: the topic's levels are used up. */
static inline __attribute__((always_inline)) void visit(struct walk *w, uint32_t at, struct bytes rest, bool end)
{
    const struct routes *r = w->routes;
    while (at != NONE) {
        const struct node *n = &r->nodes[at];
        bool wildcards = at != 0 || !w->dollar;
        if (wildcards) {
            set_first(&w->topic, n->topic_hash);
            set_first(&w->store, n->store_hash);
        }
        if (end) {
            set_first(&w->topic, n->topic_end);
            set_first(&w->store, n->store_end);
            return;
        }
        if (wildcards && n->plus != NONE) {
            visit_plus(w, n->plus, rest);
        }
        at = find_literal(r, at, &rest, &end);
    }
}

/* The child for '+', beside the literal one. Recursion goes as deep as a filter has levels: at most ROUTE_LEVELS_MAX. */
static __attribute__((noinline)) void visit_plus(struct walk *w, uint32_t child, struct bytes rest)
{
    bool last;
    take_level(&rest, &last);
    visit(w, child, rest, last);
}

bool routes_match(const struct routes *r, struct bytes topic, struct route_match *out)
{
    struct walk w = {.routes = r, .dollar = topic.len > 0 && topic.data[0] == '$', .topic = NONE, .store = NONE};
    visit(&w, 0, topic, false);
    out->topic = w.topic == NONE ? NULL : &r->topics[w.topic];
    out->store = w.store == NONE ? NULL : &r->stores[w.store];
    return out->topic || out->store;
}
