/* TLS contexts (OpenSSL behind this door). Client contexts always verify chain and host name; there is no switch to
 * turn that off. TLS 1.2 at least. Any thread may create; a context is shared by streams of one loop. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/bytes.h"
#include "base/err.h"

struct tls_context; /* reference counted: a stream keeps the one that it was opened with */

struct tls_options {
    const char *certfile; /* PEM chain, NULL = no client certificate */
    const char *keyfile;  /* PEM, unencrypted */
    const char *cafile;   /* PEM bundle, NULL = system CAs */
    const char *alpn;     /* one protocol name, NULL = no ALPN */
};

/* Which file an error is about. */
enum tls_file { TLS_FILE_NONE, TLS_FILE_CERT, TLS_FILE_KEY, TLS_FILE_CA };

/* What went wrong, in words for the log, naming the file where there is one. */
struct tls_error {
    char text[256];
    enum tls_file file;
};

/* "certfile", "keyfile" or "cafile": what the option behind its prefix is called, in every program. An error about no file is
 * one about the certificate. */
const char *tls_error_option(const struct tls_error *error);

/* Reads the files and checks that key and certificate belong together. E_ACCESS, E_NOT_FOUND, E_MALFORMED, E_INVALID
 * (the pair does not match). Reloading is: create a new one, and on success put it in the place of the old. */
MUST_CHECK enum err tls_client_create(const struct tls_options *o, struct tls_context **out, struct tls_error *error);

struct tls_context *tls_ref(struct tls_context *c);
void tls_unref(struct tls_context *c); /* NULL is allowed */

#endif
