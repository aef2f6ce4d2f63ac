#include "net/http_side.h"
#include "net/peer.h"
#include "net/pki.h"
#include "unit.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

static struct pki pki;

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void say_nothing(int fd, void *arg)
{
    char data[512];
    (void)arg;
    while (recv(fd, data, sizeof(data), 0) > 0) {
    }
}

static void test_tls_handshake_timeout(void **state)
{
    struct peer peer;
    struct side s;
    struct result r;
    char url[64];
    (void)state;
    peer_start(&peer, 1, say_nothing, NULL);
    struct http_client_options co = {.connect_timeout_ms = 100};
    side_init_with(&s, &co);
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/", (unsigned)peer.port);
    struct http_request_options o = {.url = url};
    side_ask(&s, &r, &o);
    assert_false(r.reached);
    result_expect(&r, E_TIMEOUT, "");
    side_finish(&s);
    peer_stop(&peer);
}

/* --- servers that misbehave --- */

static void script_say(int fd, void *arg)
{
    char data[4096];
    const char *text = arg;
    (void)!recv(fd, data, sizeof(data), 0);
    peer_send(fd, text, strlen(text));
}

static void script_reset(int fd, void *arg)
{
    char data[4096];
    (void)!recv(fd, data, sizeof(data), 0);
    peer_send(fd, arg, strlen(arg));
    peer_reset(fd);
}

static void expect_of(peer_script *script, char *text, enum err err, const char *words)
{
    struct peer peer;
    struct side s;
    struct result r;
    peer_start(&peer, 1, script, text);
    side_init(&s);
    struct http_request_options o = {.url = side_url(peer.port, "/"), .deadline_ms = 3000};
    side_ask(&s, &r, &o);
    assert_true(r.reached);
    result_expect(&r, err, words);
    side_finish(&s);
    peer_stop(&peer);
}

static void test_bad_answers(void **state)
{
    static char nothing[] = "";
    static char partial[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345";
    static char old[] = "hello, I am HTTP/0.9";
    static char binary[] = "\x16\x03\x03 and so on\r\n\r\n";
    struct buffer many;
    buffer_init(&many, 200000);
    (void)state;
    expect_of(script_say, nothing, E_RESET, "");
    expect_of(script_say, partial, E_RESET, "");
    expect_of(script_reset, nothing, E_RESET, "");
    expect_of(script_say, old, E_PROTOCOL, "");
    expect_of(script_say, binary, E_PROTOCOL, "");
    assert_int_equal(buffer_append_str(&many, "HTTP/1.1 200 OK\r\n"), E_OK);
    for (int i = 0; many.len < 150000; i++) {
        assert_int_equal(buffer_appendf(&many, "X-Header-%d: some value that takes space\r\n", i), E_OK);
    }
    assert_int_equal(buffer_append_byte(&many, 0), E_OK);
    expect_of(script_say, (char *)many.data, E_PROTOCOL, "too many headers");
    buffer_finish(&many);
}

/* The server closes an idle connection: the next request goes out on a new one, without an error. */
static void script_one_answer(int fd, void *arg)
{
    char data[4096];
    (void)arg;
    (void)!recv(fd, data, sizeof(data), 0);
    peer_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40);
}

static void test_stale_connection(void **state)
{
    struct peer peer;
    struct side s;
    struct result r;
    (void)state;
    peer_start(&peer, 4, script_one_answer, NULL);
    side_init(&s);
    struct http_request_options o = {.method = HTTP_POST, .url = side_url(peer.port, "/"), .body = BYTES("{}")};
    for (int i = 0; i < 4; i++) {
        side_ask(&s, &r, &o);
        assert_int_equal(r.err, E_OK);
        assert_int_equal(r.status, 200);
        buffer_finish(&r.body);
        if (i == 2) {
            sleep_ms(20); /* its end is noticed before, or only by, the next request */
        }
    }
    side_finish(&s);
    peer_stop(&peer);
}

static void test_unreachable(void **state)
{
    struct side s;
    struct result r;
    (void)state;
    side_init(&s);
    struct http_request_options o = {.url = side_url(peer_free_port(), "/")};
    side_ask(&s, &r, &o);
    assert_false(r.reached);
    result_expect(&r, E_UNREACHABLE, "127.0.0.1");
    struct http_request_options unknown = {.url = "http://no-such-host.invalid/"};
    side_ask(&s, &r, &unknown);
    result_expect(&r, E_DNS, "no-such-host.invalid");
    side_finish(&s);
}

static void test_invalid_requests(void **state)
{
    static const struct http_header broken[] = {{"X-A", "a\r\nX-B: b"}};
    static const struct http_header unnamed[] = {{"", "a"}};
    static const struct http_header spaced[] = {{"X A", "a"}};
    static const struct http_header length[] = {{"content-length", "1"}};
    struct side s;
    struct result r;
    (void)state;
    side_init(&s);
    const struct http_request_options bad[] = {
        {.url = "ftp://localhost/"},
        {.url = "localhost/"},
        {.url = "http://localhost/a b"},
        {.url = "http://localhost/\r\nX: y"},
        {.url = "http://localhost/", .headers = broken, .header_count = 1},
        {.url = "http://localhost/", .headers = unnamed, .header_count = 1},
        {.url = "http://localhost/", .headers = spaced, .header_count = 1},
        {.url = "http://localhost/", .headers = broken, .header_count = 65},
        {.url = "http://localhost/", .headers = length, .header_count = 1},
        {.url = "http://anna:secret@localhost/"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(http_request(s.client, &bad[i], side_on_done, &r, NULL), E_INVALID);
    }
    /* What is wrong with an URL may be found at once or later. */
    struct http_request_options port = {.url = "http://localhost:99999/"};
    memset(&r, 0, sizeof(r));
    enum err e = http_request(s.client, &port, side_on_done, &r, NULL);
    if (e == E_OK) {
        side_run_until(&s, &r.done, 1);
        result_expect(&r, E_INVALID, "");
    } else {
        assert_int_equal(e, E_INVALID);
    }
    side_finish(&s);
}

/* --- TLS --- */

struct tls_server {
    struct peer peer;
    struct peer_tls tls;
    char client_name[64];
};

static void tls_answer(int fd, void *arg)
{
    struct tls_server *s = arg;
    char data[4096];
    if (peer_tls_accept(&s->tls, fd)) {
        X509 *cert = SSL_get0_peer_certificate(s->tls.ssl);
        if (cert) {
            X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, s->client_name,
                                      sizeof(s->client_name));
        }
        while (SSL_read(s->tls.ssl, data, sizeof(data)) > 0) {
            SSL_write(s->tls.ssl, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Thing: tls\r\n\r\nok", 54);
        }
    } else {
        /* A reset instead of an end would hide the alert from curl. */
        shutdown(fd, SHUT_WR);
        while (recv(fd, data, sizeof(data), 0) > 0) {
        }
    }
    ERR_clear_error();
    peer_tls_end(&s->tls, true);
}

static void tls_ask(const char *server_cert, const char *client_ca, const struct http_client_options *o,
                    struct result *r, struct tls_server *server)
{
    struct side s;
    char url[64];
    memset(server, 0, sizeof(*server));
    peer_tls_create(&server->tls, &pki, server_cert, client_ca);
    peer_start(&server->peer, 1, tls_answer, server);
    side_init_with(&s, o);
    snprintf(url, sizeof(url), "https://localhost:%u/role", (unsigned)server->peer.port);
    struct http_request_options ro = {.url = url, .deadline_ms = 5000};
    side_ask(&s, r, &ro);
    if (r->err == E_OK) {
        buffer_finish(&r->body);
        side_ask(&s, r, &ro); /* on the same connection: the peer serves only one */
    }
    side_finish(&s);
    peer_stop(&server->peer);
    peer_tls_destroy(&server->tls);
}

static void test_tls(void **state)
{
    struct tls_server server;
    struct result r;
    (void)state;
    struct http_client_options o = {.cafile = pki_path(&pki, "ca.pem"),
                                    .certfile = pki_path(&pki, "client.pem"),
                                    .keyfile = pki_path(&pki, "client.key")};
    tls_ask("server", "ca", &o, &r, &server);
    assert_int_equal(r.err, E_OK);
    assert_string_equal((const char *)r.body.data, "ok");
    assert_string_equal(r.thing, "tls");
    assert_string_equal(server.client_name, "sensor-1");
    buffer_finish(&r.body);
    struct http_client_options none = {.cafile = o.cafile};
    tls_ask("server", "ca", &none, &r, &server);
    result_expect(&r, E_REFUSED, "certificate");
    struct http_client_options strange = {.cafile = o.cafile,
                                          .certfile = pki_path(&pki, "strangeclient.pem"),
                                          .keyfile = pki_path(&pki, "strangeclient.key")};
    tls_ask("server", "ca", &strange, &r, &server);
    result_expect(&r, E_REFUSED, "unknown ca");
    tls_ask("stranger", NULL, &none, &r, &server);
    result_expect(&r, E_TLS_VERIFY, "");
    tls_ask("wrong", NULL, &none, &r, &server);
    result_expect(&r, E_TLS_VERIFY, "localhost");
    tls_ask("expired", NULL, &none, &r, &server);
    result_expect(&r, E_TLS_VERIFY, "expired");
    struct http_client_options system = {0};
    tls_ask("server", NULL, &system, &r, &server);
    result_expect(&r, E_TLS_VERIFY, "");
}

static void test_files(void **state)
{
    struct http_client *client = NULL;
    struct tls_error error;
    uv_loop_t loop;
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct http_client_options o = {.cafile = pki_path(&pki, "missing.pem")};
    assert_int_equal(http_client_create(&loop, &o, &client, &error), E_NOT_FOUND);
    assert_non_null(strstr(error.text, "missing.pem"));
    struct http_client_options mixed = {.certfile = pki_path(&pki, "client.pem"),
                                        .keyfile = pki_path(&pki, "server.key")};
    assert_int_equal(http_client_create(&loop, &mixed, &client, &error), E_INVALID);
    assert_null(client);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static int setup(void **state)
{
    (void)state;
    side_prepare_process();
    pki_create(&pki);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pki_destroy(&pki);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_handshake_timeout),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_stale_connection),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_invalid_requests),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
