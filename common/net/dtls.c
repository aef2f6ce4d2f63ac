#include "net/dtls_internal.h"

#include "base/backoff.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdlib.h>

#define MAX_PEERS 10000u
#define MAX_HANDSHAKES 256u
#define HANDSHAKE_TIMEOUT_MS 30000u
#define HANDSHAKE_LONG_MS 5000u
#define HELLO_LATE_MS 5000u
#define MTU 1280u
#define MTU_MIN 256u

/* RFC 6347 sections 4.1 and 4.2.2. */
#define HANDSHAKE_HEADER 12
#define RANDOM_AT (RECORD_HEADER + HANDSHAKE_HEADER + 2)
#define CONTENT_HANDSHAKE 22
#define CLIENT_HELLO 1

/* --- peers by address --- */

static bool take_address(const struct sockaddr *from, union dtls_address *out)
{
    memset(out, 0, sizeof(*out));
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)from;
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = a->sin_port;
        out->v4.sin_addr = a->sin_addr;
        return true;
    }
    if (from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)from;
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = a->sin6_port;
        out->v6.sin6_addr = a->sin6_addr;
        out->v6.sin6_scope_id = a->sin6_scope_id;
        return true;
    }
    return false;
}

bool dtls_address_equal(const union dtls_address *a, const union dtls_address *b)
{
    /* All that is not set is 0. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    return memcmp(a, b, sizeof(*a)) == 0;
}

struct dtls_peer **dtls_bucket(struct dtls_server *s, const union dtls_address *address)
{
    return &s->buckets[bytes_hash(bytes_make(address, sizeof(*address)), s->hash_seed) & s->bucket_mask];
}

struct dtls_peer *dtls_find(struct dtls_server *s, const union dtls_address *address, bool open)
{
    for (struct dtls_peer *p = *dtls_bucket(s, address); p; p = p->chain) {
        if ((p->state != DTLS_HANDSHAKING) == open && dtls_address_equal(&p->address, address)) {
            return p;
        }
    }
    return NULL;
}

void dtls_list_append(struct dtls_list *l, struct dtls_peer *p)
{
    p->older = l->last;
    p->newer = NULL;
    if (l->last) {
        l->last->newer = p;
    } else {
        l->first = p;
    }
    l->last = p;
    l->count++;
}

void dtls_list_remove(struct dtls_list *l, struct dtls_peer *p)
{
    if (p->older) {
        p->older->newer = p->newer;
    } else {
        l->first = p->newer;
    }
    if (p->newer) {
        p->newer->older = p->older;
    } else {
        l->last = p->older;
    }
    l->count--;
}

/* --- calls into the server --- */

static void enter(struct dtls_server *s, struct mono now)
{
    s->depth++;
    s->now = now;
}

static void leave(struct dtls_server *s)
{
    if (--s->depth > 0) {
        return;
    }
    while (s->dead) {
        struct dtls_peer *p = s->dead;
        s->dead = p->chain;
        dtls_peer_free(p);
    }
}

enum err dtls_server_create(const struct dtls_options *o, const struct dtls_events *events, void *ctx,
                            struct dtls_server **out, struct tls_error *error)
{
    struct dtls_server *s = calloc(1, sizeof(*s));
    if (!s) {
        return E_NOMEM;
    }
    s->events = events;
    s->ctx = ctx;
    s->max_peers = o->max_peers ? o->max_peers : MAX_PEERS;
    s->max_handshakes = o->max_handshakes ? o->max_handshakes : MAX_HANDSHAKES;
    s->handshake_timeout_ms = o->handshake_timeout_ms ? o->handshake_timeout_ms : HANDSHAKE_TIMEOUT_MS;
    s->idle_timeout_ms = o->idle_timeout_ms;
    s->mtu = o->mtu == 0 ? MTU : o->mtu < MTU_MIN ? MTU_MIN : o->mtu;
    s->hash_seed = random_seed();
    size_t buckets = 64;
    while (buckets < s->max_peers) {
        buckets *= 2;
    }
    s->bucket_mask = buckets - 1;
    enum err e = E_NOMEM;
    s->buckets = calloc(buckets, sizeof(struct dtls_peer *));
    if (!s->buckets) {
        goto fail;
    }
    e = dtls_context_create(s, o, &s->ssl_ctx, error);
    if (e != E_OK) {
        goto fail;
    }
    *out = s;
    return E_OK;

fail:
    free(s->buckets);
    free(s);
    return e;
}

enum err dtls_server_reload(struct dtls_server *s, const struct dtls_options *o, struct tls_error *error)
{
    SSL_CTX *fresh = NULL;
    enum err e = dtls_context_create(s, o, &fresh, error);
    if (e == E_OK) {
        SSL_free(s->listener);
        s->listener = NULL;
        SSL_CTX_free(s->ssl_ctx); /* peers keep it while they need it */
        s->ssl_ctx = fresh;
    }
    return e;
}

void dtls_server_destroy(struct dtls_server *s)
{
    if (!s) {
        return;
    }
    enter(s, s->now);
    while (s->handshaking.first) {
        dtls_peer_end(s->handshaking.first, E_CANCELLED, false);
    }
    while (s->open.first) {
        dtls_peer_end(s->open.first, E_CANCELLED, true);
    }
    leave(s);
    SSL_free(s->listener);
    SSL_CTX_free(s->ssl_ctx);
    OPENSSL_cleanse(s->cookie_keys, sizeof(s->cookie_keys));
    free(s->buckets);
    free(s);
}

/* --- datagrams --- */

/* A ClientHello in one piece, in the clear, at the start of the datagram. */
static bool is_client_hello(struct bytes d)
{
    return d.len >= RANDOM_AT + DTLS_RANDOM_SIZE && d.data[0] == CONTENT_HANDSHAKE && d.data[3] == 0 &&
           d.data[4] == 0 && d.data[RECORD_HEADER] == CLIENT_HELLO;
}

static bool is_dtls(struct bytes d)
{
    return d.len >= RECORD_HEADER && d.data[0] >= 20 && d.data[0] <= 23 && d.data[1] == 254;
}

/* By IPv4 address, or by the /64 of an IPv6 one. */
static bool same_host(const union dtls_address *a, const union dtls_address *b)
{
    if (a->any.sa_family != b->any.sa_family) {
        return false;
    }
    return a->any.sa_family == AF_INET ? a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr
                                       : memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 8) == 0;
}

static struct dtls_peer *oldest_of_host(struct dtls_server *s, const union dtls_address *host)
{
    struct dtls_peer *p = s->handshaking.first;
    while (p && !same_host(&p->address, host)) {
        p = p->newer;
    }
    return p;
}

/* A host that has more than half of the handshakes under way, if there is one (a majority vote: it alone can have the lead at the end). */
static const union dtls_address *crowding_host(const struct dtls_server *s)
{
    const union dtls_address *host = NULL;
    size_t lead = 0, count = 0;
    for (const struct dtls_peer *p = s->handshaking.first; p; p = p->newer) {
        host = lead == 0 ? &p->address : host;
        lead = same_host(&p->address, host) ? lead + 1 : lead - 1;
    }
    for (const struct dtls_peer *p = s->handshaking.first; p; p = p->newer) {
        count += same_host(&p->address, host);
    }
    return count > s->handshaking.count / 2 ? host : NULL;
}

/* May another handshake begin? At the ceiling the oldest of a host that crowds out the others makes room for them, otherwise one that
 * should have been done long ago. */
static bool make_room(struct dtls_server *s, const union dtls_address *from)
{
    if (s->handshaking.count < s->max_handshakes) {
        return true;
    }
    const union dtls_address *crowd = crowding_host(s);
    struct dtls_peer *oldest = s->handshaking.first;
    if (crowd && !same_host(crowd, from)) {
        oldest = oldest_of_host(s, crowd);
    } else if (!oldest || !mono_reached(s->now, mono_add_ms(oldest->heard, HANDSHAKE_LONG_MS))) {
        return false;
    }
    s->stats.failed++;
    dtls_peer_end(oldest, E_TIMEOUT, false);
    return true;
}

/* Answers with a cookie, or begins a handshake when it has one that is right. */
static void listen_to(struct dtls_server *s, const union dtls_address *from, struct bytes datagram)
{
    s->listener_io = (struct dtls_io){.server = s, .address = from, .in = datagram};
    if (!s->listener) {
        s->listener = dtls_ssl_create(s, &s->listener_io);
    }
    BIO_ADDR *ignored = BIO_ADDR_new();
    if (!s->listener || !ignored) {
        BIO_ADDR_free(ignored);
        return;
    }
    uint64_t cookies = s->stats.cookies_sent;
    ERR_clear_error();
    int rc = DTLSv1_listen(s->listener, ignored);
    ERR_clear_error();
    BIO_ADDR_free(ignored);
    if (rc != 1) {
        s->stats.ignored += s->stats.cookies_sent == cookies;
        return;
    }
    struct dtls_peer *half = dtls_find(s, from, false);
    if (half) {
        s->stats.failed++;
        dtls_peer_end(half, E_EXISTS, false);
    }
    bool full = s->open.count >= s->max_peers && !dtls_find(s, from, true);
    if (full || !make_room(s, from)) {
        s->stats.refused_full++;
        SSL_free(s->listener);
        s->listener = NULL;
        return;
    }
    if (dtls_peer_start(s, from, datagram.data + RANDOM_AT) != E_OK) {
        s->stats.failed++;
        SSL_free(s->listener);
        s->listener = NULL;
    }
}

/* A ClientHello that the network brings once more, or late, when its handshake is complete: a new one would never be. A device that
 * begins again with the same random, for want of a better source, is heard after a while. */
static bool is_late(const struct dtls_server *s, const struct dtls_peer *open, struct bytes hello)
{
    return open && memcmp(open->client_random, hello.data + RANDOM_AT, DTLS_RANDOM_SIZE) == 0 &&
           !mono_reached(s->now, mono_add_ms(open->heard, HELLO_LATE_MS));
}

static void route(struct dtls_server *s, const union dtls_address *from, struct bytes datagram)
{
    struct dtls_peer *half = dtls_find(s, from, false);
    if (is_client_hello(datagram)) {
        /* The one that began the handshake, sent again, is for OpenSSL's state machine; any other begins anew. */
        if (half && memcmp(half->client_random, datagram.data + RANDOM_AT, DTLS_RANDOM_SIZE) == 0) {
            dtls_peer_feed(half, datagram);
        } else if (is_late(s, dtls_find(s, from, true), datagram)) {
            s->stats.ignored++;
        } else {
            listen_to(s, from, datagram);
        }
        return;
    }
    struct dtls_peer *open = dtls_find(s, from, true);
    if (!half && !open) {
        s->stats.ignored++;
        return;
    }
    if (half) {
        dtls_peer_feed(half, datagram);
    }
    if (open && dtls_find(s, from, true) == open) {
        /* Still there. What belongs to the other session fails its check and is dropped by OpenSSL. */
        dtls_peer_feed(open, datagram);
    }
}

void dtls_feed(struct dtls_server *s, const struct sockaddr *from, struct bytes datagram, struct mono now)
{
    union dtls_address address;
    enter(s, now);
    if (is_dtls(datagram) && take_address(from, &address)) {
        route(s, &address, datagram);
    } else {
        s->stats.ignored++;
    }
    leave(s);
}

/* --- time --- */

struct mono dtls_deadline(const struct dtls_server *s)
{
    struct mono next = MONO_NEVER;
    for (const struct dtls_peer *p = s->handshaking.first; p; p = p->newer) {
        next = mono_min(next, mono_min(p->repeat, mono_add_ms(p->heard, s->handshake_timeout_ms)));
    }
    if (s->idle_timeout_ms > 0 && s->open.first) {
        next = mono_min(next, mono_add_ms(s->open.first->heard, s->idle_timeout_ms));
    }
    return next;
}

void dtls_tick(struct dtls_server *s, struct mono now)
{
    enter(s, now);
    for (struct dtls_peer *p = s->handshaking.first; p;) {
        struct dtls_peer *newer = p->newer; /* the tick ends this one at most */
        dtls_peer_handshake_tick(p);
        p = newer;
    }
    while (s->idle_timeout_ms > 0 && s->open.first &&
           mono_reached(now, mono_add_ms(s->open.first->heard, s->idle_timeout_ms))) {
        dtls_peer_end(s->open.first, E_TIMEOUT, true);
    }
    leave(s);
}

/* --- peers, from outside --- */

void dtls_peer_close(struct dtls_peer *p)
{
    struct dtls_server *s = p->server;
    if (p->state == DTLS_OPENING) {
        p->close_wanted = true;
        return;
    }
    enter(s, s->now);
    dtls_peer_end(p, E_CANCELLED, true);
    leave(s);
}

void dtls_stats(const struct dtls_server *s, struct dtls_stats *out)
{
    *out = s->stats;
    out->peers = s->open.count;
    out->handshaking = s->handshaking.count;
}
