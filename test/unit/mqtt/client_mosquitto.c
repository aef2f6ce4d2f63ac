/* The client against a real mosquitto: every QoS and both versions, a few thousand messages to oneself and back.
 * Usage: PATH-OF-MOSQUITTO. Exit code 77: there is none. */
#include "unit.h"

#include "mqtt/client.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>

enum { MESSAGES = 2000, CONNECT_TRIES = 200 };

static const char *mosquitto;
static uv_loop_t loop;
static uv_process_t broker;
static uint16_t port;
static char config[] = "/tmp/mqtt-client-XXXXXX";

/* --- the broker --- */

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void on_exit_of_broker(uv_process_t *process, int64_t status, int signal)
{
    (void)status;
    (void)signal;
    uv_close((uv_handle_t *)process, NULL);
}

static int start_broker(void **state)
{
    (void)state;
    port = free_port();
    int fd = mkstemp(config);
    assert_true(fd >= 0);
    dprintf(fd,
            "listener %u 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 50\nmax_queued_messages "
            "0\nset_tcp_nodelay true\n",
            port);
    close(fd);
    char program[200];
    char option[] = "-c";
    snprintf(program, sizeof(program), "%s", mosquitto);
    char *arguments[] = {program, option, config, NULL};
    const uv_process_options_t options = {.file = mosquitto, .args = arguments, .exit_cb = on_exit_of_broker};
    return uv_loop_init(&loop) != 0 || uv_spawn(&loop, &broker, &options) != 0 ? -1 : 0;
}

static int stop_broker(void **state)
{
    (void)state;
    uv_process_kill(&broker, SIGTERM);
    uv_run(&loop, UV_RUN_DEFAULT);
    unlink(config);
    return uv_loop_close(&loop);
}

/* --- the owner --- */

static struct {
    struct mqtt_client *client;
    enum mqtt_version version;
    uint8_t qos;
    uint64_t sent, settled, received;
    bool unsubscribed;
    unsigned tries;
    enum err why;
    uv_timer_t timer;
} owner;

static void on_end(void *ctx, enum err why, uint8_t reason, const char *detail);

static void send_messages(void)
{
    while (owner.sent < MESSAGES) {
        const struct mqtt_publish p = {
            .topic = BYTES("loop/x"), .payload = bytes_make(&owner.sent, sizeof(owner.sent)), .qos = owner.qos};
        enum err err = mqtt_client_publish(owner.client, &p, owner.sent);
        if (err == E_FULL) {
            return;
        }
        assert_int_equal(err, E_OK);
        owner.sent++;
    }
}

static void on_connected(void *ctx, const struct mqtt_connack *connack)
{
    (void)ctx;
    (void)connack;
    const struct mqtt_subscription s = {.filter = BYTES("loop/#"), .qos = 2};
    assert_int_equal(mqtt_client_subscribe(owner.client, &s, 1, 77), E_OK);
}

static void on_subscribed(void *ctx, uint64_t token, const uint8_t *codes, size_t count)
{
    (void)ctx;
    assert_int_equal(count, 1);
    if (token == 77) {
        assert_int_equal(codes[0], 2);
        send_messages();
        return;
    }
    assert_int_equal(codes[0], 0);
    owner.unsubscribed = true;
    mqtt_client_close(owner.client, true);
}

static void finish_when_done(void)
{
    if (owner.received == MESSAGES && (owner.qos == 0 || owner.settled == MESSAGES)) {
        const struct bytes filter = BYTES("loop/#");
        assert_int_equal(mqtt_client_unsubscribe(owner.client, &filter, 1, 78), E_OK);
    }
}

static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes text)
{
    (void)ctx;
    (void)text;
    assert_int_equal(token, owner.settled);
    assert_true(reason < MQTT_FAILURE);
    owner.settled++;
    finish_when_done();
}

static void on_writable(void *ctx)
{
    (void)ctx;
    send_messages();
}

static void on_message(void *ctx, const struct mqtt_publish *message)
{
    (void)ctx;
    uint64_t n;
    assert_int_equal(message->qos, owner.qos);
    assert_int_equal(message->payload.len, sizeof(n));
    memcpy(&n, message->payload.data, sizeof(n));
    assert_int_equal(n, owner.received); /* in order, none twice */
    owner.received++;
    if (message->qos == 1) {
        assert_int_equal(mqtt_client_ack(owner.client, message->packet_id, 0), E_OK);
    }
    finish_when_done();
}

static const struct mqtt_client_events events = {
    .on_connected = on_connected,
    .on_published = on_published,
    .on_writable = on_writable,
    .on_message = on_message,
    .on_subscribed = on_subscribed,
    .on_end = on_end,
};

static void connect_client(uv_timer_t *timer)
{
    (void)timer;
    const struct mqtt_client_options o = {
        .stream = {.host = "127.0.0.1", .port = port},
        .session = {.version = owner.version,
                    .client_id = BYTES("self"),
                    .clean_start = true,
                    .keepalive_s = 60,
                    .max_inflight = 30,
                    .first_packet_id = 65000},
    };
    assert_int_equal(mqtt_client_connect(&loop, &o, &events, NULL, &owner.client), E_OK);
}

/* The broker takes a moment to listen. */
static void on_end(void *ctx, enum err why, uint8_t reason, const char *detail)
{
    (void)ctx;
    (void)reason;
    owner.why = why;
    if (why == E_UNREACHABLE && ++owner.tries < CONNECT_TRIES) {
        uv_timer_start(&owner.timer, connect_client, 20, 0);
        return;
    }
    if (why != E_CANCELLED) {
        print_error("%s: %s\n", err_name(why), detail);
    }
    uv_close((uv_handle_t *)&owner.timer, NULL);
    uv_unref((uv_handle_t *)&broker);
}

static void talk(enum mqtt_version version, uint8_t qos)
{
    memset(&owner, 0, sizeof(owner));
    owner.version = version;
    owner.qos = qos;
    uv_ref((uv_handle_t *)&broker);
    uv_timer_init(&loop, &owner.timer);
    connect_client(NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_ref((uv_handle_t *)&broker);
    assert_int_equal(owner.why, E_CANCELLED);
    assert_int_equal(owner.received, MESSAGES);
    assert_true(owner.unsubscribed);
}

static void test_v311(void **state)
{
    (void)state;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        talk(MQTT_V311, qos);
    }
}

static void test_v5(void **state)
{
    (void)state;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        talk(MQTT_V5, qos);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2 || access(argv[1], X_OK) != 0) {
        return 77;
    }
    mosquitto = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_v311), cmocka_unit_test(test_v5)};
    return cmocka_run_group_tests(tests, start_broker, stop_broker);
}
