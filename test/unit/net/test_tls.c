#include "net/client.h"
#include "net/tls_side.h"
#include "unit.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pki pki;

/* --- resumption --- */

static void connect_once(struct tls_server *server, struct tls_context *tls, const char *name)
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
        struct tls_server server;
        struct tls_context *tls = tls_side_trusting(&pki, "ca.pem");
        tls_server_start(&server, &pki, "server", NULL, 4, tls_side_echo);
        SSL_CTX_set_max_proto_version(server.tls.ctx, versions[i]);
        connect_once(&server, tls, NULL);
        assert_false(server.resumed);
        connect_once(&server, tls, NULL);
        assert_true(server.resumed);
        connect_once(&server, tls, "localhost"); /* a session is for the name that was verified */
        assert_false(server.resumed);
        connect_once(&server, tls, "localhost");
        assert_true(server.resumed);
        tls_server_stop(&server);
        tls_unref(tls);
    }
}

/* A server without session id context that asks for certificates breaks resumed handshakes. */
static void test_server_that_cannot_resume(void **state)
{
    struct tls_server server;
    struct client c;
    (void)state;
    struct tls_options o = {.cafile = pki_path(&pki, "ca.pem"),
                            .certfile = pki_path(&pki, "client.pem"),
                            .keyfile = pki_path(&pki, "client.key")};
    struct tls_context *tls = tls_side_context(&o);
    tls_server_start(&server, &pki, "server", "ca", 4, tls_side_echo);
    SSL_CTX_set_session_id_context(server.tls.ctx, (const unsigned char *)"", 0);
    connect_once(&server, tls, NULL);
    client_init(&c);
    client_connect(&c, server.peer.port, tls);
    client_run_until_closed(&c);
    client_finish(&c);
    connect_once(&server, tls, NULL);
    connect_once(&server, tls, NULL);
    tls_server_stop(&server);
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

/* --- the system's CAs --- */

/* A link with the name under which OpenSSL looks for it, made by hand. */
static void add_to_folder(const char *folder, const char *file)
{
    char link[200];
    FILE *in = fopen(file, "r");
    X509 *cert = in ? PEM_read_X509(in, NULL, NULL, NULL) : NULL;
    assert_non_null(cert);
    fclose(in);
    snprintf(link, sizeof(link), "%s/%08lx.0", folder, X509_subject_name_hash(cert));
    assert_int_equal(symlink(file, link), 0);
    X509_free(cert);
}

/* Connects twice with one context to a server that `name` certifies. */
static void expect_trust(struct tls_context *tls, const char *name, bool trusted)
{
    struct tls_server server;
    tls_server_start(&server, &pki, name, NULL, 2, tls_side_echo);
    SSL_CTX_set_num_tickets(server.tls.ctx, 0); /* each connection is verified */
    for (int i = 0; i < 2; i++) {
        struct client c;
        client_init(&c);
        struct stream_options o = {
            .host = "127.0.0.1", .port = server.peer.port, .tls = tls, .server_name = "localhost"};
        client_connect_with(&c, &o);
        if (trusted) {
            client_run_until_open(&c);
        } else {
            client_run_until_closed(&c);
            assert_int_equal(c.reason, E_TLS_VERIFY);
        }
        client_finish(&c);
    }
    tls_server_stop(&server);
}

static void test_system(void **state)
{
    struct tls_options o = {.cafile = NULL};
    (void)state;
    setenv("SSL_CERT_DIR", pki.dir, 1);
    setenv("SSL_CERT_FILE", pki_path(&pki, "no-such-bundle.pem"), 1);
    struct tls_context *none = tls_side_context(&o);
    expect_trust(none, "server", false);
    tls_unref(none);
    add_to_folder(pki.dir, pki_path(&pki, "ca.pem"));
    setenv("SSL_CERT_FILE", pki_path(&pki, "otherca.pem"), 1);
    struct tls_context *both = tls_side_context(&o);
    expect_trust(both, "server", true);
    expect_trust(both, "stranger", true); /* its CA is in the bundle only */
    expect_trust(both, "server", true);
    expect_trust(both, "expired", false);
    tls_unref(both);
    setenv("SSL_CERT_DIR", pki_path(&pki, "no-such-folder"), 1);
    struct tls_context *bundle = tls_side_context(&o);
    expect_trust(bundle, "server", false);
    expect_trust(bundle, "stranger", true);
    tls_unref(bundle);
    unsetenv("SSL_CERT_DIR");
    unsetenv("SSL_CERT_FILE");
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
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_server_that_cannot_resume),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_system),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
