#include "net/http_rules.h"

#include <string.h>
#include <strings.h>

#define CONNECT_TIMEOUT_MS 10000u
#define IDLE_TIMEOUT_MS 50000u
#define MAX_PER_HOST 8u
#define MAX_REQUESTS 256u

struct http_limits http_limits_of(const struct http_client_options *o)
{
    return (struct http_limits){
        .connect_timeout_ms = o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS,
        .idle_timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : IDLE_TIMEOUT_MS,
        .per_host = o->max_per_host ? o->max_per_host : MAX_PER_HOST,
        .requests = o->max_requests ? o->max_requests : MAX_REQUESTS,
    };
}

/* A scheme, then visible characters without user and password. */
static bool is_url(const char *url)
{
    size_t scheme = strncasecmp(url, "https://", 8) == 0 ? 8 : strncasecmp(url, "http://", 7) == 0 ? 7 : 0;
    if (scheme == 0 || strlen(url) > HTTP_URL_MAX) {
        return false;
    }
    for (const char *c = url; *c; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            return false;
        }
    }
    size_t authority = strcspn(url + scheme, "/?#");
    return !memchr(url + scheme, '@', authority);
}

static bool is_header(const struct http_header *h)
{
    /* How long the body is and what becomes of the connection is the client's to say. */
    static const char *const reserved[] = {"Content-Length", "Transfer-Encoding", "Connection"};
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strcasecmp(h->name, reserved[i]) == 0) {
            return false;
        }
    }
    return h->name[0] && !strpbrk(h->name, ": \t\r\n") && !strpbrk(h->value, "\r\n");
}

enum err http_check_request(const struct http_request_options *o)
{
    size_t text = 0;
    if (!is_url(o->url) || o->header_count > HTTP_HEADERS_MAX || (unsigned)o->method > HTTP_DELETE) {
        return E_INVALID;
    }
    for (size_t i = 0; i < o->header_count; i++) {
        text += strlen(o->headers[i].name) + strlen(o->headers[i].value) + sizeof(": ");
        if (!is_header(&o->headers[i]) || text > HTTP_HEADER_TEXT_MAX) {
            return E_INVALID;
        }
    }
    return E_OK;
}

bool http_gives_header(const struct http_request_options *o, const char *name)
{
    for (size_t i = 0; i < o->header_count; i++) {
        if (strcasecmp(o->headers[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}
