/* The session and what the server does: messages, errors, silence, and bytes in any pieces. */
#include "session_world.h"

static void test_first_packet_is_connack(void **state)
{
    (void)state;
    struct mqtt_session_options o = options(MQTT_V5);
    start(&o);
    assert_int_equal(receive(&(struct mqtt_packet){.type = MQTT_PINGRESP}), E_PROTOCOL);
    mqtt_session_finish(&session);
    open_session(MQTT_V5);
    struct mqtt_packet p = {.type = MQTT_CONNACK};
    mqtt_connack_init(&p.connack);
    assert_int_equal(receive(&p), E_PROTOCOL);
    take_sent(&p);
    assert_int_equal(p.type, MQTT_DISCONNECT);
    assert_int_equal(p.disconnect.reason, MQTT_PROTOCOL_ERROR);
}

static struct mqtt_packet message(uint8_t qos, uint16_t id)
{
    struct mqtt_packet p = {.type = MQTT_PUBLISH};
    p.publish = (struct mqtt_publish){.topic = BYTES("down"), .payload = BYTES("hi"), .qos = qos, .packet_id = id};
    return p;
}

static void test_messages(void **state)
{
    (void)state;
    open_session(MQTT_V311);
    struct mqtt_packet p = message(0, 0);
    assert_int_equal(receive(&p), E_OK);
    assert_int_equal(event.type, MQTT_EVENT_MESSAGE);
    assert_true(bytes_equal(event.message.payload, BYTES("hi")));
    p = message(1, 5);
    assert_int_equal(receive(&p), E_OK);
    assert_int_equal(out.len, 0); /* the owner acknowledges */
    assert_int_equal(mqtt_session_ack(&session, now, &out, 5, 0), E_OK);
    take_sent(&p);
    assert_int_equal(p.type, MQTT_PUBACK);
    assert_int_equal(p.ack.packet_id, 5);
}

static void test_qos2_in(void **state)
{
    (void)state;
    open_session(MQTT_V5);
    struct mqtt_packet p = message(2, 9);
    assert_int_equal(receive(&p), E_OK);
    assert_int_equal(event.type, MQTT_EVENT_MESSAGE);
    take_sent(&p);
    assert_int_equal(p.type, MQTT_PUBREC);
    p = message(2, 9);
    p.publish.dup = true;
    assert_int_equal(receive(&p), E_AGAIN); /* not given twice */
    take_sent(&p);
    assert_int_equal(p.type, MQTT_PUBREC);
    assert_int_equal(receive_ack(MQTT_PUBREL, 9, 0), E_AGAIN);
    take_sent(&p);
    assert_int_equal(p.type, MQTT_PUBCOMP);
    assert_int_equal(p.ack.reason, 0);
    assert_null(session.received);
    assert_int_equal(receive_ack(MQTT_PUBREL, 9, 0), E_AGAIN);
    take_sent(&p);
    assert_int_equal(p.ack.reason, MQTT_PACKET_ID_NOT_FOUND);
    p = message(2, 9);
    assert_int_equal(receive(&p), E_OK); /* a new message */
}

static void test_server_breaks_limits(void **state)
{
    (void)state;
    struct mqtt_connack connack;
    mqtt_connack_init(&connack);
    struct mqtt_session_options o = options(MQTT_V5);
    o.receive_max = 1;
    open_with(&o, &connack);
    struct mqtt_packet p = message(1, 1);
    assert_int_equal(receive(&p), E_OK);
    p = message(1, 2);
    assert_int_equal(receive(&p), E_PROTOCOL);
    take_sent(&p);
    assert_int_equal(p.disconnect.reason, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
    mqtt_session_finish(&session);

    o.overrun_ok = true;
    open_with(&o, &connack);
    p = message(1, 1);
    assert_int_equal(receive(&p), E_OK);
    p = message(1, 2);
    assert_int_equal(receive(&p), E_OK);
    mqtt_session_finish(&session);

    open_session(MQTT_V5);
    p = message(0, 0);
    p.publish.topic_alias = 1;
    assert_int_equal(receive(&p), E_PROTOCOL);
    take_sent(&p);
    assert_int_equal(p.disconnect.reason, MQTT_TOPIC_ALIAS_INVALID);
    mqtt_session_finish(&session);

    o = options(MQTT_V5);
    o.packet_max = 10;
    open_with(&o, &connack);
    assert_int_equal(input(BYTES("\x30\x09\0\1a")), E_TOO_LARGE);
    take_sent(&p);
    assert_int_equal(p.disconnect.reason, MQTT_PACKET_TOO_LARGE);
    mqtt_session_finish(&session);

    open_session(MQTT_V5);
    assert_int_equal(input(BYTES("\x30\x04\0\1+\0")), E_MALFORMED);
    assert_string_equal(session.end_detail, "malformed PUBLISH from the server");
    take_sent(&p);
    assert_int_equal(p.disconnect.reason, MQTT_MALFORMED_PACKET);
}

static void test_server_disconnect(void **state)
{
    (void)state;
    open_session(MQTT_V5);
    struct mqtt_packet p = {.type = MQTT_DISCONNECT, .disconnect = {.reason = MQTT_SESSION_TAKEN_OVER}};
    assert_int_equal(receive(&p), E_CLOSED);
    assert_int_equal(session.end_reason, MQTT_SESSION_TAKEN_OVER);
    assert_int_equal(out.len, 0);
    assert_int_equal(mqtt_session_deadline(&session).ns, MONO_NEVER.ns);
    mqtt_session_finish(&session);
    open_session(MQTT_V311);
    assert_int_equal(input(BYTES("\xE0\0")), E_PROTOCOL);
}

static void test_keepalive(void **state)
{
    (void)state;
    open_session(MQTT_V5);
    struct mqtt_packet p;
    assert_int_equal(mono_ms_until(now, mqtt_session_deadline(&session)), 54000);
    wait_ms(30000);
    assert_int_equal(publish(0, 0), E_OK); /* nothing comes back: the server may be gone */
    buffer_clear(&out);
    assert_int_equal(mono_ms_until(now, mqtt_session_deadline(&session)), 24000);
    wait_ms(24000);
    assert_int_equal(mqtt_session_service(&session, now, &out), E_OK);
    take_sent(&p);
    assert_int_equal(p.type, MQTT_PINGREQ);
    assert_int_equal(mono_ms_until(now, mqtt_session_deadline(&session)), 10000);
    assert_int_equal(mqtt_session_service(&session, now, &out), E_OK);
    assert_int_equal(out.len, 0);
    wait_ms(9000);
    assert_int_equal(receive(&(struct mqtt_packet){.type = MQTT_PINGRESP}), E_AGAIN);
    assert_int_equal(mono_ms_until(now, mqtt_session_deadline(&session)), 45000); /* the PINGREQ was 9 s ago */
    wait_ms(45000);
    assert_int_equal(mqtt_session_service(&session, now, &out), E_OK);
    wait_ms(10000);
    assert_int_equal(mqtt_session_service(&session, now, &out), E_TIMEOUT);
    assert_string_equal(session.end_detail, "no PINGRESP in time");
}

/* A slow link is not a dead one; a server that never answers is, whatever else it sends. */
static void test_ping_extension(void **state)
{
    (void)state;
    open_session(MQTT_V5);
    wait_ms(54000);
    assert_int_equal(mqtt_session_service(&session, now, &out), E_OK);
    struct mono sent = now;
    enum err err = E_OK;
    while (err == E_OK) {
        wait_ms(5000);
        err = mqtt_session_service(&session, now, &out);
        struct mqtt_packet p = message(0, 0);
        assert_true(err != E_OK || receive(&p) == E_OK);
    }
    assert_int_equal(err, E_TIMEOUT);
    assert_int_equal(mono_ms_until(sent, now), 90000);
}

static void test_server_keepalive(void **state)
{
    (void)state;
    struct mqtt_connack connack;
    mqtt_connack_init(&connack);
    connack.has_server_keepalive = true;
    connack.server_keepalive_s = 10;
    struct mqtt_session_options o = options(MQTT_V5);
    open_with(&o, &connack);
    assert_int_equal(mono_ms_until(now, mqtt_session_deadline(&session)), 9000);
    mqtt_session_finish(&session);
    connack.server_keepalive_s = 0;
    open_with(&o, &connack);
    assert_int_equal(mqtt_session_deadline(&session).ns, MONO_NEVER.ns);
}

/* However the bytes are cut, the events are the same. */
static void test_pieces(void **state)
{
    (void)state;
    static uint8_t bytes[4096];
    struct buffer stream = {.data = bytes, .cap = sizeof(bytes), .max = sizeof(bytes)};
    struct mqtt_packet p = {.type = MQTT_CONNACK};
    mqtt_connack_init(&p.connack);
    assert_int_equal(mqtt_encode(&stream, MQTT_V5, &p), E_OK);
    for (uint16_t i = 1; i <= 5; i++) {
        p = message(1, i);
        p.publish.payload = bytes_make("0123456789012345678901234567890123456789", i * 8u);
        assert_int_equal(mqtt_encode(&stream, MQTT_V5, &p), E_OK);
        assert_int_equal(mqtt_encode_ping(&stream, MQTT_PINGRESP), E_OK);
    }
    for (size_t piece = 1; piece <= stream.len; piece++) {
        struct mqtt_session_options o = options(MQTT_V5);
        start(&o);
        unsigned messages = 0;
        unsigned connected = 0;
        for (size_t at = 0; at < stream.len; at += piece) {
            struct bytes in = bytes_sub(buffer_bytes(&stream), at, piece);
            enum err err;
            while ((err = mqtt_session_input(&session, now, &in, &out, &event)) == E_OK) {
                connected += event.type == MQTT_EVENT_CONNECTED;
                if (event.type == MQTT_EVENT_MESSAGE) {
                    messages++;
                    assert_int_equal(event.message.payload.len, messages * 8);
                    assert_memory_equal(event.message.payload.data, "0123456789", 8);
                }
            }
            assert_int_equal(err, E_AGAIN);
            assert_int_equal(in.len, 0);
        }
        assert_int_equal(messages, 5);
        assert_int_equal(connected, 1);
        mqtt_session_finish(&session);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_first_packet_is_connack), TEST(test_messages),          TEST(test_qos2_in),
        TEST(test_server_breaks_limits),    TEST(test_server_disconnect), TEST(test_keepalive),
        TEST(test_ping_extension),          TEST(test_server_keepalive),  TEST(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
