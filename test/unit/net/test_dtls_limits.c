#include "net/dtls_side.h"
#include "unit.h"

#include <malloc.h>
#include <time.h>

static struct pki pki;

/* --- loss --- */

static unsigned lost_at;

static bool lose_one(struct net *net, bool to_server, struct bytes datagram)
{
    (void)to_server;
    (void)datagram;
    return net->to_server + net->to_client == lost_at;
}

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Each datagram of the handshake is lost once, in clients that run side by side: timers of a second repeat it. */
static void test_loss(void **state)
{
    enum { RUNS = 12 };
    static struct net nets[RUNS];
    static struct dtls_client clients[RUNS];
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    for (unsigned i = 0; i < RUNS; i++) {
        net_create(&nets[i], &o, false, 1);
        nets[i].drop = lose_one;
        client_create(&clients[i], &nets[i], 0, ctx);
    }
    for (int round = 0; round < 100; round++) {
        unsigned connected = 0;
        for (unsigned i = 0; i < RUNS; i++) {
            lost_at = i + 1;
            nets[i].now = mono_now();
            DTLSv1_handle_timeout(clients[i].ssl);
            client_connect(&clients[i]);
            if (mono_reached(nets[i].now, dtls_deadline(nets[i].server))) {
                dtls_tick(nets[i].server, nets[i].now);
            }
            connected += clients[i].connected;
        }
        if (connected == RUNS) {
            break;
        }
        sleep_ms(50);
    }
    for (unsigned i = 0; i < RUNS; i++) {
        assert_true(clients[i].connected);
        client_step(&clients[i]);
        assert_int_equal(clients[i].opened, 1);
        nets[i].drop = NULL;
        client_write(&clients[i], "hello");
        client_expect(&clients[i], "hello");
        client_destroy(&clients[i]);
        net_destroy(&nets[i]);
    }
    SSL_CTX_free(ctx);
}

/* --- ceilings and time --- */

static void test_ceilings(void **state)
{
    struct net net;
    struct dtls_client c[6];
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    o.max_peers = 3;
    o.max_handshakes = 2;
    o.handshake_timeout_ms = 1000;
    net_create(&net, &o, false, 6);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    for (size_t i = 0; i < 6; i++) {
        client_create(&c[i], &net, i, ctx);
    }
    for (size_t i = 0; i < 3; i++) {
        client_step(&c[i]);
        client_step(&c[i]);
    }
    assert_int_equal(net_stats(&net).handshaking, 2);
    assert_int_equal(net_stats(&net).refused_full, 1);
    struct mono deadline = dtls_deadline(net.server);
    assert_true(mono_reached(mono_add_ms(net.now, 1000), deadline));
    net.now = mono_add_ms(net.now, 1000);
    dtls_tick(net.server, net.now);
    assert_int_equal(net_stats(&net).handshaking, 0);
    assert_int_equal(net.refused, 2);
    assert_int_equal(net.refused_reason, E_TIMEOUT);
    for (size_t i = 0; i < 2; i++) {
        client_destroy(&c[i]);
        client_create(&c[i], &net, i, ctx);
    }
    for (size_t i = 0; i < 2; i++) {
        client_connect(&c[i]);
        assert_true(c[i].connected);
    }
    client_connect(&c[3]);
    assert_true(c[3].connected);
    client_connect(&c[4]);
    assert_false(c[4].connected);
    assert_int_equal(net_stats(&net).peers, 3);
    assert_int_equal(net_stats(&net).refused_full, 2);
    dtls_peer_close(c[0].peer);
    assert_int_equal(c[0].reason, E_CANCELLED);
    client_connect(&c[5]);
    assert_true(c[5].connected);
    for (size_t i = 0; i < 6; i++) {
        client_destroy(&c[i]);
        net.clients[i] = &c[i]; /* destroy tells them */
    }
    net_destroy(&net);
    SSL_CTX_free(ctx);
}

/* Whoever owns an address gets cookies for all its ports, and could keep every handshake busy. */
static void test_one_host_cannot_take_them_all(void **state)
{
    struct net net;
    struct dtls_client c[9];
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    o.max_handshakes = 4;
    net_create(&net, &o, false, 9);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    for (size_t i = 0; i < 9; i++) {
        client_create(&c[i], &net, i, ctx);
        c[i].address.sin_addr.s_addr = htonl(i < 5 ? 0x0a000001 : 0x0a000002);
    }
    for (size_t i = 0; i < 5; i++) {
        client_step(&c[i]);
        client_step(&c[i]);
    }
    assert_int_equal(net_stats(&net).handshaking, 4);
    assert_int_equal(net_stats(&net).refused_full, 1);
    for (size_t i = 5; i < 9; i++) {
        client_connect(&c[i]);
        assert_true(c[i].connected);
    }
    assert_int_equal(net_stats(&net).handshaking, 3);
    client_step(&c[4]); /* for the fourth place */
    client_destroy(&c[4]);
    client_create(&c[4], &net, 4, ctx);
    client_connect(&c[4]);
    assert_true(c[4].connected);
    for (size_t i = 0; i < 9; i++) {
        client_destroy(&c[i]);
        net.clients[i] = &c[i];
    }
    net_destroy(&net);
    SSL_CTX_free(ctx);
}

static void test_idle(void **state)
{
    struct net net;
    struct dtls_client c;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    o.idle_timeout_ms = 10000;
    net_create(&net, &o, false, 1);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    client_create(&c, &net, 0, ctx);
    client_connect(&c);
    net.now = mono_add_ms(net.now, 9000);
    client_write(&c, "here");
    assert_int_equal(dtls_deadline(net.server).ns, mono_add_ms(net.now, 10000).ns);
    net.now = mono_add_ms(net.now, 9000);
    client_feed(&c, BYTES("\x17\xfe\xfd\x00\x01\x00\x00\x00\x00\x01\x00\x00\x02hi")); /* forged: does not count */
    dtls_tick(net.server, net.now);
    assert_int_equal(c.closed, 0);
    net.now = mono_add_ms(net.now, 1000);
    dtls_tick(net.server, net.now);
    assert_int_equal(c.closed, 1);
    assert_int_equal(c.reason, E_TIMEOUT);
    client_destroy(&c);
    SSL_CTX_free(ctx);
    net_destroy(&net);
}

static void test_close_in_callbacks(void **state)
{
    (void)state;
    for (int where = 0; where < 2; where++) {
        struct net net;
        struct dtls_client c;
        struct dtls_options o = net_server_options(&pki);
        net_create(&net, &o, false, 1);
        net.close_open = where == 0;
        net.close_data = where == 1;
        SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
        client_create(&c, &net, 0, ctx);
        client_connect(&c);
        client_step(&c);
        if (where == 1) {
            client_write(&c, "bye");
            client_expect(&c, "bye");
        }
        assert_int_equal(c.opened, 1);
        assert_int_equal(c.closed, 1);
        assert_int_equal(c.reason, E_CANCELLED);
        assert_int_equal(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
        assert_int_equal(net_stats(&net).peers, 0);
        client_destroy(&c);
        SSL_CTX_free(ctx);
        net_destroy(&net);
    }
}

static void test_send_limits(void **state)
{
    static uint8_t data[16385];
    struct net net;
    struct dtls_client c;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, false, 1);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    client_create(&c, &net, 0, ctx);
    client_connect(&c);
    assert_int_equal(dtls_send(c.peer, bytes_make(data, 16385)), E_TOO_LARGE);
    assert_int_equal(dtls_send(c.peer, bytes_make(data, 0)), E_INVALID);
    assert_int_equal(dtls_send(c.peer, bytes_make(data, 16384)), E_OK);
    client_step(&c);
    assert_int_equal(c.data.len, 16384);
    client_destroy(&c);
    SSL_CTX_free(ctx);
    net_destroy(&net);
}

static void test_reload(void **state)
{
    struct net net;
    struct dtls_client c[2];
    struct tls_error error;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, false, 2);
    SSL_CTX *ctx = client_context(&pki, "ca.pem", NULL);
    client_create(&c[0], &net, 0, ctx);
    client_create(&c[1], &net, 1, ctx);
    client_connect(&c[0]);
    struct dtls_options bad = {.certfile = pki_path(&pki, "wrong.pem"), .keyfile = pki_path(&pki, "server.key")};
    assert_int_equal(dtls_server_reload(net.server, &bad, &error), E_INVALID);
    assert_non_null(strstr(error.text, "does not belong"));
    struct dtls_options none = {0};
    assert_int_equal(dtls_server_reload(net.server, &none, &error), E_INVALID);
    client_step(&c[1]);
    struct dtls_options other = {.certfile = pki_path(&pki, "wrong.pem"), .keyfile = pki_path(&pki, "wrong.key")};
    assert_int_equal(dtls_server_reload(net.server, &other, &error), E_OK);
    client_connect(&c[1]); /* its cookie is still good */
    assert_true(c[1].connected);
    char name[64] = "";
    X509 *cert = SSL_get0_peer_certificate(c[1].ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof(name));
    assert_string_equal(name, "wrong");
    client_write(&c[0], "old session");
    client_expect(&c[0], "old session");
    client_destroy(&c[0]);
    client_destroy(&c[1]);
    net.clients[0] = &c[0];
    net.clients[1] = &c[1];
    net_destroy(&net);
    SSL_CTX_free(ctx);
}

/* --- many --- */

#define MANY 500

static void test_many(void **state)
{
    static struct dtls_client clients[MANY];
    struct net net;
    (void)state;
    struct dtls_options o = net_server_options(&pki);
    net_create(&net, &o, true, MANY);
    SSL_CTX *ctx[2] = {client_context(&pki, "ca.pem", NULL), client_psk_context("PSK-AES128-CCM8")};
    for (size_t i = 0; i < MANY; i++) {
        client_create(&clients[i], &net, i, ctx[i % 2]);
    }
    /* Side by side; the ceiling of handshakes makes some wait for their next hello. */
    size_t peak = 0;
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < 250; i++) {
            client_step(&clients[i]);
        }
        size_t now = net_stats(&net).handshaking;
        peak = now > peak ? now : peak;
    }
    assert_int_equal(peak, 250);
    size_t before = mallinfo2().uordblks;
    for (size_t i = 250; i < MANY; i++) {
        client_connect(&clients[i]);
    }
    size_t with_clients = (mallinfo2().uordblks - before) / 250;
    for (size_t i = 0; i < MANY; i++) {
        client_connect(&clients[i]);
        assert_true(clients[i].connected);
    }
    assert_int_equal(net_stats(&net).peers, MANY);
    for (size_t i = 0; i < MANY; i++) {
        client_write(&clients[i], "one of many");
        client_expect(&clients[i], "one of many");
        client_destroy(&clients[i]);
        net.clients[i] = &clients[i];
    }
    before = mallinfo2().uordblks;
    dtls_server_destroy(net.server);
    net.server = NULL;
    print_message("memory of an open peer: %zu bytes; with the test's client %zu\n",
                  (before - mallinfo2().uordblks) / MANY, with_clients);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(clients[i].closed, 1);
    }
    SSL_CTX_free(ctx[0]);
    SSL_CTX_free(ctx[1]);
    net_destroy(&net);
}

static void test_options(void **state)
{
    static const struct dtls_events events = {0};
    struct dtls_server *s = NULL;
    struct tls_error error;
    (void)state;
    struct dtls_options none = {0};
    assert_int_equal(dtls_server_create(&none, &events, NULL, &s, &error), E_INVALID);
    struct dtls_options half = {.certfile = pki_path(&pki, "server.pem")};
    assert_int_equal(dtls_server_create(&half, &events, NULL, &s, &error), E_INVALID);
    struct dtls_options missing = {.certfile = "/nonexistent/a.pem", .keyfile = "/nonexistent/a.key"};
    assert_int_equal(dtls_server_create(&missing, &events, NULL, &s, &error), E_NOT_FOUND);
    struct dtls_options ca = net_server_options(&pki);
    ca.cafile = "/nonexistent/ca.pem";
    assert_int_equal(dtls_server_create(&ca, &events, NULL, &s, &error), E_NOT_FOUND);
    assert_null(s);
    dtls_server_destroy(NULL);
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
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_close_in_callbacks),
        cmocka_unit_test(test_send_limits),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_one_host_cannot_take_them_all),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
