/* The parts of an http or https URL that a client needs. Internal to net/. */
#ifndef NET_HTTP_URL_H
#define NET_HTTP_URL_H

#include "base/buffer.h"

#define HTTP_HOST_SIZE 256u

struct http_url {
    bool tls;
    bool is_ipv6;              /* the host is an address that is written in brackets */
    bool has_port;             /* one is given */
    uint16_t port;             /* else the scheme's own */
    char host[HTTP_HOST_SIZE]; /* without brackets */
    struct bytes
        target; /* path and query as they stand, without the fragment (which needs a path before it); may be empty, or begin with '?' */
    struct bytes user; /* "name:password" as it stands; empty = none */
};

/* The slices point into `text`. E_INVALID: not such a URL, or a host of more than 255 bytes. */
MUST_CHECK enum err http_url_parse(const char *text, struct http_url *out);

/* Appends host (in brackets where it must be) and port; the port is left out when it is the scheme's own, unless `always_port`. */
MUST_CHECK enum err http_url_append_host(const struct http_url *url, bool always_port, struct buffer *out);

#endif
