/* Answers: their headers. */
#ifndef WEBSENSOR_REPLY_H
#define WEBSENSOR_REPLY_H

#include "base/bytes.h"
#include "websensor/page.h"

#include <microhttpd.h>

struct reply_extra {
    const char *allow;        /* with 405 */
    const char *authenticate; /* with 401 */
    unsigned retry_after_s;   /* 0 = none */
    bool close;               /* end the connection behind it */
};

/* Queues an answer with a copy of the body. */
enum MHD_Result reply_send(struct MHD_Connection *connection, unsigned status, const char *type, struct bytes body,
                           const struct reply_extra *extra);
/* A file of the page, 200 or 304. */
enum MHD_Result reply_page(struct MHD_Connection *connection, const struct page_file *f, bool close);

/* A header of the request; empty when it is not there. Lives as long as the request. */
struct bytes reply_header(struct MHD_Connection *connection, const char *name);

#endif
