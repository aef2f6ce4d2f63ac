/* An HTTP server of a test that answers with what it was asked: request line, headers, an empty line, the body. */
#ifndef TEST_NET_HTTP_SERVER_H
#define TEST_NET_HTTP_SERVER_H

#include <stdatomic.h>
#include <stdint.h>

struct MHD_Daemon;

/* /slow is answered after 400 ms, /missing with 404; every answer has X-Thing: first and X-Thing: second. */
struct http_server {
    struct MHD_Daemon *daemon;
    uint16_t port;
    atomic_uint connections;
    atomic_uint open;
    atomic_uint most_open;
    atomic_uint requests;
};

void http_server_start(struct http_server *s);
void http_server_stop(struct http_server *s);

#endif
