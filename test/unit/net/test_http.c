#include "net/http_server.h"
#include "net/http_side.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

static void test_methods(void **state)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};
    /* Every method after every other: curl's handles are used again. */
    static const enum http_method order[] = {HTTP_GET, HTTP_POST,   HTTP_HEAD, HTTP_POST,   HTTP_PUT,
                                             HTTP_GET, HTTP_DELETE, HTTP_PUT,  HTTP_HEAD,   HTTP_GET,
                                             HTTP_PUT, HTTP_POST,   HTTP_GET,  HTTP_DELETE, HTTP_POST};
    struct http_server server;
    struct side s;
    struct result r;
    (void)state;
    http_server_start(&server);
    side_init(&s);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        bool upload = order[i] == HTTP_POST || order[i] == HTTP_PUT;
        struct http_request_options o = {.method = order[i],
                                         .url = side_url(server.port, "/a/../b"),
                                         .body = upload ? BYTES("{\"a\":1}") : BYTES("")};
        side_ask(&s, &r, &o);
        assert_int_equal(r.err, E_OK);
        assert_int_equal(r.status, 200);
        assert_string_equal(r.detail, "");
        assert_string_equal(r.thing, "second");
        assert_true(r.reached);
        if (order[i] == HTTP_HEAD) {
            assert_int_equal(r.body.len, 1);
        } else {
            char first[64];
            snprintf(first, sizeof(first), "%s /a/../b\n", names[order[i]]);
            assert_true(result_has(&r, first));
            assert_true(result_has(&r, "User-Agent: mosquitto-aws\n"));
            assert_int_equal(upload, result_has(&r, "\n\n{\"a\":1}"));
            assert_int_equal(upload, result_has(&r, "Content-Length: 7\n"));
            assert_false(result_has(&r, "Accept:") || result_has(&r, "Content-Type:") || result_has(&r, "Expect:"));
        }
        buffer_finish(&r.body);
    }
    side_finish(&s);
    http_server_stop(&server);
    assert_int_equal(server.connections, 1); /* kept alive */
}

static void test_headers(void **state)
{
    static const struct http_header headers[] = {{"X-Amz-Date", "20150830T123600Z"},
                                                 {"Content-Type", "application/x-amz-json-1.0"},
                                                 {"Accept", "application/json"},
                                                 {"X-Empty", ""},
                                                 {"Host", "dynamodb.eu-west-1.amazonaws.com"}};
    struct http_server server;
    struct side s;
    struct result r;
    (void)state;
    http_server_start(&server);
    side_init(&s);
    struct http_request_options o = {.method = HTTP_POST,
                                     .url = side_url(server.port, "/missing"),
                                     .headers = headers,
                                     .header_count = sizeof(headers) / sizeof(headers[0])};
    side_ask(&s, &r, &o);
    assert_int_equal(r.err, E_OK);
    assert_int_equal(r.status, 404);
    assert_true(result_has(&r, "X-Amz-Date: 20150830T123600Z\n"));
    assert_true(result_has(&r, "Content-Type: application/x-amz-json-1.0\n"));
    assert_true(result_has(&r, "Accept: application/json\n"));
    assert_true(result_has(&r, "X-Empty: \n"));
    assert_true(result_has(&r, "Host: dynamodb.eu-west-1.amazonaws.com\n"));
    assert_true(result_has(&r, "Content-Length: 0\n"));
    buffer_finish(&r.body);
    side_finish(&s);
    http_server_stop(&server);
}

static void test_large_body(void **state)
{
    struct http_server server;
    struct side s;
    struct result r;
    size_t size = (size_t)16 * 1024 * 1024;
    uint8_t *body = malloc(size);
    (void)state;
    for (size_t i = 0; i < size; i++) {
        body[i] = (uint8_t)('a' + i % 23);
    }
    http_server_start(&server);
    side_init(&s);
    struct http_request_options o = {.method = HTTP_POST,
                                     .url = side_url(server.port, "/"),
                                     .body = bytes_make(body, size),
                                     .max_answer = size + 1000};
    side_ask(&s, &r, &o);
    assert_int_equal(r.err, E_OK);
    assert_false(result_has(&r, "Expect:"));
    assert_memory_equal(r.body.data + r.body.len - 1 - size, body, size);
    buffer_finish(&r.body);
    o.max_answer = size - 1;
    side_ask(&s, &r, &o);
    result_expect(&r, E_TOO_LARGE, "too large");
    side_finish(&s);
    http_server_stop(&server);
    free(body);
}

static void test_connections_per_host(void **state)
{
    struct http_server server;
    struct side s;
    struct result r[40];
    (void)state;
    http_server_start(&server);
    struct http_client_options co = {.max_per_host = 3, .max_requests = 40};
    side_init_with(&s, &co);
    struct http_request_options o = {.url = side_url(server.port, "/x")};
    for (size_t i = 0; i < 40; i++) {
        side_start(&s, &r[i], &o);
    }
    assert_int_equal(http_client_active(s.client), 40);
    assert_int_equal(http_request(s.client, &o, side_on_done, &r[0], NULL), E_FULL);
    for (size_t i = 0; i < 40; i++) {
        side_run_until(&s, &r[i].done, 1);
        assert_int_equal(r[i].err, E_OK);
        buffer_finish(&r[i].body);
    }
    assert_int_equal(http_client_active(s.client), 0);
    side_finish(&s);
    http_server_stop(&server);
    assert_int_equal(server.most_open, 3);
    assert_int_equal(server.requests, 40);
}

/* --- time --- */

static void test_deadline(void **state)
{
    struct http_server server;
    struct side s;
    struct result r;
    struct result waiting;
    (void)state;
    http_server_start(&server);
    struct http_client_options co = {.max_per_host = 1};
    side_init_with(&s, &co);
    struct http_request_options o = {.url = side_url(server.port, "/slow"), .deadline_ms = 100};
    struct http_request_options queued = {.url = side_url(server.port, "/queued"), .deadline_ms = 50};
    side_start(&s, &r, &o);
    side_start(&s, &waiting, &queued);
    side_run_until(&s, &waiting.done, 1);
    result_expect(&waiting, E_TIMEOUT, "within 50 ms");
    assert_false(waiting.reached);
    side_run_until(&s, &r.done, 1);
    assert_true(r.reached);
    result_expect(&r, E_TIMEOUT, "within 100 ms: waiting for the answer");
    o.deadline_ms = 5000;
    side_ask(&s, &r, &o);
    assert_int_equal(r.err, E_OK);
    buffer_finish(&r.body);
    side_finish(&s);
    http_server_stop(&server);
}

/* --- ending --- */

static void test_cancel(void **state)
{
    struct http_server server;
    struct side s;
    struct result r;
    struct http_request *request = NULL;
    (void)state;
    http_server_start(&server);
    side_init(&s);
    struct http_request_options o = {.url = side_url(server.port, "/slow")};
    for (int i = 0; i < 3; i++) {
        memset(&r, 0, sizeof(r));
        assert_int_equal(http_request(s.client, &o, side_on_done, &r, &request), E_OK);
        side_run_ms(&s, (unsigned)i * 20);
        http_cancel(request);
        assert_int_equal(http_client_active(s.client), 0);
        side_run_ms(&s, 20);
        assert_int_equal(r.done, 0);
    }
    struct http_request_options unknown = {.url = "http://no-such-host.invalid/"};
    assert_int_equal(http_request(s.client, &unknown, side_on_done, &r, &request), E_OK);
    uv_run(&s.loop, UV_RUN_NOWAIT);
    if (http_client_active(s.client)) {
        http_cancel(request);
    }
    side_finish(&s);
    http_server_stop(&server);
}

static void close_client(struct result *r)
{
    struct http_request_options o = {.url = "http://127.0.0.1:1/"};
    http_client_close(r->side->client, side_on_closed, r->side);
    http_client_close(r->side->client, side_on_closed, r->side);
    assert_int_equal(http_request(r->side->client, &o, side_on_done, r, NULL), E_CLOSED);
}

/* The client is closed in the side_on_done of one request; the others end in E_CANCELLED. */
static void test_close_in_callback(void **state)
{
    struct http_server server;
    struct side s;
    struct result r[5];
    (void)state;
    http_server_start(&server);
    side_init(&s);
    struct http_request_options slow = {.url = side_url(server.port, "/slow")};
    for (size_t i = 0; i < 4; i++) {
        side_start(&s, &r[i], &slow);
    }
    struct http_request_options quick = {.url = side_url(server.port, "/quick")};
    side_start(&s, &r[4], &quick);
    r[4].then = close_client;
    side_run_until(&s, &s.closed, 1);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(r[i].done, 1);
        result_expect(&r[i], E_CANCELLED, "closed");
    }
    assert_int_equal(r[4].err, E_OK);
    buffer_finish(&r[4].body);
    uv_close((uv_handle_t *)&s.guard, NULL);
    uv_run(&s.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s.loop), 0);
    http_server_stop(&server);
    http_client_close(NULL, NULL, NULL);
}

static void ask_again(struct result *r)
{
    struct http_request_options o = {.url = side_url(*(uint16_t *)r->side->guard.loop->data, "/again")};
    buffer_finish(&r->body);
    if (r->done < 50) {
        assert_int_equal(http_request(r->side->client, &o, side_on_done, r, NULL), E_OK);
    }
}

static void test_request_in_callback(void **state)
{
    struct http_server server;
    struct side s;
    struct result r;
    (void)state;
    http_server_start(&server);
    side_init(&s);
    s.loop.data = &server.port;
    struct http_request_options o = {.url = side_url(server.port, "/")};
    side_start(&s, &r, &o);
    r.then = ask_again;
    side_run_until(&s, &r.done, 50);
    side_finish(&s);
    http_server_stop(&server);
    assert_int_equal(server.connections, 1);
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
        cmocka_unit_test(test_methods),           cmocka_unit_test(test_headers),
        cmocka_unit_test(test_large_body),        cmocka_unit_test(test_connections_per_host),
        cmocka_unit_test(test_deadline),          cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_close_in_callback), cmocka_unit_test(test_request_in_callback),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
