/* Which HTTP proxy the environment names for a server, by curl's rules. Internal to net/.
 *
 * https: https_proxy, HTTPS_PROXY; http: http_proxy (in small letters only: a CGI program has what a browser wants in HTTP_PROXY); then
 * for both all_proxy, ALL_PROXY. The value is [http://][NAME:PASSWORD@]HOST[:PORT][/], port 1080 when none is given; empty = none. no_proxy
 * or NO_PROXY is a list with commas or blanks between: "*", a name (and all names below it, with or without a leading dot), an
 * address, or a network (10.0.0.0/8, fd00::/8).
 */
#ifndef NET_HTTP_PROXY_H
#define NET_HTTP_PROXY_H

#include "net/http_url.h"

struct http_proxy {
    char host[HTTP_HOST_SIZE]; /* "" = no proxy */
    uint16_t port;
    char authorization[512]; /* value of Proxy-Authorization; "" = none */
};

/* E_INVALID: the variable's value is of another form; E_UNSUPPORTED: a proxy that is not spoken to by plain HTTP; E_NOMEM. Then
 * *variable names it. Reads the environment. */
MUST_CHECK enum err http_proxy_find(const struct http_url *to, struct http_proxy *out, const char **variable);

#endif
