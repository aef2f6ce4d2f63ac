#include "net/http_server.h"
#include "net/http_side.h"
#include "net/peer.h"
#include "net/pki.h"
#include "unit.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

static struct pki pki;

/* --- plain HTTP: the proxy gets the request --- */

static void test_plain(void **state)
{
    struct http_server proxy; /* an HTTP server sees what a proxy would */
    struct side s;
    struct result r;
    char text[64];
    (void)state;
    http_server_start(&proxy);
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
    http_server_stop(&proxy);
}

/* --- https: a tunnel --- */

/* Proxy and server in one: answers CONNECT, then speaks TLS. */
struct tunnel {
    struct peer peer;
    struct peer_tls tls;
    const char *answer; /* to CONNECT */
    char head[2048];    /* of CONNECT */
    unsigned requests;  /* through the tunnel */
};

static bool read_head(int fd, char *head, size_t size)
{
    size_t len = 0;
    while (len + 1 < size && peer_receive(fd, head + len, 1)) {
        head[++len] = '\0';
        if (len >= 4 && strcmp(head + len - 4, "\r\n\r\n") == 0) {
            return true;
        }
    }
    return false;
}

static void script_tunnel(int fd, void *arg)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    struct tunnel *t = arg;
    char data[4096];
    if (!read_head(fd, t->head, sizeof(t->head)) || !peer_send(fd, t->answer, strlen(t->answer))) {
        return;
    }
    if (!strstr(t->answer, " 200 ")) {
        return;
    }
    if (peer_tls_accept(&t->tls, fd)) {
        while (SSL_read(t->tls.ssl, data, sizeof(data)) > 0) {
            t->requests++;
            SSL_write(t->tls.ssl, ok, sizeof(ok) - 1);
        }
    }
    ERR_clear_error();
    peer_tls_end(&t->tls, true);
}

static void tunnel_start(struct tunnel *t, const char *user)
{
    char text[128];
    peer_tls_create(&t->tls, &pki, "server", NULL);
    peer_start(&t->peer, 1, script_tunnel, t);
    snprintf(text, sizeof(text), "http://%s127.0.0.1:%u/", user, (unsigned)t->peer.port);
    setenv("https_proxy", text, 1);
}

static void tunnel_stop(struct tunnel *t)
{
    unsetenv("https_proxy");
    peer_stop(&t->peer);
    peer_tls_destroy(&t->tls);
}

static void test_tunnel(void **state)
{
    struct tunnel t = {.answer = "HTTP/1.0 200 Connection established\r\nVia: us\r\n\r\n"};
    struct http_client_options co = {.cafile = pki_path(&pki, "ca.pem")};
    struct http_request_options o = {.method = HTTP_POST, .url = "https://localhost/a", .body = BYTES("{}")};
    struct side s;
    struct result r;
    (void)state;
    tunnel_start(&t, "anna:p%40ss@");
    side_init_with(&s, &co);
    for (int i = 0; i < 2; i++) { /* the second by the same tunnel: the peer serves only one */
        side_ask(&s, &r, &o);
        assert_int_equal(r.err, E_OK);
        assert_string_equal((const char *)r.body.data, "ok");
        buffer_finish(&r.body);
    }
    side_finish(&s);
    tunnel_stop(&t);
    assert_int_equal(t.requests, 2);
    assert_non_null(strstr(t.head, "CONNECT localhost:443 HTTP/1.1\r\n"));
    assert_non_null(strstr(t.head, "\r\nHost: localhost:443\r\n"));
    assert_non_null(strstr(t.head, "\r\nProxy-Authorization: Basic YW5uYTpwQHNz\r\n"));
}

static void expect_tunnel(const char *answer, const char *url, enum err err, const char *words)
{
    struct tunnel t = {.answer = answer};
    struct http_client_options co = {.cafile = pki_path(&pki, "ca.pem"), .connect_timeout_ms = 5000};
    struct http_request_options o = {.url = url, .deadline_ms = 5000};
    struct side s;
    struct result r;
    tunnel_start(&t, "");
    side_init_with(&s, &co);
    side_ask(&s, &r, &o);
    result_expect(&r, err, words);
    side_finish(&s);
    tunnel_stop(&t);
    assert_int_equal(t.requests, 0);
}

static void test_tunnel_failures(void **state)
{
    (void)state;
    expect_tunnel("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "https://localhost/", E_UNREACHABLE, "403");
    expect_tunnel("HTTP/1.1 200 OK\r\n\r\n", "https://other.example/", E_TLS_VERIFY, "");
    if (strcmp(HTTP_CLIENT, "stream") == 0) { /* curl finds out in the handshake, or waits */
        expect_tunnel("HTTP/1.1 200 OK\r\n\r\nHello", "https://localhost/", E_PROTOCOL, "before TLS");
        expect_tunnel("220 ESMTP\r\n\r\n", "https://localhost/", E_PROTOCOL, "");
        expect_tunnel("HTTP/1.1 50", "https://localhost/", E_RESET, "closed");
    }
}

static void script_silent(int fd, void *arg)
{
    char data[64];
    (void)arg;
    while (recv(fd, data, sizeof(data), 0) > 0) {
    }
}

static void test_tunnel_timeout(void **state)
{
    struct http_client_options co = {.connect_timeout_ms = 100};
    struct http_request_options o = {.url = "https://localhost/", .deadline_ms = 5000};
    struct peer peer;
    struct side s;
    struct result r;
    char text[64];
    (void)state;
    peer_start(&peer, 1, script_silent, NULL);
    snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned)peer.port);
    setenv("https_proxy", text, 1);
    side_init_with(&s, &co);
    side_ask(&s, &r, &o);
    result_expect(&r, E_TIMEOUT, "");
    assert_true(uv_hrtime() < s.deadline - UINT64_C(15000000000)); /* not the request's deadline */
    side_finish(&s);
    unsetenv("https_proxy");
    peer_stop(&peer);
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
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_tunnel),
        cmocka_unit_test(test_tunnel_failures),
        cmocka_unit_test(test_tunnel_timeout),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
