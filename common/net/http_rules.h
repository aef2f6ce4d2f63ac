/* What the two HTTP clients of http.h have in common: the limits of a client and the rules for a request. Internal to net/. */
#ifndef NET_HTTP_RULES_H
#define NET_HTTP_RULES_H

#include "net/http.h"

#define HTTP_DEADLINE_MS 30000u
#define HTTP_ANSWER_MAX (1024u * 1024u)
#define HTTP_URL_MAX 8192u
#define HTTP_HEADERS_MAX 64u        /* of a request */
#define HTTP_HEADER_TEXT_MAX 65536u /* bytes of them */
#define HTTP_ANSWER_HEADERS_MAX 65536u
#define HTTP_SPARE_ANSWER_MAX 65536u /* memory for an answer that is kept for the next one */
#define HTTP_IDLE_PER_HOST 4u        /* kept-alive connections in all: so many times those allowed to one host */

struct http_limits {
    uint32_t connect_timeout_ms;
    uint32_t idle_timeout_ms;
    uint32_t per_host;
    uint32_t requests;
};

/* The options with the defaults in the place of 0. */
struct http_limits http_limits_of(const struct http_client_options *o);

/* E_INVALID: something that http.h forbids. */
MUST_CHECK enum err http_check_request(const struct http_request_options *o);

/* A header of this name is given. */
bool http_gives_header(const struct http_request_options *o, const char *name);

#endif
