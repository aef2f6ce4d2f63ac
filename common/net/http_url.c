#include "net/http_url.h"

#include <http_parser.h>
#include <strings.h>

#define HTTP_PORT 80u
#define HTTPS_PORT 443u

static struct bytes field(const char *text, const struct http_parser_url *u, enum http_parser_url_fields which)
{
    bool is_set = u->field_set & (1u << which);
    return is_set ? bytes_make(text + u->field_data[which].off, u->field_data[which].len) : bytes_make(NULL, 0);
}

static uint16_t own_port(bool tls)
{
    return tls ? HTTPS_PORT : HTTP_PORT;
}

/* Taken by hand, because the parser does not tell "/" from "/?". */
static struct bytes target(const char *text)
{
    const char *begin = strstr(text, "://") + 3;
    begin += strcspn(begin, "/?#");
    return bytes_make(begin, strcspn(begin, "#"));
}

enum err http_url_parse(const char *text, struct http_url *out)
{
    struct http_parser_url u;
    size_t len = strlen(text);
    http_parser_url_init(&u);
    if (len > UINT16_MAX || http_parser_parse_url(text, len, 0, &u) != 0) {
        return E_INVALID;
    }
    struct bytes scheme = field(text, &u, UF_SCHEMA);
    struct bytes host = field(text, &u, UF_HOST);
    bool tls = scheme.len == 5;
    if (strncasecmp(text, tls ? "https" : "http", scheme.len) != 0 || scheme.len < 4 || host.len == 0 ||
        host.len >= sizeof(out->host)) {
        return E_INVALID;
    }
    *out = (struct http_url){.tls = tls, .target = target(text), .user = field(text, &u, UF_USERINFO)};
    memcpy(out->host, host.data, host.len);
    out->is_ipv6 = memchr(host.data, ':', host.len) != NULL;
    out->has_port = u.field_set & (1u << UF_PORT);
    out->port = out->has_port ? u.port : own_port(tls);
    return out->port ? E_OK : E_INVALID;
}

enum err http_url_append_host(const struct http_url *url, bool always_port, struct buffer *out)
{
    const char *open = url->is_ipv6 ? "[" : "";
    const char *close = url->is_ipv6 ? "]" : "";
    if (!always_port && url->port == own_port(url->tls)) {
        return buffer_appendf(out, "%s%s%s", open, url->host, close);
    }
    return buffer_appendf(out, "%s%s%s:%u", open, url->host, close, (unsigned)url->port);
}
