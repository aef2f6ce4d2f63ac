/* AWS Signature Version 4 ("AWS Signature Version 4 for API requests", IAM User Guide): a pure function from request,
 * identity and time to an Authorization header. The signing key, which changes once a day, is cached in the scope. OpenSSL's digests
 * stay behind this door. A scope belongs to one thread at a time; everything else may be called from any thread. */
#ifndef AWS_SIGV4_H
#define AWS_SIGV4_H

#include "base/buffer.h"
#include "base/clock.h"

#define SIGV4_DATE_SIZE 17       /* "20150830T123600Z" and NUL */
#define SIGV4_HASH_HEX_SIZE 65   /* SHA-256 in lower-case hex, and NUL */
#define SIGV4_HEADERS_MAX 32u    /* headers of a request, those that signing adds included */
#define SIGV4_PARAMETERS_MAX 64u /* parameters of a query string */
#define SIGV4_TEXT_MAX 65536u    /* ceiling for canonical request and query string */

/* Who signs. Borrowed. session_token may be empty (long-lived keys). */
struct sigv4_identity {
    struct bytes access_key;
    struct bytes secret_key;
    struct bytes session_token;
};

/* Region and service of the signatures, with the signing key of the last day and secret seen. */
struct sigv4_scope {
    char region[64];
    char service[64];
    bool cached;
    char day[9];
    uint8_t secret_digest[32];
    uint8_t key[32];
};

struct sigv4_header {
    struct bytes name;  /* any case */
    struct bytes value; /* runs of white space count as one space */
};

/* What is signed. Borrowed. */
struct sigv4_request {
    struct bytes method;
    struct bytes path;  /* as it stands on the wire (percent-encoded where needed), without the query string */
    struct bytes query; /* as on the wire, without '?'; may be empty */
    bool keep_path;     /* do not resolve "." and ".." and repeated slashes (S3); false for every other service */
    /* Headers that are signed: "host", "content-type", every "x-amz-*" - all but those that signing adds (x-amz-date,
     * x-amz-security-token). Repeated names are joined in the order given. */
    const struct sigv4_header *headers;
    size_t header_count;
    const char *payload_hash; /* sigv4_hash() of the body, or "UNSIGNED-PAYLOAD" */
};

/* Results of signing: send `date` as X-Amz-Date, the identity's session token (if any) as X-Amz-Security-Token,
 * `authorization` as Authorization. */
struct sigv4_signed {
    char date[SIGV4_DATE_SIZE];
    struct buffer authorization; /* owned; NUL-terminated text, the NUL is not counted in len */
};

/* E_INVALID: region or service is empty, too long or holds a '/'. */
MUST_CHECK enum err sigv4_scope_init(struct sigv4_scope *s, const char *region, const char *service);
/* Wipes the cached key. */
void sigv4_scope_finish(struct sigv4_scope *s);

/* SHA-256 of a body in lower-case hex. E_NOMEM. */
MUST_CHECK enum err sigv4_hash(struct bytes body, char out[static SIGV4_HASH_HEX_SIZE]);

void sigv4_signed_init(struct sigv4_signed *out);
void sigv4_signed_finish(struct sigv4_signed *out);

/* Signs. `out` is initialised and may be reused for any number of requests. E_TOO_LARGE over the
 * ceilings above, E_MALFORMED for a path that does not begin with '/', E_NOMEM. */
MUST_CHECK enum err sigv4_sign_headers(struct sigv4_scope *s, const struct sigv4_identity *identity,
                                       const struct sigv4_request *r, struct wall now, struct sigv4_signed *out);

/* The two steps before the signature, for tests and for logs of what was signed: appends the canonical request; and the
 * string to sign made of a canonical request. */
MUST_CHECK enum err sigv4_canonical_request(const struct sigv4_identity *identity, const struct sigv4_request *r,
                                            struct wall now, struct buffer *out);
MUST_CHECK enum err sigv4_string_to_sign(const struct sigv4_scope *s, struct bytes canonical_request, struct wall now,
                                         struct buffer *out);

#endif
