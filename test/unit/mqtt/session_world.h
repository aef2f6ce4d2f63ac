/* A session under test, what it sent, a clock, and a server that says what the test wants. */
#ifndef TEST_MQTT_SESSION_WORLD_H
#define TEST_MQTT_SESSION_WORLD_H

#include "unit.h"

#include "mqtt/session.h"

static struct mqtt_session session;
static struct buffer out;
static struct mono now;
static struct mqtt_event event;

static inline int setup(void **state)
{
    (void)state;
    buffer_init(&out, 1u << 20);
    now = (struct mono){1000000000};
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    mqtt_session_finish(&session);
    buffer_finish(&out);
    return 0;
}

static inline void wait_ms(uint64_t ms)
{
    now = mono_add_ms(now, ms);
}

/* The next packet that the session sent. */
static inline void take_sent(struct mqtt_packet *p)
{
    static uint8_t copy[4096];
    size_t length;
    assert_int_equal(mqtt_frame(buffer_bytes(&out), 0, &length), E_OK);
    assert_true(length <= sizeof(copy));
    memcpy(copy, out.data, length);
    buffer_consume(&out, length);
    assert_int_equal(mqtt_decode(session.version, (struct bytes){copy, length}, p), E_OK);
}

static inline enum err input(struct bytes in)
{
    return mqtt_session_input(&session, now, &in, &out, &event);
}

/* The server sends one packet. */
static inline enum err receive(const struct mqtt_packet *p)
{
    static uint8_t bytes[4096];
    struct buffer packet = {.data = bytes, .cap = sizeof(bytes), .max = sizeof(bytes)};
    assert_int_equal(mqtt_encode(&packet, session.version, p), E_OK);
    return input(buffer_bytes(&packet));
}

static inline enum err receive_ack(enum mqtt_type type, uint16_t id, uint8_t reason)
{
    return receive(&(struct mqtt_packet){.type = type, .ack = {.type = type, .packet_id = id, .reason = reason}});
}

static inline struct mqtt_session_options options(enum mqtt_version version)
{
    return (struct mqtt_session_options){
        .version = version, .client_id = BYTES("id"), .clean_start = true, .keepalive_s = 60};
}

static inline void start(const struct mqtt_session_options *o)
{
    struct mqtt_packet p;
    assert_int_equal(mqtt_session_init(&session, o), E_OK);
    assert_int_equal(mqtt_session_start(&session, now, &out), E_OK);
    take_sent(&p);
    assert_int_equal(p.type, MQTT_CONNECT);
}

static inline void open_with(const struct mqtt_session_options *o, const struct mqtt_connack *connack)
{
    start(o);
    assert_int_equal(receive(&(struct mqtt_packet){.type = MQTT_CONNACK, .connack = *connack}), E_OK);
    assert_int_equal(event.type, MQTT_EVENT_CONNECTED);
}

static inline void open_session(enum mqtt_version version)
{
    struct mqtt_connack connack;
    mqtt_connack_init(&connack);
    struct mqtt_session_options o = options(version);
    open_with(&o, &connack);
}

static inline enum err publish(uint8_t qos, uint64_t token)
{
    struct mqtt_publish p = {.topic = BYTES("t"), .payload = BYTES("x"), .qos = qos};
    return mqtt_session_publish(&session, now, &out, &p, token);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
