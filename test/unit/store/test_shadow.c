#include "unit.h"

#include "store/shadow.h"

#include <stdio.h>
#include <stdlib.h>

static void expect_message(const char *payload, const char *message)
{
    struct buffer text;
    struct measurement_error error = {""};
    buffer_init(&text, 1u << 20);
    enum err e = shadow_message(bytes_str(payload), &text, &error);
    if (e != E_OK || !bytes_equal(buffer_bytes(&text), bytes_str(message))) {
        print_error("%s\n  %s %s\n  %.*s\n", payload, err_name(e), error.text, (int)text.len, (const char *)text.data);
    }
    assert_int_equal(e, E_OK);
    assert_true(bytes_equal(buffer_bytes(&text), bytes_str(message)));
    buffer_finish(&text);
}

static void expect_reason(const char *payload, const char *reason)
{
    struct buffer text;
    struct measurement_error error = {""};
    buffer_init(&text, 1u << 20);
    assert_int_equal(shadow_message(bytes_str(payload), &text, &error), E_INVALID);
    assert_string_equal(error.text, reason);
    buffer_finish(&text);
}

static void test_one_section(void **state)
{
    (void)state;
    expect_message("{\"state\":{\"desired\":{\"temperature\":21.50}}}", "{\"temperature\":21.50}");
    expect_message("{\"state\":{\"reported\":{\"a\":1,\"b\":\"x\",\"c\":[1, 2]}},\"clientToken\":\"t\"}",
                   "{\"a\":1,\"b\":\"x\",\"c\":[1, 2]}");
    expect_message("{\"state\":{\"desired\":{}}}", "{}");
    expect_message("{\"state\":{\"desired\":null,\"reported\":{\"a\":1}}}", "{\"a\":1}");
    expect_message(" { \"state\" : { \"desired\" : { \"a\" : 1 } } } ", "{\"a\":1}");
}

static void test_reported_over_desired(void **state)
{
    (void)state;
    expect_message("{\"state\":{\"desired\":{\"a\":1,\"b\":2},\"reported\":{\"b\":3,\"c\":4}}}",
                   "{\"a\":1,\"b\":3,\"c\":4}");
    expect_message("{\"state\":{\"reported\":{\"b\":3,\"c\":4},\"desired\":{\"a\":1,\"b\":2}}}",
                   "{\"a\":1,\"b\":3,\"c\":4}");
    /* Objects member by member, arrays and everything else as a whole. */
    expect_message(
        "{\"state\":{\"desired\":{\"o\":{\"x\":1,\"y\":{\"p\":1}}},\"reported\":{\"o\":{\"x\":2,\"y\":{\"q\":2}}}}}",
        "{\"o\":{\"x\":2,\"y\":{\"p\":1,\"q\":2}}}");
    expect_message("{\"state\":{\"desired\":{\"l\":[1,2,3],\"o\":{\"x\":1},\"s\":1},"
                   "\"reported\":{\"l\":[4],\"o\":5,\"s\":{\"y\":2}}}}",
                   "{\"l\":[4],\"o\":5,\"s\":{\"y\":2}}");
}

static void test_null_deletes(void **state)
{
    (void)state;
    expect_message("{\"state\":{\"desired\":{\"a\":null,\"b\":1}}}", "{\"b\":1}");
    expect_message("{\"state\":{\"desired\":{\"a\":null}}}", "{}");
    expect_message("{\"state\":{\"desired\":{\"a\":1},\"reported\":{\"a\":null}}}", "{\"a\":1}");
    expect_message("{\"state\":{\"desired\":{\"a\":null},\"reported\":{\"a\":2}}}", "{\"a\":2}");
    expect_message("{\"state\":{\"desired\":{\"o\":{\"a\":null,\"b\":{\"c\":null}}}}}", "{\"o\":{\"b\":{}}}");
    expect_message("{\"state\":{\"desired\":{\"l\":[null]}}}", "{\"l\":[null]}");
}

static void test_names(void **state)
{
    (void)state;
    /* Twice the same name: the last counts, in the place of the first. */
    expect_message("{\"state\":{\"desired\":{\"a\":1,\"b\":2,\"a\":3}}}", "{\"a\":3,\"b\":2}");
    expect_message("{\"state\":{\"desired\":{\"a\":1,\"a\":null}}}", "{}");
    expect_message("{\"state\":{\"desired\":{\"a\":1}},\"state\":{\"desired\":{\"b\":2}}}", "{\"b\":2}");
    /* The same name written in two ways. */
    expect_message("{\"state\":{\"desired\":{\"\\u0061b\":1},\"reported\":{\"ab\":2}}}", "{\"\\u0061b\":2}");
    expect_message("{\"state\":{\"desired\":{\"ab\":1,\"\\u0061\\u0062\":2,\"\\n\":3}}}", "{\"ab\":2,\"\\n\":3}");
    expect_message("{\"state\":{\"desired\":{\"\":1,\"a\\u0000\":2,\"a\":3}}}", "{\"\":1,\"a\\u0000\":2,\"a\":3}");
}

static void test_numbers_as_sent(void **state)
{
    (void)state;
    expect_message(
        "{\"state\":{\"desired\":{\"n\":123456789012345678901234567890.10,\"m\":1.0},\"reported\":{\"m\":-0.0E-0}}}",
        "{\"n\":123456789012345678901234567890.10,\"m\":-0.0E-0}");
}

static void test_refused(void **state)
{
    (void)state;
    expect_reason("", "the payload is not JSON");
    expect_reason("{\"state\":{\"desired\":{\"a\":1}}", "the payload is not JSON");
    expect_reason("[]", "no shadow update: there is no object \"state\"");
    expect_reason("{}", "no shadow update: there is no object \"state\"");
    expect_reason("{\"state\":1}", "no shadow update: there is no object \"state\"");
    expect_reason("{\"state\":null}", "no shadow update: there is no object \"state\"");
    expect_reason("{\"state\":{}}", "the shadow update has neither state.desired nor state.reported");
    expect_reason("{\"state\":{\"desired\":null}}", "the shadow update has neither state.desired nor state.reported");
    expect_reason("{\"state\":{\"desired\":[]}}", "state.desired of the shadow update is not an object");
    expect_reason("{\"state\":{\"desired\":{},\"reported\":1}}",
                  "state.reported of the shadow update is not an object");
}

static void append(struct buffer *b, const char *s)
{
    assert_int_equal(buffer_append_str(b, s), E_OK);
}

static void test_deep(void **state)
{
    (void)state;
    struct buffer payload;
    struct buffer text;
    struct measurement_error error;
    buffer_init(&payload, 1u << 20);
    buffer_init(&text, 1u << 20);
    /* Below level 8 reported replaces; nothing there is looked into. */
    expect_message("{\"state\":{\"desired\":{\"1\":{\"2\":{\"3\":{\"4\":{\"5\":{\"6\":{\"7\":{\"8\":{\"a\":1}}}}}}}}},"
                   "\"reported\":{\"1\":{\"2\":{\"3\":{\"4\":{\"5\":{\"6\":{\"7\":{\"8\":{\"b\":null}}}}}}}}}}}",
                   "{\"1\":{\"2\":{\"3\":{\"4\":{\"5\":{\"6\":{\"7\":{\"8\":{\"b\":null}}}}}}}}}");
    for (unsigned levels = 900; levels <= 1100; levels += 200) {
        buffer_clear(&payload);
        buffer_clear(&text);
        append(&payload, "{\"state\":{\"desired\":");
        for (unsigned i = 0; i < levels; i++) {
            append(&payload, "{\"a\":");
        }
        append(&payload, "1");
        for (unsigned i = 0; i < levels; i++) {
            append(&payload, "}");
        }
        append(&payload, "}}");
        assert_int_equal(shadow_message(buffer_bytes(&payload), &text, &error), levels < 999 ? E_OK : E_INVALID);
    }
    assert_string_equal(error.text, "the payload's JSON is nested deeper than 999 levels");
    buffer_finish(&text);
    buffer_finish(&payload);
}

static void test_many_members(void **state)
{
    (void)state;
    struct buffer payload;
    struct buffer text;
    struct measurement_error error;
    buffer_init(&payload, 4u << 20);
    buffer_init(&text, 4u << 20);
    append(&payload, "{\"state\":{\"desired\":{");
    for (unsigned i = 0; i < 20000; i++) {
        assert_int_equal(buffer_appendf(&payload, "%s\"m%u\":%u", i ? "," : "", i, i), E_OK);
    }
    append(&payload, "},\"reported\":{");
    for (unsigned i = 0; i < 20000; i++) {
        assert_int_equal(buffer_appendf(&payload, "%s\"m%u\":true", i ? "," : "", 39998 - 2 * i), E_OK);
    }
    append(&payload, "}}}");
    assert_int_equal(shadow_message(buffer_bytes(&payload), &text, &error), E_OK);
    struct json_token t;
    assert_int_equal(json_find(buffer_bytes(&text), BYTES("m2"), 2, &t), E_OK);
    assert_int_equal(t.type, JSON_TRUE);
    assert_int_equal(json_find(buffer_bytes(&text), BYTES("m3"), 2, &t), E_OK);
    assert_true(bytes_equal(t.text, BYTES("3")));
    assert_int_equal(json_find(buffer_bytes(&text), BYTES("m39998"), 2, &t), E_OK);
    buffer_finish(&text);
    buffer_init(&text, 100);
    assert_int_equal(shadow_message(buffer_bytes(&payload), &text, &error), E_FULL);
    buffer_finish(&text);
    buffer_finish(&payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_section),
        cmocka_unit_test(test_reported_over_desired),
        cmocka_unit_test(test_null_deletes),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_numbers_as_sent),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_many_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
