/* Reads one HTTP/1 answer at a time (RFC 9112) from bytes as they come, without I/O; libhttp-parser behind this door. Interim answers
 * (1xx) are skipped. Internal to net/. One thread at a time.
 */
#ifndef NET_HTTP_READER_H
#define NET_HTTP_READER_H

#include "base/buffer.h"

struct http_reader;

/* What the answer belongs to decides whether a body follows its header. */
enum http_reader_kind {
    HTTP_READER_BODY,    /* GET and others */
    HTTP_READER_HEAD,    /* HEAD: never a body */
    HTTP_READER_CONNECT, /* to a proxy: ends with the header, whatever the status */
};

/* NULL without memory. */
struct http_reader *http_reader_create(void);
void http_reader_destroy(struct http_reader *r); /* NULL is allowed */

/* Forgets what was read; the next answer may have a body of up to `max_body` bytes. */
void http_reader_start(struct http_reader *r, enum http_reader_kind kind, size_t max_body);

/* E_AGAIN: more is needed. E_OK: the answer is complete; *taken says how many bytes belonged to it. Final are E_PROTOCOL (no valid HTTP,
 * or headers of more than 64 KiB, interim answers and trailers included), E_TOO_LARGE (the body) and E_NOMEM. */
MUST_CHECK enum err http_reader_feed(struct http_reader *r, struct bytes in, size_t *taken);
/* The connection has ended in good order. E_OK: that was the end of the body; else E_RESET. Not after a failure. */
MUST_CHECK enum err http_reader_end(struct http_reader *r);

/* Something has been read since the start. */
bool http_reader_began(const struct http_reader *r);
/* Why it failed, in words; "" before that. */
const char *http_reader_detail(const struct http_reader *r);

/* Of a complete answer, until the next start. */
int http_reader_status(const struct http_reader *r);
struct bytes http_reader_body(const struct http_reader *r);
/* The last header of that name, compared without case; data NULL when there is none. Trailers are none. */
struct bytes http_reader_header(const struct http_reader *r, const char *name);
/* The connection may be used for another request (RFC 9112 section 9.3). */
bool http_reader_keeps_alive(const struct http_reader *r);

#endif
