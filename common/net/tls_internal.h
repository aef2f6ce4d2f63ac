/* What the TLS and DTLS code of net/ share (OpenSSL): loading files, and OpenSSL's errors in plain words. Internal to net/. */
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include "net/tls.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>

struct tls_context {
    _Atomic unsigned refs;
    SSL_CTX *ssl;
    /* The newest session of the server that was verified as session_name; on the streams' loop only. */
    SSL_SESSION *session;
    char *session_name;
    bool no_resumption; /* a server broke a resumed handshake: not again */
};

/* OpenSSL's callback of client contexts: keeps a session for resumption (tls_session.c). */
int tls_on_new_session(SSL *ssl, SSL_SESSION *session);

/* Certificate chain and key into ctx, and whether they belong together. */
MUST_CHECK enum err tls_load_identity(SSL_CTX *ctx, const char *certfile, const char *keyfile, struct tls_error *error);
/* Trusted CAs from a file. */
MUST_CHECK enum err tls_load_ca(SSL_CTX *ctx, const char *cafile, struct tls_error *error);

/* Trust in the CAs of the system, which are read when a server's certificate needs them (tls_system.c). */
MUST_CHECK enum err tls_trust_system(SSL_CTX *ctx);

/* Empties OpenSSL's error queue and puts what it says into `text`, in plain words where we have some. `peer` is "server" or
 * "client". Returns E_TLS, or E_REFUSED when the other side sent an alert about our certificate. */
enum err tls_take_error(const char *peer, char *text, size_t size);
/* Why a certificate was not accepted: the X509_V_ERR_* code, at the certificate in question. `wanted` is the name that it should have had. */
void tls_describe_verify(int code, X509 *cert, const char *peer, const char *wanted, char *text, size_t size);
/* The first common name of the subject, or "". */
void tls_common_name(X509 *cert, char *text, size_t size);

#endif
