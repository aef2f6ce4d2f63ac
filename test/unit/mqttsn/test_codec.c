#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mqttsn/codec.h"
#include "mqttsn/generate.h"

#include <stdlib.h>

static enum err decode(struct bytes b, struct mqttsn_packet *out)
{
    /* From memory of exactly this size, so that ASan sees a read past the end. */
    uint8_t *copy = malloc(b.len ? b.len : 1);
    assert_non_null(copy);
    memcpy(copy, b.data ? b.data : (const uint8_t *)"", b.len);
    enum err e = mqttsn_decode(bytes_make(copy, b.len), out);
    free(copy);
    return e;
}

static void refuses_what_crashed_others(void **state)
{
    (void)state;
    struct mqttsn_packet p;
    assert_int_equal(decode(BYTES("\x05\x04\x04\x01\x00"), &p), E_MALFORMED); /* CONNECT cut in Duration */
    assert_int_equal(decode(BYTES("\x02\x0c"), &p), E_MALFORMED);             /* PUBLISH without anything */
    assert_int_equal(decode(BYTES(""), &p), E_MALFORMED);
    assert_int_equal(decode(BYTES("\x00"), &p), E_MALFORMED);
    assert_int_equal(decode(BYTES("\x00\x00"), &p), E_MALFORMED);
    assert_int_equal(decode(BYTES("\x01"), &p), E_MALFORMED);
    assert_int_equal(decode(BYTES("\x01\x18"), &p), E_MALFORMED);
    assert_int_equal(decode(BYTES("\x01\x00\x04"), &p), E_MALFORMED);
    assert_int_equal(decode(BYTES("\x01\x00\x03\x18"), &p), E_MALFORMED); /* Length does not reach its type */
    assert_int_equal(decode(BYTES("\xff\x0c"), &p), E_MALFORMED);
}

static void every_truncation_is_malformed(void **state)
{
    (void)state;
    uint64_t rng = 88172645463325252u;
    uint8_t room[GENERATE_TEXT_MAX], out[1024];
    for (unsigned i = 0; i < 2000; i++) {
        struct mqttsn_packet p, back;
        generate_packet(&rng, generate_types[i % GENERATE_TYPES], &p, room);
        size_t size = mqttsn_encode(&p, out, sizeof(out));
        assert_true(size >= 2);
        for (size_t cut = 0; cut < size; cut++) {
            assert_int_equal(decode(bytes_make(out, cut), &back), E_MALFORMED);
        }
        out[size] = 0;
        assert_int_equal(decode(bytes_make(out, size + 1), &back), E_MALFORMED);
    }
}

static void round_trip(void **state)
{
    (void)state;
    uint64_t rng = 1;
    uint8_t room[GENERATE_TEXT_MAX], out[1024], again[1024];
    for (unsigned i = 0; i < 20000; i++) {
        struct mqttsn_packet p, back;
        generate_packet(&rng, generate_types[i % GENERATE_TYPES], &p, room);
        size_t size = mqttsn_encoded_size(&p);
        assert_int_equal(mqttsn_encode(&p, out, size - 1), 0);
        assert_int_equal(mqttsn_encode(&p, out, size), size);
        assert_int_equal(mqttsn_decode(bytes_make(out, size), &back), E_OK);
        assert_int_equal(back.type, p.type);
        assert_int_equal(mqttsn_encode(&back, again, sizeof(again)), size);
        assert_memory_equal(out, again, size);
    }
}

static void both_length_forms(void **state)
{
    (void)state;
    struct mqttsn_packet p;
    assert_int_equal(mqttsn_decode(BYTES("\x01\x00\x06\x18\x00\x3c"), &p), E_OK);
    assert_int_equal(p.type, MQTTSN_DISCONNECT);
    assert_true(p.disconnect.has_duration);
    assert_int_equal(p.disconnect.duration_s, 60);
    assert_int_equal(mqttsn_decode(BYTES("\x01\x00\x04\x17"), &p), E_OK);
    assert_int_equal(p.type, MQTTSN_PINGRESP);

    static uint8_t payload[65535], out[65536];
    struct mqttsn_packet big = {.type = MQTTSN_PUBLISH, .publish = {.qos = 1, .msg_id = 7, .topic = {.id = 3}}};
    big.publish.payload = bytes_make(payload, 255 - 7);
    assert_int_equal(mqttsn_encode(&big, out, sizeof(out)), 255);
    assert_int_equal(out[0], 255);
    big.publish.payload = bytes_make(payload, 256 - 7);
    assert_int_equal(mqttsn_encode(&big, out, sizeof(out)), 258);
    assert_memory_equal(out, "\x01\x01\x02\x0c\x20\x00\x03\x00\x07", 9);
    big.publish.payload = bytes_make(payload, 65535 - 9);
    assert_int_equal(mqttsn_encode(&big, out, sizeof(out)), 65535);
    assert_int_equal(mqttsn_decode(bytes_make(out, 65535), &p), E_OK);
    assert_int_equal(p.publish.payload.len, 65535 - 9);
    big.publish.payload = bytes_make(payload, 65535 - 8);
    assert_int_equal(mqttsn_encode(&big, out, sizeof(out)), 0);
}

static void fields_are_where_the_specification_has_them(void **state)
{
    (void)state;
    struct mqttsn_packet p;
    assert_int_equal(mqttsn_decode(BYTES("\x0a\x04\x0c\x01\x01\x68riot"), &p), E_OK);
    assert_true(p.connect.will && p.connect.clean_session);
    assert_int_equal(p.connect.duration_s, 360);
    assert_true(bytes_equal(p.connect.client_id, BYTES("riot")));

    assert_int_equal(mqttsn_decode(BYTES("\x0a\x0c\xf1\x12\x34\x00\x00"
                                         "abc"),
                                   &p),
                     E_OK);
    assert_true(p.publish.dup && p.publish.retain);
    assert_int_equal(p.publish.qos, MQTTSN_QOS_MINUS_ONE);
    assert_int_equal(p.publish.topic.type, MQTTSN_TOPIC_PREDEFINED);
    assert_int_equal(p.publish.topic.id, 0x1234);
    assert_true(bytes_equal(p.publish.payload, BYTES("abc")));

    assert_int_equal(mqttsn_decode(BYTES("\x07\x12\x22\x00\x05"
                                         "ab"),
                                   &p),
                     E_OK);
    assert_int_equal(p.subscribe.topic.type, MQTTSN_TOPIC_SHORT);
    assert_int_equal(p.subscribe.topic.id, 'a' << 8 | 'b');
    assert_int_equal(p.subscribe.qos, 1);

    assert_int_equal(mqttsn_decode(BYTES("\x06\x12\x00\x00\x05"
                                         "a"),
                                   &p),
                     E_OK); /* a 1-character name is a name */
    assert_int_equal(p.subscribe.topic.type, MQTTSN_TOPIC_NORMAL);
    assert_true(bytes_equal(p.subscribe.topic.name, BYTES("a")));
}

static void reserved_values(void **state)
{
    (void)state;
    struct mqttsn_packet p;
    assert_int_equal(mqttsn_decode(BYTES("\x07\x0c\x03\x00\x01\x00\x00"), &p), E_MALFORMED); /* topic id type 3 */
    assert_int_equal(mqttsn_decode(BYTES("\x07\x12\x03\x00\x01"
                                         "ab"),
                                   &p),
                     E_MALFORMED);
    assert_int_equal(mqttsn_decode(BYTES("\x07\x12\x60\x00\x01"
                                         "ab"),
                                   &p),
                     E_MALFORMED); /* QoS -1 */
    assert_int_equal(mqttsn_decode(BYTES("\x05\x07\x60"
                                         "ab"),
                                   &p),
                     E_MALFORMED);
    assert_int_equal(mqttsn_decode(BYTES("\x08\x12\x01\x00\x01"
                                         "abc"),
                                   &p),
                     E_MALFORMED); /* id of 3 bytes */
    assert_int_equal(mqttsn_decode(BYTES("\x06\x12\x02\x00\x01"
                                         "a"),
                                   &p),
                     E_MALFORMED);
    assert_int_equal(mqttsn_decode(BYTES("\x02\x03"), &p), E_MALFORMED); /* reserved types */
    assert_int_equal(mqttsn_decode(BYTES("\x02\x11"), &p), E_MALFORMED);
    assert_int_equal(mqttsn_decode(BYTES("\x02\x1e"), &p), E_MALFORMED);
    assert_int_equal(mqttsn_decode(BYTES("\x02\xfd"), &p), E_MALFORMED);
    assert_true(mqttsn_topic_id_reserved(0) && mqttsn_topic_id_reserved(0xffff) && !mqttsn_topic_id_reserved(1));
}

static void empty_forms(void **state)
{
    (void)state;
    struct mqttsn_packet p;
    uint8_t out[16];
    assert_int_equal(mqttsn_decode(BYTES("\x02\x07"), &p), E_OK);
    assert_int_equal(p.willtopic.topic.len, 0);
    assert_int_equal(mqttsn_encode(&p, out, sizeof(out)), 2);
    assert_int_equal(mqttsn_decode(BYTES("\x03\x1a\x20"), &p), E_OK); /* flags alone: the same */
    assert_int_equal(p.willtopicupd.topic.len, 0);
    assert_int_equal(mqttsn_decode(BYTES("\x02\x18"), &p), E_OK);
    assert_false(p.disconnect.has_duration);
    assert_int_equal(mqttsn_decode(BYTES("\x03\x18\x00"), &p), E_MALFORMED);
    assert_int_equal(mqttsn_decode(BYTES("\x02\x16"), &p), E_OK);
    assert_int_equal(mqttsn_decode(BYTES("\x03\x17\x00"), &p), E_MALFORMED);
}

static void what_cannot_be_written(void **state)
{
    (void)state;
    uint8_t out[64];
    struct mqttsn_packet p = {.type = MQTTSN_PUBLISH, .publish = {.qos = 4}};
    assert_int_equal(mqttsn_encode(&p, out, sizeof(out)), 0);
    p = (struct mqttsn_packet){.type = MQTTSN_REGISTER};
    assert_int_equal(mqttsn_encode(&p, out, sizeof(out)), 0); /* no name */
    p = (struct mqttsn_packet){.type = MQTTSN_SUBSCRIBE, .subscribe = {.qos = 3}};
    assert_int_equal(mqttsn_encode(&p, out, sizeof(out)), 0);
    p = (struct mqttsn_packet){.type = (enum mqttsn_type)0x03};
    assert_int_equal(mqttsn_encode(&p, out, sizeof(out)), 0);
    assert_string_equal(mqttsn_type_name(0x03), "?");
    assert_string_equal(mqttsn_type_name(MQTTSN_WILLMSGUPD), "WILLMSGUPD");
}

static void forwarder(void **state)
{
    (void)state;
    struct mqttsn_forward f;
    struct bytes inner;
    struct mqttsn_packet p;
    /* Length covers the header alone. */
    struct bytes wire = BYTES("\x05\xfe\x02\xab\xcd\x02\x16");
    assert_true(mqttsn_is_forwarded(wire));
    assert_int_equal(mqttsn_decode(wire, &p), E_UNSUPPORTED);
    assert_int_equal(mqttsn_decode_forward(wire, &f, &inner), E_OK);
    assert_int_equal(f.radius, 2);
    assert_true(bytes_equal(f.node_id, BYTES("\xab\xcd")));
    assert_int_equal(mqttsn_decode(inner, &p), E_OK);
    assert_int_equal(p.type, MQTTSN_PINGREQ);

    uint8_t out[MQTTSN_FORWARD_MAX];
    assert_int_equal(mqttsn_encode_forward(&f, out, sizeof(out)), 5);
    assert_memory_equal(out, wire.data, 5);
    assert_int_equal(mqttsn_encode_forward(&f, out, 4), 0);

    assert_int_equal(mqttsn_decode_forward(BYTES("\x03\xfe\x00\x02\x16"), &f, &inner), E_MALFORMED); /* no node id */
    assert_int_equal(mqttsn_decode_forward(BYTES("\x05\xfe\x00\xab\xcd"), &f, &inner),
                     E_MALFORMED); /* nothing inside */
    assert_int_equal(mqttsn_decode_forward(BYTES("\x09\xfe\x00\xab"), &f, &inner), E_MALFORMED);
    assert_int_equal(mqttsn_decode_forward(BYTES("\x14\xfe\x00"
                                                 "12345678901234567"
                                                 "\x02\x16"),
                                           &f, &inner),
                     E_MALFORMED); /* node id too long */
    assert_false(mqttsn_is_forwarded(BYTES("\xfe")));
    assert_false(mqttsn_is_forwarded(BYTES("\x01\xfe\x00")));
    assert_true(mqttsn_is_forwarded(BYTES("\x01\x00\x07\xfe\x00\x01\x02\x02\x16")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_crashed_others),
        cmocka_unit_test(every_truncation_is_malformed),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(both_length_forms),
        cmocka_unit_test(fields_are_where_the_specification_has_them),
        cmocka_unit_test(reserved_values),
        cmocka_unit_test(empty_forms),
        cmocka_unit_test(what_cannot_be_written),
        cmocka_unit_test(forwarder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
