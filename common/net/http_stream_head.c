#include "net/http_stream.h"

#include <strings.h>

#define LINES_MAX 2048u /* what the client adds to URL and headers */

bool http_same_route(const struct http_route *a, const struct http_route *b)
{
    return a->server.port == b->server.port && a->server.tls == b->server.tls && a->proxy.port == b->proxy.port &&
           strcasecmp(a->server.host, b->server.host) == 0 && strcasecmp(a->proxy.host, b->proxy.host) == 0 &&
           strcmp(a->proxy.authorization, b->proxy.authorization) == 0;
}

static enum err append_line(struct buffer *out, const char *name, const char *value)
{
    return buffer_appendf(out, "%s: %s\r\n", name, value);
}

static enum err append_authorization(const struct http_proxy *proxy, struct buffer *out)
{
    return proxy->authorization[0] ? append_line(out, "Proxy-Authorization", proxy->authorization) : E_OK;
}

enum err http_append_connect(const struct http_route *route, const char *user_agent, struct buffer *out)
{
    enum err e = buffer_append_str(out, "CONNECT ");
    e = e ? e : http_url_append_host(&route->server, true, out);
    e = e ? e : buffer_append_str(out, " HTTP/1.1\r\nHost: ");
    e = e ? e : http_url_append_host(&route->server, true, out);
    e = e ? e : buffer_append_str(out, "\r\n");
    e = e ? e : append_authorization(&route->proxy, out);
    e = e ? e : append_line(out, "User-Agent", user_agent);
    return e ? e : buffer_append_str(out, "\r\n");
}

/* RFC 9112 section 3.2: the path, or all of the URL for a proxy. */
static enum err append_request_line(const struct http_url *url, bool absolute, enum http_method method,
                                    struct buffer *out)
{
    static const char *const methods[] = {[HTTP_GET] = "GET ",
                                          [HTTP_HEAD] = "HEAD ",
                                          [HTTP_POST] = "POST ",
                                          [HTTP_PUT] = "PUT ",
                                          [HTTP_DELETE] = "DELETE "};
    bool has_path = url->target.len > 0 && url->target.data[0] == '/';
    enum err e = buffer_append_str(out, methods[method]);
    if (e == E_OK && absolute) {
        e = buffer_append_str(out, "http://");
        e = e ? e : http_url_append_host(url, false, out);
    }
    e = e || has_path ? e : buffer_append_byte(out, '/');
    e = e ? e : buffer_append(out, url->target);
    return e ? e : buffer_append_str(out, " HTTP/1.1\r\n");
}

static enum err append_own_headers(const struct http_request *r, const struct http_url *url,
                                   const struct http_request_options *o, struct buffer *out)
{
    enum err e = E_OK;
    if (!http_gives_header(o, "Host")) {
        e = buffer_append_str(out, "Host: ");
        e = e ? e : http_url_append_host(url, false, out);
        e = e ? e : buffer_append_str(out, "\r\n");
    }
    if (!url->tls) {
        e = e ? e : append_authorization(&r->route.proxy, out);
    }
    if (!http_gives_header(o, "User-Agent")) {
        e = e ? e : append_line(out, "User-Agent", r->client->user_agent);
    }
    if (o->method == HTTP_POST || o->method == HTTP_PUT) {
        e = e ? e : buffer_appendf(out, "Content-Length: %zu\r\n", o->body.len);
    }
    return e;
}

enum err http_request_address(struct http_request *r, const struct http_request_options *o)
{
    struct http_url url;
    const char *variable = NULL;
    enum err e = http_url_parse(o->url, &url);
    if (e != E_OK) {
        return e;
    }
    if (!o->direct) {
        e = http_proxy_find(&url, &r->route.proxy, &variable);
        if (e == E_INVALID || e == E_UNSUPPORTED) {
            r->bad_proxy = variable;
            return E_OK;
        }
    }
    bool is_proxied = r->route.proxy.host[0] != '\0';
    if (!is_proxied || url.tls) {
        r->route.server = url;
    }
    buffer_init(&r->head, HTTP_URL_MAX + HTTP_HEADER_TEXT_MAX + HTTP_HEADERS_MAX + LINES_MAX);
    e = e ? e : append_request_line(&url, is_proxied && !url.tls, o->method, &r->head);
    e = e ? e : append_own_headers(r, &url, o, &r->head);
    for (size_t i = 0; e == E_OK && i < o->header_count; i++) {
        e = append_line(&r->head, o->headers[i].name, o->headers[i].value);
    }
    e = e ? e : buffer_append_str(&r->head, "\r\n");
    return e == E_FULL ? E_INVALID : e;
}
