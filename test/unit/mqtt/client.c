/* The client on a real socket, against a server on the same loop that each test scripts. */
#include "unit.h"

#include "mqtt/client.h"

#include <stdlib.h>

static uv_loop_t loop;

/* --- the server: one connection, answers by the test's own function --- */

static struct {
    uv_tcp_t listener;
    uv_tcp_t peer;
    bool accepted;
    bool ended; /* the client's end was seen */
    enum mqtt_version version;
    struct buffer in;
    void (*on_packet)(const struct mqtt_packet *p);
    uint16_t port;
} server;

struct sending {
    uv_write_t request;
    struct buffer data;
};

static void on_sent(uv_write_t *request, int status)
{
    (void)status;
    struct sending *s = (struct sending *)request;
    buffer_finish(&s->data);
    free(s);
}

static void server_send(const struct mqtt_packet *p)
{
    struct sending *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    buffer_init(&s->data, 1u << 20);
    assert_int_equal(mqtt_encode(&s->data, server.version, p), E_OK);
    uv_buf_t piece = uv_buf_init((char *)s->data.data, (unsigned)s->data.len);
    assert_int_equal(uv_write(&s->request, (uv_stream_t *)&server.peer, &piece, 1, on_sent), 0);
}

static void server_close(void)
{
    if (server.accepted && !uv_is_closing((uv_handle_t *)&server.peer)) {
        uv_close((uv_handle_t *)&server.peer, NULL);
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *space)
{
    (void)handle;
    (void)size;
    static char bytes[65536];
    *space = uv_buf_init(bytes, sizeof(bytes));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *space)
{
    (void)stream;
    if (n < 0) {
        server.ended = true;
        server_close();
        return;
    }
    assert_int_equal(buffer_append(&server.in, bytes_make(space->base, (size_t)n)), E_OK);
    size_t length;
    while (mqtt_frame(buffer_bytes(&server.in), 0, &length) == E_OK) {
        struct mqtt_packet p;
        assert_int_equal(mqtt_decode(server.version, bytes_sub(buffer_bytes(&server.in), 0, length), &p), E_OK);
        server.on_packet(&p);
        buffer_consume(&server.in, length);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    assert_int_equal(status, 0);
    assert_int_equal(uv_tcp_init(&loop, &server.peer), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&server.peer), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&server.peer, on_alloc, on_read), 0);
    server.accepted = true;
}

static void server_start(enum mqtt_version version, void (*on_packet)(const struct mqtt_packet *p))
{
    struct sockaddr_in address;
    int size = sizeof(address);
    memset(&server, 0, sizeof(server));
    buffer_init(&server.in, 8u << 20);
    server.version = version;
    server.on_packet = on_packet;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_init(&loop, &server.listener), 0);
    assert_int_equal(uv_tcp_bind(&server.listener, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&server.listener, 1, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&server.listener, (struct sockaddr *)&address, &size), 0);
    server.port = ntohs(address.sin_port);
}

/* --- the client's owner --- */

static struct {
    struct mqtt_client *client;
    struct mqtt_client_options options;
    unsigned connected, published, writable, messages, ends;
    uint64_t next_token;
    uint64_t target; /* publishes to be sent */
    uint8_t last_reason;
    enum err why;
    uint8_t reason;
    char detail[200];
    void (*when_connected)(void);
    void (*when_published)(void);
} owner;

static void on_connected(void *ctx, const struct mqtt_connack *connack)
{
    assert_ptr_equal(ctx, &owner);
    assert_int_equal(connack->reason, 0);
    owner.connected++;
    if (owner.when_connected) {
        owner.when_connected();
    }
}

static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text)
{
    (void)ctx;
    (void)reason_text;
    assert_int_equal(token, owner.published); /* this server keeps the order */
    owner.published++;
    owner.last_reason = reason;
    if (owner.when_published) {
        owner.when_published();
    }
}

static void publish_more(void)
{
    static const uint8_t payload[2000];
    struct mqtt_publish p = {.topic = BYTES("t"), .qos = 1, .payload = {payload, sizeof(payload)}};
    while (owner.next_token < owner.target) {
        enum err err = mqtt_client_publish(owner.client, &p, owner.next_token);
        if (err == E_FULL) {
            return;
        }
        assert_int_equal(err, E_OK);
        owner.next_token++;
    }
}

static void on_writable(void *ctx)
{
    (void)ctx;
    owner.writable++;
    publish_more();
}

static void on_message(void *ctx, const struct mqtt_publish *message)
{
    (void)ctx;
    owner.messages++;
    if (message->qos == 1) {
        assert_int_equal(mqtt_client_ack(owner.client, message->packet_id, 0), E_OK);
    }
}

static void close_server_handles(void)
{
    server_close();
    uv_close((uv_handle_t *)&server.listener, NULL);
}

static void on_end(void *ctx, enum err why, uint8_t reason, const char *detail)
{
    (void)ctx;
    owner.ends++;
    owner.why = why;
    owner.reason = reason;
    snprintf(owner.detail, sizeof(owner.detail), "%s", detail);
    owner.client = NULL;
    close_server_handles();
}

static const struct mqtt_client_events events = {
    .on_connected = on_connected,
    .on_published = on_published,
    .on_writable = on_writable,
    .on_message = on_message,
    .on_end = on_end,
};

static void client_start(enum mqtt_version version)
{
    memset(&owner, 0, sizeof(owner));
    owner.options.stream.host = "127.0.0.1";
    owner.options.stream.port = server.port;
    owner.options.session.version = version;
    owner.options.session.client_id = BYTES("id");
    owner.options.session.clean_start = true;
}

static void run(void)
{
    assert_int_equal(mqtt_client_connect(&loop, &owner.options, &events, &owner, &owner.client), E_OK);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(owner.ends, 1);
    buffer_finish(&server.in);
}

static int setup(void **state)
{
    (void)state;
    return uv_loop_init(&loop);
}

static int teardown(void **state)
{
    (void)state;
    return uv_loop_close(&loop);
}

/* --- servers --- */

static void accept_all(const struct mqtt_packet *p)
{
    struct mqtt_packet answer = {.type = MQTT_CONNACK};
    if (p->type == MQTT_CONNECT) {
        mqtt_connack_init(&answer.connack);
        server_send(&answer);
    } else if (p->type == MQTT_PUBLISH && p->publish.qos == 1) {
        answer =
            (struct mqtt_packet){.type = MQTT_PUBACK, .ack = {.type = MQTT_PUBACK, .packet_id = p->publish.packet_id}};
        server_send(&answer);
    } else if (p->type == MQTT_PINGREQ) {
        server_send(&(struct mqtt_packet){.type = MQTT_PINGRESP});
    }
}

static void refuse(const struct mqtt_packet *p)
{
    assert_int_equal(p->type, MQTT_CONNECT);
    server_send(&(struct mqtt_packet){.type = MQTT_CONNACK, .connack = {.reason = 5}});
}

static void say_nothing(const struct mqtt_packet *p)
{
    assert_int_equal(p->type, MQTT_CONNECT);
}

static void connect_then_close(const struct mqtt_packet *p)
{
    if (p->type == MQTT_CONNECT) {
        accept_all(p);
    } else {
        server_close();
    }
}

static void take_over(const struct mqtt_packet *p)
{
    accept_all(p);
    struct mqtt_packet d = {.type = MQTT_DISCONNECT, .disconnect = {.reason = MQTT_SESSION_TAKEN_OVER}};
    server_send(&d);
}

static unsigned pings;

static void never_pong(const struct mqtt_packet *p)
{
    pings += p->type == MQTT_PINGREQ;
    if (p->type != MQTT_PINGREQ) {
        accept_all(p);
    }
}

static struct mqtt_packet to_client(uint8_t qos, uint16_t id)
{
    struct mqtt_packet p = {.type = MQTT_PUBLISH};
    p.publish = (struct mqtt_publish){.topic = BYTES("down"), .qos = qos, .packet_id = id};
    return p;
}

static void send_down(const struct mqtt_packet *p)
{
    if (p->type == MQTT_CONNECT) {
        accept_all(p);
        struct mqtt_packet one = to_client(0, 0);
        server_send(&one);
        one = to_client(1, 3);
        server_send(&one);
    } else {
        assert_int_equal(p->type, MQTT_PUBACK);
        assert_int_equal(p->ack.packet_id, 3);
        server_close();
    }
}

/* --- tests --- */

static void close_gracefully(void)
{
    mqtt_client_close(owner.client, true);
}

static void test_graceful(void **state)
{
    (void)state;
    server_start(MQTT_V5, accept_all);
    client_start(MQTT_V5);
    owner.when_connected = close_gracefully;
    run();
    assert_int_equal(owner.why, E_CANCELLED);
    assert_int_equal(owner.connected, 1);
    assert_true(server.ended);
}

static void close_when_all_published(void)
{
    if (owner.published == owner.target) {
        mqtt_client_close(owner.client, true);
    }
}

/* More than the window and the output hold at once: the owner goes on when it is told to. */
static void test_window_and_output(void **state)
{
    (void)state;
    server_start(MQTT_V311, accept_all);
    client_start(MQTT_V311);
    owner.options.session.max_inflight = 500;
    owner.options.stream.write_max = 100000;
    owner.target = 5000;
    owner.when_connected = publish_more;
    owner.when_published = close_when_all_published;
    run();
    assert_int_equal(owner.published, 5000);
    assert_true(owner.writable > 5000 / 500 / 2);
    assert_int_equal(owner.why, E_CANCELLED);
}

static void read_later(void)
{
    if (owner.published < owner.target / 2) {
        mqtt_client_read_later(owner.client, 60000);
    }
    close_when_all_published();
}

/* Acknowledgements are not put off when somebody waits for them. */
static void test_window_ends_read_later(void **state)
{
    (void)state;
    server_start(MQTT_V5, accept_all);
    client_start(MQTT_V5);
    owner.options.session.max_inflight = 20;
    owner.target = 500;
    owner.when_connected = publish_more;
    owner.when_published = read_later;
    run();
    assert_int_equal(owner.published, 500);
    assert_int_equal(owner.why, E_CANCELLED);
}

static void publish_too_much(void)
{
    static const uint8_t payload[90000];
    struct mqtt_publish p = {.topic = BYTES("t"), .payload = {payload, sizeof(payload)}};
    assert_int_equal(mqtt_client_publish(owner.client, &p, 0), E_TOO_LARGE);
    mqtt_client_close(owner.client, false);
    assert_int_equal(mqtt_client_publish(owner.client, &p, 0), E_AGAIN);
    mqtt_client_close(owner.client, true);
}

static void test_too_large_for_the_output(void **state)
{
    (void)state;
    server_start(MQTT_V311, accept_all);
    client_start(MQTT_V311);
    owner.options.stream.write_max = 100000;
    owner.when_connected = publish_too_much;
    run();
    assert_int_equal(owner.why, E_CANCELLED);
}

static void test_refused(void **state)
{
    (void)state;
    server_start(MQTT_V311, refuse);
    client_start(MQTT_V311);
    run();
    assert_int_equal(owner.why, E_REFUSED);
    assert_int_equal(owner.reason, 5);
    assert_string_equal(owner.detail, "CONNACK: not authorized (0x05)");
    assert_int_equal(owner.connected, 0);
}

static void test_no_connack(void **state)
{
    (void)state;
    server_start(MQTT_V5, say_nothing);
    client_start(MQTT_V5);
    owner.options.session.connack_timeout_ms = 50;
    run();
    assert_int_equal(owner.why, E_TIMEOUT);
}

static void test_server_closes(void **state)
{
    (void)state;
    server_start(MQTT_V311, connect_then_close);
    client_start(MQTT_V311);
    owner.target = 1;
    owner.when_connected = publish_more;
    run();
    assert_true(owner.why == E_CLOSED || owner.why == E_RESET);
    assert_int_equal(owner.published, 0);
}

static void test_taken_over(void **state)
{
    (void)state;
    server_start(MQTT_V5, take_over);
    client_start(MQTT_V5);
    run();
    assert_int_equal(owner.why, E_CLOSED);
    assert_int_equal(owner.reason, MQTT_SESSION_TAKEN_OVER);
}

static void test_no_pingresp(void **state)
{
    (void)state;
    server_start(MQTT_V5, never_pong);
    client_start(MQTT_V5);
    owner.options.session.keepalive_s = 1;
    owner.options.session.ping_timeout_ms = 100;
    pings = 0;
    run();
    assert_int_equal(owner.why, E_TIMEOUT);
    assert_int_equal(pings, 1);
    assert_string_equal(owner.detail, "no PINGRESP in time");
}

static void test_messages(void **state)
{
    (void)state;
    server_start(MQTT_V5, send_down);
    client_start(MQTT_V5);
    run();
    assert_int_equal(owner.messages, 2);
    assert_int_equal(owner.why, E_CLOSED);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    server_start(MQTT_V5, accept_all);
    client_start(MQTT_V5);
    uint16_t port = server.port;
    owner.options.stream.port = 1; /* privileged and unused */
    run();
    assert_int_equal(owner.why, E_UNREACHABLE);
    assert_true(port != 0 && owner.detail[0] != '\0');
}

static void test_invalid_options(void **state)
{
    (void)state;
    client_start(MQTT_V311);
    owner.options.session.password = BYTES("alone");
    assert_int_equal(mqtt_client_connect(&loop, &owner.options, &events, &owner, &owner.client), E_INVALID);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_graceful),
        TEST(test_window_and_output),
        TEST(test_too_large_for_the_output),
        TEST(test_window_ends_read_later),
        TEST(test_refused),
        TEST(test_no_connack),
        TEST(test_server_closes),
        TEST(test_taken_over),
        TEST(test_no_pingresp),
        TEST(test_messages),
        TEST(test_nobody_listens),
        TEST(test_invalid_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
