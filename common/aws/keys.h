/* A set of AWS credentials in memory. Any thread, one at a time. */
#ifndef AWS_KEYS_H
#define AWS_KEYS_H

#include "aws/sigv4.h"

#define AWS_KEY_MAX 256u     /* longest access key id or secret */
#define AWS_TOKEN_MAX 16384u /* longest session token */

/* What is wrong with a source of credentials, in plain words. Never holds a secret. */
struct aws_error {
    char text[320];
};

void aws_error_set(struct aws_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Owned strings. */
struct aws_keys {
    char *access_key;
    char *secret_key;
    char *session_token; /* NULL = none */
};

/* Copies. An empty token means none. E_INVALID with a text: empty, too long, or bytes that no credential has (they go into
 * header lines, so that nothing but visible ASCII is taken). */
MUST_CHECK enum err aws_keys_set(struct aws_keys *keys, struct bytes access_key, struct bytes secret_key,
                                 struct bytes session_token, struct aws_error *error);
/* Wipes and frees. */
void aws_keys_finish(struct aws_keys *keys);
bool aws_keys_equal(const struct aws_keys *a, const struct aws_keys *b);

/* Borrows from keys. */
struct sigv4_identity aws_keys_identity(const struct aws_keys *keys);

#endif
