/* What only the client on streams promises by the millisecond, or in another way than curl. */
#include "net/http_server.h"
#include "net/http_side.h"
#include "net/peer.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void ask(struct side *s, const char *url, struct result *r)
{
    struct http_request_options o = {.url = url, .deadline_ms = 5000};
    side_ask(s, r, &o);
    assert_int_equal(r->err, E_OK);
    buffer_finish(&r->body);
}

static void test_idle_timeout(void **state)
{
    struct http_client_options co = {.idle_timeout_ms = 250};
    struct http_server server;
    struct side s;
    struct result r;
    (void)state;
    http_server_start(&server);
    side_init_with(&s, &co);
    ask(&s, side_url(server.port, "/"), &r);
    ask(&s, side_url(server.port, "/"), &r);
    assert_int_equal(server.connections, 1);
    side_run_ms(&s, 260);
    ask(&s, side_url(server.port, "/"), &r);
    side_finish(&s);
    http_server_stop(&server);
    assert_int_equal(server.connections, 2);
}

/* One client, many hosts (each port is one): it keeps four connections for each that it may have to one host. */
static void test_idle_ceiling(void **state)
{
    struct http_client_options co = {.max_per_host = 1};
    struct http_server servers[6];
    struct side s;
    struct result r;
    unsigned open = 0;
    (void)state;
    side_init_with(&s, &co);
    for (size_t i = 0; i < 6; i++) {
        http_server_start(&servers[i]);
        ask(&s, side_url(servers[i].port, "/"), &r);
    }
    side_run_ms(&s, 20);
    for (size_t i = 0; i < 6; i++) {
        open += servers[i].open;
    }
    assert_int_equal(open, 4);
    ask(&s, side_url(servers[5].port, "/"), &r);
    assert_int_equal(servers[5].connections, 1);
    ask(&s, side_url(servers[0].port, "/"), &r);
    assert_int_equal(servers[0].connections, 2); /* had been idle for longest */
    side_finish(&s);
    for (size_t i = 0; i < 6; i++) {
        http_server_stop(&servers[i]);
    }
}

/* Requests for other hosts do not wait behind those for one that is busy. */
static void test_queue(void **state)
{
    struct http_client_options co = {.max_per_host = 1};
    struct http_server slow, quick;
    struct side s;
    struct result r[3];
    (void)state;
    http_server_start(&slow);
    http_server_start(&quick);
    side_init_with(&s, &co);
    struct http_request_options o = {.url = side_url(slow.port, "/slow")};
    side_start(&s, &r[0], &o);
    side_start(&s, &r[1], &o);
    o.url = side_url(quick.port, "/");
    side_start(&s, &r[2], &o);
    side_run_until(&s, &r[2].done, 1);
    assert_int_equal(r[1].done, 0);
    buffer_finish(&r[2].body);
    side_run_until(&s, &r[1].done, 1);
    buffer_finish(&r[0].body);
    buffer_finish(&r[1].body);
    side_finish(&s);
    http_server_stop(&slow);
    http_server_stop(&quick);
    assert_int_equal(slow.connections, 1);
}

/* --- a server that says too much, or too little --- */

static void say_by_and_by(int fd, void *arg)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    char data[4096];
    const char *rest = arg;
    for (int i = 0; i < 2 && recv(fd, data, sizeof(data), 0) > 0; i++) {
        peer_send(fd, answer, sizeof(answer) - 1);
        peer_send(fd, rest, strlen(rest));
    }
}

static void test_unasked(void **state)
{
    static char too_much[] = "ok";
    struct peer peer;
    struct side s;
    struct result r;
    (void)state;
    peer_start(&peer, 2, say_by_and_by, too_much);
    side_init(&s);
    ask(&s, side_url(peer.port, "/"), &r);
    ask(&s, side_url(peer.port, "/"), &r); /* the peer then closes, while the loop runs */
    side_run_ms(&s, 10);
    ask(&s, side_url(peer.port, "/"), &r);
    side_finish(&s);
    peer_stop(&peer);
}

static void test_phases(void **state)
{
    static char too_little[] = "o";
    struct http_request_options o = {.deadline_ms = 300};
    struct peer peer;
    struct side s;
    struct result r;
    (void)state;
    peer_start(&peer, 1, say_by_and_by, too_little);
    side_init(&s);
    o.url = side_url(peer.port, "/");
    side_ask(&s, &r, &o);
    result_expect(&r, E_TIMEOUT, "in the answer");
    o.url = "http://192.0.2.1/"; /* nobody's: the connecting fails, or goes on */
    side_ask(&s, &r, &o);
    assert_true(r.err == E_UNREACHABLE || r.err == E_TIMEOUT);
    assert_non_null(strstr(r.detail, "connecting to 192.0.2.1"));
    assert_false(r.reached);
    buffer_finish(&r.body);
    side_finish(&s);
    peer_stop(&peer);
}

static void cancel_the_other(struct result *r)
{
    http_cancel(r->side->loop.data);
    buffer_finish(&r->body);
}

/* In its on_done one request takes the next in the queue away. */
static void test_cancel_in_callback(void **state)
{
    static const char url[] = "http://anyone.invalid/";
    struct side s;
    struct result first, second;
    struct http_request *request = NULL;
    (void)state;
    setenv("http_proxy", "socks5://not-spoken:1", 1); /* both end at the first look at the queue */
    side_init(&s);
    struct http_request_options o = {.url = url};
    side_start(&s, &first, &o);
    memset(&second, 0, sizeof(second));
    assert_int_equal(http_request(s.client, &o, side_on_done, &second, &request), E_OK);
    s.loop.data = request;
    first.then = cancel_the_other;
    side_run_until(&s, &first.done, 1);
    assert_int_equal(first.err, E_INVALID);
    assert_non_null(strstr(first.detail, "http_proxy"));
    assert_int_equal(second.done, 0);
    assert_int_equal(http_client_active(s.client), 0);
    unsetenv("http_proxy");
    side_finish(&s);
}

static int setup(void **state)
{
    (void)state;
    side_prepare_process();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_timeout), cmocka_unit_test(test_idle_ceiling),
        cmocka_unit_test(test_queue),        cmocka_unit_test(test_unasked),
        cmocka_unit_test(test_phases),       cmocka_unit_test(test_cancel_in_callback),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
