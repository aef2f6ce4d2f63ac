/* Requests to DynamoDB over HTTPS: signs them, checks the answers' CRC-32 (x-amz-crc32), corrects our clock by the Date
 * header where AWS refuses a signature for its time, and classifies what went wrong. Retrying is the caller's. All calls
 * and callbacks on the loop's thread. */
#ifndef AWS_DYNAMODB_H
#define AWS_DYNAMODB_H

#include "aws/credentials.h"
#include "aws/dynamodb_answer.h"

struct dynamodb;
struct dynamodb_request;

struct dynamodb_options {
    const char *region;
    const char *endpoint;            /* http(s)://HOST[:PORT][/]; NULL = AWS's own for the region */
    const char *cafile;              /* NULL = AWS_CA_BUNDLE from the environment, or system CAs */
    uint32_t connections;            /* at most this many requests at once, one connection each */
    struct credentials *credentials; /* borrowed, outlives this */
};

MUST_CHECK enum err dynamodb_create(uv_loop_t *loop, const struct dynamodb_options *o, struct dynamodb **out,
                                    struct aws_error *error);
/* Ends every request without its callback, lets go of the loop, frees, then calls on_closed. NULL is allowed. */
void dynamodb_close(struct dynamodb *d, void (*on_closed)(void *ctx), void *ctx);

/* Called exactly once per request, never before dynamodb_call returns, unless it is cancelled. */
typedef void dynamodb_done_fn(void *ctx, const struct dynamodb_answer *answer);

/* Sends `operation` ("BatchWriteItem", "Query") with this JSON body, which must stay until `done`. E_AGAIN: there are no
 * credentials now (credentials' on_ready tells when); E_FULL: too many requests; E_TOO_LARGE: the body. */
MUST_CHECK enum err dynamodb_call(struct dynamodb *d, const char *operation, struct bytes body, uint32_t deadline_ms,
                                  dynamodb_done_fn *done, void *ctx, struct dynamodb_request **out);
/* Stops a request; its callback is not called. */
void dynamodb_cancel(struct dynamodb_request *r);

/* URL of the endpoint. */
const char *dynamodb_endpoint(const struct dynamodb *d);

#endif
