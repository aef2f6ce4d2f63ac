#include "net/client.h"
#include "net/tls_side.h"
#include "unit.h"

#include <netinet/in.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct pki pki;

/* --- good cases --- */

static void test_echo(void **state)
{
    struct tls_server server;
    struct client c;
    (void)state;
    struct tls_options o = {.cafile = pki_path(&pki, "ca.pem"),
                            .certfile = pki_path(&pki, "client.pem"),
                            .keyfile = pki_path(&pki, "client.key"),
                            .alpn = "x-amzn-mqtt-ca"};
    struct tls_context *tls = tls_side_context(&o);
    tls_server_start(&server, &pki, "server", "ca", 1, tls_side_echo);
    client_init(&c);
    struct stream_options so = {.host = "127.0.0.1", .port = server.peer.port, .tls = tls, .server_name = "localhost"};
    client_connect_with(&c, &so);
    tls_unref(tls); /* the stream has its own reference */
    client_run_until_open(&c);
    assert_non_null(strstr(stream_security(c.stream), "TLSv1.3 TLS_"));
    assert_int_equal(stream_write(c.stream, BYTES("hello")), E_OK);
    client_run_until_received(&c, 5);
    assert_memory_equal(c.data.data, "hello", 5);
    stream_close(c.stream, 5000);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_CANCELLED);
    tls_server_stop(&server);
    assert_string_equal(server.client_name, "sensor-1");
    assert_string_equal(server.alpn, "x-amzn-mqtt-ca");
    assert_string_equal(server.sni, "localhost");
    client_finish(&c);
}

/* --- through another descriptor of the socket --- */

struct sharing {
    struct tls_server server;
    struct client c;
    int fd; /* the other one */
};

static void sharing_open(struct sharing *s, peer_script *script)
{
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    tls_server_start(&s->server, &pki, "server", NULL, 1, script);
    client_init(&s->c);
    client_connect(&s->c, s->server.peer.port, tls);
    tls_unref(tls);
    client_run_until_open(&s->c);
    s->fd = dup(stream_share(s->c.stream));
}

/* Sends a word and gets it back; `before` bytes have come back already. */
static void sharing_echo(struct sharing *s, size_t before)
{
    assert_int_equal(stream_write(s->c.stream, BYTES("hello")), E_OK);
    stream_send_through(s->c.stream, s->fd);
    assert_int_equal(stream_pending(s->c.stream), 0);
    client_run_until_received(&s->c, before + 5);
}

static void sharing_close(struct sharing *s)
{
    client_finish(&s->c);
    tls_server_stop(&s->server);
    close(s->fd);
}

static void test_send_through(void **state)
{
    struct sharing s;
    (void)state;
    sharing_open(&s, tls_side_echo);
    for (size_t i = 0; i < 3; i++) {
        sharing_echo(&s, 5 * i);
    }
    sharing_close(&s);
}

/* Echoes, each time with new keys, and asks the client for new ones too. */
static void echo_with_new_keys(int fd, void *arg)
{
    struct tls_server *s = arg;
    char data[64];
    int n = peer_tls_accept(&s->tls, fd) ? SSL_read(s->tls.ssl, data, sizeof(data)) : 0;
    while (n > 0 && SSL_key_update(s->tls.ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_write(s->tls.ssl, data, n) == n) {
        n = SSL_read(s->tls.ssl, data, sizeof(data));
    }
    ERR_clear_error();
    peer_tls_end(&s->tls, false);
}

/* What TLS owes the peer leaves with the message. */
static void test_send_through_with_new_keys(void **state)
{
    struct sharing s;
    (void)state;
    sharing_open(&s, echo_with_new_keys);
    for (size_t i = 0; i < 5; i++) {
        sharing_echo(&s, 5 * i);
    }
    sharing_close(&s);
}

/* The kernel takes a part of what becomes many records: the loop sends the rest. */
static void test_send_through_more_than_fits(void **state)
{
    enum { SIZE = 3000000 };
    struct sharing s;
    static uint8_t data[SIZE];
    (void)state;
    sharing_open(&s, tls_side_echo);
    const int small = 4096;
    assert_int_equal(setsockopt(s.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (uint8_t)(i * 31 >> 3);
    }
    assert_int_equal(stream_write(s.c.stream, bytes_make(data, SIZE)), E_OK);
    stream_send_through(s.c.stream, s.fd);
    assert_true(stream_pending(s.c.stream) > 0 && stream_pending(s.c.stream) < SIZE);
    client_run_until_received(&s.c, SIZE);
    assert_memory_equal(s.c.data.data, data, SIZE);
    sharing_echo(&s, SIZE);
    sharing_close(&s);
}

/* --- */

static void test_tls12(void **state)
{
    struct tls_server server;
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    tls_server_start(&server, &pki, "server", NULL, 1, tls_side_echo);
    SSL_CTX_set_max_proto_version(server.tls.ctx, TLS1_2_VERSION);
    client_init(&c);
    client_connect(&c, server.peer.port, tls);
    client_run_until_open(&c);
    assert_non_null(strstr(stream_security(c.stream), "TLSv1.2 ECDHE"));
    assert_int_equal(stream_write(c.stream, BYTES("hello")), E_OK);
    client_run_until_received(&c, 5);
    client_finish(&c);
    tls_server_stop(&server);
    assert_string_equal(server.sni, ""); /* an address is no server name */
    tls_unref(tls);
}

static void greet_then_echo(int fd, void *server)
{
    char data[5];
    if (peer_receive(fd, data, sizeof(data)) && peer_send(fd, "ready", 5)) {
        tls_side_echo(fd, server);
    }
}

/* TLS begins in the middle of a plain stream. */
static void test_start_tls(void **state)
{
    struct tls_server server;
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    tls_server_start(&server, &pki, "server", NULL, 1, greet_then_echo);
    client_init(&c);
    client_connect(&c, server.peer.port, NULL);
    assert_int_equal(stream_start_tls(c.stream, tls, "localhost"), E_INVALID); /* not open */
    client_run_until_open(&c);
    assert_int_equal(stream_write(c.stream, BYTES("hello")), E_OK);
    assert_int_equal(stream_start_tls(c.stream, tls, "localhost"), E_INVALID); /* something waits to be sent */
    client_run_until_received(&c, 5);
    assert_int_equal(stream_start_tls(c.stream, tls, "localhost"), E_OK);
    tls_unref(tls);
    assert_int_equal(stream_write(c.stream, BYTES("early")), E_CLOSED);
    c.opened = 0;
    client_run_until_open(&c);
    assert_non_null(strstr(stream_security(c.stream), "TLSv1.3"));
    assert_int_equal(stream_start_tls(c.stream, tls, "localhost"), E_INVALID); /* has it */
    assert_int_equal(stream_write(c.stream, BYTES(" again")), E_OK);
    client_run_until_received(&c, 11);
    assert_memory_equal(c.data.data, "ready again", 11);
    client_finish(&c);
    tls_server_stop(&server);
}

#define BULK ((size_t)8 * 1024 * 1024)

static void write_bulk(struct client *c)
{
    size_t *written = c->user;
    static uint8_t data[10000];
    while (*written < BULK) {
        size_t n = BULK - *written < sizeof(data) ? BULK - *written : sizeof(data);
        for (size_t i = 0; i < n; i++) {
            data[i] = (uint8_t)((*written + i) * 7 + ((*written + i) >> 13));
        }
        if (stream_write(c->stream, bytes_make(data, n)) != E_OK) {
            return;
        }
        assert_true(stream_pending(c->stream) <= 1000000 + 300000);
        *written += n;
    }
}

static void test_bulk_both_ways(void **state)
{
    struct tls_server server;
    struct client c;
    size_t written = 0;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    tls_server_start(&server, &pki, "server", NULL, 1, tls_side_echo);
    client_init(&c);
    c.user = &written;
    c.on_open = c.on_drain = write_bulk;
    struct stream_options o = {.host = "127.0.0.1", .port = server.peer.port, .tls = tls, .write_max = 1000000};
    client_connect_with(&c, &o);
    client_run_until_received(&c, BULK);
    assert_true(c.drained > 0);
    for (size_t i = 0; i < BULK; i++) {
        if (c.data.data[i] != (uint8_t)(i * 7 + (i >> 13))) {
            fail_msg("byte %zu differs", i);
        }
    }
    client_finish(&c);
    tls_server_stop(&server);
    tls_unref(tls);
}

static void send_megabyte(int fd, void *arg)
{
    struct tls_server *s = arg;
    static char data[1024 * 1024];
    if (peer_tls_accept(&s->tls, fd)) {
        SSL_write(s->tls.ssl, data, sizeof(data));
    }
    peer_tls_end(&s->tls, true);
}

/* --- byte by byte, through a relay --- */

struct relay {
    struct peer peer;
    uint16_t to;
    size_t reset_at; /* bytes from the server after which both ends are reset; 0 = never */
};

static void relay_script(int fd, void *arg)
{
    struct relay *r = arg;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(r->to), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(server, (struct sockaddr *)&a, sizeof(a)) != 0) {
        close(server);
        return;
    }
    size_t from_server = 0;
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    for (bool open = true; open && poll(fds, 2, 20000) > 0;) {
        for (int i = 0; i < 2 && open; i++) {
            char byte;
            if (!(fds[i].revents & (POLLIN | POLLHUP | POLLERR))) {
                continue;
            }
            open = recv(fds[i].fd, &byte, 1, 0) == 1 && peer_send(fds[1 - i].fd, &byte, 1);
            from_server += i == 1;
            if (r->reset_at && from_server == r->reset_at) {
                peer_reset(fd);
                open = false;
            }
        }
    }
    close(server);
}

static void test_byte_by_byte(void **state)
{
    struct tls_server server;
    struct relay relay = {0};
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    tls_server_start(&server, &pki, "server", NULL, 1, tls_side_echo);
    relay.to = server.peer.port;
    peer_start(&relay.peer, 1, relay_script, &relay);
    client_init(&c);
    client_connect(&c, relay.peer.port, tls);
    client_run_until_open(&c);
    for (int i = 0; i < 20; i++) {
        size_t before = c.data.len;
        assert_int_equal(stream_write(c.stream, BYTES("0123456789")), E_OK);
        client_run_until_received(&c, before + 10);
    }
    client_finish(&c);
    peer_stop(&relay.peer);
    tls_server_stop(&server);
    tls_unref(tls);
}

static void write_kilobytes(struct client *c)
{
    static uint8_t data[3000];
    assert_int_equal(stream_write(c->stream, bytes_make(data, sizeof(data))), E_OK);
}

static void test_reset_anywhere(void **state)
{
    struct tls_server server;
    struct relay relay = {0};
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    tls_server_start(&server, &pki, "server", NULL, 100, tls_side_echo);
    relay.to = server.peer.port;
    for (size_t at = 1; at < 1500; at += 97) {
        relay.reset_at = at;
        peer_start(&relay.peer, 1, relay_script, &relay);
        client_init(&c);
        c.on_open = write_kilobytes;
        client_connect(&c, relay.peer.port, tls);
        client_run_until_closed(&c);
        assert_int_equal(c.reason, E_RESET);
        client_finish(&c);
        peer_stop(&relay.peer);
    }
    tls_server_stop(&server);
    tls_unref(tls);
}

/* --- the end --- */

static void say_and_end(int fd, void *arg)
{
    struct tls_server *s = arg;
    if (peer_tls_accept(&s->tls, fd)) {
        SSL_write(s->tls.ssl, "bye", 3);
    }
    peer_tls_end(&s->tls, !s->resumed);
}

static void test_end_with_and_without_notify(void **state)
{
    struct tls_server server;
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    for (int without = 0; without < 2; without++) {
        tls_server_start(&server, &pki, "server", NULL, 1, say_and_end);
        server.resumed = without;
        client_init(&c);
        client_connect(&c, server.peer.port, tls);
        client_run_until_closed(&c);
        assert_int_equal(c.data.len, 3);
        assert_int_equal(c.reason, E_CLOSED);
        assert_string_equal(c.detail, without ? "without TLS close_notify" : "");
        client_finish(&c);
        tls_server_stop(&server);
    }
    tls_unref(tls);
}

static void expect_notify(int fd, void *arg)
{
    struct tls_server *s = arg;
    char data[100];
    if (peer_tls_accept(&s->tls, fd)) {
        SSL_write(s->tls.ssl, "unread", 6);
        int n = SSL_read(s->tls.ssl, data, sizeof(data));
        s->accepted = n == 10;
        n = SSL_read(s->tls.ssl, data, sizeof(data));
        s->resumed = n == 0 && SSL_get_error(s->tls.ssl, n) == SSL_ERROR_ZERO_RETURN;
    }
    ERR_clear_error();
    peer_tls_end(&s->tls, false);
}

static void write_and_close(struct client *c)
{
    assert_int_equal(stream_write(c->stream, BYTES("last words")), E_OK);
    stream_close(c->stream, 5000);
}

static void test_we_send_notify(void **state)
{
    struct tls_server server;
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    tls_server_start(&server, &pki, "server", NULL, 1, expect_notify);
    client_init(&c);
    c.on_open = write_and_close;
    client_connect(&c, server.peer.port, tls);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_CANCELLED);
    client_finish(&c);
    tls_server_stop(&server);
    assert_true(server.accepted);
    assert_true(server.resumed);
    tls_unref(tls);
}

static void close_now(struct client *c)
{
    stream_close(c->stream, 0);
}

static void close_at_data(struct client *c, struct bytes data)
{
    (void)data;
    stream_close(c->stream, 0);
}

static void test_close_in_callbacks(void **state)
{
    struct tls_server server;
    struct client c;
    (void)state;
    struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
    tls_server_start(&server, &pki, "server", NULL, 3, send_megabyte);
    for (int where = 0; where < 3; where++) {
        client_init(&c);
        c.on_open = where == 1 ? close_now : NULL;
        c.on_data = close_at_data;
        client_connect(&c, server.peer.port, tls);
        if (where == 0) {
            stream_close(c.stream, 1000);
        }
        client_run_until_closed(&c);
        assert_int_equal(c.reason, E_CANCELLED);
        client_finish(&c);
    }
    tls_server_stop(&server);
    tls_unref(tls);
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
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_send_through),
        cmocka_unit_test(test_send_through_with_new_keys),
        cmocka_unit_test(test_send_through_more_than_fits),
        cmocka_unit_test(test_tls12),
        cmocka_unit_test(test_start_tls),
        cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_reset_anywhere),
        cmocka_unit_test(test_end_with_and_without_notify),
        cmocka_unit_test(test_we_send_notify),
        cmocka_unit_test(test_close_in_callbacks),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
