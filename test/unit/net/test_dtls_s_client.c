/* The DTLS server on a UDP socket, with the openssl program as its client. */
#include "net/dtls.h"
#include "net/pki.h"
#include "unit.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

static struct pki pki;

struct gateway {
    struct dtls_server *server;
    int fd;
    uint16_t port;
    char identity[64];
    unsigned opened, closed;
    enum err reason;
};

static void on_send(void *ctx, const struct sockaddr *to, struct bytes datagram)
{
    struct gateway *g = ctx;
    (void)!sendto(g->fd, datagram.data, datagram.len, 0, to, sizeof(struct sockaddr_in));
}

static void *on_peer_open(void *ctx, struct dtls_peer *peer, const char *identity)
{
    struct gateway *g = ctx;
    (void)peer;
    g->opened++;
    snprintf(g->identity, sizeof(g->identity), "%s", identity);
    return g;
}

static void on_data(void *ctx, struct dtls_peer *peer, void *peer_ctx, struct bytes data)
{
    uint8_t upper[256];
    (void)ctx;
    (void)peer_ctx;
    for (size_t i = 0; i < data.len && i < sizeof(upper); i++) {
        upper[i] = data.data[i] >= 'a' && data.data[i] <= 'z' ? (uint8_t)(data.data[i] - 32) : data.data[i];
    }
    assert_int_equal(dtls_send(peer, bytes_make(upper, data.len)), E_OK);
}

static void on_peer_close(void *ctx, struct dtls_peer *peer, void *peer_ctx, enum err reason)
{
    struct gateway *g = ctx;
    (void)peer;
    (void)peer_ctx;
    g->closed++;
    g->reason = reason;
}

static size_t psk_lookup(void *ctx, const char *identity, uint8_t key[static DTLS_PSK_MAX])
{
    (void)ctx;
    if (strcmp(identity, "riot-1") != 0) {
        return 0;
    }
    memcpy(key, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
    return 8;
}

static void gateway_open(struct gateway *g)
{
    static const struct dtls_events events = {.on_peer_open = on_peer_open,
                                              .on_data = on_data,
                                              .on_peer_close = on_peer_close,
                                              .on_send = on_send,
                                              .psk_lookup = psk_lookup};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    struct tls_error error;
    memset(g, 0, sizeof(*g));
    g->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(g->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(g->fd, (struct sockaddr *)&a, &len), 0);
    g->port = ntohs(a.sin_port);
    struct dtls_options o = {.certfile = pki_path(&pki, "server.pem"),
                             .keyfile = pki_path(&pki, "server.key"),
                             .cafile = pki_path(&pki, "ca.pem")};
    assert_int_equal(dtls_server_create(&o, &events, g, &g->server, &error), E_OK);
}

static void serve_once(struct gateway *g)
{
    for (;;) {
        static uint8_t datagram[65536];
        struct sockaddr_storage from;
        socklen_t len = sizeof(from);
        ssize_t n = recvfrom(g->fd, datagram, sizeof(datagram), 0, (struct sockaddr *)&from, &len);
        if (n < 0) {
            break;
        }
        dtls_feed(g->server, (struct sockaddr *)&from, bytes_make(datagram, (size_t)n), mono_now());
    }
    dtls_tick(g->server, mono_now());
}

/* Runs s_client with these arguments, says "hello gateway" and reads all that it prints. */
static void run_s_client(struct gateway *g, const char *arguments, char *output, size_t size)
{
    char command[1024];
    size_t len = 0;
    snprintf(command, sizeof(command),
             "(sleep 0.3; echo hello gateway; sleep 0.3) | "
             "timeout 15 openssl s_client -dtls1_2 -connect 127.0.0.1:%u -quiet -no_ign_eof %s 2>&1",
             (unsigned)g->port, arguments);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    int out = fileno(f);
    fcntl(out, F_SETFL, O_NONBLOCK);
    for (bool open = true; open;) {
        struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = g->fd, .events = POLLIN}};
        poll(fds, 2, 50);
        serve_once(g);
        ssize_t n = read(out, output + len, size - 1 - len);
        open = n != 0;
        len += n > 0 ? (size_t)n : 0;
    }
    output[len] = '\0';
    pclose(f);
    serve_once(g);
}

static void expect_session(const char *arguments, const char *identity)
{
    struct gateway g;
    char output[8192];
    gateway_open(&g);
    run_s_client(&g, arguments, output, sizeof(output));
    if (!strstr(output, "HELLO GATEWAY") || g.opened != 1) {
        fail_msg("%s: %s", arguments, output);
    }
    assert_string_equal(g.identity, identity);
    assert_int_equal(g.closed, 1);
    assert_int_equal(g.reason, E_CLOSED);
    dtls_server_destroy(g.server);
    close(g.fd);
}

static void test_psk(void **state)
{
    (void)state;
    expect_session("-psk_identity riot-1 -psk 0123456789abcdef -cipher PSK-AES128-CCM8:@SECLEVEL=0", "riot-1");
    expect_session("-psk_identity riot-1 -psk 0123456789abcdef -cipher PSK-AES128-GCM-SHA256", "riot-1");
}

static void test_certificate(void **state)
{
    char arguments[512];
    (void)state;
    snprintf(arguments, sizeof(arguments), "-CAfile %s -verify_return_error -verify_hostname localhost",
             pki_path(&pki, "ca.pem"));
    expect_session(arguments, "");
    snprintf(arguments, sizeof(arguments), "-CAfile %s -verify_return_error -cert %s -key %s -mtu 300",
             pki_path(&pki, "ca.pem"), pki_path(&pki, "client.pem"), pki_path(&pki, "client.key"));
    expect_session(arguments, "sensor-1");
}

static void test_refused(void **state)
{
    static const char *const arguments[] = {
        "-psk_identity riot-2 -psk 0123456789abcdef -cipher PSK-AES128-GCM-SHA256",
        "-cipher ECDHE-RSA-AES128-GCM-SHA256", /* the certificate is ECDSA */
    };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct gateway g;
        char output[8192];
        gateway_open(&g);
        run_s_client(&g, arguments[i], output, sizeof(output));
        assert_non_null(strstr(output, "alert"));
        assert_int_equal(g.opened, 0);
        dtls_server_destroy(g.server);
        close(g.fd);
    }
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
        cmocka_unit_test(test_psk),
        cmocka_unit_test(test_certificate),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
