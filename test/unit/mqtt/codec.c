#include "unit.h"

#include "mqtt/codec.h"

#include "hex.h"

static struct buffer out;

static int setup(void **state)
{
    (void)state;
    buffer_init(&out, 1u << 28);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buffer_finish(&out);
    return 0;
}

static void assert_bytes(struct bytes b, const char *text)
{
    assert_true(bytes_equal(b, bytes_str(text)));
}

/* The packet encodes to `hex`, and the whole of it decodes again into *back. */
static void assert_encodes(enum mqtt_version version, const struct mqtt_packet *p, const char *hex,
                           struct mqtt_packet *back)
{
    buffer_clear(&out);
    assert_int_equal(mqtt_encode(&out, version, p), E_OK);
    struct bytes want = hex_to_bytes(hex);
    assert_int_equal(out.len, want.len);
    assert_memory_equal(out.data, want.data, want.len);
    free((void *)(uintptr_t)want.data);
    size_t length;
    assert_int_equal(mqtt_frame(buffer_bytes(&out), 0, &length), E_OK);
    assert_int_equal(length, out.len);
    assert_int_equal(mqtt_decode(version, buffer_bytes(&out), back), E_OK);
    assert_int_equal(back->type, p->type);
}

static void test_frame(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t max;
        enum err err;
        size_t length;
    } cases[] = {
        {"", 0, E_AGAIN, 0},
        {"C0", 0, E_AGAIN, 0},
        {"C0 00", 0, E_OK, 2},
        {"C0 00 C0", 0, E_OK, 2},
        {"30 80", 0, E_AGAIN, 0},
        {"30 8001", 0, E_AGAIN, 131},
        {"30 05 00", 0, E_AGAIN, 7},
        {"30 05 00", 6, E_TOO_LARGE, 7},
        {"30 05 00", 7, E_AGAIN, 7},
        {"30 FFFFFF7F", 0, E_AGAIN, 268435460},
        {"30 FFFFFF7F", 1u << 20, E_TOO_LARGE, 268435460},
        {"30 FFFFFFFF", 0, E_MALFORMED, 0},
        {"00", 0, E_MALFORMED, 0},
        {"36", 0, E_MALFORMED, 0},
        {"51", 0, E_MALFORMED, 0},
        {"F0", 0, E_AGAIN, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes in = hex_to_bytes(cases[i].in);
        size_t length;
        assert_int_equal(mqtt_frame(in, cases[i].max, &length), cases[i].err);
        assert_int_equal(length, cases[i].length);
        free((void *)(uintptr_t)in.data);
    }
}

static void test_connect(void **state)
{
    (void)state;
    struct mqtt_packet back;
    struct mqtt_packet p = {.type = MQTT_CONNECT,
                            .connect = {.version = MQTT_V311, .clean_start = true, .keepalive_s = 60}};
    p.connect.client_id = BYTES("id");
    assert_encodes(MQTT_V311, &p, "10 0E 0004 4D515454 04 02 003C 0002 6964", &back);
    assert_int_equal(back.connect.version, MQTT_V311);
    assert_bytes(back.connect.client_id, "id");

    struct mqtt_connect *c = &p.connect;
    c->version = MQTT_V5;
    c->session_expiry_s = 3600;
    c->receive_max = 100;
    c->no_problem_info = true;
    c->has_username = true;
    c->username = BYTES("u");
    c->has_password = true;
    c->password = BYTES("");
    c->has_will = true;
    c->will = (struct mqtt_will){.topic = BYTES("w"), .qos = 1, .retain = true, .payload_format = 1};
    c->will.has_message_expiry = true;
    assert_encodes(MQTT_V5, &p,
                   "10 2B 0004 4D515454 05 EE 003C 0A 1100000E10 210064 1700 0002 6964 07 0101 0200000000 0001 77 0000 "
                   "0001 75 0000",
                   &back);
    c = &back.connect;
    assert_true(c->clean_start && c->no_problem_info && c->has_will && c->will.retain && c->will.has_message_expiry);
    assert_int_equal(c->session_expiry_s, 3600);
    assert_int_equal(c->receive_max, 100);
    assert_int_equal(c->will.qos, 1);
    assert_int_equal(c->will.message_expiry_s, 0);
    assert_bytes(c->will.topic, "w");
    assert_bytes(c->username, "u");
    assert_null(c->auth_method.data);
}

static void test_connack(void **state)
{
    (void)state;
    struct mqtt_packet back;
    struct mqtt_packet p = {.type = MQTT_CONNACK};
    mqtt_connack_init(&p.connack);
    assert_encodes(MQTT_V5, &p, "20 03 00 00 00", &back);
    assert_int_equal(back.connack.receive_max, 65535);
    assert_int_equal(back.connack.qos_max, 2);
    assert_true(back.connack.retain_available && back.connack.shared_available);
    assert_false(back.connack.has_server_keepalive);

    p.connack.session_present = true;
    p.connack.receive_max = 100;
    p.connack.qos_max = 1;
    p.connack.packet_max = 149504;
    p.connack.topic_alias_max = 8;
    p.connack.shared_available = false;
    p.connack.has_server_keepalive = true;
    p.connack.assigned_client_id = BYTES("x");
    assert_encodes(MQTT_V5, &p, "20 19 01 00 16 210064 2401 2700024800 12000178 220008 2A00 130000", &back);
    assert_int_equal(back.connack.packet_max, 149504);
    assert_true(back.connack.session_present && back.connack.has_server_keepalive);
    assert_false(back.connack.shared_available);

    /* AWS IoT Core refuses a 3.1.1 client with a return code beyond the table. */
    p.connack = (struct mqtt_connack){.reason = 7};
    assert_encodes(MQTT_V311, &p, "20 02 00 07", &back);
    assert_int_equal(back.connack.reason, 7);
}

static void test_publish(void **state)
{
    (void)state;
    struct mqtt_packet back;
    struct mqtt_packet p = {.type = MQTT_PUBLISH};
    p.publish.topic = BYTES("a/b");
    p.publish.payload = BYTES("hi");
    assert_encodes(MQTT_V311, &p, "30 07 0003 612F62 6869", &back);
    assert_encodes(MQTT_V5, &p, "30 08 0003 612F62 00 6869", &back);
    assert_int_equal(mqtt_publish_length(MQTT_V5, &p.publish), 10);

    uint8_t properties[64];
    struct buffer user = {.data = properties, .cap = sizeof(properties), .max = sizeof(properties)};
    assert_int_equal(mqtt_user_property_append(&user, BYTES("k"), BYTES("v")), E_OK);
    assert_int_equal(mqtt_user_property_append(&user, BYTES("k"), BYTES("")), E_OK);
    p.publish = (struct mqtt_publish){.topic = BYTES("a"), .qos = 2, .retain = true, .dup = true, .packet_id = 513};
    p.publish.payload_format = 1;
    p.publish.topic_alias = 3;
    p.publish.content_type = BYTES("c");
    p.publish.response_topic = BYTES("r");
    p.publish.correlation_data = BYTES("");
    p.publish.user_properties = buffer_bytes(&user);
    assert_encodes(MQTT_V5, &p,
                   "3D 23 0001 61 0201 1D 0101 230003 08000172 090000 2600016B000176 2600016B0000 03000163", &back);
    const struct mqtt_publish *b = &back.publish;
    assert_true(b->dup && b->retain && b->qos == 2 && b->packet_id == 513 && b->topic_alias == 3);
    assert_non_null(b->correlation_data.data);
    assert_int_equal(b->correlation_data.len, 0);
    struct bytes list = b->user_properties;
    struct bytes name;
    struct bytes value;
    assert_true(mqtt_user_property_next(&list, &name, &value));
    assert_bytes(name, "k");
    assert_bytes(value, "v");
    assert_true(mqtt_user_property_next(&list, &name, &value));
    assert_bytes(value, "");
    assert_false(mqtt_user_property_next(&list, &name, &value));
}

/* Lists take what belongs to them out of a block in any order, and write it again without the rest. */
static void test_property_lists(void **state)
{
    (void)state;
    struct bytes in = hex_to_bytes("30 1A 0001 61 16 2600016B000176 0B05 03000163 2600016C0000 0B8001");
    struct mqtt_packet p;
    assert_int_equal(mqtt_decode(MQTT_V5, in, &p), E_OK);
    struct bytes list = p.publish.subscription_ids;
    uint32_t id;
    assert_true(mqtt_subscription_id_next(&list, &id));
    assert_int_equal(id, 5);
    assert_true(mqtt_subscription_id_next(&list, &id));
    assert_int_equal(id, 128);
    assert_false(mqtt_subscription_id_next(&list, &id));
    buffer_clear(&out);
    assert_int_equal(mqtt_encode(&out, MQTT_V5, &p), E_OK);
    struct bytes want = hex_to_bytes("30 1A 0001 61 16 2600016B000176 2600016C0000 0B05 0B8001 03000163");
    assert_true(bytes_equal(buffer_bytes(&out), want));

    struct buffer pairs;
    struct buffer again;
    buffer_init(&pairs, 100);
    buffer_init(&again, 100);
    assert_int_equal(mqtt_user_properties_to_pairs(p.publish.user_properties, &pairs), E_OK);
    assert_true(bytes_equal(buffer_bytes(&pairs), BYTES("\0\1k\0\1v\0\1l\0\0")));
    assert_int_equal(mqtt_user_properties_from_pairs(buffer_bytes(&pairs), &again), E_OK);
    assert_true(bytes_equal(buffer_bytes(&again), BYTES("\x26\0\1k\0\1v\x26\0\1l\0\0")));
    assert_int_equal(mqtt_user_properties_from_pairs(BYTES("\0\1k\0"), &again), E_INVALID);
    assert_int_equal(again.len, 13);
    buffer_finish(&pairs);
    buffer_finish(&again);
    free((void *)(uintptr_t)in.data);
    free((void *)(uintptr_t)want.data);
}

static void test_acks(void **state)
{
    (void)state;
    struct mqtt_packet back;
    struct mqtt_packet p = {.type = MQTT_PUBACK, .ack = {.type = MQTT_PUBACK, .packet_id = 258}};
    assert_encodes(MQTT_V311, &p, "40 02 0102", &back);
    assert_encodes(MQTT_V5, &p, "40 02 0102", &back);
    p.ack.reason = MQTT_QUOTA_EXCEEDED;
    assert_encodes(MQTT_V311, &p, "40 02 0102", &back);
    assert_encodes(MQTT_V5, &p, "40 03 0102 97", &back);
    assert_int_equal(back.ack.reason, MQTT_QUOTA_EXCEEDED);
    p.type = p.ack.type = MQTT_PUBREL;
    p.ack.reason_string = BYTES("why");
    assert_encodes(MQTT_V5, &p, "62 0A 0102 97 06 1F0003776879", &back);
    assert_bytes(back.ack.reason_string, "why");

    struct bytes in = hex_to_bytes("50 04 0001 10 00");
    assert_int_equal(mqtt_decode(MQTT_V5, in, &back), E_OK);
    assert_int_equal(back.ack.reason, MQTT_NO_MATCHING_SUBSCRIBERS);
    free((void *)(uintptr_t)in.data);
}

static void test_subscribe(void **state)
{
    (void)state;
    const struct mqtt_subscription items[] = {
        {.filter = BYTES("a/#"), .qos = 1, .no_local = true, .retain_handling = 2},
        {.filter = BYTES("$share/g/b"), .qos = 2, .retain_as_published = true},
    };
    struct mqtt_packet back;
    struct mqtt_packet p = {.type = MQTT_SUBSCRIBE, .subscribe = {.packet_id = 1, .items = items, .count = 2}};
    assert_encodes(MQTT_V311, &p, "82 15 0001 0003 612F23 01 000A 2473686172652F672F62 02", &back);
    p.subscribe.subscription_id = 300;
    assert_encodes(MQTT_V5, &p, "82 19 0001 03 0BAC02 0003 612F23 25 000A 2473686172652F672F62 0A", &back);
    assert_int_equal(back.subscribe.subscription_id, 300);
    assert_int_equal(back.subscribe.count, 2);
    struct bytes list = back.subscribe.list;
    struct mqtt_subscription s;
    assert_true(mqtt_subscription_next(MQTT_V5, &list, &s));
    assert_bytes(s.filter, "a/#");
    assert_true(s.no_local && !s.retain_as_published && s.qos == 1 && s.retain_handling == 2);
    assert_true(mqtt_subscription_next(MQTT_V5, &list, &s));
    assert_true(s.retain_as_published && s.qos == 2);
    assert_false(mqtt_subscription_next(MQTT_V5, &list, &s));

    p = (struct mqtt_packet){.type = MQTT_SUBACK, .suback = {.type = MQTT_SUBACK, .packet_id = 1}};
    p.suback.codes = BYTES("\x01\x80");
    assert_encodes(MQTT_V311, &p, "90 04 0001 01 80", &back);
    assert_encodes(MQTT_V5, &p, "90 05 0001 00 01 80", &back);
    assert_int_equal(back.suback.codes.len, 2);
}

static void test_unsubscribe(void **state)
{
    (void)state;
    const struct bytes filters[] = {BYTES("a"), BYTES("b/+")};
    struct mqtt_packet back;
    struct mqtt_packet p = {.type = MQTT_UNSUBSCRIBE, .unsubscribe = {.packet_id = 9, .filters = filters, .count = 2}};
    assert_encodes(MQTT_V5, &p, "A2 0B 0009 00 0001 61 0003 622F2B", &back);
    struct bytes list = back.unsubscribe.list;
    struct bytes filter;
    assert_true(mqtt_unsubscribe_next(&list, &filter));
    assert_true(mqtt_unsubscribe_next(&list, &filter));
    assert_bytes(filter, "b/+");
    assert_false(mqtt_unsubscribe_next(&list, &filter));

    p = (struct mqtt_packet){.type = MQTT_UNSUBACK, .suback = {.type = MQTT_UNSUBACK, .packet_id = 9}};
    assert_encodes(MQTT_V311, &p, "B0 02 0009", &back);
    p.suback.codes = BYTES("\x00\x11");
    assert_encodes(MQTT_V5, &p, "B0 05 0009 00 00 11", &back);
}

static void test_short_packets(void **state)
{
    (void)state;
    struct mqtt_packet back;
    struct mqtt_packet p = {.type = MQTT_PINGREQ};
    assert_encodes(MQTT_V5, &p, "C0 00", &back);
    p.type = MQTT_PINGRESP;
    assert_encodes(MQTT_V311, &p, "D0 00", &back);
    p = (struct mqtt_packet){.type = MQTT_DISCONNECT};
    assert_encodes(MQTT_V311, &p, "E0 00", &back);
    assert_encodes(MQTT_V5, &p, "E0 00", &back);
    p.disconnect.reason = MQTT_SESSION_TAKEN_OVER;
    assert_encodes(MQTT_V5, &p, "E0 01 8E", &back);
    p.disconnect.has_session_expiry = true;
    assert_encodes(MQTT_V5, &p, "E0 07 8E 05 1100000000", &back);
    assert_int_equal(back.disconnect.reason, MQTT_SESSION_TAKEN_OVER);
    assert_true(back.disconnect.has_session_expiry);
    p = (struct mqtt_packet){.type = MQTT_AUTH};
    assert_encodes(MQTT_V5, &p, "F0 00", &back);
    p.auth = (struct mqtt_auth){.reason = MQTT_CONTINUE_AUTHENTICATION, .method = BYTES("m"), .data = BYTES("d")};
    assert_encodes(MQTT_V5, &p, "F0 0A 18 08 1500016D 16000164", &back);
    assert_bytes(back.auth.data, "d");
}

/* What breaks the specification is refused, and nothing is written. */
static void test_encoder_refuses(void **state)
{
    (void)state;
    const struct mqtt_subscription shared = {.filter = BYTES("$share/g/a"), .no_local = true};
    const struct mqtt_packet cases[] = {
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("a/#")}},
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("")}},
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("a"), .qos = 1}},
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("a"), .qos = 3, .packet_id = 1}},
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("a"), .packet_id = 1}},
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("a"), .dup = true}},
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("a"), .payload_format = 2}},
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("a"), .content_type = BYTES("\xFF")}},
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("a"), .response_topic = BYTES("+")}},
        {.type = MQTT_PUBLISH, .publish = {.topic = BYTES("a"), .user_properties = BYTES("\x26\0\1k")}},
        {.type = MQTT_PUBACK, .ack = {.type = MQTT_PUBACK}},
        {.type = MQTT_SUBSCRIBE, .subscribe = {.packet_id = 1}},
        {.type = MQTT_SUBSCRIBE, .subscribe = {.packet_id = 1, .items = &shared, .count = 1}},
        {.type = MQTT_SUBACK, .suback = {.type = MQTT_SUBACK, .packet_id = 1}},
        {.type = MQTT_CONNACK, .connack = {.session_present = true, .reason = 0x87, .qos_max = 2}},
        {.type = MQTT_CONNECT, .connect = {.version = MQTT_V5, .auth_data = BYTES("d")}},
        {.type = MQTT_CONNECT, .connect = {.version = MQTT_V311}},
        {.type = MQTT_AUTH, .auth = {.reason = MQTT_CONTINUE_AUTHENTICATION}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buffer_clear(&out);
        assert_int_equal(mqtt_encode(&out, MQTT_V5, &cases[i]), E_INVALID);
        assert_int_equal(out.len, 0);
    }
}

static void test_ceilings(void **state)
{
    (void)state;
    static uint8_t byte;
    struct mqtt_publish p = {.topic = BYTES("a"), .payload = {&byte, MQTT_REMAINING_MAX}};
    buffer_clear(&out);
    assert_int_equal(mqtt_encode_publish(&out, MQTT_V311, &p), E_TOO_LARGE);
    assert_int_equal(mqtt_publish_length(MQTT_V311, &p), 0);
    p.payload.len = MQTT_REMAINING_MAX - 3;
    assert_int_equal(mqtt_publish_length(MQTT_V311, &p), 5 + (size_t)MQTT_REMAINING_MAX);
    struct buffer small;
    buffer_init(&small, 4);
    p.payload.len = 1;
    assert_int_equal(mqtt_encode_publish(&small, MQTT_V311, &p), E_FULL);
    assert_int_equal(small.len, 0);
    buffer_finish(&small);
}

static void test_texts(void **state)
{
    (void)state;
    assert_string_equal(mqtt_reason_text(MQTT_QUOTA_EXCEEDED), "quota exceeded");
    assert_string_equal(mqtt_reason_text(MQTT_WILDCARDS_NOT_SUPPORTED), "wildcard subscriptions not supported");
    assert_string_equal(mqtt_reason_text(0x70), "unknown reason");
    assert_string_equal(mqtt_reason_text(0xFF), "unknown reason");
    assert_string_equal(mqtt_connack_text(MQTT_V311, 5), "not authorized");
    assert_string_equal(mqtt_connack_text(MQTT_V311, 7), "unlisted return code");
    assert_string_equal(mqtt_connack_text(MQTT_V5, 0x87), "not authorized");
    assert_string_equal(mqtt_type_name(MQTT_UNSUBACK), "UNSUBACK");
    assert_string_equal(mqtt_type_name(0), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame),          cmocka_unit_test(test_connect),
        cmocka_unit_test(test_connack),        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_property_lists), cmocka_unit_test(test_acks),
        cmocka_unit_test(test_subscribe),      cmocka_unit_test(test_unsubscribe),
        cmocka_unit_test(test_short_packets),  cmocka_unit_test(test_encoder_refuses),
        cmocka_unit_test(test_ceilings),       cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
