#include "net/http_side.h"
#include "unit.h"

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* --- a server that says what it was asked --- */

struct server {
    struct MHD_Daemon *daemon;
    uint16_t port;
    atomic_uint connections;
    atomic_uint open;
    atomic_uint most_open;
    atomic_uint requests;
};

struct upload {
    struct buffer body;
};

static void add_header_line(struct buffer *b, const char *name, const char *value)
{
    assert_int_equal(buffer_appendf(b, "%s: %s\n", name, value ? value : ""), E_OK);
}

static enum MHD_Result on_header_line(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    add_header_line(cls, name, value);
    return MHD_YES;
}

static enum MHD_Result answer(struct MHD_Connection *connection, const char *method, const char *url, struct upload *u)
{
    struct buffer text;
    buffer_init(&text, (size_t)64 * 1024 * 1024);
    assert_int_equal(buffer_appendf(&text, "%s %s\n", method, url), E_OK);
    MHD_get_connection_values(connection, MHD_HEADER_KIND, on_header_line, &text);
    assert_int_equal(buffer_append_str(&text, "\n"), E_OK);
    assert_int_equal(buffer_append(&text, buffer_bytes(&u->body)), E_OK);
    if (strcmp(url, "/slow") == 0) {
        sleep_ms(400);
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(text.len, text.data, MHD_RESPMEM_MUST_FREE);
    MHD_add_response_header(response, "X-Thing", "first");
    MHD_add_response_header(response, "X-Thing", "second");
    enum MHD_Result r = MHD_queue_response(connection, strcmp(url, "/missing") == 0 ? 404 : 200, response);
    MHD_destroy_response(response);
    buffer_finish(&u->body);
    free(u);
    return r;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **state)
{
    struct server *s = cls;
    struct upload *u = *state;
    (void)version;
    if (!u) {
        u = calloc(1, sizeof(*u));
        buffer_init(&u->body, (size_t)64 * 1024 * 1024);
        *state = u;
        atomic_fetch_add(&s->requests, 1);
        return MHD_YES;
    }
    if (*size > 0) {
        assert_int_equal(buffer_append(&u->body, bytes_make(data, *size)), E_OK);
        *size = 0;
        return MHD_YES;
    }
    *state = NULL;
    return answer(connection, method, url, u);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct upload *u = *state;
    (void)cls;
    (void)connection;
    (void)code;
    if (u) {
        buffer_finish(&u->body);
        free(u);
    }
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *s = cls;
    (void)connection;
    (void)state;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        unsigned open = atomic_fetch_add(&s->open, 1) + 1;
        atomic_fetch_add(&s->connections, 1);
        if (open > atomic_load(&s->most_open)) {
            atomic_store(&s->most_open, open);
        }
    } else {
        atomic_fetch_sub(&s->open, 1);
    }
}

static void *keep_url(void *cls, const char *url, struct MHD_Connection *connection)
{
    (void)cls;
    (void)url;
    (void)connection;
    return NULL;
}

static void server_start(struct server *s)
{
    memset(s, 0, sizeof(*s));
    s->daemon =
        MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, s,
                         MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                         MHD_OPTION_URI_LOG_CALLBACK, keep_url, NULL, MHD_OPTION_END);
    assert_non_null(s->daemon);
    s->port = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

static void server_stop(struct server *s)
{
    MHD_stop_daemon(s->daemon);
}

/* --- good cases --- */

static void test_methods(void **state)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};
    /* Every method after every other: curl's handles are used again. */
    static const enum http_method order[] = {HTTP_GET, HTTP_POST,   HTTP_HEAD, HTTP_POST,   HTTP_PUT,
                                             HTTP_GET, HTTP_DELETE, HTTP_PUT,  HTTP_HEAD,   HTTP_GET,
                                             HTTP_PUT, HTTP_POST,   HTTP_GET,  HTTP_DELETE, HTTP_POST};
    struct server server;
    struct side s;
    struct result r;
    (void)state;
    server_start(&server);
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
    server_stop(&server);
    assert_int_equal(server.connections, 1); /* kept alive */
}

static void test_headers(void **state)
{
    static const struct http_header headers[] = {{"X-Amz-Date", "20150830T123600Z"},
                                                 {"Content-Type", "application/x-amz-json-1.0"},
                                                 {"Accept", "application/json"},
                                                 {"X-Empty", ""},
                                                 {"Host", "dynamodb.eu-west-1.amazonaws.com"}};
    struct server server;
    struct side s;
    struct result r;
    (void)state;
    server_start(&server);
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
    server_stop(&server);
}

static void test_large_body(void **state)
{
    struct server server;
    struct side s;
    struct result r;
    size_t size = (size_t)16 * 1024 * 1024;
    uint8_t *body = malloc(size);
    (void)state;
    for (size_t i = 0; i < size; i++) {
        body[i] = (uint8_t)('a' + i % 23);
    }
    server_start(&server);
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
    server_stop(&server);
    free(body);
}

static void test_connections_per_host(void **state)
{
    struct server server;
    struct side s;
    struct result r[40];
    (void)state;
    server_start(&server);
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
    server_stop(&server);
    assert_int_equal(server.most_open, 3);
    assert_int_equal(server.requests, 40);
}

/* --- time --- */

static void test_deadline(void **state)
{
    struct server server;
    struct side s;
    struct result r;
    struct result waiting;
    (void)state;
    server_start(&server);
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
    server_stop(&server);
}

/* --- ending --- */

static void test_cancel(void **state)
{
    struct server server;
    struct side s;
    struct result r;
    struct http_request *request = NULL;
    (void)state;
    server_start(&server);
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
    server_stop(&server);
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
    struct server server;
    struct side s;
    struct result r[5];
    (void)state;
    server_start(&server);
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
    server_stop(&server);
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
    struct server server;
    struct side s;
    struct result r;
    (void)state;
    server_start(&server);
    side_init(&s);
    s.loop.data = &server.port;
    struct http_request_options o = {.url = side_url(server.port, "/")};
    side_start(&s, &r, &o);
    r.then = ask_again;
    side_run_until(&s, &r.done, 50);
    side_finish(&s);
    server_stop(&server);
    assert_int_equal(server.connections, 1);
}

/* --- proxy --- */

static void test_proxy(void **state)
{
    struct server proxy; /* an HTTP server sees what a proxy would */
    struct side s;
    struct result r;
    char text[64];
    (void)state;
    server_start(&proxy);
    snprintf(text, sizeof(text), "http://127.0.0.1:%u", (unsigned)proxy.port);
    setenv("http_proxy", text, 1);
    side_init(&s);
    struct http_request_options o = {.url = "http://service.invalid/path"};
    side_ask(&s, &r, &o);
    assert_int_equal(r.err, E_OK);
    assert_true(result_has(&r, "Host: service.invalid\n"));
    buffer_finish(&r.body);
    o.direct = true;
    side_ask(&s, &r, &o);
    result_expect(&r, E_DNS, "service.invalid");
    o.direct = false;
    side_ask(&s, &r, &o);
    assert_int_equal(r.err, E_OK);
    buffer_finish(&r.body);
    unsetenv("http_proxy");
    side_finish(&s);
    server_stop(&proxy);
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
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_connections_per_host),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_close_in_callback),
        cmocka_unit_test(test_request_in_callback),
        cmocka_unit_test(test_proxy),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
