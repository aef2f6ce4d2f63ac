/* http.h by libcurl (its multi interface): http_curl.c has the client and starts requests, http_curl_answer.c ends them,
 * http_curl_watch.c lets curl watch its sockets and its timer on the loop. Internal to net/. */
#ifndef NET_HTTP_CURL_H
#define NET_HTTP_CURL_H

#include "base/buffer.h"
#include "net/http_rules.h"

#include <curl/curl.h>

#define HTTP_OWN_HEADERS 3u /* lines that tell curl what not to send */

/* A socket that curl watches. */
struct http_socket {
    uv_poll_t poll;
    struct http_client *client;
    int events; /* what curl wants to know of */
};

struct http_answer_headers {
    CURL *easy;
};

struct http_request {
    struct http_client *client;
    struct http_request *next; /* links the client's active or spare requests */
    struct http_request **link;
    struct http_answer_headers headers; /* has the curl handle */
    uv_timer_t deadline;
    http_done_fn *on_done;
    void *ctx;
    uint32_t deadline_ms;
    struct buffer answer;
    size_t header_bytes;
    enum err write_error; /* why we told curl to stop */
    struct buffer text;   /* header lines, each with its NUL */
    struct curl_slist lines[HTTP_HEADERS_MAX + HTTP_OWN_HEADERS];
    char error[CURL_ERROR_SIZE];
};

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer; /* curl's */
    unsigned handles; /* that libuv still knows */
    bool closing;
    size_t active_count;
    size_t spare_count;
    struct http_request *active; /* links through http_request.next */
    struct http_request *spare;
    struct http_limits limits;
    char *certfile, *keyfile, *cafile, *user_agent;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

/* The callbacks that curl is given for a client, and for a request. */
int http_on_watch(CURL *easy, curl_socket_t fd, int what, void *client, void *socket);
int http_on_timeout_change(CURLM *multi, long timeout_ms, void *client);
size_t http_on_body(char *data, size_t size, size_t count, void *request);
size_t http_on_header(char *data, size_t size, size_t count, void *request);
/* The deadline of a request. */
void http_on_deadline(uv_timer_t *timer);

/* Ends the requests that curl has finished. */
void http_take_messages(struct http_client *c);
/* Takes a request out of the work; it is in no list then. */
void http_request_detach(struct http_request *r);
/* on_done for a detached request, which is then spare or freed. */
void http_request_end(struct http_request *r, enum err err, const char *detail);
/* Keeps a detached request for the next one, or frees it. */
void http_request_put_away(struct http_request *r);
void http_request_link(struct http_request *r, struct http_request **list);
void http_request_unlink(struct http_request *r);
void http_request_free(struct http_request *r);
/* One handle less. The last one: on_closed, and the client is freed. */
void http_client_release(struct http_client *c);

#endif
