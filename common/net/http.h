/* HTTP/1.1 client on a uv loop.
 *
 * A client is one identity (CA, client certificate), one pool of kept-alive connections and one set of limits. A request ends in
 * exactly one on_done, never before http_request returns, unless it is cancelled. Certificates and host names are always verified; TLS 1.2
 * at least. Redirects are not followed, answers are not decompressed, no `Expect: 100-continue` is sent. A request that went out on a
 * kept-alive connection and had nothing back when the server closed that is sent once more on a new one, a POST too: one that must not
 * be done twice needs a key of its own. Proxies come from the
 * environment (https_proxy, http_proxy, all_proxy, no_proxy), with their name and password. Renewed certificate files are used for
 * the next connection. All calls and callbacks on the loop's thread; callbacks may call any function here.
 *
 * There are two of it, and a program links one: net_http_curl (libcurl's multi interface) and net_http_stream (our streams and
 * libhttp-parser), which brings few libraries and so suits a program that starts for each request. Where they differ:
 *
 *   proxies          stream: http:// only; else the request ends in E_INVALID
 *   idle_timeout_ms  curl: rounded up to s
 *   cut-off answers  an https answer without length that ends without close_notify is E_RESET in stream, complete in curl
 *   E_INVALID        of a URL comes from http_request in stream, in part from on_done in curl
 *   max_per_host     by way of a proxy for plain HTTP, all hosts together are one in stream
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/bytes.h"
#include "base/err.h"
#include "net/tls.h"

#include <uv.h>

struct http_client;
struct http_request;
struct http_answer_headers;

struct http_client_options {
    const char *certfile;        /* client certificate, PEM chain; NULL = none */
    const char *keyfile;         /* PEM, unencrypted */
    const char *cafile;          /* PEM bundle, NULL = system CAs */
    const char *user_agent;      /* NULL = "mosquitto-aws" */
    uint32_t connect_timeout_ms; /* DNS, TCP and TLS; 0 = 10 s */
    uint32_t idle_timeout_ms;    /* an idle connection older than this is not used again; 0 = 50 s */
    uint32_t max_per_host;       /* connections to one host and port; more requests wait their turn; 0 = 8 */
    uint32_t max_requests;       /* requests under way or waiting; 0 = 256 */
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE };

struct http_header {
    const char *name;
    const char *value;
};

struct http_request_options {
    enum http_method method;
    /* http:// or https://, without user and password, up to 8 KiB; escaped by the caller and sent as it is; copied. */
    const char *url;
    /* Copied. "Host" is made from the URL (with the port unless it is the scheme's own) and need not be given; a POST or
     * PUT without "Content-Type" sends none. E_INVALID: a line break in one, Content-Length, Transfer-Encoding or Connection
     * (which are the client's), more than 64, or more than 64 KiB. */
    const struct http_header *headers;
    size_t header_count;
    struct bytes body;    /* POST and PUT; borrowed until on_done or http_cancel */
    uint32_t deadline_ms; /* for everything, waiting for a connection included; 0 = 30 s */
    size_t max_answer;    /* ceiling of the answer's body; more is E_TOO_LARGE; 0 = 1 MiB */
    bool direct;          /* no proxy, whatever the environment says (link-local metadata services) */
};

/* Valid during on_done. */
struct http_answer {
    /* E_OK: a complete answer came, whatever its status. Else status is 0 and body empty: E_DNS, E_UNREACHABLE (or a proxy that refuses), E_TLS,
     * E_TLS_VERIFY, E_REFUSED (our certificate), E_TIMEOUT (deadline, or connect timeout), E_RESET (broke
     * before the end), E_PROTOCOL (no valid HTTP), E_TOO_LARGE, E_CANCELLED (the client was closed), E_ACCESS (certificate
     * or key file cannot be used), E_INVALID (URL, proxy), E_NOMEM. */
    enum err err;
    int status;
    struct bytes body;
    const char *detail; /* what went wrong, in words for the log; "" when E_OK */
    bool reached;       /* the request was (perhaps partly) sent: the server may have acted on it */
    const struct http_answer_headers *headers; /* for http_answer_header */
};

typedef void http_done_fn(void *ctx, const struct http_answer *answer);

/* E_ACCESS, E_NOT_FOUND, E_MALFORMED, E_INVALID for the files (checked as in tls_client_create); E_NOMEM. */
MUST_CHECK enum err http_client_create(uv_loop_t *loop, const struct http_client_options *o, struct http_client **out,
                                       struct tls_error *error);

/* Ends every request with E_CANCELLED, then lets go of the loop and frees itself; on_closed (may be NULL) is the last
 * call. New requests say E_CLOSED meanwhile. NULL is allowed (on_closed is then called at once). */
void http_client_close(struct http_client *c, void (*on_closed)(void *ctx), void *ctx);

/* Starts a request. *out (may be NULL) is for http_cancel and is valid until on_done begins. E_FULL: max_requests are under
 * way; E_INVALID: URL or header. */
MUST_CHECK enum err http_request(struct http_client *c, const struct http_request_options *o, http_done_fn *on_done,
                                 void *ctx, struct http_request **out);

/* Stops a request; on_done is not called. */
void http_cancel(struct http_request *r);

/* Requests under way or waiting. */
size_t http_client_active(const struct http_client *c);

/* Value of a header of the answer, name compared without case, the last one where there are several; data NULL when there is none.
 * Valid as long as the answer. An answer with more than 64 KiB of headers ends in E_PROTOCOL. */
struct bytes http_answer_header(const struct http_answer *answer, const char *name);

#endif
