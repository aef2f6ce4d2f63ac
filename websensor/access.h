/* Who may publish: tokens, loopback, the secret of The Things Stack. Pure, any thread. */
#ifndef WEBSENSOR_ACCESS_H
#define WEBSENSOR_ACCESS_H

#include "websensor/ingest.h"
#include "websensor/tokens.h"

/* Borrowed; what the request does not have is empty. */
struct access_request {
    struct bytes authorization;
    struct bytes webhook_secret; /* X-Webhook-Secret */
    struct bytes origin;
    struct bytes host;
    struct bytes fetch_site; /* Sec-Fetch-Site */
    bool loopback;           /* the client's address, and nothing says that somebody forwards for others */
};

struct access_rules {
    const struct tokens *tokens; /* NULL = none */
    const char *ttn_secret;      /* NULL = none */
    bool allow_anonymous;
};

/* Basic credentials into user and password (replaced); false: something else. */
bool access_basic(struct bytes authorization, struct buffer *user, struct buffer *password);

/* 200, 401 or 403 with *reason. Gives ThingsBoard's messages the topic of their token. */
int access_check(const struct access_rules *rules, const struct access_request *rq, struct ingest *in,
                 const char **reason);

#endif
