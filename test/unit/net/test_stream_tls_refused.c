#include "net/client.h"
#include "net/tls_side.h"
#include "unit.h"

#include <openssl/err.h>
#include <sys/socket.h>

static struct pki pki;

/* --- servers that must not be accepted --- */

static void expect_failure(const char *server_cert, const char *ca, const char *name, enum err reason,
                           const char *words)
{
    struct tls_server server;
    struct client c;
    struct tls_context *tls = tls_side_trusting(&pki, ca);
    tls_server_start(&server, &pki, server_cert, NULL, 1, tls_side_echo);
    client_init(&c);
    struct stream_options o = {.host = "127.0.0.1", .port = server.peer.port, .tls = tls, .server_name = name};
    client_connect_with(&c, &o);
    client_run_until_closed(&c);
    assert_int_equal(c.opened, 0);
    if (c.reason != reason || !strstr(c.detail, words)) {
        fail_msg("%s instead of %s: '%s' has not '%s'", err_name(c.reason), err_name(reason), c.detail, words);
    }
    assert_int_equal(ERR_peek_error(), 0);
    client_finish(&c);
    tls_server_stop(&server);
    assert_false(server.accepted);
    tls_unref(tls);
}

static void test_certificates_not_accepted(void **state)
{
    (void)state;
    expect_failure("stranger", "ca.pem", NULL, E_TLS_VERIFY,
                   "'stranger' of the server is signed by 'Other CA', which is not a CA");
    expect_failure("server", "otherca.pem", NULL, E_TLS_VERIFY, "signed by 'Test CA'");
    expect_failure("expired", "ca.pem", NULL, E_TLS_VERIFY, "'expired' of the server expired on 20");
    /* A clock that is years ahead looks like this. */
    pki_issue(&pki, &(struct pki_certificate){"ancient", "ca", "ancient", "IP:127.0.0.1", -400, -31});
    expect_failure("ancient", "ca.pem", NULL, E_TLS_VERIFY, "Z: is the clock right?");
    expect_failure("future", "ca.pem", NULL, E_TLS_VERIFY, "is not valid before 20");
    expect_failure("wrong", "ca.pem", "localhost", E_TLS_VERIFY,
                   "is not for 'localhost' but for other.example, *.more.example, 192.0.2.7");
    expect_failure("wrong", "ca.pem", NULL, E_TLS_VERIFY, "is not for '127.0.0.1' but for other.example");
    expect_failure("ca", "otherca.pem", "localhost", E_TLS_VERIFY, "certificate 'Test CA'");
}

static void test_old_versions_only(void **state)
{
    struct tls_server server;
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    tls_server_start(&server, &pki, "server", NULL, 1, tls_side_echo);
    SSL_CTX_set_min_proto_version(server.tls.ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(server.tls.ctx, TLS1_1_VERSION);
    SSL_CTX_set_security_level(server.tls.ctx, 0);
    client_init(&c);
    client_connect(&c, server.peer.port, tls);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_TLS);
    assert_non_null(strstr(c.detail, "TLS versions"));
    client_finish(&c);
    tls_server_stop(&server);
    tls_unref(tls);
}

static void say(int fd, void *arg)
{
    char data[512];
    const char *text = arg;
    (void)!recv(fd, data, sizeof(data), 0);
    peer_send(fd, text, strlen(text));
    (void)!recv(fd, data, sizeof(data), 0);
}

static void expect_words_for(char *said, enum err reason, const char *words)
{
    struct peer peer;
    struct client c;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    peer_start(&peer, 1, say, said);
    client_init(&c);
    client_connect(&c, peer.port, tls);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, reason);
    if (!strstr(c.detail, words)) {
        fail_msg("'%s' has not '%s'", c.detail, words);
    }
    assert_int_equal(ERR_peek_error(), 0);
    client_finish(&c);
    peer_stop(&peer);
    tls_unref(tls);
}

static void test_not_tls(void **state)
{
    static char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    static char garbage[] = "\x01\x02\x03\x04\x05\x06\x07\x08";
    (void)state;
    expect_words_for(http, E_TLS, "what came is not TLS");
    expect_words_for(garbage, E_TLS, "what came is not TLS");
}

static void close_at_once(int fd, void *arg)
{
    char data[512];
    (void)arg;
    (void)!recv(fd, data, sizeof(data), 0);
}

static void test_closed_in_handshake(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    peer_start(&peer, 1, close_at_once, NULL);
    client_init(&c);
    client_connect(&c, peer.port, tls);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_RESET);
    assert_non_null(strstr(c.detail, "during the TLS handshake"));
    client_finish(&c);
    peer_stop(&peer);
    tls_unref(tls);
}

static void say_nothing(int fd, void *arg)
{
    char data[512];
    (void)arg;
    while (recv(fd, data, sizeof(data), 0) > 0) {
    }
}

static void test_handshake_timeout(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    peer_start(&peer, 1, say_nothing, NULL);
    client_init(&c);
    struct stream_options o = {.host = "127.0.0.1", .port = peer.port, .tls = tls, .connect_timeout_ms = 100};
    client_connect_with(&c, &o);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_TIMEOUT);
    assert_non_null(strstr(c.detail, "TLS handshake"));
    client_finish(&c);
    peer_stop(&peer);
    tls_unref(tls);
}

/* --- clients that are not accepted --- */

static void expect_rejection(const char *cert, const char *key, int max_version, enum err reason, const char *words)
{
    struct tls_server server;
    struct client c;
    struct tls_options o = {.cafile = pki_path(&pki, "ca.pem"),
                            .certfile = cert ? pki_path(&pki, cert) : NULL,
                            .keyfile = key ? pki_path(&pki, key) : NULL};
    struct tls_context *tls = tls_side_context(&o);
    tls_server_start(&server, &pki, "server", "ca", 1, tls_side_echo);
    SSL_CTX_set_max_proto_version(server.tls.ctx, max_version);
    client_init(&c);
    client_connect(&c, server.peer.port, tls);
    client_run_until_closed(&c);
    if (c.reason != reason || !strstr(c.detail, words)) {
        fail_msg("%s: '%s' has not '%s'", err_name(c.reason), c.detail, words);
    }
    client_finish(&c);
    tls_server_stop(&server);
    tls_unref(tls);
}

static void test_our_certificate_rejected(void **state)
{
    (void)state;
    expect_rejection(NULL, NULL, TLS1_3_VERSION, E_REFUSED, "the server wants a certificate and we have none");
    expect_rejection("strangeclient.pem", "strangeclient.key", TLS1_3_VERSION, E_REFUSED,
                     "the server rejected our certificate: unknown CA");
    expect_rejection("strangeclient.pem", "strangeclient.key", TLS1_2_VERSION, E_REFUSED,
                     "the server rejected our certificate: unknown CA");
    expect_rejection(NULL, NULL, TLS1_2_VERSION, E_TLS, "wants a certificate");
}

static int setup(void **state)
{
    (void)state;
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
        cmocka_unit_test(test_certificates_not_accepted),
        cmocka_unit_test(test_old_versions_only),
        cmocka_unit_test(test_not_tls),
        cmocka_unit_test(test_closed_in_handshake),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_our_certificate_rejected),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
