#include "net/dtls_side.h"

#include "unit.h"

#include <openssl/err.h>
#include <stdlib.h>

/* --- the client's BIO --- */

static void put(struct datagrams *d, struct bytes datagram)
{
    if (d->count < DATAGRAMS_MAX) {
        struct buffer *item = &d->items[d->count++];
        buffer_init(item, 65536);
        assert_int_equal(buffer_append(item, datagram), E_OK);
    }
}

/* The oldest, now the caller's. */
static struct buffer take(struct datagrams *d)
{
    struct buffer first = d->items[0];
    d->count--;
    memmove(&d->items[0], &d->items[1], d->count * sizeof(d->items[0]));
    return first;
}

static int bio_read(BIO *bio, char *out, size_t size, size_t *len)
{
    struct dtls_client *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (c->to_client.count == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    struct buffer datagram = take(&c->to_client);
    *len = size < datagram.len ? size : datagram.len;
    memcpy(out, datagram.data, *len);
    buffer_finish(&datagram);
    return 1;
}

static void remember(struct buffer *b, struct bytes datagram)
{
    buffer_clear(b);
    assert_int_equal(buffer_append(b, datagram), E_OK);
}

void client_feed(struct dtls_client *c, struct bytes datagram)
{
    struct net *net = c->net;
    net->to_server++;
    remember(&net->last_to_server, datagram);
    if (!net->drop || !net->drop(net, true, datagram)) {
        dtls_feed(net->server, (struct sockaddr *)&c->address, datagram, net->now);
    }
}

static int bio_write(BIO *bio, const char *data, size_t size, size_t *len)
{
    BIO_clear_retry_flags(bio);
    put(&((struct dtls_client *)BIO_get_data(bio))->to_server, bytes_make(data, size));
    *len = size;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO *bio_for(struct dtls_client *c)
{
    static BIO_METHOD *method;
    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "test datagrams");
        BIO_meth_set_read_ex(method, bio_read);
        BIO_meth_set_write_ex(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
        BIO_meth_set_create(method, bio_create);
    }
    BIO *bio = BIO_new(method);
    BIO_set_data(bio, c);
    return bio;
}

/* --- the server's events --- */

static struct dtls_client *client_at(struct net *net, const struct sockaddr *a)
{
    size_t i = (size_t)ntohs(((const struct sockaddr_in *)a)->sin_port) - 1000;
    assert_true(i < net->max_clients);
    return net->clients[i];
}

static void on_send(void *ctx, const struct sockaddr *to, struct bytes datagram)
{
    struct net *net = ctx;
    struct dtls_client *c = client_at(net, to);
    net->to_client++;
    remember(&net->last_to_client, datagram);
    if (c && c->ssl && (!net->drop || !net->drop(net, false, datagram))) {
        put(&c->to_client, datagram);
    }
}

static void *on_peer_open(void *ctx, struct dtls_peer *peer, const char *identity)
{
    struct net *net = ctx;
    struct dtls_client *c = client_at(net, dtls_peer_addr(peer));
    c->opened++;
    c->peer = peer;
    snprintf(c->identity, sizeof(c->identity), "%s", identity);
    if (net->close_open) {
        dtls_peer_close(peer);
        assert_int_equal(dtls_send(peer, BYTES("x")), E_CLOSED);
    }
    return c;
}

static void on_data(void *ctx, struct dtls_peer *peer, void *peer_ctx, struct bytes data)
{
    struct net *net = ctx;
    struct dtls_client *c = peer_ctx;
    assert_ptr_equal(c->peer, peer);
    net->received += data.len;
    if (net->echo) {
        assert_int_equal(dtls_send(peer, data), E_OK);
    }
    if (net->close_data) {
        dtls_peer_close(peer);
    }
}

static void on_peer_close(void *ctx, struct dtls_peer *peer, void *peer_ctx, enum err reason)
{
    struct dtls_client *c = peer_ctx;
    (void)ctx;
    assert_ptr_equal(c->peer, peer);
    assert_int_equal(dtls_send(peer, BYTES("x")), E_CLOSED);
    c->peer = NULL;
    c->closed++;
    c->reason = reason;
}

static void on_refused(void *ctx, const struct sockaddr *from, enum err reason, const char *detail)
{
    struct net *net = ctx;
    (void)from;
    net->refused++;
    net->refused_reason = reason;
    snprintf(net->refused_detail, sizeof(net->refused_detail), "%s", detail);
}

static size_t psk_lookup(void *ctx, const char *identity, uint8_t key[static DTLS_PSK_MAX])
{
    (void)ctx;
    if (strcmp(identity, "sensor-psk") != 0) {
        return 0;
    }
    memcpy(key, "0123456789abcdef", 16);
    return 16;
}

void net_create(struct net *net, const struct dtls_options *o, bool psk, size_t max_clients)
{
    static const struct dtls_events with_psk = {.on_peer_open = on_peer_open,
                                                .on_data = on_data,
                                                .on_peer_close = on_peer_close,
                                                .on_send = on_send,
                                                .on_refused = on_refused,
                                                .psk_lookup = psk_lookup};
    static const struct dtls_events without = {.on_peer_open = on_peer_open,
                                               .on_data = on_data,
                                               .on_peer_close = on_peer_close,
                                               .on_send = on_send,
                                               .on_refused = on_refused};
    struct tls_error error;
    memset(net, 0, sizeof(*net));
    net->now = mono_now();
    net->echo = true;
    net->max_clients = max_clients;
    net->clients = calloc(max_clients, sizeof(struct dtls_client *));
    buffer_init(&net->last_to_server, 65536);
    buffer_init(&net->last_to_client, 65536);
    enum err e = dtls_server_create(o, psk ? &with_psk : &without, net, &net->server, &error);
    if (e != E_OK) {
        fail_msg("%s: %s", err_name(e), error.text);
    }
}

void net_destroy(struct net *net)
{
    dtls_server_destroy(net->server);
    buffer_finish(&net->last_to_server);
    buffer_finish(&net->last_to_client);
    free(net->clients);
}

struct dtls_options net_server_options(const struct pki *pki)
{
    return (struct dtls_options){.certfile = pki_path(pki, "server.pem"), .keyfile = pki_path(pki, "server.key")};
}

struct dtls_stats net_stats(const struct net *net)
{
    struct dtls_stats s;
    dtls_stats(net->server, &s);
    return s;
}

/* --- clients --- */

SSL_CTX *client_context(const struct pki *pki, const char *ca, const char *certificate)
{
    SSL_CTX *ctx = SSL_CTX_new(DTLS_client_method());
    char name[64];
    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_load_verify_file(ctx, pki_path(pki, ca)), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU);
    if (certificate) {
        snprintf(name, sizeof(name), "%s.pem", certificate);
        assert_int_equal(SSL_CTX_use_certificate_file(ctx, pki_path(pki, name), SSL_FILETYPE_PEM), 1);
        snprintf(name, sizeof(name), "%s.key", certificate);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, pki_path(pki, name), SSL_FILETYPE_PEM), 1);
    }
    return ctx;
}

static unsigned on_psk_wanted(SSL *ssl, const char *hint, char *identity, unsigned max_identity, unsigned char *key,
                              unsigned max_key)
{
    struct dtls_client *c = SSL_get_app_data(ssl);
    (void)hint;
    snprintf(identity, max_identity, "%s", c->psk_identity);
    size_t len = strlen(c->psk_key);
    assert_true(len <= max_key);
    memcpy(key, c->psk_key, len);
    return (unsigned)len;
}

SSL_CTX *client_psk_context(const char *ciphers)
{
    SSL_CTX *ctx = SSL_CTX_new(DTLS_client_method());
    assert_non_null(ctx);
    SSL_CTX_set_security_level(ctx, 0); /* for CCM8 */
    assert_int_equal(SSL_CTX_set_cipher_list(ctx, ciphers), 1);
    SSL_CTX_set_psk_client_callback(ctx, on_psk_wanted);
    SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU);
    return ctx;
}

void client_create(struct dtls_client *c, struct net *net, size_t number, SSL_CTX *ctx)
{
    memset(c, 0, sizeof(*c));
    c->net = net;
    c->address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)(1000 + number)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    buffer_init(&c->data, 65536);
    c->psk_identity = "sensor-psk";
    c->psk_key = "0123456789abcdef";
    net->clients[number] = c;
    c->ssl = SSL_new(ctx);
    assert_non_null(c->ssl);
    BIO *bio = bio_for(c);
    SSL_set_bio(c->ssl, bio, bio);
    SSL_set_app_data(c->ssl, c);
    SSL_set_mtu(c->ssl, 1200);
    SSL_set_connect_state(c->ssl);
}

void client_destroy(struct dtls_client *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
    for (size_t i = 0; i < c->to_client.count; i++) {
        buffer_finish(&c->to_client.items[i]);
    }
    for (size_t i = 0; i < c->to_server.count; i++) {
        buffer_finish(&c->to_server.items[i]);
    }
    buffer_finish(&c->data);
    size_t number = (size_t)ntohs(c->address.sin_port) - 1000;
    if (c->net->clients[number] == c) {
        c->net->clients[number] = NULL;
    }
}

void client_send(struct dtls_client *c)
{
    while (c->to_server.count > 0) {
        struct buffer datagram = take(&c->to_server);
        client_feed(c, buffer_bytes(&datagram));
        buffer_finish(&datagram);
    }
}

void client_step(struct dtls_client *c)
{
    char data[16384];
    ERR_clear_error();
    if (!c->connected && !c->failed) {
        int rc = SSL_do_handshake(c->ssl);
        c->connected = rc == 1;
        c->failed = rc != 1 && SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ;
    }
    while (c->connected && !c->failed) {
        int n = SSL_read(c->ssl, data, sizeof(data));
        if (n <= 0) {
            c->failed = SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ;
            break;
        }
        assert_int_equal(buffer_append(&c->data, bytes_make(data, (size_t)n)), E_OK);
    }
    ERR_clear_error();
    client_send(c);
}

void client_connect(struct dtls_client *c)
{
    for (int i = 0; i < 20 && !c->connected && !c->failed; i++) {
        client_step(c);
    }
}

void client_write(struct dtls_client *c, const char *text)
{
    int len = (int)strlen(text);
    assert_int_equal(SSL_write(c->ssl, text, len), len);
    client_send(c);
    client_step(c);
}

void client_expect(struct dtls_client *c, const char *text)
{
    client_step(c);
    assert_int_equal(c->data.len, strlen(text));
    assert_memory_equal(c->data.data, text, c->data.len);
    buffer_clear(&c->data);
}
