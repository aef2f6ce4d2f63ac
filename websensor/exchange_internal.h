/* Between exchange.c and exchange_answer.c: one request. */
#ifndef WEBSENSOR_EXCHANGE_INTERNAL_H
#define WEBSENSOR_EXCHANGE_INTERNAL_H

#include "websensor/framing.h"
#include "websensor/reply.h"
#include "websensor/server_internal.h"

enum { RETRY_AWAY_S = 5, RETRY_SOON_S = 1 };

/* HEAD --> BODY --published--> AWAITED --takes long--> SUSPENDED
 *            |                    | PUBACK                 | PUBACK
 *            | refused            v                        v
 *            \----------------> ANSWERED <------------- SETTLED
 *
 * A PUBACK that comes while libmicrohttpd is at work makes SETTLED of AWAITED, too. */
enum exchange_state {
    EXCHANGE_HEAD,
    EXCHANGE_BODY,
    EXCHANGE_AWAITED, /* the broker has it, for a short time only: see front_await */
    EXCHANGE_SUSPENDED,
    EXCHANGE_SETTLED, /* is answered when libmicrohttpd asks */
    EXCHANGE_ANSWERED,
};

struct exchange {
    struct delivery_job job; /* first member: on_done gets it */
    struct server *server;
    void *front; /* front_daemon */
    struct MHD_Connection *connection;
    struct conn *conn;
    char *target;
    struct framing framing; /* from BODY on */
    enum exchange_state state;
    bool too_large;
    bool crowded; /* no memory for its body */
    bool gzip;
    size_t excess;
    struct buffer body;
    struct ingest in;
    struct walking_verdict verdict;
    uint64_t suspend_at;     /* of the loop's clock, in ms; AWAITED */
    bool begun;              /* its key stands in the repetition table */
    struct reply_kept *kept; /* NULL: the answer is none of the stock */
};

/* --- exchange_answer.c: each queues an answer, the request is ANSWERED then */

/* An error as JSON. */
enum MHD_Result exchange_refuse(struct exchange *x, int status, const char *reason, struct reply_extra extra);
enum MHD_Result exchange_unavailable(struct exchange *x, const char *reason, unsigned retry_after_s);
/* What the client of this format expects on success. */
enum MHD_Result exchange_accept(struct exchange *x);
/* By the result of the delivery. */
enum MHD_Result exchange_answer_delivery(struct exchange *x);
/* Whether GET and HEAD are all that this path takes. */
bool exchange_only_gets(struct bytes path);
/* GET and HEAD of what is no format's URL. *known is false, and nothing is queued, when there is no such thing. */
enum MHD_Result exchange_answer_get(struct exchange *x, struct bytes path, bool *known);

#endif
