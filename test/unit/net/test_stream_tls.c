#include "net/client.h"
#include "net/cmocka_all.h"
#include "net/peer.h"
#include "net/pki.h"
#include "net/tls.h"

#include <netinet/in.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pki pki;

static struct tls_context *context_with(const struct tls_options *o)
{
    struct tls_context *tls = NULL;
    struct tls_error error;
    enum err e = tls_client_create(o, &tls, &error);
    if (e != E_OK) {
        fail_msg("%s: %s", err_name(e), error.text);
    }
    return tls;
}

/* Trusting `ca`, without a certificate of our own. */
static struct tls_context *context(const char *ca)
{
    struct tls_options o = {.cafile = pki_path(&pki, ca)};
    return context_with(&o);
}

/* --- scripts of the server --- */

struct server {
    struct peer peer;
    struct peer_tls tls;
    bool accepted;
    bool resumed;
    char client_name[64];
    char alpn[32];
    char sni[64];
};

static void note_client(struct server *s)
{
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    X509 *cert = SSL_get0_peer_certificate(s->tls.ssl);
    if (cert) {
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, s->client_name, sizeof(s->client_name));
    }
    SSL_get0_alpn_selected(s->tls.ssl, &alpn, &alpn_len);
    snprintf(s->alpn, sizeof(s->alpn), "%.*s", (int)alpn_len, (const char *)alpn);
    const char *sni = SSL_get_servername(s->tls.ssl, TLSEXT_NAMETYPE_host_name);
    snprintf(s->sni, sizeof(s->sni), "%s", sni ? sni : "");
    s->resumed = SSL_session_reused(s->tls.ssl);
}

static void tls_echo(int fd, void *arg)
{
    struct server *s = arg;
    static char data[65536];
    s->accepted = peer_tls_accept(&s->tls, fd);
    if (s->accepted) {
        note_client(s);
        for (int n = 1; n > 0;) {
            n = SSL_read(s->tls.ssl, data, sizeof(data));
            if (n > 0 && SSL_write(s->tls.ssl, data, n) != n) {
                n = 0;
            }
        }
    }
    ERR_clear_error();
    peer_tls_end(&s->tls, false);
}

static void server_start(struct server *s, const char *name, const char *client_ca, unsigned connections,
                         peer_script *script)
{
    memset(s, 0, sizeof(*s));
    peer_tls_create(&s->tls, &pki, name, client_ca);
    peer_start(&s->peer, connections, script, s);
}

static void server_stop(struct server *s)
{
    peer_stop(&s->peer);
    peer_tls_destroy(&s->tls);
}

/* --- good cases --- */

static void test_echo(void **state)
{
    struct server server;
    struct client c;
    (void)state;
    struct tls_options o = {.cafile = pki_path(&pki, "ca.pem"),
                            .certfile = pki_path(&pki, "client.pem"),
                            .keyfile = pki_path(&pki, "client.key"),
                            .alpn = "x-amzn-mqtt-ca"};
    struct tls_context *tls = context_with(&o);
    server_start(&server, "server", "ca", 1, tls_echo);
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
    server_stop(&server);
    assert_string_equal(server.client_name, "sensor-1");
    assert_string_equal(server.alpn, "x-amzn-mqtt-ca");
    assert_string_equal(server.sni, "localhost");
    client_finish(&c);
}

static void test_tls12(void **state)
{
    struct server server;
    struct client c;
    (void)state;
    struct tls_context *tls = context("ca.pem");
    server_start(&server, "server", NULL, 1, tls_echo);
    SSL_CTX_set_max_proto_version(server.tls.ctx, TLS1_2_VERSION);
    client_init(&c);
    client_connect(&c, server.peer.port, tls);
    client_run_until_open(&c);
    assert_non_null(strstr(stream_security(c.stream), "TLSv1.2 ECDHE"));
    assert_int_equal(stream_write(c.stream, BYTES("hello")), E_OK);
    client_run_until_received(&c, 5);
    client_finish(&c);
    server_stop(&server);
    assert_string_equal(server.sni, ""); /* an address is no server name */
    tls_unref(tls);
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
    struct server server;
    struct client c;
    size_t written = 0;
    (void)state;
    struct tls_context *tls = context("ca.pem");
    server_start(&server, "server", NULL, 1, tls_echo);
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
    server_stop(&server);
    tls_unref(tls);
}

static void pause_at_data(struct client *c, struct bytes data)
{
    assert_int_equal(buffer_append(&c->data, data), E_OK);
    stream_pause_reading(c->stream);
}

static void send_megabyte(int fd, void *arg)
{
    struct server *s = arg;
    static char data[1024 * 1024];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (char)(i >> 10);
    }
    if (peer_tls_accept(&s->tls, fd)) {
        SSL_write(s->tls.ssl, data, sizeof(data));
    }
    peer_tls_end(&s->tls, true);
}

static void test_pause(void **state)
{
    struct server server;
    struct client c;
    (void)state;
    struct tls_context *tls = context("ca.pem");
    server_start(&server, "server", NULL, 1, send_megabyte);
    client_init(&c);
    c.on_data = pause_at_data;
    client_connect(&c, server.peer.port, tls);
    unsigned pauses = 0;
    while (c.data.len < 1024 * 1024) {
        size_t before = c.data.len;
        client_run_until_received(&c, before + 1);
        before = c.data.len;
        if (pauses++ < 5) {
            client_run_ms(&c, 20);
            assert_int_equal(c.data.len, before);
            assert_int_equal(c.closed, 0);
        }
        stream_resume_reading(c.stream);
    }
    for (size_t i = 0; i < c.data.len; i++) {
        if (c.data.data[i] != (uint8_t)(i >> 10)) {
            fail_msg("byte %zu differs", i);
        }
    }
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_CLOSED);
    assert_string_equal(c.detail, "");
    client_finish(&c);
    server_stop(&server);
    tls_unref(tls);
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
    struct server server;
    struct relay relay = {0};
    struct client c;
    (void)state;
    struct tls_context *tls = context("ca.pem");
    server_start(&server, "server", NULL, 1, tls_echo);
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
    server_stop(&server);
    tls_unref(tls);
}

static void write_kilobytes(struct client *c)
{
    static uint8_t data[3000];
    assert_int_equal(stream_write(c->stream, bytes_make(data, sizeof(data))), E_OK);
}

static void test_reset_anywhere(void **state)
{
    struct server server;
    struct relay relay = {0};
    struct client c;
    (void)state;
    struct tls_context *tls = context("ca.pem");
    server_start(&server, "server", NULL, 100, tls_echo);
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
    server_stop(&server);
    tls_unref(tls);
}

/* --- servers that must not be accepted --- */

static void expect_failure(const char *server_cert, const char *ca, const char *name, enum err reason,
                           const char *words)
{
    struct server server;
    struct client c;
    struct tls_context *tls = context(ca);
    server_start(&server, server_cert, NULL, 1, tls_echo);
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
    server_stop(&server);
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
    expect_failure("future", "ca.pem", NULL, E_TLS_VERIFY, "is not valid before 20");
    expect_failure("wrong", "ca.pem", "localhost", E_TLS_VERIFY,
                   "is not for 'localhost' but for other.example, *.more.example, 192.0.2.7");
    expect_failure("wrong", "ca.pem", NULL, E_TLS_VERIFY, "is not for '127.0.0.1' but for other.example");
    expect_failure("ca", "otherca.pem", "localhost", E_TLS_VERIFY, "certificate 'Test CA'");
}

static void test_old_versions_only(void **state)
{
    struct server server;
    struct client c;
    (void)state;
    struct tls_context *tls = context("ca.pem");
    server_start(&server, "server", NULL, 1, tls_echo);
    SSL_CTX_set_min_proto_version(server.tls.ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(server.tls.ctx, TLS1_1_VERSION);
    SSL_CTX_set_security_level(server.tls.ctx, 0);
    client_init(&c);
    client_connect(&c, server.peer.port, tls);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_TLS);
    assert_non_null(strstr(c.detail, "TLS versions"));
    client_finish(&c);
    server_stop(&server);
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
    struct tls_context *tls = context("ca.pem");
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
    struct tls_context *tls = context("ca.pem");
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
    struct tls_context *tls = context("ca.pem");
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
    struct server server;
    struct client c;
    struct tls_options o = {.cafile = pki_path(&pki, "ca.pem"),
                            .certfile = cert ? pki_path(&pki, cert) : NULL,
                            .keyfile = key ? pki_path(&pki, key) : NULL};
    struct tls_context *tls = context_with(&o);
    server_start(&server, "server", "ca", 1, tls_echo);
    SSL_CTX_set_max_proto_version(server.tls.ctx, max_version);
    client_init(&c);
    client_connect(&c, server.peer.port, tls);
    client_run_until_closed(&c);
    if (c.reason != reason || !strstr(c.detail, words)) {
        fail_msg("%s: '%s' has not '%s'", err_name(c.reason), c.detail, words);
    }
    client_finish(&c);
    server_stop(&server);
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

/* --- the end --- */

static void say_and_end(int fd, void *arg)
{
    struct server *s = arg;
    if (peer_tls_accept(&s->tls, fd)) {
        SSL_write(s->tls.ssl, "bye", 3);
    }
    peer_tls_end(&s->tls, !s->resumed);
}

static void test_end_with_and_without_notify(void **state)
{
    struct server server;
    struct client c;
    (void)state;
    struct tls_context *tls = context("ca.pem");
    for (int without = 0; without < 2; without++) {
        server_start(&server, "server", NULL, 1, say_and_end);
        server.resumed = without;
        client_init(&c);
        client_connect(&c, server.peer.port, tls);
        client_run_until_closed(&c);
        assert_int_equal(c.data.len, 3);
        assert_int_equal(c.reason, E_CLOSED);
        assert_string_equal(c.detail, without ? "without TLS close_notify" : "");
        client_finish(&c);
        server_stop(&server);
    }
    tls_unref(tls);
}

static void expect_notify(int fd, void *arg)
{
    struct server *s = arg;
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
    struct server server;
    struct client c;
    (void)state;
    struct tls_context *tls = context("ca.pem");
    server_start(&server, "server", NULL, 1, expect_notify);
    client_init(&c);
    c.on_open = write_and_close;
    client_connect(&c, server.peer.port, tls);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_CANCELLED);
    client_finish(&c);
    server_stop(&server);
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
    struct server server;
    struct client c;
    (void)state;
    struct tls_context *tls = context("ca.pem");
    server_start(&server, "server", NULL, 3, send_megabyte);
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
    server_stop(&server);
    tls_unref(tls);
}

/* --- resumption --- */

static void connect_once(struct server *server, struct tls_context *tls, const char *name)
{
    struct client c;
    client_init(&c);
    struct stream_options o = {.host = "127.0.0.1", .port = server->peer.port, .tls = tls, .server_name = name};
    client_connect_with(&c, &o);
    client_run_until_open(&c);
    assert_int_equal(stream_write(c.stream, BYTES("x")), E_OK);
    client_run_until_received(&c, 1);
    stream_close(c.stream, 5000);
    client_run_until_closed(&c);
    client_finish(&c);
}

static void test_resumption(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct server server;
        struct tls_context *tls = context("ca.pem");
        server_start(&server, "server", NULL, 4, tls_echo);
        SSL_CTX_set_max_proto_version(server.tls.ctx, versions[i]);
        connect_once(&server, tls, NULL);
        assert_false(server.resumed);
        connect_once(&server, tls, NULL);
        assert_true(server.resumed);
        connect_once(&server, tls, "localhost"); /* a session is for the name that was verified */
        assert_false(server.resumed);
        connect_once(&server, tls, "localhost");
        assert_true(server.resumed);
        server_stop(&server);
        tls_unref(tls);
    }
}

/* A server without session id context that asks for certificates breaks resumed handshakes. */
static void test_server_that_cannot_resume(void **state)
{
    struct server server;
    struct client c;
    (void)state;
    struct tls_options o = {.cafile = pki_path(&pki, "ca.pem"),
                            .certfile = pki_path(&pki, "client.pem"),
                            .keyfile = pki_path(&pki, "client.key")};
    struct tls_context *tls = context_with(&o);
    server_start(&server, "server", "ca", 4, tls_echo);
    SSL_CTX_set_session_id_context(server.tls.ctx, (const unsigned char *)"", 0);
    connect_once(&server, tls, NULL);
    client_init(&c);
    client_connect(&c, server.peer.port, tls);
    client_run_until_closed(&c);
    client_finish(&c);
    connect_once(&server, tls, NULL);
    connect_once(&server, tls, NULL);
    server_stop(&server);
    tls_unref(tls);
}

/* --- contexts --- */

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(pki_path(&pki, name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect_context(const char *cert, const char *key, const char *ca, enum err expected, const char *words)
{
    struct tls_options o = {.certfile = cert ? pki_path(&pki, cert) : NULL,
                            .keyfile = key ? pki_path(&pki, key) : NULL,
                            .cafile = ca ? pki_path(&pki, ca) : NULL};
    struct tls_context *tls = NULL;
    struct tls_error error;
    enum err e = tls_client_create(&o, &tls, &error);
    if (e != expected || !strstr(error.text, words)) {
        fail_msg("%s, '%s' has not '%s'", err_name(e), error.text, words);
    }
    assert_int_equal(ERR_peek_error(), 0);
    tls_unref(tls);
}

static void test_files(void **state)
{
    (void)state;
    write_file("garbage.pem", "this is no PEM\n");
    write_file("empty.pem", "");
    expect_context("client.pem", "client.key", "ca.pem", E_OK, "");
    expect_context(NULL, NULL, NULL, E_OK, "");
    expect_context("missing.pem", "client.key", "ca.pem", E_NOT_FOUND, "missing.pem: No such file");
    expect_context("client.pem", "missing.key", "ca.pem", E_NOT_FOUND, "missing.key: ");
    expect_context("client.pem", "client.key", "missing.pem", E_NOT_FOUND, "missing.pem: ");
    expect_context("garbage.pem", "client.key", "ca.pem", E_MALFORMED, "garbage.pem: holds no certificate");
    expect_context("client.pem", "garbage.pem", "ca.pem", E_MALFORMED, "garbage.pem: holds no private key");
    expect_context("client.pem", "client.key", "garbage.pem", E_MALFORMED, "garbage.pem: holds no CA");
    expect_context("client.pem", "client.key", "empty.pem", E_MALFORMED, "empty.pem: holds no CA");
    expect_context("client.pem", "client-encrypted.key", "ca.pem", E_MALFORMED, "is encrypted");
    expect_context("client.pem", "server.key", "ca.pem", E_INVALID, "does not belong to the certificate");
    expect_context("client.pem", NULL, "ca.pem", E_INVALID, "needed together");
    expect_context("client.pem", "client.key", "", E_MALFORMED, "not a file");
    if (geteuid() != 0) {
        chmod(pki_path(&pki, "future.key"), 0);
        expect_context("future.pem", "future.key", "ca.pem", E_ACCESS, "future.key: Permission denied");
    }
    tls_unref(NULL);
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
        cmocka_unit_test(test_tls12),
        cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_reset_anywhere),
        cmocka_unit_test(test_certificates_not_accepted),
        cmocka_unit_test(test_old_versions_only),
        cmocka_unit_test(test_not_tls),
        cmocka_unit_test(test_closed_in_handshake),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_our_certificate_rejected),
        cmocka_unit_test(test_end_with_and_without_notify),
        cmocka_unit_test(test_we_send_notify),
        cmocka_unit_test(test_close_in_callbacks),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_server_that_cannot_resume),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
