/* Requests to DynamoDB that are waited for: credentials chain, retries with backoff and kept-alive connections on a loop of our own
 * that runs only during a call. One thread at a time. */
#ifndef DASHBOARD_DYNAMODB_CALLS_H
#define DASHBOARD_DYNAMODB_CALLS_H

#include "aws/dynamodb.h"
#include "base/backoff.h"
#include "dashboard/source.h"

struct dynamodb_calls;

/* One request; init, fill in operation and body, run, look at answer, finish. */
struct dynamodb_call {
    const char *operation;
    struct buffer body;
    struct buffer answer; /* JSON, when it was successful */

    /* The runner's. */
    struct dynamodb_calls *owner;
    struct dynamodb_request *request; /* under way */
    bool done;
    struct backoff backoff;
    struct mono hold; /* not before */
    struct source_error error;
    bool failed;
    bool waits_for_credentials;
};

void dynamodb_call_init(struct dynamodb_call *c, const char *operation);
void dynamodb_call_finish(struct dynamodb_call *c);

/* E_INVALID with a text that names the option; E_NOMEM. */
MUST_CHECK enum err dynamodb_calls_create(const struct dashboard_config *c, struct dynamodb_calls **out,
                                          struct option_error *error);
void dynamodb_calls_destroy(struct dynamodb_calls *calls); /* NULL is allowed */

/* Runs all of them side by side until each has its answer. false: at least one has not, `error` says why; all are at rest. What may
 * help is tried again until `deadline`. */
MUST_CHECK bool dynamodb_calls_run(struct dynamodb_calls *calls, struct dynamodb_call *list, size_t count,
                                   struct mono deadline, struct source_error *error);

#endif
