/* Answers: their headers. */
#ifndef WEBSENSOR_REPLY_H
#define WEBSENSOR_REPLY_H

#include "base/bytes.h"
#include "websensor/page.h"

#include <microhttpd.h>

struct reply_extra {
    const char *accept_encoding;
    const char *allow;        /* with 405 */
    const char *authenticate; /* with 401 */
    unsigned retry_after_s;   /* 0 = none */
    bool close;               /* end the connection behind it */
};

/* Queues an answer with a copy of the body. */
enum MHD_Result reply_send(struct MHD_Connection *connection, unsigned status, const char *type, struct bytes body,
                           const struct reply_extra *extra);
/* The answer to most requests, 200 with JSON of always the same length, without building it anew each time: an answer is taken from
 * the stock, its text written, sent once, and put back when libmicrohttpd has done with it. */
enum { REPLY_KEPT_LENGTH = 46 };
struct reply_kept {
    struct reply_kept *next; /* links those in the stock */
    struct MHD_Response *response;
    char text[REPLY_KEPT_LENGTH + 1];
};
struct reply_stock { /* zeroed at first */
    struct reply_kept *first;
    size_t count;
};
/* NULL: no memory. */
struct reply_kept *reply_take(struct reply_stock *s);
enum MHD_Result reply_send_kept(struct MHD_Connection *connection, struct reply_kept *k);
/* NULL is allowed. */
void reply_put_back(struct reply_stock *s, struct reply_kept *k);
void reply_stock_finish(struct reply_stock *s);

/* A file of the page, 200 or 304. */
enum MHD_Result reply_page(struct MHD_Connection *connection, const struct page_file *f, bool close);

/* A header of the request; empty when it is not there. Lives as long as the request. */
struct bytes reply_header(struct MHD_Connection *connection, const char *name);

#endif
