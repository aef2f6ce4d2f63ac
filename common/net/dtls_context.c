#include "net/dtls_internal.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define COOKIE_SIZE 32
#define COOKIE_KEY_LIFE_MS 60000u

/* Forward secrecy first. CCM_8 is all that the smallest devices speak (RFC 7925 section 4). */
#define CIPHERS_CERTIFICATE                                                                                            \
    "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES256-CCM:ECDHE-ECDSA-AES128-CCM8:"               \
    "ECDHE-ECDSA-AES256-CCM8"
#define CIPHERS_PSK                                                                                                    \
    "ECDHE-PSK-CHACHA20-POLY1305:ECDHE-PSK-AES128-CBC-SHA256:PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:"             \
    "PSK-CHACHA20-POLY1305:PSK-AES128-CCM:PSK-AES256-CCM:PSK-AES128-CCM8:PSK-AES256-CCM8"

/* --- the BIO: a datagram at a time --- */

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int bio_read(BIO *bio, char *out, size_t size, size_t *len)
{
    struct dtls_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (io->in.len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *len = size < io->in.len ? size : io->in.len;
    memcpy(out, io->in.data, *len);
    io->in.len = 0;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t size, size_t *len)
{
    struct dtls_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    io->server->events->on_send(io->server->ctx, &io->address->any, bytes_make(data, size));
    *len = size;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    const struct dtls_io *io = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT:
    case BIO_CTRL_DGRAM_SET_PEEK_MODE:
        return 1;
    case BIO_CTRL_DGRAM_QUERY_MTU:
    case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
        return io ? (long)io->server->mtu : 0;
    default:
        return 0;
    }
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static void init_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams");
    if (m) {
        BIO_meth_set_read_ex(m, bio_read);
        BIO_meth_set_write_ex(m, bio_write);
        BIO_meth_set_ctrl(m, bio_ctrl);
        BIO_meth_set_create(m, bio_create);
    }
    method = m;
}

SSL *dtls_ssl_create(struct dtls_server *s, struct dtls_io *io)
{
    pthread_once(&method_once, init_method);
    SSL *ssl = SSL_new(s->ssl_ctx);
    BIO *bio = method ? BIO_new(method) : NULL;
    if (!ssl || !bio) {
        ERR_clear_error();
        SSL_free(ssl);
        BIO_free(bio);
        return NULL;
    }
    BIO_set_data(bio, io);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, s);
    SSL_set_accept_state(ssl);
    SSL_set_mtu(ssl, (long)s->mtu);
    return ssl;
}

void dtls_ssl_set_io(SSL *ssl, struct dtls_io *io)
{
    BIO_set_data(SSL_get_rbio(ssl), io);
}

/* --- cookies: an HMAC of the address under a key of the last two minutes --- */

static bool have_cookie_keys(struct dtls_server *s)
{
    uint8_t fresh[2][sizeof(s->cookie_keys[0])];
    uint64_t age = mono_ms_until(s->cookie_key_made, s->now);
    if (s->has_cookie_keys && age < COOKIE_KEY_LIFE_MS) {
        return true;
    }
    if (RAND_bytes(&fresh[0][0], sizeof(fresh)) != 1) {
        return s->has_cookie_keys;
    }
    bool old_is_valid = s->has_cookie_keys && age < (uint64_t)2 * COOKIE_KEY_LIFE_MS;
    memcpy(s->cookie_keys[1], old_is_valid ? s->cookie_keys[0] : fresh[1], sizeof(fresh[0]));
    memcpy(s->cookie_keys[0], fresh[0], sizeof(fresh[0]));
    s->cookie_key_made = s->now;
    s->has_cookie_keys = true;
    return true;
}

static bool make_cookie(const struct dtls_io *io, unsigned key, uint8_t cookie[COOKIE_SIZE])
{
    struct dtls_server *s = io->server;
    unsigned len = 0;
    return have_cookie_keys(s) &&
           HMAC(EVP_sha256(), s->cookie_keys[key], sizeof(s->cookie_keys[key]), (const uint8_t *)io->address,
                sizeof(*io->address), cookie, &len) &&
           len == COOKIE_SIZE;
}

static int on_make_cookie(SSL *ssl, unsigned char *cookie, unsigned *len)
{
    struct dtls_io *io = BIO_get_data(SSL_get_rbio(ssl));
    *len = COOKIE_SIZE;
    io->server->stats.cookies_sent++;
    return make_cookie(io, 0, cookie);
}

static int on_check_cookie(SSL *ssl, const unsigned char *cookie, unsigned len)
{
    struct dtls_io *io = BIO_get_data(SSL_get_rbio(ssl));
    for (unsigned key = 0; key < 2 && len == COOKIE_SIZE; key++) {
        uint8_t expected[COOKIE_SIZE];
        if (make_cookie(io, key, expected) && CRYPTO_memcmp(cookie, expected, COOKIE_SIZE) == 0) {
            return 1;
        }
    }
    io->server->stats.cookies_bad++;
    return 0;
}

/* --- keys and certificates --- */

static unsigned on_psk(SSL *ssl, const char *identity, unsigned char *key, unsigned max)
{
    struct dtls_server *s = SSL_get_app_data(ssl);
    uint8_t found[DTLS_PSK_MAX];
    if (!identity || strlen(identity) > DTLS_IDENTITY_MAX) {
        return 0;
    }
    size_t len = s->events->psk_lookup(s->ctx, identity, found);
    if (len > max || len > sizeof(found)) {
        len = 0;
    }
    memcpy(key, found, len);
    OPENSSL_cleanse(found, sizeof(found));
    return (unsigned)len;
}

static int on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct dtls_io *io = BIO_get_data(SSL_get_rbio(ssl));
    struct dtls_peer *p = (struct dtls_peer *)((char *)io - offsetof(struct dtls_peer, io));
    if (!ok && !p->failure) {
        char text[256];
        tls_describe_verify(X509_STORE_CTX_get_error(store), X509_STORE_CTX_get_current_cert(store), "client", "", text,
                            sizeof(text));
        p->failure = strdup(text);
    }
    return ok;
}

/* OpenSSL's own judgement of strength, but for CCM_8: its short tag is a matter of forging one datagram in 2^64, not of
 * reading them. */
static int on_security(const SSL *ssl, const SSL_CTX *ctx, int operation, int bits, int nid, void *other,
                       void *original)
{
    int (*judge)(const SSL *, const SSL_CTX *, int, int, int, void *, void *) = NULL;
    bool cipher = operation == SSL_SECOP_CIPHER_SUPPORTED || operation == SSL_SECOP_CIPHER_SHARED ||
                  operation == SSL_SECOP_CIPHER_CHECK;
    if (cipher && other && strstr(SSL_CIPHER_get_name(other), "CCM8")) {
        return 1;
    }
    memcpy(&judge, original, sizeof(judge));
    return judge(ssl, ctx, operation, bits, nid, other, NULL);
}

static void allow_ccm8(SSL_CTX *ctx)
{
    /* The same for every context of the process. */
    static int (*original)(const SSL *, const SSL_CTX *, int, int, int, void *, void *);
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!original) {
        original = SSL_CTX_get_security_callback(ctx);
    }
    pthread_mutex_unlock(&lock);
    SSL_CTX_set0_security_ex_data(ctx, (void *)&original);
    SSL_CTX_set_security_callback(ctx, on_security);
}

static enum err use_client_ca(SSL_CTX *ctx, const struct dtls_options *o, struct tls_error *error)
{
    enum err e = tls_load_ca(ctx, o->cafile, error);
    if (e != E_OK) {
        return e;
    }
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->cafile);
    if (!names) {
        ERR_clear_error();
        return E_NOMEM;
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (o->require_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       on_verify);
    return E_OK;
}

static enum err configure(struct dtls_server *s, SSL_CTX *ctx, const struct dtls_options *o, struct tls_error *error)
{
    bool psk = s->events->psk_lookup != NULL;
    if ((!o->certfile || !o->keyfile) && (o->certfile || o->keyfile || !psk)) {
        snprintf(error->text, sizeof(error->text), "a certificate with its key, or pre-shared keys are needed");
        return E_INVALID;
    }
    if (SSL_CTX_set_min_proto_version(ctx, DTLS1_2_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, DTLS1_2_VERSION) != 1) {
        snprintf(error->text, sizeof(error->text), "DTLS 1.2 is not available here");
        return E_UNSUPPORTED;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_cookie_generate_cb(ctx, on_make_cookie);
    SSL_CTX_set_cookie_verify_cb(ctx, on_check_cookie);
    allow_ccm8(ctx);
    const char *ciphers = CIPHERS_CERTIFICATE ":" CIPHERS_PSK;
    if (!psk) {
        ciphers = CIPHERS_CERTIFICATE;
    } else if (!o->certfile) {
        ciphers = CIPHERS_PSK;
    }
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1) {
        snprintf(error->text, sizeof(error->text), "no cipher suite is available here");
        return E_UNSUPPORTED;
    }
    if (psk) {
        SSL_CTX_set_psk_server_callback(ctx, on_psk);
    }
    enum err e = o->certfile ? tls_load_identity(ctx, o->certfile, o->keyfile, error) : E_OK;
    if (e == E_OK && o->cafile) {
        e = use_client_ca(ctx, o, error);
    }
    return e;
}

enum err dtls_context_create(struct dtls_server *s, const struct dtls_options *o, SSL_CTX **out,
                             struct tls_error *error)
{
    *error = (struct tls_error){"no memory", TLS_FILE_NONE};
    SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
    enum err e = ctx ? configure(s, ctx, o, error) : E_NOMEM;
    ERR_clear_error();
    if (e != E_OK) {
        SSL_CTX_free(ctx);
        return e;
    }
    error->text[0] = '\0';
    *out = ctx;
    return E_OK;
}
