#include "websensor/conns.h"

#include <netinet/in.h>
#include <stdlib.h>

enum { BUCKETS = 1024, PEERS_KEPT = 4096 };

const uint32_t conn_phase_ms[CONN_PHASES] = {
    [CONN_HEAD] = 10000, [CONN_BODY] = 30000, [CONN_WORK] = 0, [CONN_ANSWER] = 30000, [CONN_IDLE] = 75000,
};

/* A client address: IPv4, or the /64 of IPv6. */
struct peer {
    struct peer *next; /* links the peers of a bucket */
    uint8_t key[9];    /* family marker and address */
    bool loopback;
    size_t connections;
    struct token_bucket requests;
};

struct conn {
    struct conn *next, *previous; /* links the connections of a phase, oldest first */
    struct peer *peer;
    int fd;
    enum conn_phase phase;
    bool ended; /* its socket has been shut down */
    struct mono deadline;
};

struct list {
    struct conn *first, *last;
};

struct conns {
    struct conns_options options;
    uint64_t seed;
    struct peer *buckets[BUCKETS];
    size_t peers;
    struct list phases[CONN_PHASES];
    size_t count; /* without those that have ended */
    uint64_t evicted;
};

enum err conns_create(const struct conns_options *o, struct conns **out)
{
    struct conns *c = calloc(1, sizeof(*c));
    if (!c) {
        return E_NOMEM;
    }
    c->options = *o;
    c->seed = random_seed();
    *out = c;
    return E_OK;
}

void conns_destroy(struct conns *c)
{
    for (size_t i = 0; c && i < BUCKETS; i++) {
        while (c->buckets[i]) {
            struct peer *next = c->buckets[i]->next;
            free(c->buckets[i]);
            c->buckets[i] = next;
        }
    }
    free(c);
}

/* --- peers */

static bool read_address(const struct sockaddr *a, uint8_t key[9])
{
    memset(key, 0, 9);
    if (a->sa_family == AF_INET) {
        memcpy(key + 1, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
        return key[1] == 127;
    }
    if (a->sa_family != AF_INET6) {
        return false;
    }
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(v6)) {
        memcpy(key + 1, v6->s6_addr + 12, 4);
        return key[1] == 127;
    }
    key[0] = 6;
    memcpy(key + 1, v6->s6_addr, 8);
    return IN6_IS_ADDR_LOOPBACK(v6);
}

/* Frees peers of a bucket that have no connection and a full bucket of requests. */
static void sweep(struct conns *c, struct peer **at, struct mono now)
{
    while (*at) {
        struct peer *p = *at;
        struct token_bucket b = p->requests;
        if (p->connections == 0 && (c->options.rate <= 0 || token_bucket_take(&b, b.burst, now))) {
            *at = p->next;
            free(p);
            c->peers--;
        } else {
            at = &p->next;
        }
    }
}

static struct peer *find_peer(struct conns *c, const struct sockaddr *address, struct mono now)
{
    uint8_t key[9];
    bool loopback = read_address(address, key);
    struct peer **bucket = &c->buckets[bytes_hash(bytes_make(key, 9), c->seed) % BUCKETS];
    for (struct peer *p = *bucket; p; p = p->next) {
        if (memcmp(p->key, key, 9) == 0) {
            return p;
        }
    }
    sweep(c, bucket, now);
    for (size_t i = 0; c->peers >= PEERS_KEPT && i < BUCKETS; i++) {
        sweep(c, &c->buckets[i], now);
    }
    struct peer *p = calloc(1, sizeof(*p));
    if (!p || c->peers >= PEERS_KEPT + c->options.max) {
        free(p);
        return NULL;
    }
    memcpy(p->key, key, 9);
    p->loopback = loopback;
    double rate = loopback && !c->options.rate_loopback ? 0 : c->options.rate;
    token_bucket_init(&p->requests, rate, rate * 2, now);
    p->next = *bucket;
    *bucket = p;
    c->peers++;
    return p;
}

/* --- connections */

static void list_add(struct list *l, struct conn *conn)
{
    conn->next = NULL;
    conn->previous = l->last;
    *(l->last ? &l->last->next : &l->first) = conn;
    l->last = conn;
}

static void list_remove(struct list *l, struct conn *conn)
{
    *(conn->previous ? &conn->previous->next : &l->first) = conn->next;
    *(conn->next ? &conn->next->previous : &l->last) = conn->previous;
}

static void end_conn(struct conns *c, struct conn *conn)
{
    if (!conn->ended) {
        conn->ended = true;
        c->count--;
        conn->peer->connections--;
        shutdown(conn->fd, SHUT_RDWR);
    }
}

/* Ends the oldest that is in this phase, of one address or (NULL) of all. */
static bool evict(struct conns *c, enum conn_phase phase, const struct peer *peer)
{
    for (struct conn *conn = c->phases[phase].first; conn; conn = conn->next) {
        if (!conn->ended && (!peer || conn->peer == peer)) {
            end_conn(c, conn);
            c->evicted++;
            return true;
        }
    }
    return false;
}

static void make_room(struct conns *c, const struct peer *peer)
{
    static const enum conn_phase order[] = {CONN_HEAD, CONN_IDLE, CONN_BODY, CONN_ANSWER};
    size_t share = c->options.max / 2 + 1;
    const struct peer *of = peer->connections >= share ? peer : NULL;
    bool done = !of && c->count < c->options.max;
    for (size_t i = 0; !done && i < sizeof(order) / sizeof(order[0]); i++) {
        done = evict(c, order[i], of);
    }
}

struct conn *conn_open(struct conns *c, int fd, const struct sockaddr *address, struct mono now)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    struct peer *peer = conn ? find_peer(c, address, now) : NULL;
    if (!peer) {
        free(conn);
        return NULL;
    }
    make_room(c, peer);
    *conn = (struct conn){.peer = peer, .fd = fd, .phase = CONN_HEAD};
    conn->deadline = mono_add_ms(now, conn_phase_ms[CONN_HEAD]);
    list_add(&c->phases[CONN_HEAD], conn);
    c->count++;
    peer->connections++;
    if (c->count > c->options.max) { /* all others are at work */
        end_conn(c, conn);
        c->evicted++;
    }
    return conn;
}

void conn_close(struct conns *c, struct conn *conn)
{
    list_remove(&c->phases[conn->phase], conn);
    if (!conn->ended) {
        c->count--;
        conn->peer->connections--;
    }
    free(conn);
}

void conn_enter(struct conns *c, struct conn *conn, enum conn_phase phase, struct mono now)
{
    list_remove(&c->phases[conn->phase], conn);
    conn->phase = phase;
    conn->deadline = conn_phase_ms[phase] ? mono_add_ms(now, conn_phase_ms[phase]) : MONO_NEVER;
    list_add(&c->phases[phase], conn);
}

bool conn_take_request(struct conns *c, struct conn *conn, struct mono now)
{
    (void)c;
    return token_bucket_take(&conn->peer->requests, 1, now);
}

bool conn_is_loopback(const struct conn *conn)
{
    return conn->peer->loopback;
}

uint64_t conn_address_hash(const struct conn *conn)
{
    return bytes_hash(bytes_make(conn->peer->key, sizeof(conn->peer->key)), 0);
}

void conns_end_slowest_body(struct conns *c)
{
    (void)!evict(c, CONN_BODY, NULL);
}

/* libmicrohttpd takes a short read for the last one (its epoll is edge-triggered) and does not see an end that came with it. */
static void end_gone(struct conns *c, const struct list *l)
{
    for (struct conn *conn = l->first; conn; conn = conn->next) {
        char byte;
        if (!conn->ended && recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
            end_conn(c, conn);
        }
    }
}

size_t conns_tick(struct conns *c, struct mono now)
{
    size_t ended = 0;
    end_gone(c, &c->phases[CONN_HEAD]);
    end_gone(c, &c->phases[CONN_BODY]);
    for (size_t phase = 0; phase < CONN_PHASES; phase++) {
        for (struct conn *conn = c->phases[phase].first; conn && mono_reached(now, conn->deadline); conn = conn->next) {
            ended += !conn->ended;
            end_conn(c, conn);
        }
    }
    return ended;
}

void conns_end_idle(struct conns *c)
{
    for (struct conn *conn = c->phases[CONN_IDLE].first; conn; conn = conn->next) {
        end_conn(c, conn);
    }
}

size_t conns_count(const struct conns *c)
{
    return c->count;
}

uint64_t conns_evicted(const struct conns *c)
{
    return c->evicted;
}
