#include "websensor/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { STOCK_MAX = 512 };

struct header {
    const char *name;
    const char *value;
};

static const struct header api_headers[] = {
    {"Cache-Control", "no-store"},
    {"X-Content-Type-Options", "nosniff"},
    {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
};

static const struct header page_headers[] = {
    {"Cache-Control", "no-cache"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Permissions-Policy", "accelerometer=(self), gyroscope=(self), screen-wake-lock=(self), camera=(), microphone=(), "
                           "geolocation=()"},
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
     "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
};

struct bytes reply_header(struct MHD_Connection *connection, const char *name)
{
    const char *value;
    size_t len;
    if (MHD_lookup_connection_value_n(connection, MHD_HEADER_KIND, name, strlen(name), &value, &len) != MHD_YES) {
        return (struct bytes){0};
    }
    return bytes_make(value, len);
}

static void add_headers(struct MHD_Response *r, const struct header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)MHD_add_response_header(r, headers[i].name, headers[i].value);
    }
}

static enum MHD_Result queue(struct MHD_Connection *connection, unsigned status, struct MHD_Response *r)
{
    enum MHD_Result result = MHD_queue_response(connection, status, r);
    MHD_destroy_response(r);
    return result;
}

static struct MHD_Response *api_response(struct bytes body, enum MHD_ResponseMemoryMode mode, const char *type)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.data, mode);
    if (r && type) {
        (void)MHD_add_response_header(r, "Content-Type", type);
    }
    if (r) {
        add_headers(r, api_headers, sizeof(api_headers) / sizeof(api_headers[0]));
    }
    return r;
}

enum MHD_Result reply_send(struct MHD_Connection *connection, unsigned status, const char *type, struct bytes body,
                           const struct reply_extra *extra)
{
    struct MHD_Response *r = api_response(body, MHD_RESPMEM_MUST_COPY, type);
    char seconds[16];
    if (!r) {
        return MHD_NO;
    }
    if (extra && extra->accept_encoding) {
        (void)MHD_add_response_header(r, "Accept-Encoding", extra->accept_encoding);
    }
    if (extra && extra->allow) {
        (void)MHD_add_response_header(r, "Allow", extra->allow);
    }
    if (extra && extra->authenticate) {
        (void)MHD_add_response_header(r, "WWW-Authenticate", extra->authenticate);
    }
    if (extra && extra->retry_after_s) {
        snprintf(seconds, sizeof(seconds), "%u", extra->retry_after_s);
        (void)MHD_add_response_header(r, "Retry-After", seconds);
    }
    if (extra && extra->close) {
        (void)MHD_add_response_header(r, "Connection", "close");
    }
    return queue(connection, status, r);
}

struct reply_kept *reply_take(struct reply_stock *s)
{
    struct reply_kept *k = s->first;
    if (k) {
        s->first = k->next;
        s->count--;
        return k;
    }
    k = calloc(1, sizeof(*k));
    if (k) {
        k->response = api_response(bytes_make(k->text, REPLY_KEPT_LENGTH), MHD_RESPMEM_PERSISTENT, "application/json");
    }
    if (k && !k->response) {
        free(k);
        k = NULL;
    }
    return k;
}

enum MHD_Result reply_send_kept(struct MHD_Connection *connection, struct reply_kept *k)
{
    return MHD_queue_response(connection, 200, k->response);
}

static void destroy_kept(struct reply_kept *k)
{
    MHD_destroy_response(k->response);
    free(k);
}

void reply_put_back(struct reply_stock *s, struct reply_kept *k)
{
    if (k && s->count >= STOCK_MAX) {
        destroy_kept(k);
    } else if (k) {
        k->next = s->first;
        s->first = k;
        s->count++;
    }
}

void reply_stock_finish(struct reply_stock *s)
{
    while (s->first) {
        struct reply_kept *next = s->first->next;
        destroy_kept(s->first);
        s->first = next;
    }
    s->count = 0;
}

static bool takes_gzip(struct MHD_Connection *connection)
{
    struct bytes accepted = reply_header(connection, "Accept-Encoding");
    for (size_t i = 0; i + 4 <= accepted.len; i++) {
        if (strncasecmp((const char *)accepted.data + i, "gzip", 4) == 0) {
            struct bytes rest = bytes_sub(accepted, i + 4, 6);
            return !bytes_starts_with(rest, BYTES(";q=0")) || bytes_starts_with(rest, BYTES(";q=0."));
        }
    }
    return false;
}

enum MHD_Result reply_page(struct MHD_Connection *connection, const struct page_file *f, bool close)
{
    bool same = page_not_modified(f, reply_header(connection, "If-None-Match"));
    bool gzip = f->gzip && takes_gzip(connection);
    const uint8_t *data = same ? NULL : gzip ? f->gzip : f->data;
    size_t len = same ? 0 : gzip ? f->gzip_len : f->len;
    struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)(uintptr_t)data, MHD_RESPMEM_PERSISTENT);
    if (!r) {
        return MHD_NO;
    }
    add_headers(r, page_headers, sizeof(page_headers) / sizeof(page_headers[0]));
    (void)MHD_add_response_header(r, "ETag", f->etag);
    (void)MHD_add_response_header(r, "Vary", "Accept-Encoding");
    if (!same) {
        (void)MHD_add_response_header(r, "Content-Type", f->type);
    }
    if (gzip && !same) {
        (void)MHD_add_response_header(r, "Content-Encoding", "gzip");
    }
    if (close) {
        (void)MHD_add_response_header(r, "Connection", "close");
    }
    return queue(connection, same ? 304 : 200, r);
}
