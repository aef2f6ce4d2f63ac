/* One request as the web server hands it over, and the answer to it (RFC 3875, CGI/1.1: header lines, an empty line, the body).
 * The same over CGI and FastCGI: bytes go out through `write`. One thread at a time. */
#ifndef DASHBOARD_REPLY_H
#define DASHBOARD_REPLY_H

#include "base/buffer.h"
#include "dashboard/source.h"

struct exchange {
    bool is_head;              /* HEAD: everything but the body */
    const char *if_none_match; /* NULL = none */
    /* Sends; anything but E_OK means that nobody listens any more. */
    enum err (*write)(void *ctx, struct bytes data);
    void *ctx;
};

/* How long the answer may be kept. */
enum reply_cache {
    REPLY_REVALIDATE, /* kept, and asked for again with its ETag */
    REPLY_FOR_A_DAY,
    REPLY_FOR_EVER, /* its URL changes with its content */
    REPLY_NEVER,
};

#define REPLY_HEADER_MAX 9000u

struct reply {
    int status;
    const char *type; /* media type */
    enum reply_cache cache;
    int retry_after_s;  /* 0 = none */
    const char *header; /* one more line without its end, at most REPLY_HEADER_MAX bytes; or NULL */
    bool is_page;       /* HTML: the policy of what the page may load goes with it */
};

/* Sends head and body; with an ETag made from the body, and 304 instead when the browser has it already (status 200 that may
 * be kept). */
MUST_CHECK enum err reply_send(const struct exchange *x, const struct reply *r, struct bytes body);
/* Sends the head alone; the body follows in pieces through x->write. */
MUST_CHECK enum err reply_head(const struct exchange *x, const struct reply *r);

/* {"error":TEXT,"code":CODE}: why there is no better answer. */
MUST_CHECK enum err reply_error(const struct exchange *x, int status, const char *code, const char *text);
MUST_CHECK enum err reply_fault(const struct exchange *x, enum source_fault fault);

#endif
