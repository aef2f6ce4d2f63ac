#include "net/dtls_internal.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <sys/time.h>

/* --- life --- */

static void unlink_peer(struct dtls_peer *p)
{
    struct dtls_server *s = p->server;
    struct dtls_peer **link = dtls_bucket(s, &p->address);
    while (*link != p) {
        link = &(*link)->chain;
    }
    *link = p->chain;
    dtls_list_remove(p->state == DTLS_HANDSHAKING ? &s->handshaking : &s->open, p);
}

void dtls_peer_free(struct dtls_peer *p)
{
    SSL_free(p->ssl);
    free(p->identity);
    free(p->failure);
    free(p);
}

void dtls_peer_end(struct dtls_peer *p, enum err reason, bool notify)
{
    struct dtls_server *s = p->server;
    if (p->state == DTLS_CLOSED) {
        return;
    }
    bool was_open = p->state == DTLS_OPEN;
    unlink_peer(p);
    p->state = DTLS_CLOSED;
    p->chain = s->dead;
    s->dead = p;
    if (was_open && notify && SSL_alloc_buffers(p->ssl) == 1) {
        (void)SSL_shutdown(p->ssl);
        ERR_clear_error();
    }
    if (was_open) {
        s->events->on_peer_close(s->ctx, p, p->ctx, reason);
    }
}

static void fail_handshake(struct dtls_peer *p, enum err reason, const char *detail)
{
    struct dtls_server *s = p->server;
    s->stats.failed++;
    if (s->events->on_refused) {
        s->events->on_refused(s->ctx, &p->address.any, reason, detail);
    }
    dtls_peer_end(p, reason, false);
}

static char *take_identity(SSL *ssl)
{
    char name[DTLS_IDENTITY_MAX + 1] = "";
    const char *psk = SSL_get_psk_identity(ssl);
    X509 *cert = SSL_get0_peer_certificate(ssl);
    if (cert) {
        tls_common_name(cert, name, sizeof(name));
    }
    return strdup(psk ? psk : name);
}

/* OpenSSL keeps two buffers of 16 KiB for a connection; an open peer gets them only for the time of a call. */
static void release_buffers(struct dtls_peer *p)
{
    (void)SSL_free_buffers(p->ssl);
}

static void read_records(struct dtls_peer *p);

/* What a suite adds to a record (RFC 5288, 6655, 7905; CBC: IV, HMAC-SHA256 and padding). */
static size_t shortest_sealed(const SSL_CIPHER *cipher)
{
    const char *name = SSL_CIPHER_get_name(cipher);
    if (strstr(name, "CHACHA20") || strstr(name, "CCM8")) {
        return 16;
    }
    return strstr(name, "GCM") || strstr(name, "CCM") ? 24 : 64;
}

static void enter_open(struct dtls_peer *p)
{
    struct dtls_server *s = p->server;
    struct dtls_peer *old = dtls_find(s, &p->address, true);
    if (old) {
        dtls_peer_end(old, E_EXISTS, false);
    }
    p->identity = take_identity(p->ssl);
    if (!p->identity) {
        fail_handshake(p, E_NOMEM, "no memory");
        return;
    }
    dtls_list_remove(&s->handshaking, p);
    dtls_list_append(&s->open, p);
    p->sealed_min = shortest_sealed(SSL_get_current_cipher(p->ssl));
    p->state = DTLS_OPENING;
    p->heard = s->now;
    p->repeat = MONO_NEVER;
    s->stats.handshakes++;
    p->ctx = s->events->on_peer_open(s->ctx, p, p->identity);
    p->state = DTLS_OPEN;
    if (p->close_wanted) {
        dtls_peer_end(p, E_CANCELLED, true);
        return;
    }
    read_records(p);
}

/* --- handshake --- */

static void plan_repeat(struct dtls_peer *p)
{
    struct timeval left;
    p->repeat = MONO_NEVER;
    if (DTLSv1_get_timeout(p->ssl, &left)) {
        p->repeat = mono_add_ms(p->server->now, (uint64_t)left.tv_sec * 1000 + (uint64_t)(left.tv_usec + 999) / 1000);
    }
}

static void handshake(struct dtls_peer *p)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(p->ssl);
    if (rc == 1) {
        enter_open(p);
        return;
    }
    if (SSL_get_error(p->ssl, rc) == SSL_ERROR_WANT_READ) {
        plan_repeat(p);
        return;
    }
    char detail[256];
    enum err e = tls_take_error("client", detail, sizeof(detail));
    if (p->failure) {
        fail_handshake(p, E_TLS_VERIFY, p->failure);
    } else {
        fail_handshake(p, e, detail);
    }
}

void dtls_peer_handshake_tick(struct dtls_peer *p)
{
    struct dtls_server *s = p->server;
    if (mono_reached(s->now, mono_add_ms(p->heard, s->handshake_timeout_ms))) {
        fail_handshake(p, E_TIMEOUT, "the handshake was not completed in time");
    } else if (mono_reached(s->now, p->repeat)) {
        ERR_clear_error();
        if (DTLSv1_handle_timeout(p->ssl) < 0) {
            ERR_clear_error();
            fail_handshake(p, E_TIMEOUT, "the client has stopped to answer");
        } else {
            plan_repeat(p);
        }
    }
}

enum err dtls_peer_start(struct dtls_server *s, const union dtls_address *address,
                         const uint8_t client_random[DTLS_RANDOM_SIZE])
{
    struct dtls_peer *p = calloc(1, sizeof(*p));
    if (!p) {
        return E_NOMEM;
    }
    p->server = s;
    p->address = *address;
    p->state = DTLS_HANDSHAKING;
    p->heard = s->now;
    p->repeat = MONO_NEVER;
    memcpy(p->client_random, client_random, sizeof(p->client_random));
    p->io.server = s;
    p->io.address = &p->address;
    p->ssl = s->listener;
    s->listener = NULL;
    dtls_ssl_set_io(p->ssl, &p->io);
    struct dtls_peer **bucket = dtls_bucket(s, address);
    p->chain = *bucket;
    *bucket = p;
    dtls_list_append(&s->handshaking, p);
    handshake(p);
    return E_OK;
}

/* --- data --- */

/* Only by what is authentic. */
static void heard_of(struct dtls_peer *p)
{
    p->heard = p->server->now;
    dtls_list_remove(&p->server->open, p);
    dtls_list_append(&p->server->open, p);
}

static void read_records(struct dtls_peer *p)
{
    struct dtls_server *s = p->server;
    while (p->state == DTLS_OPEN) {
        size_t len = 0;
        ERR_clear_error();
        int rc = SSL_read_ex(p->ssl, s->plain, sizeof(s->plain), &len);
        if (rc == 1) {
            heard_of(p);
            s->events->on_data(s->ctx, p, p->ctx, bytes_make(s->plain, len));
            continue;
        }
        int what = SSL_get_error(p->ssl, rc);
        ERR_clear_error();
        if (what == SSL_ERROR_WANT_READ) {
            release_buffers(p);
            return;
        }
        dtls_peer_end(p, what == SSL_ERROR_ZERO_RETURN ? E_CLOSED : E_TLS, what == SSL_ERROR_ZERO_RETURN);
    }
}

/* False when a record that claims to be encrypted is too short to be: no key was needed to make it, and OpenSSL up to 3.0.20 ends
 * the session on it. */
static bool could_be_sealed(struct bytes datagram, size_t sealed_min)
{
    const uint8_t *d = datagram.data;
    for (size_t left = datagram.len; left >= RECORD_HEADER;) {
        bool encrypted = d[3] != 0 || d[4] != 0; /* the epoch */
        size_t len = (size_t)d[11] << 8 | d[12];
        if (encrypted && len < sealed_min) {
            return false;
        }
        if (len > left - RECORD_HEADER) {
            break;
        }
        d += RECORD_HEADER + len;
        left -= RECORD_HEADER + len;
    }
    return true;
}

void dtls_peer_feed(struct dtls_peer *p, struct bytes datagram)
{
    p->io.in = datagram;
    if (p->state == DTLS_HANDSHAKING) {
        handshake(p);
    } else if (p->state == DTLS_OPEN && could_be_sealed(datagram, p->sealed_min)) {
        read_records(p);
    }
    p->io.in.len = 0;
}

enum err dtls_send(struct dtls_peer *p, struct bytes data)
{
    if (p->state == DTLS_CLOSED || p->close_wanted) {
        return E_CLOSED;
    }
    if (data.len == 0) {
        return E_INVALID;
    }
    if (data.len > DTLS_PLAIN_MAX) {
        return E_TOO_LARGE;
    }
    size_t sent = 0;
    ERR_clear_error();
    if (SSL_alloc_buffers(p->ssl) != 1) {
        ERR_clear_error();
        return E_NOMEM;
    }
    int rc = SSL_write_ex(p->ssl, data.data, data.len, &sent);
    ERR_clear_error();
    release_buffers(p);
    return rc == 1 ? E_OK : E_TLS;
}

const struct sockaddr *dtls_peer_addr(const struct dtls_peer *p)
{
    return &p->address.any;
}
