#include "net/http_reader.h"

#include <http_parser.h> /* has an enum http_method of its own: not together with net/http.h */
#include <stdlib.h>
#include <strings.h>

#define HEADERS_MAX 65536u    /* bytes, names and values with what stands between */
#define SPARE_BODY_MAX 65536u /* memory that is kept for the next answer */

struct http_reader {
    struct http_parser parser;
    enum http_reader_kind kind;
    struct buffer headers; /* of the last answer begun: name, NUL, value, NUL, and so on */
    size_t header_bytes;   /* of all answers since the start */
    struct buffer body;
    bool in_value;     /* the parser is in a header's value */
    bool headers_done; /* what comes now are trailers */
    bool began;
    bool complete;
    bool keeps_alive;
    enum err failure;
    const char *detail;
};

static int fail(struct http_reader *r, enum err e, const char *detail)
{
    r->failure = e;
    r->detail = detail;
    return 1;
}

static int count_header(struct http_reader *r, size_t len)
{
    r->header_bytes += len;
    return r->header_bytes > HEADERS_MAX ? fail(r, E_PROTOCOL, "too many headers") : 0;
}

static int append_header(struct http_reader *r, const void *data, size_t len)
{
    enum err e = r->headers_done ? E_OK : buffer_append(&r->headers, bytes_make(data, len));
    return e == E_OK ? 0 : fail(r, e == E_NOMEM ? e : E_PROTOCOL, e == E_NOMEM ? "no memory" : "too many headers");
}

/* --- callbacks of the parser; anything but 0 ends it --- */

static int on_begin(struct http_parser *p)
{
    struct http_reader *r = p->data;
    buffer_clear(&r->headers);
    r->in_value = false;
    r->headers_done = false;
    return 0;
}

static int on_status(struct http_parser *p, const char *at, size_t len)
{
    (void)at;
    return count_header(p->data, len);
}

static int on_field(struct http_parser *p, const char *at, size_t len)
{
    struct http_reader *r = p->data;
    int rc = count_header(r, len);
    if (rc == 0 && r->in_value) {
        r->in_value = false;
        rc = append_header(r, "", 1);
    }
    return rc ? rc : append_header(r, at, len);
}

static int on_value(struct http_parser *p, const char *at, size_t len)
{
    struct http_reader *r = p->data;
    int rc = count_header(r, len);
    if (rc == 0 && !r->in_value) {
        r->in_value = true;
        rc = count_header(r, sizeof(": \r\n") - 1);
        rc = rc ? rc : append_header(r, "", 1);
    }
    return rc ? rc : append_header(r, at, len);
}

static bool is_interim(const struct http_parser *p)
{
    return p->status_code < 200;
}

static int on_headers_complete(struct http_parser *p)
{
    struct http_reader *r = p->data;
    if (r->in_value && append_header(r, "", 1) != 0) {
        return -1;
    }
    r->in_value = false;
    r->headers_done = true;
    if (p->status_code < 100 || p->status_code == 101) {
        fail(r, E_PROTOCOL, "a status that nobody asked for");
        return -1;
    }
    /* RFC 9112 section 6.3: these have none, whatever their header says. */
    bool no_body = r->kind != HTTP_READER_BODY || is_interim(p) || p->status_code == 204 || p->status_code == 304;
    if (!no_body && p->flags & F_CONTENTLENGTH && p->content_length > r->body.max) {
        fail(r, E_TOO_LARGE, "the answer is too large");
        return -1;
    }
    return no_body ? 1 : 0;
}

static int on_body(struct http_parser *p, const char *at, size_t len)
{
    struct http_reader *r = p->data;
    enum err e = buffer_append(&r->body, bytes_make(at, len));
    if (e == E_OK) {
        return 0;
    }
    return e == E_FULL ? fail(r, E_TOO_LARGE, "the answer is too large") : fail(r, e, "no memory");
}

static int on_complete(struct http_parser *p)
{
    struct http_reader *r = p->data;
    if (!is_interim(p)) {
        r->complete = true;
        r->keeps_alive = http_should_keep_alive(p);
        http_parser_pause(p, 1);
    }
    return 0;
}

static const struct http_parser_settings settings = {
    .on_message_begin = on_begin,
    .on_status = on_status,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

/* --- */

struct http_reader *http_reader_create(void)
{
    struct http_reader *r = calloc(1, sizeof(*r));
    if (r) {
        buffer_init(&r->headers, HEADERS_MAX);
        http_reader_start(r, HTTP_READER_BODY, 0);
    }
    return r;
}

void http_reader_destroy(struct http_reader *r)
{
    if (r) {
        buffer_finish(&r->headers);
        buffer_finish(&r->body);
        free(r);
    }
}

void http_reader_start(struct http_reader *r, enum http_reader_kind kind, size_t max_body)
{
    http_parser_init(&r->parser, HTTP_RESPONSE);
    r->parser.data = r;
    r->kind = kind;
    if (r->body.cap > SPARE_BODY_MAX || r->body.cap > max_body) {
        buffer_finish(&r->body);
    }
    buffer_clear(&r->body);
    buffer_clear(&r->headers);
    r->body.max = max_body;
    r->header_bytes = 0;
    r->in_value = r->headers_done = r->began = r->complete = r->keeps_alive = false;
    r->failure = E_OK;
    r->detail = "";
}

enum err http_reader_feed(struct http_reader *r, struct bytes in, size_t *taken)
{
    *taken = 0;
    if (r->failure != E_OK || in.len == 0) {
        return r->failure ? r->failure : E_AGAIN;
    }
    r->began = true;
    size_t n = http_parser_execute(&r->parser, &settings, (const char *)in.data, in.len);
    if (r->failure == E_OK && r->complete) {
        *taken = n;
        return E_OK;
    }
    if (r->failure == E_OK && HTTP_PARSER_ERRNO(&r->parser) != HPE_OK) {
        (void)fail(r, E_PROTOCOL, http_errno_description(HTTP_PARSER_ERRNO(&r->parser)));
    }
    return r->failure ? r->failure : E_AGAIN;
}

enum err http_reader_end(struct http_reader *r)
{
    if (r->began && r->failure == E_OK) {
        (void)http_parser_execute(&r->parser, &settings, NULL, 0);
        r->keeps_alive = false;
    }
    if (r->complete && r->failure == E_OK) {
        return E_OK;
    }
    (void)fail(r, E_RESET,
               r->began ? "the server closed the connection in the answer"
                        : "the server closed the connection without an answer");
    return E_RESET;
}

bool http_reader_began(const struct http_reader *r)
{
    return r->began;
}

const char *http_reader_detail(const struct http_reader *r)
{
    return r->detail;
}

int http_reader_status(const struct http_reader *r)
{
    return (int)r->parser.status_code;
}

struct bytes http_reader_body(const struct http_reader *r)
{
    return buffer_bytes(&r->body);
}

/* The text at *at, up to its NUL. */
static struct bytes next_text(const struct buffer *b, size_t *at)
{
    struct bytes text = bytes_sub(buffer_bytes(b), *at, b->len);
    text.len = strnlen((const char *)text.data, text.len);
    *at += text.len + 1;
    return text;
}

struct bytes http_reader_header(const struct http_reader *r, const char *name)
{
    struct bytes found = {NULL, 0};
    for (size_t at = 0; at < r->headers.len;) {
        struct bytes field = next_text(&r->headers, &at);
        struct bytes value = next_text(&r->headers, &at);
        if (field.len == strlen(name) && strncasecmp((const char *)field.data, name, field.len) == 0) {
            found = value;
        }
    }
    while (found.len > 0 && (found.data[found.len - 1] == ' ' || found.data[found.len - 1] == '\t')) {
        found.len--;
    }
    return found;
}

bool http_reader_keeps_alive(const struct http_reader *r)
{
    return r->keeps_alive;
}
