#include "net/tls_session.h"

#include "net/tls_internal.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct tls_session {
    struct tls_context *context;
    SSL *ssl;
    struct bytes *in;    /* during a call */
    struct buffer *wire; /* during a call */
    bool resuming;
    bool verify_failed;
    char *name;
    char security[80];
    char detail[256];
};

/* --- the BIO: reads what came in, appends to the wire --- */

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int bio_read(BIO *bio, char *out, size_t size, size_t *len)
{
    struct tls_session *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!t->in || t->in->len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *len = size < t->in->len ? size : t->in->len;
    memcpy(out, t->in->data, *len);
    *t->in = bytes_sub(*t->in, *len, t->in->len);
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t size, size_t *len)
{
    struct tls_session *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!t->wire || buffer_append(t->wire, bytes_make(data, size)) != E_OK) {
        return 0; /* no memory, or a peer that makes us answer without end: the session fails */
    }
    *len = size;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* --- sessions for resumption --- */

int tls_on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_session *t = SSL_get_app_data(ssl);
    struct tls_context *c = t->context;
    if (c->no_resumption || !SSL_SESSION_is_resumable(session)) {
        return 0;
    }
    if (!c->session_name || strcmp(c->session_name, t->name) != 0) {
        char *name = strdup(t->name);
        if (!name) {
            return 0;
        }
        free(c->session_name);
        c->session_name = name;
    }
    SSL_SESSION_free(c->session);
    c->session = session; /* the reference is ours now */
    return 1;
}

/* A session is offered only to the name that it was verified for: resumption does not look at certificates. */
static void offer_session(struct tls_session *t)
{
    struct tls_context *c = t->context;
    if (c->session && strcmp(c->session_name, t->name) == 0) {
        t->resuming = SSL_set_session(t->ssl, c->session) == 1;
    }
}

static void drop_session(struct tls_session *t)
{
    struct tls_context *c = t->context;
    if (t->resuming) {
        SSL_SESSION_free(c->session);
        c->session = NULL;
        c->no_resumption = true;
    }
}

/* --- */

static void init_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    if (m) {
        BIO_meth_set_read_ex(m, bio_read);
        BIO_meth_set_write_ex(m, bio_write);
        BIO_meth_set_ctrl(m, bio_ctrl);
        BIO_meth_set_create(m, bio_create);
    }
    method = m;
}

static int on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *t = SSL_get_app_data(ssl);
    if (!ok && !t->verify_failed) {
        t->verify_failed = true;
        tls_describe_verify(X509_STORE_CTX_get_error(store), X509_STORE_CTX_get_current_cert(store), "server", t->name,
                            t->detail, sizeof(t->detail));
    }
    return ok;
}

/* What the server must be: an address, or a host name (then told by SNI too, RFC 6066 section 3). */
static bool expect_server(struct tls_session *t)
{
    struct in6_addr address;
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    if (inet_pton(AF_INET, t->name, &address) == 1 || inet_pton(AF_INET6, t->name, &address) == 1) {
        return X509_VERIFY_PARAM_set1_ip_asc(param, t->name) == 1;
    }
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, t->name, 0) == 1 && SSL_set_tlsext_host_name(t->ssl, t->name) == 1;
}

/* The name as certificates have it: without the root's dot, without a scope ("fe80::1%eth0"). */
static char *clean_name(const char *name)
{
    size_t len = strcspn(name, "%");
    if (len > 1 && name[len - 1] == '.') {
        len--;
    }
    return bytes_dup_str(bytes_make(name, len));
}

enum err tls_session_create(struct tls_context *context, const char *server_name, struct tls_session **out)
{
    pthread_once(&method_once, init_method);
    struct tls_session *t = calloc(1, sizeof(*t));
    if (!t) {
        return E_NOMEM;
    }
    t->context = tls_ref(context);
    t->name = clean_name(server_name);
    t->ssl = SSL_new(context->ssl);
    BIO *bio = method ? BIO_new(method) : NULL;
    if (!t->name || !t->ssl || !bio) {
        BIO_free(bio);
        goto fail;
    }
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    SSL_set_verify(t->ssl, SSL_VERIFY_PEER, on_verify);
    SSL_set_connect_state(t->ssl);
    if (!expect_server(t)) {
        goto fail;
    }
    offer_session(t);
    *out = t;
    return E_OK;

fail:
    ERR_clear_error();
    tls_session_destroy(t);
    return E_NOMEM;
}

void tls_session_destroy(struct tls_session *t)
{
    if (!t) {
        return;
    }
    SSL_free(t->ssl);
    tls_unref(t->context);
    free(t->name);
    free(t);
}

static void enter(struct tls_session *t, struct bytes *in, struct buffer *wire)
{
    if (ERR_peek_error() != 0) { /* of others on this thread; clearing an empty queue takes longer than looking */
        ERR_clear_error();
    }
    t->in = in;
    t->wire = wire;
}

static enum err leave(struct tls_session *t, int result)
{
    int what = result > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, result);
    t->in = NULL;
    t->wire = NULL;
    switch (what) {
    case SSL_ERROR_NONE:
        return E_OK;
    case SSL_ERROR_WANT_READ:
        return E_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return E_CLOSED;
    default:
        break;
    }
    if (t->verify_failed) {
        ERR_clear_error();
        return E_TLS_VERIFY;
    }
    return tls_take_error("server", t->detail, sizeof(t->detail));
}

enum err tls_session_handshake(struct tls_session *t, struct bytes *in, struct buffer *wire)
{
    enter(t, in, wire);
    enum err e = leave(t, SSL_do_handshake(t->ssl));
    if (e != E_OK && e != E_AGAIN) {
        drop_session(t);
    }
    return e;
}

enum err tls_session_read(struct tls_session *t, struct bytes *in, struct buffer *wire, uint8_t *out, size_t max,
                          size_t *len)
{
    size_t total = 0;
    enum err e = E_OK;
    enter(t, in, wire);
    while (total < max) {
        size_t n = 0;
        int result = SSL_read_ex(t->ssl, out + total, max - total, &n);
        if (result <= 0) {
            e = leave(t, result);
            break;
        }
        total += n;
    }
    t->in = NULL;
    t->wire = NULL;
    *len = total;
    return e;
}

enum err tls_session_write(struct tls_session *t, struct bytes data, struct buffer *wire)
{
    size_t n = 0;
    enter(t, NULL, wire);
    enum err e = leave(t, SSL_write_ex(t->ssl, data.data, data.len, &n));
    return e == E_AGAIN || (e == E_OK && n != data.len) ? E_TLS : e;
}

void tls_session_shutdown(struct tls_session *t, struct buffer *wire)
{
    enter(t, NULL, wire);
    (void)SSL_shutdown(t->ssl); /* one-way: the answer is not waited for */
    ERR_clear_error();
    t->wire = NULL;
}

const char *tls_session_detail(const struct tls_session *t)
{
    return t->detail;
}

const char *tls_session_security(struct tls_session *t)
{
    snprintf(t->security, sizeof(t->security), "%s %s%s", SSL_get_version(t->ssl), SSL_get_cipher_name(t->ssl),
             SSL_session_reused(t->ssl) ? " resumed" : "");
    return t->security;
}
