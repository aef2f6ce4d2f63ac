/* plugin/record_codec.h: records to bytes and back. */
#include "unit.h"

#include "plugin/record_codec.h"

#include <stdlib.h>

static struct record sample(void)
{
    return (struct record){
        .sequence = 0x1122334455667788,
        .capture_ms = -5,
        .sinks = 5,
        .qos = 2,
        .remote_qos = 1,
        .retain = true,
        .topic = BYTES("a/b"),
        .payload = BYTES("hello"),
        .client_id = BYTES("client"),
        .sensor = BYTES("s"),
        .table = BYTES("t"),
    };
}

static void expect_same(const struct record *a, const struct record *b)
{
    assert_true(a->sequence == b->sequence && a->capture_ms == b->capture_ms);
    assert_true(a->sinks == b->sinks && a->qos == b->qos && a->remote_qos == b->remote_qos);
    assert_true(a->retain == b->retain && a->payload_format == b->payload_format);
    for (const struct bytes *x = &a->topic, *y = &b->topic; x <= &a->table; x++, y++) {
        assert_true(bytes_equal(*x, *y));
    }
}

/* The bytes of a record, in memory of its own; *length is without padding. */
static uint8_t *encode(const struct record *r, size_t *length)
{
    assert_int_equal(record_length(r, length), E_OK);
    uint8_t *data = calloc(1, record_room(*length) + 64);
    assert_non_null(data);
    record_encode(r, *length, data);
    return data;
}

static void round_trip(void **state)
{
    (void)state;
    struct record in = sample();
    struct record out;
    size_t length;
    uint8_t *data = encode(&in, &length);
    record_commit(data, length);
    assert_int_equal(record_decode(bytes_make(data, length), &out), E_OK);
    expect_same(&in, &out);
    assert_true(out.payload.data > data && out.payload.data < data + length);
    /* What follows does not matter. */
    assert_int_equal(record_decode(bytes_make(data, length + 64), &out), E_OK);
    free(data);
}

static void bytes_are_as_documented(void **state)
{
    (void)state;
    struct record r = {.sequence = 1,
                       .capture_ms = 0x0102,
                       .sinks = 4,
                       .qos = 1,
                       .retain = true,
                       .topic = BYTES("t"),
                       .payload = BYTES("p"),
                       .sensor = BYTES("xyz")};
    static const uint8_t expected[] = {41, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,   0, 0, 0, 0, 2,   1,   0,   0,  0,
                                       0,  0, 0, 4, 9, 1, 0, 1, 0, 0, 0, 't', 7, 3, 0, 0, 'x', 'y', 'z', 'p'};
    size_t length;
    uint8_t *data = encode(&r, &length);
    record_commit(data, length);
    assert_int_equal(length, sizeof(expected));
    memset(data + 4, 0, 4); /* the CRC */
    assert_memory_equal(data, expected, length);
    free(data);
}

static void empty_fields_cost_nothing(void **state)
{
    (void)state;
    struct record r = {.topic = BYTES("a"), .payload = BYTES("b")};
    size_t length;
    assert_int_equal(record_length(&r, &length), E_OK);
    assert_int_equal(length, RECORD_HEADER_SIZE + 2);
    r.sensor = BYTES("cd");
    assert_int_equal(record_length(&r, &length), E_OK);
    assert_int_equal(length, RECORD_HEADER_SIZE + 2 + 4 + 2);
}

static void nothing_is_there_before_the_commit(void **state)
{
    (void)state;
    struct record in = sample();
    struct record out;
    size_t length;
    uint8_t *data = encode(&in, &length);
    assert_int_equal(record_decode(bytes_make(data, length), &out), E_CORRUPT);
    free(data);
}

/* Every bit and every truncation: refused, never read wrongly, nothing outside is read (memory of exact size, under ASan). */
static void damage_is_seen(void **state)
{
    (void)state;
    struct record in = sample();
    struct record out = {0};
    size_t length;
    uint8_t *data = encode(&in, &length);
    record_commit(data, length);
    for (size_t bit = 0; bit < length * 8; bit++) {
        uint8_t *copy = malloc(length);
        memcpy(copy, data, length);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(record_decode(bytes_make(copy, length), &out), E_CORRUPT);
        free(copy);
    }
    for (size_t n = 0; n < length; n++) {
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, data, n);
        assert_int_equal(record_decode(bytes_make(copy, n), &out), E_CORRUPT);
        free(copy);
    }
    assert_int_equal(out.sequence, 0);
    free(data);
}

static void limits(void **state)
{
    (void)state;
    static uint8_t big[RECORD_FIELD_MAX + 1];
    struct record r = {.topic = bytes_make(big, UINT16_MAX), .user_properties = bytes_make(big, RECORD_FIELD_MAX)};
    size_t length;
    assert_int_equal(record_length(&r, &length), E_OK);
    r.topic.len++;
    assert_int_equal(record_length(&r, &length), E_TOO_LARGE);
    r.topic.len = 1;
    r.user_properties.len++;
    assert_int_equal(record_length(&r, &length), E_TOO_LARGE);
    r.user_properties.len = 0;
    r.payload = bytes_make(big, (size_t)UINT32_MAX);
    assert_int_equal(record_length(&r, &length), E_TOO_LARGE);
}

static void names_of_sinks(void **state)
{
    (void)state;
    enum sink_id id;
    assert_string_equal(sink_id_name(SINK_DYNAMODB), "dynamodb");
    assert_string_equal(sink_id_name((enum sink_id)77), "unknown");
    assert_true(sink_id_parse(BYTES("sqlite"), &id) && id == SINK_SQLITE);
    assert_false(sink_id_parse(BYTES("sqlit"), &id));
    assert_false(sink_id_parse(BYTES(""), &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(bytes_are_as_documented),
        cmocka_unit_test(empty_fields_cost_nothing),
        cmocka_unit_test(nothing_is_there_before_the_commit),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(limits),
        cmocka_unit_test(names_of_sinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
