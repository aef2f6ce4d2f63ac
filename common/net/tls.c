#include "net/tls_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *tls_error_option(const struct tls_error *error)
{
    switch (error->file) {
    case TLS_FILE_KEY:
        return "keyfile";
    case TLS_FILE_CA:
        return "cafile";
    case TLS_FILE_CERT:
    case TLS_FILE_NONE:
        break;
    }
    return "certfile";
}

static void set_error(struct tls_error *error, enum tls_file kind, const char *file, const char *what)
{
    error->file = kind;
    snprintf(error->text, sizeof(error->text), "%.160s: %.80s", file, what);
}

/* Whether the file can be read: OpenSSL tells a missing file from a broken one only in its error queue. */
static enum err check_file(enum tls_file kind, const char *file, struct tls_error *error)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        enum err e = err_from_errno(errno);
        set_error(error, kind, file, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return e;
    }
    close(fd);
    if (!S_ISREG(st.st_mode)) {
        set_error(error, kind, file, "not a file");
        return E_MALFORMED;
    }
    return E_OK;
}

/* Keys with a pass phrase are not supported; without this OpenSSL would ask on the terminal. */
static int no_pass_phrase(char *text, int size, int writing, void *asked)
{
    (void)text;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return 0;
}

enum err tls_load_identity(SSL_CTX *ctx, const char *certfile, const char *keyfile, struct tls_error *error)
{
    enum err e = check_file(TLS_FILE_CERT, certfile, error);
    if (e == E_OK) {
        e = check_file(TLS_FILE_KEY, keyfile, error);
    }
    if (e != E_OK) {
        return e;
    }
    bool encrypted = false;
    SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &encrypted);
    if (SSL_CTX_use_certificate_chain_file(ctx, certfile) != 1) {
        set_error(error, TLS_FILE_CERT, certfile, "holds no certificate in PEM that can be used");
        e = E_MALFORMED;
    } else if (SSL_CTX_use_PrivateKey_file(ctx, keyfile, SSL_FILETYPE_PEM) != 1) {
        bool mismatch = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH ||
                        ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_TYPE_MISMATCH;
        set_error(error, TLS_FILE_KEY, keyfile,
                  mismatch    ? "does not belong to the certificate"
                  : encrypted ? "is encrypted; a key without pass phrase is needed"
                              : "holds no private key in PEM that can be used");
        e = mismatch ? E_INVALID : E_MALFORMED;
    } else if (SSL_CTX_check_private_key(ctx) != 1) {
        set_error(error, TLS_FILE_KEY, keyfile, "does not belong to the certificate");
        e = E_INVALID;
    }
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    ERR_clear_error();
    return e;
}

enum err tls_load_ca(SSL_CTX *ctx, const char *cafile, struct tls_error *error)
{
    enum err e = check_file(TLS_FILE_CA, cafile, error);
    if (e != E_OK) {
        return e;
    }
    if (SSL_CTX_load_verify_file(ctx, cafile) != 1) {
        set_error(error, TLS_FILE_CA, cafile, "holds no CA certificate in PEM that can be used");
        e = E_MALFORMED;
    }
    ERR_clear_error();
    return e;
}

static enum err set_alpn(SSL_CTX *ctx, const char *name, struct tls_error *error)
{
    uint8_t wire[256];
    size_t len = strlen(name);
    if (len == 0 || len > 255) {
        snprintf(error->text, sizeof(error->text), "ALPN name must have 1 to 255 bytes");
        return E_INVALID;
    }
    wire[0] = (uint8_t)len;
    memcpy(wire + 1, name, len);
    return SSL_CTX_set_alpn_protos(ctx, wire, (unsigned)len + 1) == 0 ? E_OK : E_NOMEM;
}

static enum err configure(SSL_CTX *ctx, const struct tls_options *o, struct tls_error *error)
{
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
        snprintf(error->text, sizeof(error->text), "TLS 1.2 is not available here");
        return E_UNSUPPORTED;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, tls_on_new_session);
    enum err e = E_OK;
    if (o->cafile) {
        e = tls_load_ca(ctx, o->cafile, error);
        /* A CA file that names an intermediate or the server's own certificate means just that. */
        X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    } else {
        e = tls_trust_system(ctx);
    }
    if (e == E_OK && (o->certfile || o->keyfile)) {
        if (!o->certfile || !o->keyfile) {
            snprintf(error->text, sizeof(error->text), "certificate and key are needed together");
            return E_INVALID;
        }
        e = tls_load_identity(ctx, o->certfile, o->keyfile, error);
    }
    if (e == E_OK && o->alpn) {
        e = set_alpn(ctx, o->alpn, error);
    }
    return e;
}

enum err tls_client_create(const struct tls_options *o, struct tls_context **out, struct tls_error *error)
{
    *error = (struct tls_error){"no memory", TLS_FILE_NONE};
    struct tls_context *c = calloc(1, sizeof(*c));
    if (!c) {
        return E_NOMEM;
    }
    enum err e = E_NOMEM;
    c->refs = 1;
    c->ssl = SSL_CTX_new(TLS_client_method());
    if (!c->ssl) {
        ERR_clear_error();
        goto fail;
    }
    e = configure(c->ssl, o, error);
    if (e != E_OK) {
        goto fail;
    }
    error->text[0] = '\0';
    *out = c;
    return E_OK;

fail:
    SSL_CTX_free(c->ssl);
    free(c);
    return e;
}

struct tls_context *tls_ref(struct tls_context *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void tls_unref(struct tls_context *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    SSL_SESSION_free(c->session);
    free(c->session_name);
    SSL_CTX_free(c->ssl);
    free(c);
}
