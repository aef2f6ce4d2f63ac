/* DTLS endpoints: net/dtls.h between the socket and gateway_input. */
#include "mqttsn/gateway_internal.h"

#include "net/dtls.h"

#include <stdlib.h>

enum { UNUSED_MS = 300000 }; /* a session without a client is closed when silent for so long */

LOG_POINT(log_refused, "mqttsn.dtls-refused", LOG_WARNING, "DTLS handshake failed");

_Static_assert(PSK_KEY_MAX == DTLS_PSK_MAX, "keys fit");

static void *on_peer_open(void *ctx, struct dtls_peer *peer, const char *identity)
{
    struct endpoint *e = ctx;
    struct gateway *g = e->gateway;
    struct secure *s = calloc(1, sizeof(*s));
    if (!s) {
        return NULL; /* its packets will be dropped */
    }
    s->endpoint = e;
    s->peer = peer;
    s->address = address_from_sockaddr(dtls_peer_addr(peer));
    s->local = e->dtls_local;
    s->identity = identity;
    s->heard = gateway_now(g);
    s->next = g->secures;
    if (s->next) {
        s->next->previous = s;
    }
    g->secures = s;
    return s;
}

static void on_data(void *ctx, struct dtls_peer *peer, void *peer_ctx, struct bytes data)
{
    struct endpoint *e = ctx;
    struct secure *s = peer_ctx;
    (void)peer;
    if (s) {
        struct place place = {.endpoint = e, .secure = s, .address = s->address, .local = e->dtls_local};
        s->local = e->dtls_local;
        s->heard = gateway_now(e->gateway);
        gateway_input(e->gateway, &place, data);
    }
}

static void on_peer_close(void *ctx, struct dtls_peer *peer, void *peer_ctx, enum err reason)
{
    struct secure *s = peer_ctx;
    struct gateway *g = ((struct endpoint *)ctx)->gateway;
    (void)peer;
    (void)reason;
    if (!s) {
        return;
    }
    struct client *c = s->client;
    if (c) {
        client_displace(c); /* out of reach until it comes again */
        session_on_displaced(c->session);
    }
    *(s->previous ? &s->previous->next : &g->secures) = s->next;
    if (s->next) {
        s->next->previous = s->previous;
    }
    free(s);
    if (c) {
        client_settle(c);
    }
}

static void on_send(void *ctx, const struct sockaddr *to, struct bytes datagram)
{
    struct endpoint *e = ctx;
    struct address address = address_from_sockaddr(to);
    udp_send(e->udp, &address, &e->dtls_local, datagram);
}

static void on_refused(void *ctx, const struct sockaddr *from, enum err reason, const char *detail)
{
    char text[ADDRESS_TEXT_SIZE];
    struct address address = address_from_sockaddr(from);
    (void)ctx;
    log_emit(&log_refused, "address=%s error=%s detail=\"%s\"", address_format(&address, text), err_name(reason),
             detail);
}

static size_t psk_lookup(void *ctx, const char *identity, uint8_t key[static DTLS_PSK_MAX])
{
    return psk_find(((struct endpoint *)ctx)->gateway->psk, identity, key);
}

static const struct dtls_events with_psk = {.on_peer_open = on_peer_open,
                                            .on_data = on_data,
                                            .on_peer_close = on_peer_close,
                                            .on_send = on_send,
                                            .on_refused = on_refused,
                                            .psk_lookup = psk_lookup};
static const struct dtls_events without_psk = {.on_peer_open = on_peer_open,
                                               .on_data = on_data,
                                               .on_peer_close = on_peer_close,
                                               .on_send = on_send,
                                               .on_refused = on_refused};

static struct dtls_options options_of(const struct mqttsn_config *c)
{
    return (struct dtls_options){.certfile = c->dtls_certfile,
                                 .keyfile = c->dtls_keyfile,
                                 .cafile = c->dtls_cafile,
                                 .require_certificate = c->dtls_cafile != NULL,
                                 .max_peers = (size_t)c->max_clients};
}

enum err gateway_dtls_open(struct endpoint *e, struct option_error *error)
{
    struct tls_error why = {.text = ""};
    struct dtls_options o = options_of(e->gateway->config);
    enum err err = dtls_server_create(&o, e->gateway->psk ? &with_psk : &without_psk, e, &e->dtls, &why);
    if (err != E_OK) {
        option_error_set(error, "option dtls_%s: %s", tls_error_option(&why), why.text);
    }
    return err;
}

enum err gateway_dtls_reload(struct endpoint *e, struct option_error *error)
{
    struct tls_error why = {.text = ""};
    struct dtls_options o = options_of(e->gateway->config);
    enum err err = dtls_server_reload(e->dtls, &o, &why);
    if (err != E_OK) {
        option_error_set(error, "option dtls_%s: %s", tls_error_option(&why), why.text);
    }
    return err;
}

void gateway_dtls_feed(struct endpoint *e, const struct address *from, const struct address *to, struct bytes datagram)
{
    struct sockaddr_storage sa;
    address_to_sockaddr(from, &sa);
    e->dtls_local = *to;
    dtls_feed(e->dtls, (const struct sockaddr *)&sa, datagram, gateway_now(e->gateway));
    e->dtls_local.family = 0;
    gateway_arm(e->gateway);
}

void gateway_dtls_send(struct secure *s, struct bytes packet)
{
    struct address before = s->endpoint->dtls_local;
    s->endpoint->dtls_local = s->local;
    /* Too large for a record, or the session is ending: as if lost on the way. */
    enum err e = dtls_send(s->peer, packet);
    (void)e;
    s->endpoint->dtls_local = before;
}

struct mono gateway_dtls_deadline(const struct gateway *g)
{
    struct mono at = MONO_NEVER;
    for (size_t i = 0; i < g->endpoint_count; i++) {
        if (g->endpoints[i].dtls) {
            at = mono_min(at, dtls_deadline(g->endpoints[i].dtls));
        }
    }
    return at;
}

void gateway_dtls_tick(struct gateway *g, struct mono now)
{
    for (size_t i = 0; i < g->endpoint_count; i++) {
        struct endpoint *e = &g->endpoints[i];
        if (e->dtls && mono_reached(now, dtls_deadline(e->dtls))) {
            dtls_tick(e->dtls, now);
        }
    }
}

void gateway_dtls_sweep(struct gateway *g, struct mono now)
{
    for (struct secure *s = g->secures, *next; s; s = next) {
        next = s->next;
        if (!s->client && mono_reached(now, mono_add_ms(s->heard, UNUSED_MS))) {
            dtls_peer_close(s->peer);
        }
    }
}
