#include "mqttsn/gateway_internal.h"

#include <stdlib.h>

enum { NAP_AWAITED = 64, NAP_US = 50, CROWD_MS = 1000 };

LOG_POINT(log_crowded, "mqttsn.crowded", LOG_WARNING,
          "client ended to make room: its host has more than half of max_clients");

#define CLIENT_OF(node, member) ((struct client *)(void *)((char *)(node)-offsetof(struct client, member)))
#define CONST_CLIENT_OF(node, member)                                                                                  \
    ((const struct client *)(const void *)((const char *)(node)-offsetof(struct client, member)))

static bool equal_id(const struct table_node *node, const void *key)
{
    return bytes_equal(session_client_id(CONST_CLIENT_OF(node, by_id)->session), *(const struct bytes *)key);
}

struct client *client_by_id(struct gateway *g, struct bytes id)
{
    struct table_node *node = table_find(&g->clients, bytes_hash(id, g->seed), equal_id, &id);
    return node ? CLIENT_OF(node, by_id) : NULL;
}

static bool equal_place(const struct table_node *node, const void *key)
{
    const struct place *a = &CONST_CLIENT_OF(node, by_place)->place, *b = key;
    return a->endpoint == b->endpoint && a->secure == b->secure && address_equal(&a->address, &b->address) &&
           a->node_len == b->node_len && memcmp(a->node, b->node, a->node_len) == 0;
}

static uint64_t hash_place(const struct gateway *g, const struct place *p)
{
    struct {
        struct address address;
        const struct endpoint *endpoint;
        uint8_t node[MQTTSN_NODE_ID_MAX];
    } key;
    memset(&key, 0, sizeof(key));
    key.address = p->address;
    key.endpoint = p->endpoint;
    memcpy(key.node, p->node, p->node_len);
    return bytes_hash(bytes_make(&key, sizeof(key)), g->seed);
}

struct client *client_by_place(struct gateway *g, const struct place *p)
{
    struct table_node *node = table_find(&g->places, hash_place(g, p), equal_place, p);
    return node ? CLIENT_OF(node, by_place) : NULL;
}

void client_displace(struct client *c)
{
    if (c->placed) {
        table_remove(&c->gateway->places, &c->by_place);
        c->placed = false;
        if (c->place.secure) {
            c->place.secure->client = NULL;
            c->place.secure = NULL;
        }
    }
}

enum err client_move(struct client *c, const struct place *p)
{
    struct gateway *g = c->gateway;
    struct client *there = client_by_place(g, p);
    if (there == c) {
        c->place.local = p->local;
        return E_OK;
    }
    if (there) {
        client_displace(there);
    }
    client_displace(c);
    c->place = *p;
    enum err e = table_add(&g->places, &c->by_place, hash_place(g, p));
    if (e != E_OK) {
        c->place.secure = NULL;
        return e;
    }
    c->placed = true;
    if (p->secure) {
        p->secure->client = c;
    }
    return E_OK;
}

enum err client_create(struct gateway *g, struct bytes id, struct client **out)
{
    struct client *c = calloc(1, sizeof(*c));
    if (!c) {
        return E_NOMEM;
    }
    c->gateway = g;
    c->session = session_create(&g->env, c, id);
    enum err e = c->session ? deadlines_reserve(&g->deadlines, g->clients.count + 1) : E_NOMEM;
    if (e == E_OK) {
        e = table_add(&g->clients, &c->by_id, bytes_hash(id, g->seed));
    }
    if (e != E_OK) {
        session_destroy(c->session);
        free(c);
        return e;
    }
    *out = c;
    return E_OK;
}

/* --- those that are away */

static void leave_kept(struct client *c)
{
    struct gateway *g = c->gateway;
    if (!c->kept) {
        return;
    }
    *(c->previous_kept ? &c->previous_kept->next_kept : &g->first_kept) = c->next_kept;
    *(c->next_kept ? &c->next_kept->previous_kept : &g->last_kept) = c->previous_kept;
    c->next_kept = c->previous_kept = NULL;
    c->kept = false;
    g->kept--;
}

static void enter_kept(struct client *c)
{
    struct gateway *g = c->gateway;
    c->previous_kept = g->last_kept;
    *(g->last_kept ? &g->last_kept->next_kept : &g->first_kept) = c;
    g->last_kept = c;
    c->kept = true;
    g->kept++;
}

void client_wait(struct client *c)
{
    struct gateway *g = c->gateway;
    if (!c->waiting) {
        c->waiting = true;
        c->previous_waiting = g->last_waiting;
        *(g->last_waiting ? &g->last_waiting->next_waiting : &g->first_waiting) = c;
        g->last_waiting = c;
        turn_add(g->turn, &g->links_item);
    }
}

void client_wait_no_longer(struct client *c)
{
    struct gateway *g = c->gateway;
    if (c->waiting) {
        c->waiting = false;
        *(c->previous_waiting ? &c->previous_waiting->next_waiting : &g->first_waiting) = c->next_waiting;
        *(c->next_waiting ? &c->next_waiting->previous_waiting : &g->last_waiting) = c->previous_waiting;
        c->next_waiting = c->previous_waiting = NULL;
    }
}

static void destroy(struct client *c)
{
    struct gateway *g = c->gateway;
    if (c->online) {
        c->online = false;
        g->online--;
    }
    leave_kept(c);
    client_displace(c);
    client_wait_no_longer(c);
    if (g->shared) {
        shared_forget(c);
    }
    links_forget(c);
    deadlines_remove(&g->deadlines, &c->deadline);
    table_remove(&g->clients, &c->by_id);
    session_destroy(c->session);
    free(c->dtls_identity);
    free(c);
}

/* Of those that are away, the oldest is forgotten when they are too many. Not while clients are visited: it may be the next one. */
static void limit_kept(struct gateway *g)
{
    while (!g->visiting && g->kept > g->config->max_clients) {
        struct client *oldest = g->first_kept;
        /* destroy() has taken the last one off the list. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        session_forget(oldest->session);
        destroy(oldest);
    }
}

/* Do so many messages wait for the broker that a nap costs it no work? With a shared link only while its window is full: otherwise the
 * batches are large anyway. */
static bool crowded(const struct gateway *g)
{
    return metric_get(&g->metrics.session.awaited) >= NAP_AWAITED && (!g->shared || shared_is_full(g->shared));
}

void client_settle(struct client *c)
{
    struct gateway *g = c->gateway;
    if (crowded(g)) {
        turn_nap(g->turn, NAP_US); /* the broker's answers and the devices' messages come to more of them in a turn */
    }
    bool over = session_over(c->session);
    if (over && !c->old_link) {
        destroy(c);
        return;
    }
    if (over) { /* as if it were gone, but it may come back before its old link has ended */
        free(c->dtls_identity);
        c->dtls_identity = NULL;
    }
    bool online = session_state(c->session) != SESSION_OFFLINE;
    if (online != c->online) {
        c->online = online;
        if (online) {
            g->online++;
        } else {
            g->online--;
            client_displace(c);
        }
    }
    if (over || online) {
        leave_kept(c);
    } else if (!c->kept) {
        enter_kept(c);
    }
    /* A deadline that has moved away (each packet does that) is left where it is: the timer looks again. */
    struct mono at = session_deadline(c->session);
    if (c->deadline.place == 0 || at.ns < c->deadline.at.ns || at.ns == MONO_NEVER.ns) {
        enum err e = deadlines_set(&g->deadlines, &c->deadline, at);
        (void)e; /* room was made when the client was created */
        gateway_arm(g);
    }
    if (!online) {
        limit_kept(g); /* may destroy this one */
    }
}

/* --- when there are too many */

static uint64_t host_of(const struct gateway *g, const struct table_node *n)
{
    return address_host_hash(&CONST_CLIENT_OF(n, by_place)->place.address, g->seed);
}

/* The host that has more than half of all clients, if there is one. A majority vote: it alone can have the lead at the end. */
static void find_crowd(struct gateway *g)
{
    uint64_t host = 0;
    size_t lead = 0, count = 0;
    for (struct table_node *n = table_next(&g->places, NULL); n; n = table_next(&g->places, n)) {
        uint64_t of = host_of(g, n);
        host = lead == 0 ? of : host;
        lead = host == of ? lead + 1 : lead - 1;
    }
    for (struct table_node *n = table_next(&g->places, NULL); n; n = table_next(&g->places, n)) {
        count += host_of(g, n) == host;
    }
    size_t half = (size_t)g->config->max_clients / 2;
    g->crowd = host;
    g->crowd_excess = count > half ? count - half : 0;
}

bool clients_make_room(struct gateway *g, const struct address *host)
{
    struct mono now = gateway_now(g);
    struct table_node *n = NULL;
    if (mono_reached(now, g->crowd_until)) { /* seldom, because it takes a look at all of them */
        find_crowd(g);
        g->crowd_until = mono_add_ms(now, CROWD_MS);
    }
    if (g->crowd_excess == 0 || g->crowd == address_host_hash(host, g->seed)) {
        return false;
    }
    do {
        n = table_next(&g->places, n);
    } while (n && host_of(g, n) != g->crowd);
    if (!n) {
        return false;
    }
    g->crowd_excess--;
    struct client *c = CLIENT_OF(n, by_place);
    char text[ADDRESS_TEXT_SIZE], name[SESSION_CLIENT_ID_MAX + 8];
    log_emit(&log_crowded, "client=%s address=%s", log_escape(session_client_id(c->session), name, sizeof(name)),
             address_format(&c->place.address, text));
    session_end(c->session, now);
    client_settle(c);
    return g->online < g->config->max_clients;
}

void clients_each(struct gateway *g, void (*visit)(struct client *c))
{
    struct table_node *node = table_next(&g->clients, NULL);
    g->visiting = true;
    while (node) {
        struct table_node *next = table_next(&g->clients, node);
        visit(CLIENT_OF(node, by_id));
        node = next;
    }
    g->visiting = false;
    limit_kept(g);
}

void clients_finish(struct gateway *g)
{
    clients_each(g, destroy);
    table_finish(&g->clients);
    table_finish(&g->places);
    deadlines_finish(&g->deadlines);
}
