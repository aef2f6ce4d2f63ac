/* The uplink against a scripted broker on the same loop. */
#include "unit.h"

#include "mqtt/uplink.h"

#include <stdlib.h>

static uv_loop_t loop;

static struct {
    uv_tcp_t listener;
    uv_tcp_t peer;
    bool accepted;
    struct buffer in;
    unsigned connects, refuse;
    char will[64];
    char last_status[128];
    uint16_t port;
} broker;

static struct {
    struct uplink *uplink;
    struct uplink_config config;
    unsigned ups, downs, refusals, published;
    bool closed;
} owner;

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

static void broker_send(const struct mqtt_packet *p)
{
    struct sending *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    buffer_init(&s->data, 4096);
    assert_int_equal(mqtt_encode(&s->data, MQTT_V5, p), E_OK);
    uv_buf_t piece = uv_buf_init((char *)s->data.data, (unsigned)s->data.len);
    assert_int_equal(uv_write(&s->request, (uv_stream_t *)&broker.peer, &piece, 1, on_sent), 0);
}

static void broker_drop(void)
{
    if (broker.accepted && !uv_is_closing((uv_handle_t *)&broker.peer)) {
        broker.accepted = false;
        uv_close((uv_handle_t *)&broker.peer, NULL);
    }
}

static void copy_text(char *out, size_t size, struct bytes b)
{
    snprintf(out, size, "%.*s", (int)b.len, (const char *)b.data);
}

static void on_packet(const struct mqtt_packet *p)
{
    struct mqtt_packet answer = {.type = MQTT_CONNACK};
    if (p->type == MQTT_CONNECT) {
        broker.connects++;
        assert_true(bytes_equal(p->connect.username, BYTES("user")));
        assert_true(p->connect.has_will && p->connect.will.retain);
        copy_text(broker.will, sizeof(broker.will), p->connect.will.payload);
        mqtt_connack_init(&answer.connack);
        if (broker.refuse > 0) {
            broker.refuse--;
            answer.connack.reason = MQTT_NOT_AUTHORIZED;
        }
        broker_send(&answer);
    } else if (p->type == MQTT_PUBLISH) {
        if (bytes_equal(p->publish.topic, BYTES("status"))) {
            assert_true(p->publish.retain);
            copy_text(broker.last_status, sizeof(broker.last_status), p->publish.payload);
        }
        if (p->publish.qos == 1) {
            answer = (struct mqtt_packet){.type = MQTT_PUBACK, .ack = {.type = MQTT_PUBACK}};
            answer.ack.packet_id = p->publish.packet_id;
            broker_send(&answer);
        }
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
        broker_drop();
        return;
    }
    assert_int_equal(buffer_append(&broker.in, bytes_make(space->base, (size_t)n)), E_OK);
    size_t length;
    while (mqtt_frame(buffer_bytes(&broker.in), 0, &length) == E_OK) {
        struct mqtt_packet p;
        assert_int_equal(mqtt_decode(MQTT_V5, bytes_sub(buffer_bytes(&broker.in), 0, length), &p), E_OK);
        on_packet(&p);
        buffer_consume(&broker.in, length);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    assert_int_equal(status, 0);
    buffer_clear(&broker.in);
    assert_int_equal(uv_tcp_init(&loop, &broker.peer), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&broker.peer), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&broker.peer, on_alloc, on_read), 0);
    broker.accepted = true;
}

static void on_up(void *ctx, const struct mqtt_connack *connack)
{
    assert_ptr_equal(ctx, &owner);
    assert_int_equal(connack->reason, 0);
    owner.ups++;
}

static void on_down(void *ctx, bool refused)
{
    (void)ctx;
    owner.downs++;
    owner.refusals += refused;
}

static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes text)
{
    (void)ctx;
    (void)text;
    assert_int_equal(token, 7); /* not the uplink's own */
    assert_int_equal(reason, 0);
    owner.published++;
}

static enum err status(void *ctx, struct buffer *out)
{
    (void)ctx;
    return buffer_append_str(out, ",\"clients\":5");
}

static const struct uplink_events events = {
    .on_up = on_up, .on_down = on_down, .on_published = on_published, .status = status};

static void on_closed(void *ctx)
{
    assert_ptr_equal(ctx, &owner);
    owner.closed = true;
}

static int setup(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int size = sizeof(address);
    memset(&broker, 0, sizeof(broker));
    memset(&owner, 0, sizeof(owner));
    buffer_init(&broker.in, 1 << 20);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_init(&loop, &broker.listener), 0);
    assert_int_equal(uv_tcp_bind(&broker.listener, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&broker.listener, 4, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&broker.listener, (struct sockaddr *)&address, &size), 0);
    broker.port = ntohs(address.sin_port);
    static char host[] = "127.0.0.1", user[] = "user", topic[] = "status";
    owner.config = (struct uplink_config){
        .broker = {host, broker.port}, .username = user, .status_topic = topic, .status_interval_ms = 100};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    broker_drop();
    uv_close((uv_handle_t *)&broker.listener, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    buffer_finish(&broker.in);
    return uv_loop_close(&loop);
}

static void start(void)
{
    struct uplink_options o = {.config = &owner.config,
                               .session = {.version = MQTT_V5, .client_id = BYTES("test"), .clean_start = true}};
    assert_int_equal(uplink_create(&loop, &o, &events, &owner, &owner.uplink), E_OK);
}

#define RUN_UNTIL(condition)                                                                                           \
    do {                                                                                                               \
        uint64_t limit = uv_hrtime() + 10000000000u;                                                                   \
        while (!(condition) && uv_hrtime() < limit) {                                                                  \
            uv_run(&loop, UV_RUN_ONCE);                                                                                \
        }                                                                                                              \
        assert_true(condition);                                                                                        \
    } while (0)

static void comes_up_again_and_tells_its_status(void **state)
{
    (void)state;
    start();
    struct mqtt_publish p = {.topic = BYTES("t"), .qos = 1};
    assert_int_equal(uplink_publish(owner.uplink, &p, 7), E_AGAIN);
    RUN_UNTIL(owner.ups == 1 && broker.last_status[0]);
    assert_string_equal(broker.will, "{\"state\":\"offline\"}");
    assert_string_equal(broker.last_status, "{\"state\":\"online\",\"clients\":5}");
    assert_int_equal(uplink_publish(owner.uplink, &p, 7), E_OK);
    RUN_UNTIL(owner.published == 1);
    broker.last_status[0] = '\0';
    RUN_UNTIL(broker.last_status[0]); /* again after the interval */
    broker_drop();
    RUN_UNTIL(owner.downs == 1);
    assert_false(uplink_is_up(owner.uplink));
    RUN_UNTIL(owner.ups == 2);
    uplink_close(owner.uplink, on_closed);
    RUN_UNTIL(owner.closed);
    assert_string_equal(broker.last_status, "{\"state\":\"offline\"}");
}

static void a_refusal_is_told_and_tried_again(void **state)
{
    (void)state;
    broker.refuse = 2;
    start();
    RUN_UNTIL(owner.ups == 1);
    assert_int_equal(owner.refusals, 2);
    assert_int_equal(owner.downs, 2);
    assert_int_equal(broker.connects, 3);
    uplink_close(owner.uplink, on_closed);
    RUN_UNTIL(owner.closed);
}

static void closing_while_down(void **state)
{
    (void)state;
    owner.config.broker.port = 1; /* nobody there */
    start();
    RUN_UNTIL(owner.downs == 1);
    uplink_close(owner.uplink, on_closed);
    RUN_UNTIL(owner.closed);
    start();
    uplink_close(owner.uplink, NULL);
}

static void configuration_is_checked(void **state)
{
    (void)state;
    struct option_error error = {""};
    char cert[] = "/nonexistent/cert.pem", wild[] = "status/#";
    owner.config.certfile = cert;
    assert_int_equal(uplink_config_check(&owner.config, &error), E_INVALID);
    assert_non_null(strstr(error.text, "broker_keyfile"));
    owner.config.keyfile = cert;
    assert_int_equal(uplink_config_check(&owner.config, &error), E_OK);
    struct tls_context *tls;
    assert_int_not_equal(uplink_config_tls(&owner.config, &tls, &error), E_OK);
    assert_non_null(strstr(error.text, "/nonexistent/cert.pem"));
    owner.config.status_topic = wild;
    assert_int_equal(uplink_config_check(&owner.config, &error), E_INVALID);
    assert_non_null(strstr(error.text, "status_topic"));
    owner.config.username = NULL;
    owner.config.password = cert;
    assert_int_equal(uplink_config_check(&owner.config, &error), E_INVALID);
    assert_non_null(strstr(error.text, "broker_password"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(comes_up_again_and_tells_its_status, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_is_told_and_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_while_down, setup, teardown),
        cmocka_unit_test_setup_teardown(configuration_is_checked, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
