/* The parts of the DTLS server: dtls.c has the server and tells datagrams apart, dtls_peer.c has one peer's life, dtls_context.c
 * OpenSSL's settings and callbacks. Internal to net/. */
#ifndef NET_DTLS_INTERNAL_H
#define NET_DTLS_INTERNAL_H

#include "net/dtls.h"
#include "net/tls_internal.h"

#include <netinet/in.h>

#define DTLS_RANDOM_SIZE 32
#define DTLS_PLAIN_MAX 16384

union dtls_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6; /* flow information is 0 */
};

enum dtls_peer_state {
    DTLS_HANDSHAKING, /* -> OPEN, CLOSED */
    DTLS_OPENING,     /* in on_peer_open -> OPEN, CLOSED */
    DTLS_OPEN,        /* -> CLOSED */
    DTLS_CLOSED,      /* in the server's list of the dead; freed when the outermost call returns */
};

/* What our BIO needs: whose datagrams these are. */
struct dtls_io {
    struct dtls_server *server;
    const union dtls_address *address;
    struct bytes in; /* one datagram, not yet read */
};

/* Peers by last activity (open ones) or by start (handshakes); oldest first. */
struct dtls_list {
    struct dtls_peer *first, *last; /* link through older, newer */
    size_t count;
};

#define RECORD_HEADER 13 /* of DTLS */

struct dtls_peer {
    struct dtls_server *server;
    struct dtls_peer *chain; /* links peers of one hash, or the dead */
    struct dtls_peer *older, *newer;
    enum dtls_peer_state state;
    bool close_wanted; /* dtls_peer_close was called in on_peer_open */
    SSL *ssl;
    size_t sealed_min; /* open: the shortest encrypted record of its suite */
    struct dtls_io io;
    union dtls_address address;
    uint8_t client_random[DTLS_RANDOM_SIZE]; /* of the ClientHello that began this handshake */
    struct mono heard;                       /* OPEN: last record; HANDSHAKING: the start */
    struct mono repeat;                      /* when the last flight is repeated */
    void *ctx;
    char *identity;
    char *failure; /* why the certificate was not accepted */
};

struct dtls_server {
    const struct dtls_events *events;
    void *ctx;
    SSL_CTX *ssl_ctx;
    SSL *listener; /* answers ClientHellos without keeping anything; becomes the peer's when a cookie is right */
    struct dtls_io listener_io;
    struct mono now;
    unsigned depth; /* of calls into the server; the dead are freed at 0 */
    struct dtls_peer *dead;

    size_t max_peers, max_handshakes, mtu;
    uint32_t handshake_timeout_ms, idle_timeout_ms;

    struct dtls_peer **buckets; /* chains through dtls_peer.chain */
    size_t bucket_mask;
    uint64_t hash_seed;
    struct dtls_list handshaking;
    struct dtls_list open;

    uint8_t cookie_keys[2][32]; /* the newest first */
    struct mono cookie_key_made;
    bool has_cookie_keys;

    struct dtls_stats stats;
    uint8_t plain[DTLS_PLAIN_MAX];
};

/* --- dtls_context.c --- */

/* A context by the options, or what is wrong with them. */
MUST_CHECK enum err dtls_context_create(struct dtls_server *s, const struct dtls_options *o, SSL_CTX **out,
                                        struct tls_error *error);
/* A server connection on our BIO, of `io`. */
SSL *dtls_ssl_create(struct dtls_server *s, struct dtls_io *io);
/* Lets the connection's BIO work for another `io`. */
void dtls_ssl_set_io(SSL *ssl, struct dtls_io *io);

/* --- dtls_peer.c --- */

/* Takes the listener's SSL, which has accepted a cookie from `address`, and goes on with the handshake. */
MUST_CHECK enum err dtls_peer_start(struct dtls_server *s, const union dtls_address *address,
                                    const uint8_t client_random[DTLS_RANDOM_SIZE]);
/* A datagram for this peer. */
void dtls_peer_feed(struct dtls_peer *p, struct bytes datagram);
/* Its flight is to be repeated, or its handshake has lasted too long. */
void dtls_peer_handshake_tick(struct dtls_peer *p);
/* Closes an open peer (on_peer_close), or drops a handshake without a word. */
void dtls_peer_end(struct dtls_peer *p, enum err reason, bool notify);
void dtls_peer_free(struct dtls_peer *p);

/* --- dtls.c --- */

struct dtls_peer **dtls_bucket(struct dtls_server *s, const union dtls_address *address);
bool dtls_address_equal(const union dtls_address *a, const union dtls_address *b);
/* The peer at this address that is handshaking, or that is open. */
struct dtls_peer *dtls_find(struct dtls_server *s, const union dtls_address *address, bool open);
void dtls_list_append(struct dtls_list *l, struct dtls_peer *p);
void dtls_list_remove(struct dtls_list *l, struct dtls_peer *p);

#endif
