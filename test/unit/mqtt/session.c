#include "unit.h"

#include "mqtt/session.h"

#include <stdlib.h>

/* A session, what it sent, and a clock. */
static struct mqtt_session session;
static struct buffer out;
static struct mono now;
static struct mqtt_event event;

static int setup(void **state)
{
    (void)state;
    buffer_init(&out, 1u << 20);
    now = (struct mono){1000000000};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mqtt_session_finish(&session);
    buffer_finish(&out);
    return 0;
}

static void wait_ms(uint64_t ms)
{
    now = mono_add_ms(now, ms);
}

/* The next packet that the session sent. */
static void take_sent(struct mqtt_packet *p)
{
    static uint8_t copy[4096];
    size_t length;
    assert_int_equal(mqtt_frame(buffer_bytes(&out), 0, &length), E_OK);
    assert_true(length <= sizeof(copy));
    memcpy(copy, out.data, length);
    buffer_consume(&out, length);
    assert_int_equal(mqtt_decode(session.version, (struct bytes){copy, length}, p), E_OK);
}

static enum err input(struct bytes in)
{
    return mqtt_session_input(&session, now, &in, &out, &event);
}

/* The server sends one packet. */
static enum err receive(const struct mqtt_packet *p)
{
    static uint8_t bytes[4096];
    struct buffer packet = {.data = bytes, .cap = sizeof(bytes), .max = sizeof(bytes)};
    assert_int_equal(mqtt_encode(&packet, session.version, p), E_OK);
    return input(buffer_bytes(&packet));
}

static enum err receive_ack(enum mqtt_type type, uint16_t id, uint8_t reason)
{
    return receive(&(struct mqtt_packet){.type = type, .ack = {.type = type, .packet_id = id, .reason = reason}});
}

static struct mqtt_session_options options(enum mqtt_version version)
{
    return (struct mqtt_session_options){
        .version = version, .client_id = BYTES("id"), .clean_start = true, .keepalive_s = 60};
}

static void start(const struct mqtt_session_options *o)
{
    struct mqtt_packet p;
    assert_int_equal(mqtt_session_init(&session, o), E_OK);
    assert_int_equal(mqtt_session_start(&session, now, &out), E_OK);
    take_sent(&p);
    assert_int_equal(p.type, MQTT_CONNECT);
}

static void open_with(const struct mqtt_session_options *o, const struct mqtt_connack *connack)
{
    start(o);
    assert_int_equal(receive(&(struct mqtt_packet){.type = MQTT_CONNACK, .connack = *connack}), E_OK);
    assert_int_equal(event.type, MQTT_EVENT_CONNECTED);
}

static void open_session(enum mqtt_version version)
{
    struct mqtt_connack connack;
    mqtt_connack_init(&connack);
    struct mqtt_session_options o = options(version);
    open_with(&o, &connack);
}

static enum err publish(uint8_t qos, uint64_t token)
{
    struct mqtt_publish p = {.topic = BYTES("t"), .payload = BYTES("x"), .qos = qos};
    return mqtt_session_publish(&session, now, &out, &p, token);
}

static void test_connect(void **state)
{
    (void)state;
    struct mqtt_will will = {.topic = BYTES("w"), .payload = BYTES("gone"), .qos = 1};
    struct mqtt_session_options o = options(MQTT_V5);
    o.username = BYTES("user");
    o.password = BYTES("secret");
    o.session_expiry_s = 3600;
    o.receive_max = 20;
    o.packet_max = 5000;
    o.will = &will;
    assert_int_equal(mqtt_session_init(&session, &o), E_OK);
    assert_int_equal(mqtt_session_deadline(&session).ns, MONO_NEVER.ns);
    assert_int_equal(mqtt_session_start(&session, now, &out), E_OK);
    assert_null(session.connect.data);
    struct mqtt_packet p;
    take_sent(&p);
    assert_int_equal(p.type, MQTT_CONNECT);
    assert_true(bytes_equal(p.connect.username, o.username) && bytes_equal(p.connect.password, o.password));
    assert_true(bytes_equal(p.connect.client_id, o.client_id) && bytes_equal(p.connect.will.payload, will.payload));
    assert_int_equal(p.connect.receive_max, 20);
    assert_int_equal(p.connect.packet_max, 5000);
    assert_int_equal(p.connect.keepalive_s, 60);
    assert_int_equal(p.connect.session_expiry_s, 3600);
    assert_int_equal(p.connect.topic_alias_max, 0);
    assert_int_equal(mqtt_session_start(&session, now, &out), E_INVALID);
}

static void test_invalid_options(void **state)
{
    (void)state;
    struct mqtt_session_options o = options(MQTT_V311);
    o.password = BYTES("without a user name");
    assert_int_equal(mqtt_session_init(&session, &o), E_INVALID);
    o = options(MQTT_V5);
    o.client_id = BYTES("\xFF");
    assert_int_equal(mqtt_session_init(&session, &o), E_INVALID);
}

static void test_nothing_before_connack(void **state)
{
    (void)state;
    struct mqtt_session_options o = options(MQTT_V5);
    struct mqtt_subscription s = {.filter = BYTES("a")};
    start(&o);
    assert_int_equal(publish(0, 0), E_AGAIN);
    assert_int_equal(publish(1, 0), E_AGAIN);
    assert_int_equal(mqtt_session_subscribe(&session, now, &out, &s, 1, 0), E_AGAIN);
    assert_int_equal(mqtt_session_ack(&session, now, &out, 1, 0), E_AGAIN);
    assert_int_equal(out.len, 0);
    wait_ms(29999);
    assert_int_equal(mqtt_session_service(&session, now, &out), E_OK);
    wait_ms(1);
    assert_int_equal(mqtt_session_service(&session, now, &out), E_TIMEOUT);
    assert_string_equal(session.end_detail, "no CONNACK in time");
    assert_int_equal(out.len, 0);
}

static void test_refused(void **state)
{
    (void)state;
    struct mqtt_session_options o = options(MQTT_V311);
    start(&o);
    assert_int_equal(receive(&(struct mqtt_packet){.type = MQTT_CONNACK, .connack = {.reason = 5}}), E_REFUSED);
    assert_int_equal(session.end_reason, 5);
    assert_string_equal(session.end_detail, "CONNACK: not authorized (0x05)");
    assert_int_equal(input(BYTES("")), E_CLOSED);
    mqtt_session_finish(&session);

    o = options(MQTT_V5);
    start(&o);
    struct mqtt_packet p = {.type = MQTT_CONNACK};
    mqtt_connack_init(&p.connack);
    p.connack.reason = MQTT_SERVER_BUSY;
    p.connack.reason_string = BYTES("come\nback");
    assert_int_equal(receive(&p), E_REFUSED);
    assert_string_equal(session.end_detail, "CONNACK: server busy (0x89): come?back");
    assert_int_equal(out.len, 0);
}

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

static void test_qos1_window(void **state)
{
    (void)state;
    struct mqtt_connack connack;
    mqtt_connack_init(&connack);
    connack.receive_max = 3;
    struct mqtt_session_options o = options(MQTT_V5);
    open_with(&o, &connack);
    struct mqtt_packet p[3];
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(publish(1, 70 + i), E_OK);
        take_sent(&p[i]);
        assert_int_equal(p[i].publish.packet_id, i + 1);
    }
    assert_false(mqtt_session_has_room(&session));
    assert_int_equal(publish(1, 73), E_FULL);
    assert_int_equal(publish(0, 0), E_OK);
    assert_int_equal(receive_ack(MQTT_PUBACK, 2, MQTT_NO_MATCHING_SUBSCRIBERS), E_OK);
    assert_int_equal(event.type, MQTT_EVENT_PUBLISHED);
    assert_int_equal(event.published.token, 71);
    assert_int_equal(event.published.reason, MQTT_NO_MATCHING_SUBSCRIBERS);
    assert_true(mqtt_session_has_room(&session));
    assert_int_equal(publish(1, 73), E_OK);
    assert_int_equal(receive_ack(MQTT_PUBACK, 2, 0), E_AGAIN); /* repeated */
    assert_int_equal(receive_ack(MQTT_PUBACK, 4, MQTT_QUOTA_EXCEEDED), E_OK);
    assert_int_equal(event.published.token, 73);
    assert_int_equal(event.published.reason, MQTT_QUOTA_EXCEEDED);
    assert_int_equal(session.publishes, 2);
}

static void test_own_window(void **state)
{
    (void)state;
    struct mqtt_session_options o = options(MQTT_V311);
    struct mqtt_connack connack = {.reason = 0};
    o.max_inflight = 1;
    open_with(&o, &connack);
    assert_int_equal(publish(2, 1), E_OK);
    assert_int_equal(publish(1, 2), E_FULL);
}

static void test_qos2_out(void **state)
{
    (void)state;
    open_session(MQTT_V5);
    struct mqtt_packet p;
    assert_int_equal(publish(2, 7), E_OK);
    take_sent(&p);
    uint16_t id = p.publish.packet_id;
    assert_int_equal(receive_ack(MQTT_PUBREC, id, 0), E_AGAIN);
    take_sent(&p);
    assert_int_equal(p.type, MQTT_PUBREL);
    assert_int_equal(p.ack.packet_id, id);
    assert_int_equal(session.publishes, 1);
    assert_int_equal(receive_ack(MQTT_PUBCOMP, id, 0), E_OK);
    assert_int_equal(event.published.token, 7);
    assert_int_equal(session.publishes, 0);

    assert_int_equal(publish(2, 8), E_OK);
    take_sent(&p);
    assert_int_equal(receive_ack(MQTT_PUBREC, p.publish.packet_id, MQTT_QUOTA_EXCEEDED), E_OK);
    assert_int_equal(event.published.reason, MQTT_QUOTA_EXCEEDED);
    assert_int_equal(out.len, 0);

    assert_int_equal(receive_ack(MQTT_PUBREC, 999, 0), E_AGAIN);
    take_sent(&p);
    assert_int_equal(p.type, MQTT_PUBREL);
    assert_int_equal(p.ack.reason, MQTT_PACKET_ID_NOT_FOUND);
}

static void test_wrong_acknowledgement(void **state)
{
    (void)state;
    static const struct {
        uint8_t qos;
        enum mqtt_type type;
    } cases[] = {{1, MQTT_PUBREC}, {1, MQTT_PUBCOMP}, {2, MQTT_PUBACK}, {2, MQTT_PUBCOMP}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        open_session(MQTT_V5);
        assert_int_equal(publish(cases[i].qos, 1), E_OK);
        assert_int_equal(receive_ack(cases[i].type, 1, 0), E_PROTOCOL);
        mqtt_session_finish(&session);
        buffer_clear(&out);
    }
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

static void test_limits_of_the_server(void **state)
{
    (void)state;
    struct mqtt_connack connack;
    mqtt_connack_init(&connack);
    connack.qos_max = 1;
    connack.retain_available = false;
    connack.packet_max = 20;
    struct mqtt_session_options o = options(MQTT_V5);
    open_with(&o, &connack);
    struct mqtt_publish p = {.topic = BYTES("t"), .qos = 2};
    assert_int_equal(mqtt_session_publish(&session, now, &out, &p, 0), E_UNSUPPORTED);
    p.qos = 1;
    p.retain = true;
    assert_int_equal(mqtt_session_publish(&session, now, &out, &p, 0), E_UNSUPPORTED);
    p.retain = false;
    p.payload = BYTES("123456789012"); /* 2 + 3 + 2 + 1 + 12 = 20 */
    assert_int_equal(mqtt_session_publish(&session, now, &out, &p, 0), E_OK);
    buffer_clear(&out);
    p.payload = BYTES("1234567890123");
    assert_int_equal(mqtt_session_publish(&session, now, &out, &p, 0), E_TOO_LARGE);
    assert_int_equal(out.len, 0);
    assert_int_equal(session.flights.used, 1);
}

static void test_output_reserve(void **state)
{
    (void)state;
    open_session(MQTT_V5);
    struct buffer small;
    buffer_init(&small, MQTT_SESSION_RESERVE + 100);
    struct mqtt_publish p = {.topic = BYTES("t"), .payload = BYTES("x"), .qos = 1};
    enum err err = E_OK;
    while (err == E_OK) {
        err = mqtt_session_publish(&session, now, &small, &p, 0);
    }
    assert_int_equal(err, E_FULL);
    assert_in_range(small.len, 90, 100);
    assert_true(mqtt_session_has_room(&session));
    assert_int_equal(mqtt_session_ack(&session, now, &small, 1, 0), E_OK);
    buffer_finish(&small);
}

static void test_subscribe(void **state)
{
    (void)state;
    open_session(MQTT_V5);
    const struct mqtt_subscription items[] = {{.filter = BYTES("a"), .qos = 1, .subscription_id = 7},
                                              {.filter = BYTES("b/#")}};
    assert_int_equal(mqtt_session_subscribe(&session, now, &out, items, 2, 33), E_OK);
    struct mqtt_packet p;
    take_sent(&p);
    assert_int_equal(p.subscribe.count, 2);
    assert_int_equal(p.subscribe.subscription_id, 7);
    struct mqtt_packet ack = {.type = MQTT_SUBACK, .suback = {.type = MQTT_SUBACK, .packet_id = p.subscribe.packet_id}};
    ack.suback.codes = BYTES("\x01\x87");
    assert_int_equal(receive(&ack), E_OK);
    assert_int_equal(event.type, MQTT_EVENT_SUBSCRIBED);
    assert_int_equal(event.subscribed.token, 33);
    assert_true(bytes_equal(event.subscribed.codes, BYTES("\x01\x87")));
    assert_int_equal(receive(&ack), E_AGAIN); /* nobody asked */

    assert_int_equal(mqtt_session_subscribe(&session, now, &out, items, 2, 34), E_OK);
    take_sent(&p);
    ack.suback.packet_id = p.subscribe.packet_id;
    ack.suback.codes = BYTES("\x01");
    assert_int_equal(receive(&ack), E_PROTOCOL);
}

static void test_subscribe_refused_here(void **state)
{
    (void)state;
    static struct mqtt_subscription many[MQTT_FILTERS_MAX + 1];
    open_session(MQTT_V5);
    many[0].filter = BYTES("a/#/b");
    assert_int_equal(mqtt_session_subscribe(&session, now, &out, many, 1, 0), E_INVALID);
    assert_int_equal(mqtt_session_subscribe(&session, now, &out, many, MQTT_FILTERS_MAX + 1, 0), E_TOO_LARGE);
    assert_int_equal(session.flights.used, 0);
    assert_int_equal(out.len, 0);
}

static void test_unsubscribe(void **state)
{
    (void)state;
    open_session(MQTT_V311);
    const struct bytes filters[] = {BYTES("a"), BYTES("b")};
    assert_int_equal(mqtt_session_unsubscribe(&session, now, &out, filters, 2, 44), E_OK);
    struct mqtt_packet p;
    take_sent(&p);
    struct mqtt_packet ack = {.type = MQTT_UNSUBACK,
                              .suback = {.type = MQTT_UNSUBACK, .packet_id = p.unsubscribe.packet_id}};
    assert_int_equal(receive(&ack), E_OK);
    assert_int_equal(event.subscribed.token, 44);
    assert_true(bytes_equal(event.subscribed.codes, BYTES("\0\0")));
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

static void test_disconnect(void **state)
{
    (void)state;
    open_session(MQTT_V5);
    mqtt_session_disconnect(&session, &out);
    struct mqtt_packet p;
    take_sent(&p);
    assert_int_equal(p.type, MQTT_DISCONNECT);
    assert_int_equal(publish(1, 1), E_AGAIN);
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

/* All ids come round, whatever order the server settles them in. */
static void test_packet_ids(void **state)
{
    (void)state;
    struct mqtt_session_options o = options(MQTT_V311);
    struct mqtt_connack connack = {.reason = 0};
    o.max_inflight = 1000;
    o.first_packet_id = 65000;
    open_with(&o, &connack);
    uint16_t ids[1000];
    unsigned held = 0;
    uint32_t random = 1;
    for (uint64_t sent = 0; sent < 200000; sent++) {
        if (held == 1000) {
            random = random * 1664525u + 1013904223u;
            unsigned i = (random >> 16) % held;
            assert_int_equal(receive_ack(MQTT_PUBACK, ids[i], 0), E_OK);
            ids[i] = ids[--held];
        }
        assert_int_equal(publish(1, sent), E_OK);
        struct mqtt_packet p;
        take_sent(&p);
        assert_int_not_equal(p.publish.packet_id, 0);
        ids[held++] = p.publish.packet_id;
    }
    assert_int_equal(session.publishes, 1000);
}

static void test_small_when_idle(void **state)
{
    (void)state;
    open_session(MQTT_V5);
    assert_true(sizeof(struct mqtt_session) <= 640);
    assert_null(session.connect.data);
    assert_null(session.input.data);
    assert_null(session.flights.slots);
    assert_null(session.received);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_connect),
        TEST(test_invalid_options),
        TEST(test_nothing_before_connack),
        TEST(test_refused),
        TEST(test_first_packet_is_connack),
        TEST(test_qos1_window),
        TEST(test_own_window),
        TEST(test_qos2_out),
        TEST(test_wrong_acknowledgement),
        TEST(test_messages),
        TEST(test_qos2_in),
        TEST(test_server_breaks_limits),
        TEST(test_limits_of_the_server),
        TEST(test_output_reserve),
        TEST(test_subscribe),
        TEST(test_subscribe_refused_here),
        TEST(test_unsubscribe),
        TEST(test_server_disconnect),
        TEST(test_disconnect),
        TEST(test_keepalive),
        TEST(test_ping_extension),
        TEST(test_server_keepalive),
        TEST(test_pieces),
        TEST(test_packet_ids),
        TEST(test_small_when_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
