/* The session towards the server: connecting, publishing, subscribing. */
#include "session_world.h"

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
    const struct CMUnitTest tests[] = {
        TEST(test_connect),
        TEST(test_invalid_options),
        TEST(test_nothing_before_connack),
        TEST(test_refused),
        TEST(test_qos1_window),
        TEST(test_own_window),
        TEST(test_qos2_out),
        TEST(test_wrong_acknowledgement),
        TEST(test_limits_of_the_server),
        TEST(test_output_reserve),
        TEST(test_subscribe),
        TEST(test_subscribe_refused_here),
        TEST(test_unsubscribe),
        TEST(test_disconnect),
        TEST(test_packet_ids),
        TEST(test_small_when_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
