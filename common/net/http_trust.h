/* The TLS context of an HTTP client: made when it is first needed, and again when one of its files has changed (a renewed certificate
 * needs no restart). Internal to net/. One thread at a time.
 */
#ifndef NET_HTTP_TRUST_H
#define NET_HTTP_TRUST_H

#include "net/http.h"

#include <sys/stat.h>

#define HTTP_TRUST_FILES 3u

struct http_trust {
    char *files[HTTP_TRUST_FILES]; /* certificate, key, CAs; NULL = none */
    struct timespec changed[HTTP_TRUST_FILES];
    struct tls_context *tls; /* NULL = not made yet */
};

/* Copies the names. E_NOMEM: nothing to finish. */
MUST_CHECK enum err http_trust_init(struct http_trust *t, const struct http_client_options *o);
void http_trust_finish(struct http_trust *t);

/* The context, valid until the next call; take a reference to keep it. Errors as in tls_client_create, the context stays what it was. */
MUST_CHECK enum err http_trust_get(struct http_trust *t, struct tls_context **out, struct tls_error *error);

#endif
