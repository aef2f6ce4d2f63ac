/* DTLS 1.2 server (RFC 6347) without I/O: datagrams and the clock come in, datagrams go out by callback (OpenSSL behind
 * this door).
 *
 * One object per UDP socket, many peers. An address costs no memory before it has returned our cookie (RFC 6347 section
 * 4.2.1). Certificates, or pre-shared keys (RFC 4279), or both. A peer that starts again from the same address (reboot) keeps
 * its old session until the new handshake is complete (section 4.2.8). Sessions are not resumed. The identity of a peer is its
 * address; addresses do not migrate.
 *
 * Call dtls_feed for what arrives and dtls_tick at dtls_deadline. Not thread-safe: one thread at a time. Callbacks may call
 * dtls_send, dtls_peer_close and dtls_peer_addr, nothing else here; on_send, psk_lookup and on_refused nothing at all.
 *
 * Memory: 36 KiB for an open peer and 70 KiB for one in its handshake, nearly all of it OpenSSL's (3.0, measured; 16 KiB are a
 * buffer for messages that OpenSSL keeps for the life of a DTLS connection), and 8 bytes for each of max_peers in advance.
 * OpenSSL's retransmission timers use the wall clock: when that jumps, a flight is repeated early or late.
 */
#ifndef NET_DTLS_H
#define NET_DTLS_H

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "net/tls.h"

#include <sys/socket.h>

struct dtls_server;
struct dtls_peer;

#define DTLS_PSK_MAX 64       /* bytes of a pre-shared key */
#define DTLS_IDENTITY_MAX 128 /* bytes of an identity, without NUL; longer ones are refused */

struct dtls_events {
    /* Handshake complete. identity: the PSK identity, or the common name of the client's certificate, or "" when it has
     * shown none; bytes from outside, valid until on_peer_close. What is returned is the `peer_ctx` of the next two. */
    void *(*on_peer_open)(void *ctx, struct dtls_peer *peer, const char *identity);
    /* One decrypted record; valid during the call. */
    void (*on_data)(void *ctx, struct dtls_peer *peer, void *peer_ctx, struct bytes data);
    /* The end of an open peer, last call for it: E_CLOSED (close_notify), E_CANCELLED (dtls_peer_close), E_EXISTS (a new
     * session from the same address took its place), E_TIMEOUT (silent for idle_timeout_ms), E_TLS (fatal alert). */
    void (*on_peer_close)(void *ctx, struct dtls_peer *peer, void *peer_ctx, enum err reason);
    /* Send this datagram. May be dropped by the caller: DTLS repeats handshake flights. */
    void (*on_send)(void *ctx, const struct sockaddr *to, struct bytes datagram);
    /* A handshake failed; for logs. `detail` in words. May be NULL. */
    void (*on_refused)(void *ctx, const struct sockaddr *from, enum err reason, const char *detail);
    /* Writes the key of a PSK identity to `key` and returns its length, 0 = unknown. NULL = no PSK. */
    size_t (*psk_lookup)(void *ctx, const char *identity, uint8_t key[static DTLS_PSK_MAX]);
};

struct dtls_options {
    const char *certfile;          /* server certificate, PEM chain; NULL = PSK only */
    const char *keyfile;           /* PEM, unencrypted */
    const char *cafile;            /* client certificates must be signed by one of these; NULL = none is asked for */
    bool require_certificate;      /* with cafile: a certificate handshake without a client certificate fails */
    size_t max_peers;              /* 0 = 10000; handshakes beyond it are not started */
    size_t max_handshakes;         /* under way at one time; 0 = 256. No host can keep the others off */
    uint32_t handshake_timeout_ms; /* 0 = 30 s */
    uint32_t idle_timeout_ms;      /* a peer that nothing was heard of is closed; 0 = never (the owner closes) */
    size_t mtu;                    /* largest datagram that we send in a handshake; 0 = 1280 */
};

struct dtls_stats {
    uint64_t cookies_sent; /* HelloVerifyRequests */
    uint64_t cookies_bad;  /* ClientHellos whose cookie was wrong or too old */
    uint64_t handshakes;   /* completed */
    uint64_t failed;       /* failed or timed out */
    uint64_t refused_full; /* not started: max_peers or max_handshakes */
    uint64_t ignored;      /* datagrams that were no DTLS or belonged to nobody */
    size_t peers;          /* open now */
    size_t handshaking;    /* now */
};

/* Reads the files and checks them as tls_client_create does. E_INVALID also when there is neither certificate nor psk_lookup.
 * `events` must outlive the server. */
MUST_CHECK enum err dtls_server_create(const struct dtls_options *o, const struct dtls_events *events, void *ctx,
                                       struct dtls_server **out, struct tls_error *error);
/* Reads certificate, key and CA again for handshakes from now on; on failure the old ones stay. */
MUST_CHECK enum err dtls_server_reload(struct dtls_server *s, const struct dtls_options *o, struct tls_error *error);
/* Sends close_notify to every open peer (on_peer_close E_CANCELLED for each), frees all. NULL is allowed. */
void dtls_server_destroy(struct dtls_server *s);

/* A datagram that arrived. AF_INET or AF_INET6 (scope id counts). */
void dtls_feed(struct dtls_server *s, const struct sockaddr *from, struct bytes datagram, struct mono now);
/* When dtls_tick must be called: retransmissions, timeouts. MONO_NEVER when there is nothing to wait for. */
struct mono dtls_deadline(const struct dtls_server *s);
void dtls_tick(struct dtls_server *s, struct mono now);

/* Encrypts one record and sends it at once, in one datagram, whatever the mtu. E_TOO_LARGE over 16 KiB; E_INVALID when empty;
 * E_CLOSED when the peer is closed but for its on_peer_close; E_TLS. */
MUST_CHECK enum err dtls_send(struct dtls_peer *peer, struct bytes data);
/* Sends close_notify; on_peer_close (E_CANCELLED) comes before this returns, or right after on_peer_open when called in that.
 * The peer must not be used any more. */
void dtls_peer_close(struct dtls_peer *peer);

const struct sockaddr *dtls_peer_addr(const struct dtls_peer *peer);
void dtls_stats(const struct dtls_server *s, struct dtls_stats *out);

#endif
