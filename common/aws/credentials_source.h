/* The sources of credentials, one by one. Internal to credentials. Loop thread. */
#ifndef AWS_CREDENTIALS_SOURCE_H
#define AWS_CREDENTIALS_SOURCE_H

#include "aws/credentials.h"
#include "base/clock.h"
#include "net/http.h"

enum credential_source_id {
    SOURCE_ROLE_ALIAS,
    SOURCE_ENVIRONMENT,
    SOURCE_FILES,
    SOURCE_CONTAINER,
    SOURCE_METADATA,
    SOURCE_COUNT,
};

/* What a source gave. */
struct credential_answer {
    struct aws_keys keys;
    bool temporary;
    int64_t lifetime_ms; /* of temporary ones, from now */
};

/* One question to a source that is asked over HTTP. Called once, unless cancelled. `answer` is the receiver's to take from;
 * valid when e is E_OK. `text` says what the source answered otherwise. */
typedef void credential_done_fn(void *ctx, enum err e, struct credential_answer *answer, const char *text);

struct credential_fetch {
    enum credential_source_id source;
    struct http_client *http;
    struct http_request *request;
    credential_done_fn *done;
    void *ctx;
    char url[512];            /* of the metadata service: without path */
    char metadata_token[512]; /* of IMDSv2 */
    char role[256];
};

/* Sources that answer at once. E_NOT_FOUND: the source is not set up here; E_UNSUPPORTED: it asks for what we do not do, and no
 * later source may be asked in its place. */
MUST_CHECK enum err source_environment(struct credential_answer *out, struct aws_error *error);
MUST_CHECK enum err source_files(const char *profile, struct credential_answer *out, struct aws_error *error);

/* Sources over HTTP: start a question. E_NOT_FOUND as above; other errors with a text; E_OK: done will be called. */
MUST_CHECK enum err source_role_alias(struct credential_fetch *f, const struct credentials_options *o,
                                      struct aws_error *error);
MUST_CHECK enum err source_container(struct credential_fetch *f, struct aws_error *error);
MUST_CHECK enum err source_metadata(struct credential_fetch *f, struct aws_error *error);
void credential_fetch_cancel(struct credential_fetch *f);

/* Whether the container's endpoint may be asked at this address: HTTPS anywhere, HTTP on the machine itself and at the
 * addresses that ECS and EKS use. */
bool container_uri_allowed(const char *uri);

/* The credentials in an answer: of the IoT credential provider, or in the form that containers and instances use. `now` is the
 * server's clock. E_MALFORMED, E_INVALID with a text. */
MUST_CHECK enum err credential_answer_parse(enum credential_source_id source, struct bytes body, struct wall now,
                                            struct credential_answer *out, struct aws_error *error);

#endif
