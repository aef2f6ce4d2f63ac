#include "net/http_proxy.h"

#include "base/base64.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define PROXY_PORT 1080u
#define PROXY_URL_MAX 1024u
#define BLANKS_AND_COMMA ", \t"

/* The first of the variables that is set, if only to nothing: that means no proxy. */
static const char *first_set(const char *const *names, const char **name)
{
    for (; *names; names++) {
        const char *value = getenv(*names);
        if (value) {
            *name = *names;
            return value;
        }
    }
    return NULL;
}

/* --- no_proxy --- */

static bool is_below(struct bytes name, struct bytes domain)
{
    while (domain.len > 0 && domain.data[0] == '.') {
        domain = bytes_sub(domain, 1, domain.len);
    }
    while (domain.len > 0 && domain.data[domain.len - 1] == '.') {
        domain.len--;
    }
    if (domain.len == 0 || domain.len > name.len) {
        return false;
    }
    struct bytes end = bytes_sub(name, name.len - domain.len, domain.len);
    return strncasecmp((const char *)end.data, (const char *)domain.data, domain.len) == 0 &&
           (end.len == name.len || end.data[-1] == '.');
}

struct address {
    int family;
    size_t bits;
    uint8_t bytes[16];
};

static bool parse_address(struct bytes text, struct address *out)
{
    char copy[INET6_ADDRSTRLEN + 1];
    bool brackets = text.len > 2 && text.data[0] == '[' && text.data[text.len - 1] == ']';
    struct bytes bare = brackets ? bytes_sub(text, 1, text.len - 2) : text;
    if (bare.len >= sizeof(copy)) {
        return false;
    }
    snprintf(copy, sizeof(copy), "%.*s", (int)bare.len, (const char *)bare.data);
    out->family = strchr(copy, ':') ? AF_INET6 : AF_INET;
    out->bits = out->family == AF_INET6 ? 128 : 32;
    return inet_pton(out->family, copy, out->bytes) == 1;
}

static bool in_network(const struct address *a, struct bytes network)
{
    struct address n;
    const uint8_t *slash = memchr(network.data, '/', network.len);
    size_t address_len = slash ? (size_t)(slash - network.data) : network.len;
    if (!parse_address(bytes_sub(network, 0, address_len), &n) || n.family != a->family) {
        return false;
    }
    size_t bits = n.bits;
    if (slash) {
        bits = 0;
        for (size_t i = address_len + 1; i < network.len; i++) {
            if (network.data[i] < '0' || network.data[i] > '9' || bits > n.bits) {
                return false;
            }
            bits = bits * 10 + (size_t)(network.data[i] - '0');
        }
        if (bits == 0 || bits > n.bits) {
            return false;
        }
    }
    uint8_t rest = (uint8_t)(0xff00u >> (bits % 8));
    return memcmp(a->bytes, n.bytes, bits / 8) == 0 &&
           (bits % 8 == 0 || ((a->bytes[bits / 8] ^ n.bytes[bits / 8]) & rest) == 0);
}

static bool is_excepted(const char *host)
{
    static const char *const names[] = {"no_proxy", "NO_PROXY", NULL};
    const char *name = NULL;
    const char *list = first_set(names, &name);
    struct address address;
    struct bytes wanted = bytes_str(host);
    bool is_address = parse_address(wanted, &address);
    if (list && strcmp(list, "*") == 0) {
        return true;
    }
    if (wanted.len > 1 && wanted.data[wanted.len - 1] == '.') {
        wanted.len--;
    }
    while (list && *list) {
        list += strspn(list, BLANKS_AND_COMMA);
        struct bytes entry = bytes_make(list, strcspn(list, BLANKS_AND_COMMA));
        if (entry.len > 0 && (is_address ? in_network(&address, entry) : is_below(wanted, entry))) {
            return true;
        }
        list += entry.len;
    }
    return false;
}

/* --- the proxy --- */

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static enum err unescape(struct bytes in, struct buffer *out)
{
    enum err e = E_OK;
    for (size_t i = 0; e == E_OK && i < in.len; i++) {
        int high = in.data[i] == '%' && i + 2 < in.len ? hex_digit(in.data[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(in.data[i + 2]) : -1;
        e = buffer_append_byte(out, low >= 0 ? (uint8_t)(high * 16 + low) : in.data[i]);
        i += low >= 0 ? 2 : 0;
    }
    return e;
}

/* RFC 7617. */
static enum err set_authorization(struct http_proxy *proxy, struct bytes user)
{
    struct buffer plain;
    struct buffer text;
    buffer_init(&plain, sizeof(proxy->authorization));
    buffer_init(&text, sizeof(proxy->authorization));
    enum err e = unescape(user, &plain);
    if (e == E_OK && !memchr(user.data, ':', user.len)) {
        e = buffer_append_byte(&plain, ':');
    }
    e = e ? e : buffer_append_str(&text, "Basic ");
    e = e ? e : base64_encode(buffer_bytes(&plain), &text);
    e = e ? e : buffer_append_byte(&text, 0);
    if (e == E_OK) {
        memcpy(proxy->authorization, text.data, text.len);
    }
    buffer_finish(&plain);
    buffer_finish(&text);
    return e == E_FULL ? E_INVALID : e;
}

static enum err parse_proxy(const char *value, struct http_proxy *out)
{
    char text[PROXY_URL_MAX];
    struct http_url url;
    bool has_scheme = strstr(value, "://") != NULL;
    int len = snprintf(text, sizeof(text), "%s%s", has_scheme ? "" : "http://", value);
    if (len < 0 || (size_t)len >= sizeof(text)) {
        return E_INVALID;
    }
    if (strncasecmp(text, "http://", 7) != 0) {
        return E_UNSUPPORTED;
    }
    enum err e = http_url_parse(text, &url);
    if (e != E_OK) {
        return e;
    }
    snprintf(out->host, sizeof(out->host), "%s", url.host);
    out->port = url.has_port ? url.port : PROXY_PORT;
    return url.user.len ? set_authorization(out, url.user) : E_OK;
}

enum err http_proxy_find(const struct http_url *to, struct http_proxy *out, const char **variable)
{
    static const char *const https[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
    static const char *const http[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
    *out = (struct http_proxy){.port = 0};
    const char *value = first_set(to->tls ? https : http, variable);
    if (!value || value[0] == '\0' || is_excepted(to->host)) {
        return E_OK;
    }
    return parse_proxy(value, out);
}
