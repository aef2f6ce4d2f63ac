/* Where AWS credentials come from, and their renewal.
 *
 * The chain is asked in this order, the first source that answers is used: IoT credential provider (a role alias, with the
 * device's certificate), environment, shared credentials and config files, container endpoint (ECS, EKS), instance metadata
 * (IMDSv2). Temporary credentials are renewed from their source at about two thirds of their lifetime, one request at a time;
 * the old ones are given out until they expire; then the whole chain is asked again. How long they live is measured against
 * the source's own clock (its Date header), so that a wrong clock here does no harm.
 *
 * All calls and callbacks on the loop's thread. Environment and files are read again at each renewal.
 */
#ifndef AWS_CREDENTIALS_H
#define AWS_CREDENTIALS_H

#include "aws/keys.h"

#include <uv.h>

struct credentials;

struct credentials_options {
    const char *profile;    /* NULL = AWS_PROFILE or "default" */
    const char *role_alias; /* NULL = no IoT credential provider */
    const char *endpoint;   /* HOST[:PORT] of it */
    const char *certfile;   /* its client identity */
    const char *keyfile;
    const char *cafile; /* NULL = system CAs */
};

struct credentials_events {
    /* Credentials became available or were replaced by others: credentials_get() will succeed. */
    void (*on_ready)(void *ctx);
    /* No source answered; `tried` says what each one said. The chain is asked again by itself. */
    void (*on_failed)(void *ctx, const char *tried);
};

/* Asks the chain for the first time; the outcome comes by callback, never before this returns. Options are copied. Errors: of the
 * certificate files (see http_client_create), with a text. */
MUST_CHECK enum err credentials_create(uv_loop_t *loop, const struct credentials_options *o,
                                       const struct credentials_events *events, void *ctx, struct credentials **out,
                                       struct aws_error *error);

/* Stops, lets go of the loop, frees, then calls on_closed. No other callback comes after this. NULL is allowed. */
void credentials_close(struct credentials *c, void (*on_closed)(void *ctx), void *ctx);

/* The credentials to sign with now; borrowed until the loop's next turn. E_AGAIN: there are none, on_ready will come. */
MUST_CHECK enum err credentials_get(struct credentials *c, struct sigv4_identity *out);

/* AWS refused these (expired, unknown): asks their source for new ones at once, unless that was done a moment ago. True if that
 * can help: the source is one that can give others. */
bool credentials_refused(struct credentials *c);

/* New options: reads the certificate files again and asks the chain anew; what is held stays in use meanwhile. On error
 * everything stays as it is. */
MUST_CHECK enum err credentials_reload(struct credentials *c, const struct credentials_options *o,
                                       struct aws_error *error);

/* Name of the source in use ("iot-role-alias", "environment", "shared-files", "container", "instance-metadata"), "none". */
const char *credentials_source(const struct credentials *c);

#endif
