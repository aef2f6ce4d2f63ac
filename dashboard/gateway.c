#include "dashboard/gateway.h"

#include <stdio.h>

enum { URI_MAX = REQUEST_PATH_MAX + REQUEST_QUERY_MAX + 2 };

struct location {
    struct bytes path; /* below the program; encoded */
    struct bytes query;
    bool is_mount; /* the program's own URL without a slash behind it */
};

/* http://HOST/PATH is a valid request line too. */
static struct bytes without_authority(struct bytes uri)
{
    if (!bytes_starts_with(uri, BYTES("http://")) && !bytes_starts_with(uri, BYTES("https://"))) {
        return uri;
    }
    const uint8_t *slashes = memchr(uri.data, '/', uri.len);
    struct bytes rest = bytes_sub(uri, (size_t)(slashes - uri.data) + 2, uri.len);
    const uint8_t *path = rest.len ? memchr(rest.data, '/', rest.len) : NULL;
    return path ? bytes_sub(rest, (size_t)(path - rest.data), rest.len) : BYTES("/");
}

static void from_uri(struct bytes uri, struct bytes script, struct location *out)
{
    uri = without_authority(uri);
    const uint8_t *mark = uri.len ? memchr(uri.data, '?', uri.len) : NULL;
    size_t len = mark ? (size_t)(mark - uri.data) : uri.len;
    out->path = bytes_sub(uri, 0, len);
    out->query = bytes_sub(uri, len + 1, uri.len);
    /* Behind a rewrite rule the script's name is not part of what the browser asked for. */
    if (script.len > 0 && bytes_starts_with(out->path, script)) {
        struct bytes rest = bytes_sub(out->path, script.len, out->path.len);
        if (rest.len == 0) {
            out->is_mount = true;
        } else if (rest.data[0] == '/') {
            out->path = rest;
        }
    }
}

/* PATH_INFO has been decoded: encode what would be decoded again. */
static enum err from_path_info(const struct gateway_variables *v, struct buffer *text, struct location *out)
{
    enum err e = E_OK;
    for (const char *p = v->path_info ? v->path_info : "/"; e == E_OK && *p; p++) {
        e = *p == '%' ? buffer_append_str(text, "%25") : buffer_append_byte(text, (uint8_t)*p);
    }
    out->path = text->len ? buffer_bytes(text) : BYTES("/");
    out->query = bytes_str(v->query_string);
    return e;
}

static enum err redirect(const struct exchange *x, const struct location *l)
{
    char header[REPLY_HEADER_MAX];
    for (size_t i = 0; i < l->path.len; i++) {
        if (l->path.data[i] <= ' ' || l->path.data[i] >= 0x7F) {
            return reply_error(x, 400, "bad-request", "the URL is not well-formed");
        }
    }
    int n = snprintf(header, sizeof(header), "Location: %.*s/", (int)l->path.len, (const char *)l->path.data);
    if (n < 0 || (size_t)n >= sizeof(header)) {
        return reply_error(x, 414, "bad-request", "the URL is too long");
    }
    struct reply r = {.status = 308, .type = "text/plain", .cache = REPLY_REVALIDATE, .header = header};
    return reply_send(x, &r, BYTES(""));
}

static enum err answer(const struct api *api, const struct location *l, const struct exchange *x)
{
    struct request r;
    struct request_error why = {0};
    enum err e = request_parse(l->path, l->query, &r, &why);
    if (l->is_mount && e != E_OK) {
        return redirect(x, l);
    }
    if (e != E_OK) {
        return reply_error(x, why.status, why.status == 404 ? "not-found" : "bad-request", why.text);
    }
    if (!api) {
        return reply_error(x, 500, "not-configured",
                           "The dashboard's configuration cannot be used. " SOURCE_LOG " says why.");
    }
    return api_answer(api, &r, x);
}

enum err gateway_answer(const struct api *api, const struct gateway_variables *v,
                        enum err (*write)(void *ctx, struct bytes data), void *ctx)
{
    struct exchange x = {.if_none_match = v->if_none_match, .write = write, .ctx = ctx};
    struct location l = {.is_mount = false};
    struct buffer text;
    x.is_head = v->method && strcmp(v->method, "HEAD") == 0;
    if (!v->method || (!x.is_head && strcmp(v->method, "GET") != 0)) {
        return reply_error(&x, 405, "method", "Only GET and HEAD: nothing can be changed here.");
    }
    buffer_init(&text, URI_MAX);
    enum err e = E_OK;
    if (v->request_uri) {
        from_uri(bytes_str(v->request_uri), bytes_str(v->script_name), &l);
    } else {
        e = from_path_info(v, &text, &l);
    }
    e = e == E_OK ? answer(api, &l, &x) : reply_error(&x, 414, "bad-request", "the URL is too long");
    buffer_finish(&text);
    return e;
}
