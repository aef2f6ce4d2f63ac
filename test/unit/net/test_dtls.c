#include "net/dtls_side.h"
#include "unit.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdlib.h>

static struct pki pki;

/* --- who may come in --- */

static void test_certificate(void **state)
{
    struct net net;
    struct dtls_client c;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, false, 1);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    client_create(&c, &net, 0, ctx);
    client_connect(&c);
    assert_true(c.connected);
    assert_int_equal(c.opened, 1);
    assert_string_equal(c.identity, "");
    assert_string_equal(SSL_get_version(c.ssl), "DTLSv1.2");
    client_write(&c, "hello");
    client_expect(&c, "hello");
    client_write(&c, "again");
    client_expect(&c, "again");
    struct dtls_stats s = net_stats(&net);
    assert_int_equal(s.handshakes, 1);
    assert_int_equal(s.cookies_sent, 1);
    assert_int_equal(s.cookies_bad + s.failed + s.refused_full + s.ignored + s.handshaking, 0);
    assert_int_equal(s.peers, 1);
    assert_true(dtls_deadline(net.server).ns == MONO_NEVER.ns);
    SSL_shutdown(c.ssl);
    client_send(&c);
    assert_int_equal(c.closed, 1);
    assert_int_equal(c.reason, E_CLOSED);
    assert_int_equal(SSL_shutdown(c.ssl), 1); /* close_notify was answered */
    assert_int_equal(net_stats(&net).peers, 0);
    client_destroy(&c);
    SSL_CTX_free(ctx);
    net_destroy(&net);
}

static void test_psk(void **state)
{
    static const char *const ciphers[] = {"PSK-AES128-CCM8", "PSK-AES128-GCM-SHA256", "PSK-CHACHA20-POLY1305",
                                          "ECDHE-PSK-AES128-CBC-SHA256", "ECDHE-PSK-CHACHA20-POLY1305"};
    (void)state;
    for (size_t i = 0; i < sizeof(ciphers) / sizeof(ciphers[0]); i++) {
        struct net net;
        struct dtls_client c;
        struct dtls_options o = {0};
        net_create(&net, &o, true, 1);
        SSL_CTX *ctx = client_psk_context(ciphers[i]);
        client_create(&c, &net, 0, ctx);
        client_connect(&c);
        if (!c.connected) {
            fail_msg("%s: %s", ciphers[i], net.refused_detail);
        }
        assert_string_equal(c.identity, "sensor-psk");
        assert_string_equal(SSL_get_cipher_name(c.ssl), ciphers[i]);
        client_write(&c, "hello");
        client_expect(&c, "hello");
        client_destroy(&c);
        SSL_CTX_free(ctx);
        net_destroy(&net);
    }
}

/* The smallest devices: CCM_8 with a certificate. */
static void test_certificate_ccm8(void **state)
{
    struct net net;
    struct dtls_client c;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, true, 1);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    SSL_CTX_set_security_level(ctx, 0);
    assert_int_equal(SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-CCM8"), 1);
    client_create(&c, &net, 0, ctx);
    client_connect(&c);
    assert_true(c.connected);
    client_destroy(&c);
    SSL_CTX_free(ctx);
    net_destroy(&net);
}

static void expect_refused(const struct dtls_options *o, SSL_CTX *ctx, const char *identity, const char *key,
                           enum err reason, const char *words)
{
    struct net net;
    struct dtls_client c;
    net_create(&net, o, !o->certfile, 1);
    client_create(&c, &net, 0, ctx);
    c.psk_identity = identity;
    c.psk_key = key;
    client_connect(&c);
    assert_false(c.connected);
    assert_int_equal(c.opened, 0);
    if (net.refused != 1 || net.refused_reason != reason || !strstr(net.refused_detail, words)) {
        fail_msg("%u, %s: '%s' has not '%s'", net.refused, err_name(net.refused_reason), net.refused_detail, words);
    }
    struct dtls_stats s = net_stats(&net);
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.handshaking + s.peers, 0);
    assert_int_equal(ERR_peek_error(), 0);
    client_destroy(&c);
    SSL_CTX_free(ctx);
    net_destroy(&net);
}

static void test_refused(void **state)
{
    struct dtls_options psk = {0};
    struct dtls_options certificate = net_server_options(&pki);
    char long_identity[DTLS_IDENTITY_MAX + 2];
    (void)state;
    memset(long_identity, 'x', sizeof(long_identity) - 1);
    long_identity[sizeof(long_identity) - 1] = '\0';
    expect_refused(&psk, client_psk_context("PSK-AES128-CCM8"), "stranger", "0123456789abcdef", E_TLS, "identity");
    expect_refused(&psk, client_psk_context("PSK-AES128-CCM8"), "", "0123456789abcdef", E_TLS, "identity");
    expect_refused(&psk, client_psk_context("PSK-AES128-CCM8"), long_identity, "0123456789abcdef", E_TLS, "identity");
    expect_refused(&certificate, client_context(&pki, "otherca.pem", NULL), "", "", E_REFUSED,
                   "the client rejected our certificate: unknown CA");
    certificate.cafile = pki_path(&pki, "ca.pem");
    expect_refused(&certificate, client_context(&pki, "ca.pem", "strangeclient"), "", "", E_TLS_VERIFY,
                   "certificate 'sensor-2' of the client is signed by 'Other CA'");
    expect_refused(&certificate, client_context(&pki, "ca.pem", "hostileclient"), "", "", E_TLS_VERIFY,
                   "certificate 'x\\\"\\n\\x1b[31m\\xc2\\x9b' of the client");
    expect_refused(&certificate, client_context(&pki, "ca.pem", "expired"), "", "", E_TLS_VERIFY,
                   "of the client expired on");
    certificate.require_certificate = true;
    expect_refused(&certificate, client_context(&pki, "ca.pem", NULL), "", "", E_TLS,
                   "peer did not return a certificate");
    expect_refused(&psk, client_context(&pki, "ca.pem", NULL), "", "", E_TLS, "no shared cipher");
}

/* The wrong key shows only in records that do not decrypt, which DTLS drops: the handshake runs into its time limit. */
static void test_wrong_psk(void **state)
{
    struct net net;
    struct dtls_client c;
    (void)state;
    struct dtls_options o = {.handshake_timeout_ms = 5000};
    net_create(&net, &o, true, 1);
    SSL_CTX *ctx = client_psk_context("PSK-AES128-CCM8");
    client_create(&c, &net, 0, ctx);
    c.psk_key = "the wrong key...";
    client_connect(&c);
    assert_false(c.connected);
    assert_int_equal(c.opened, 0);
    net.now = mono_add_ms(net.now, 5000);
    assert_true(mono_reached(net.now, dtls_deadline(net.server)));
    dtls_tick(net.server, net.now);
    assert_int_equal(net.refused, 1);
    assert_int_equal(net_stats(&net).handshaking, 0);
    client_destroy(&c);
    SSL_CTX_free(ctx);
    net_destroy(&net);
}

static void test_client_certificate(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++) {
        struct net net;
        struct dtls_client c;
        struct dtls_options o = net_server_options(&pki);
        o.cafile = pki_path(&pki, "ca.pem");
        o.require_certificate = with;
        net_create(&net, &o, false, 1);
        SSL_CTX *ctx = client_context(&pki, "ca.pem", with ? "client" : NULL);
        client_create(&c, &net, 0, ctx);
        client_connect(&c);
        assert_true(c.connected);
        assert_string_equal(c.identity, with ? "sensor-1" : "");
        client_destroy(&c);
        SSL_CTX_free(ctx);
        net_destroy(&net);
    }
}

/* --- cookies and replays --- */

static void test_cookies(void **state)
{
    struct net net;
    struct dtls_client c;
    struct dtls_client other;
    uint8_t hello[1000];
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, false, 2);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    client_create(&c, &net, 0, ctx);
    client_create(&other, &net, 1, ctx);
    client_step(&c); /* ClientHello -> HelloVerifyRequest */
    assert_int_equal(net_stats(&net).cookies_sent, 1);
    assert_int_equal(net_stats(&net).handshaking, 0);
    size_t first_len = net.last_to_server.len;
    assert_true(net.last_to_client.len < first_len); /* no amplification */
    client_feed(&c, buffer_bytes(&net.last_to_server));
    assert_int_equal(net_stats(&net).cookies_sent, 2);
    assert_int_equal(net_stats(&net).handshaking, 0);

    net.drop = NULL;
    client_step(&c); /* with cookie -> the server's flight */
    assert_int_equal(net_stats(&net).handshaking, 1);
    size_t len = net.last_to_server.len;
    assert_true(len > first_len && len <= sizeof(hello));
    memcpy(hello, net.last_to_server.data, len);

    client_feed(&other, bytes_make(hello, len)); /* the cookie is another address's */
    struct dtls_stats s = net_stats(&net);
    assert_int_equal(s.cookies_bad, 1);
    assert_int_equal(s.cookies_sent, 3);
    assert_int_equal(s.handshaking, 1);

    client_feed(&c, bytes_make(hello, len)); /* a repetition of what began the handshake */
    assert_int_equal(net_stats(&net).handshaking, 1);
    assert_int_equal(net_stats(&net).cookies_sent, 3);
    client_connect(&c);
    assert_true(c.connected);
    client_feed(&c, bytes_make(hello, len)); /* replayed later: half a handshake beside the open session */
    assert_int_equal(net_stats(&net).peers, 1);
    client_write(&c, "still there");
    client_expect(&c, "still there");

    hello[100] ^= 1; /* in the cookie */
    client_feed(&other, bytes_make(hello, len));
    assert_int_equal(net_stats(&net).cookies_bad, 2);
    hello[100] ^= 1;
    net.now = mono_add_ms(net.now, 200000);
    dtls_tick(net.server, net.now); /* ends the half */
    assert_int_equal(net_stats(&net).handshaking, 0);
    client_feed(&c, bytes_make(hello, len)); /* too old now */
    assert_int_equal(net_stats(&net).cookies_bad, 3);
    assert_int_equal(net_stats(&net).handshaking, 0);
    client_destroy(&c);
    client_destroy(&other);
    SSL_CTX_free(ctx);
    net_destroy(&net);
}

static void test_cookie_lives_a_minute(void **state)
{
    struct net net;
    struct dtls_client c;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    for (unsigned age_s = 30; age_s <= 130; age_s += 100) {
        net_create(&net, &o, false, 1);
        client_create(&c, &net, 0, ctx);
        client_step(&c);
        net.now = mono_add_ms(net.now, age_s * (uint64_t)1000);
        client_step(&c);
        assert_int_equal(net_stats(&net).handshaking, age_s == 30);
        client_destroy(&c);
        net_destroy(&net);
    }
    SSL_CTX_free(ctx);
}

static void test_replayed_record(void **state)
{
    struct net net;
    struct dtls_client c;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, false, 1);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    client_create(&c, &net, 0, ctx);
    client_connect(&c);
    client_write(&c, "once");
    assert_int_equal(net.received, 4);
    for (int i = 0; i < 5; i++) {
        struct buffer copy;
        buffer_init(&copy, 65536);
        assert_int_equal(buffer_append(&copy, buffer_bytes(&net.last_to_server)), E_OK);
        client_feed(&c, buffer_bytes(&copy));
        buffer_finish(&copy);
    }
    assert_int_equal(net.received, 4);
    client_expect(&c, "once");
    client_destroy(&c);
    SSL_CTX_free(ctx);
    net_destroy(&net);
}

/* What anybody can send without a key changes nothing for an open session. */
static void test_forged_datagrams(void **state)
{
    static const uint8_t alert[] = {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
    static const uint8_t alert_epoch_1[] = {21, 254, 253, 0, 1, 0, 0, 0, 0, 1, 0, 0, 2, 2, 40};
    struct net net;
    struct dtls_client c;
    uint8_t noise[300];
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, true, 1);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    client_create(&c, &net, 0, ctx);
    client_connect(&c);
    client_feed(&c, bytes_make(alert, sizeof(alert)));
    client_feed(&c, bytes_make(alert_epoch_1, sizeof(alert_epoch_1)));
    memset(noise, 0, sizeof(noise));
    for (uint8_t len = 0; len < 64; len++) { /* records shorter than any that is sealed, and a little longer */
        for (uint8_t type = 20; type < 24; type++) {
            memcpy(noise, alert_epoch_1, 12);
            noise[0] = type;
            noise[12] = len;
            client_feed(&c, bytes_make(noise, 13u + len));
            assert_int_equal(c.closed, 0);
        }
    }
    for (int i = 0; i < 20000; i++) {
        RAND_bytes(noise, sizeof(noise));
        if (i % 2) { /* looks like DTLS at least */
            noise[0] = (uint8_t)(20 + noise[0] % 4);
            noise[1] = 254;
            noise[2] = 253;
            noise[3] = 0;
            noise[4] = (uint8_t)(i % 4 == 1);
            noise[11] = 0;
            noise[12] = (uint8_t)(noise[299] % 2 ? 50 : 287);
            noise[13] = (uint8_t)(noise[298] % 2 ? 1 : noise[13] % 21);
        }
        client_feed(&c, bytes_make(noise, noise[297] % 2 ? sizeof(noise) : noise[296]));
    }
    assert_int_equal(c.closed, 0);
    client_write(&c, "still there");
    client_expect(&c, "still there");
    assert_int_equal(ERR_peek_error(), 0);
    client_destroy(&c);
    SSL_CTX_free(ctx);
    net_destroy(&net);
}

/* --- the same address again --- */

/* The network doubles the ClientHello with the cookie, and the second one comes when the handshake is complete. */
static void test_late_hello(void **state)
{
    struct net net;
    struct dtls_client c;
    struct buffer hello;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, false, 1);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    client_create(&c, &net, 0, ctx);
    buffer_init(&hello, 2000);
    client_step(&c);
    client_step(&c);
    assert_int_equal(buffer_append(&hello, buffer_bytes(&net.last_to_server)), E_OK);
    client_connect(&c);
    client_feed(&c, buffer_bytes(&hello));
    assert_int_equal(net_stats(&net).handshaking, 0);
    net.now = mono_add_ms(net.now, 6000);
    client_feed(&c, buffer_bytes(&hello)); /* a device without entropy, after a reboot */
    assert_int_equal(net_stats(&net).handshaking, 1);
    buffer_finish(&hello);
    client_destroy(&c);
    net_destroy(&net);
    SSL_CTX_free(ctx);
}

static void test_reboot(void **state)
{
    struct net net;
    struct dtls_client before;
    struct dtls_client after;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, false, 1);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    client_create(&before, &net, 0, ctx);
    client_connect(&before);
    assert_true(before.connected);

    client_create(&after, &net, 0, ctx);
    client_step(&after);
    client_step(&after); /* half way: the old session still works */
    assert_int_equal(net_stats(&net).handshaking, 1);
    net.clients[0] = &before;
    client_write(&before, "still there");
    client_expect(&before, "still there");
    assert_int_equal(before.closed, 0);

    net.clients[0] = &after;
    client_connect(&after);
    assert_true(after.connected);
    assert_int_equal(before.closed, 1);
    assert_int_equal(before.reason, E_EXISTS);
    assert_int_equal(after.opened, 1);
    client_write(&after, "new");
    client_expect(&after, "new");
    assert_int_equal(net_stats(&net).peers, 1);

    /* And again, giving up half way and starting once more with another hello. */
    struct dtls_client third;
    struct dtls_client fourth;
    client_create(&third, &net, 0, ctx);
    client_step(&third);
    client_step(&third);
    assert_int_equal(net_stats(&net).handshaking, 1);
    client_create(&fourth, &net, 0, ctx);
    client_connect(&fourth);
    assert_true(fourth.connected);
    assert_int_equal(after.closed, 1);
    assert_int_equal(net_stats(&net).handshaking, 0);
    assert_int_equal(net_stats(&net).peers, 1);
    client_destroy(&before);
    client_destroy(&after);
    client_destroy(&third);
    net.clients[0] = &fourth;
    net_destroy(&net);
    assert_int_equal(fourth.closed, 1);
    assert_int_equal(fourth.reason, E_CANCELLED);
    fourth.net = &net;
    net.clients = calloc(1, sizeof(struct dtls_client *));
    client_destroy(&fourth);
    free(net.clients);
    SSL_CTX_free(ctx);
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
        cmocka_unit_test(test_certificate),      cmocka_unit_test(test_psk),
        cmocka_unit_test(test_certificate_ccm8), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_wrong_psk),        cmocka_unit_test(test_client_certificate),
        cmocka_unit_test(test_cookies),          cmocka_unit_test(test_cookie_lives_a_minute),
        cmocka_unit_test(test_replayed_record),  cmocka_unit_test(test_forged_datagrams),
        cmocka_unit_test(test_reboot),           cmocka_unit_test(test_late_hello),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
