#include "unit.h"

#include "aws/attribute.h"

#include <stdlib.h>

#define NINES_38 "99999999999999999999999999999999999999"

static struct attribute_encoder encoder;
static struct buffer out;

static int set_up(void **state)
{
    (void)state;
    attribute_encoder_init(&encoder);
    buffer_init(&out, 1 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    attribute_encoder_finish(&encoder);
    buffer_finish(&out);
    return 0;
}

static void assert_text(const char *expected)
{
    if (!bytes_equal(buffer_bytes(&out), bytes_str(expected))) {
        fail_msg("expected %s got %.*s", expected, (int)out.len, (const char *)out.data);
    }
}

static void check(const char *json, const char *expected, size_t expected_size)
{
    size_t size = 0;
    buffer_clear(&out);
    assert_int_equal(attribute_encode(&encoder, bytes_str(json), &out, &size), E_OK);
    assert_text(expected);
    assert_int_equal(size, expected_size);
}

static void test_types(void **state)
{
    (void)state;
    check("true", "{\"BOOL\":true}", 1);
    check("false", "{\"BOOL\":false}", 1);
    check("null", "{\"NULL\":true}", 1);
    check("\"\"", "{\"S\":\"\"}", 0);
    check("\"\xC3\xA4\xF0\x9F\x8C\xB1\"", "{\"S\":\"\xC3\xA4\xF0\x9F\x8C\xB1\"}", 6);
    check("[]", "{\"L\":[]}", 3);
    check("{}", "{\"M\":{}}", 3);
    check(" [ 1 , \"a\" , [ ] , null ] ", "{\"L\":[{\"N\":\"1\"},{\"S\":\"a\"},{\"L\":[]},{\"NULL\":true}]}",
          3 + (1 + 2) + (1 + 1) + (1 + 3) + (1 + 1));
    check("{\"temperature\":21.5,\"door\":{\"open\":true}}",
          "{\"M\":{\"temperature\":{\"N\":\"21.5\"},\"door\":{\"M\":{\"open\":{\"BOOL\":true}}}}}",
          3 + (1 + 11 + 3) + (1 + 4 + 3 + (1 + 4 + 1)));
}

static void test_strings(void **state)
{
    (void)state;
    check("\"a\\u00e4\\n\\/\\\"\"", "{\"S\":\"a\xC3\xA4\\n/\\\"\"}", 6);
    check("\"\\ud83c\\udf31\"", "{\"S\":\"\xF0\x9F\x8C\xB1\"}", 4);
    /* half of a pair has no UTF-8 */
    check("\"\\ud83c\"", "{\"S\":\"\xEF\xBF\xBD\"}", 3);
    check("{\"a\\u0062\":1}", "{\"M\":{\"ab\":{\"N\":\"1\"}}}", 3 + 1 + 2 + 2);
}

static void test_numbers(void **state)
{
    (void)state;
    check("0.1", "{\"N\":\"0.1\"}", 2);
    check("1e-7", "{\"N\":\"1e-7\"}", 2);
    check("-12345678901234567890.123", "{\"N\":\"-12345678901234567890.123\"}", 13);
    check(NINES_38, "{\"N\":\"" NINES_38 "\"}", 20);
    check("9." NINES_38, "{\"S\":\"9." NINES_38 "\"}", 40);
    check("0", "{\"N\":\"0\"}", 1);
    check("-0.000e400", "{\"N\":\"0\"}", 1);
    check("1E125", "{\"N\":\"1E125\"}", 2);
    check("1E126", "{\"S\":\"1E126\"}", 5);
    check("10E125", "{\"S\":\"10E125\"}", 6);
    check("0.1E126", "{\"N\":\"0.1E126\"}", 2);
    check("1e-130", "{\"N\":\"1e-130\"}", 2);
    check("1e-131", "{\"S\":\"1e-131\"}", 6);
    check("0.01e-129", "{\"S\":\"0.01e-129\"}", 9);
    check("1e99999999999999999999", "{\"S\":\"1e99999999999999999999\"}", 22);
    check("1e-99999999999999999999", "{\"S\":\"1e-99999999999999999999\"}", 23);
    check("0e99999999999999999999", "{\"N\":\"0\"}", 1);
    /* texts longer than 38 digits come down to their significant ones */
    check("1.0000000000000000000000000000000000000000", "{\"N\":\"1E0\"}", 2);
    check("-0.00000000000000000000000000000000000000000012300", "{\"N\":\"-1.23E-43\"}", 3);
    check("120000000000000000000000000000000000000000000", "{\"N\":\"1.2E44\"}", 2);
}

/* 400 digits, as text. */
static void test_long_number(void **state)
{
    (void)state;
    char json[401];
    char expected[420];
    memset(json, '7', 400);
    json[400] = '\0';
    snprintf(expected, sizeof(expected), "{\"S\":\"%s\"}", json);
    check(json, expected, 400);
}

static void append(struct buffer *text, const char *piece)
{
    assert_int_equal(buffer_append_str(text, piece), E_OK);
}

static void nested(struct buffer *json, size_t levels)
{
    buffer_clear(json);
    for (size_t i = 0; i < levels; i++) {
        append(json, i % 2 ? "[" : "{\"a\":");
    }
    append(json, "1");
    for (size_t i = levels; i-- > 0;) {
        append(json, i % 2 ? "]" : "}");
    }
}

static void test_nesting(void **state)
{
    (void)state;
    struct buffer json;
    buffer_init(&json, 1024);
    size_t size = 0;
    nested(&json, 32);
    assert_int_equal(attribute_encode(&encoder, buffer_bytes(&json), &out, &size), E_OK);
    assert_int_equal(size, 32 * 3 + 16 * 2 + 16 * 1 + 2);
    size_t before = out.len;
    nested(&json, 33);
    assert_int_equal(attribute_encode(&encoder, buffer_bytes(&json), &out, &size), E_TOO_LARGE);
    assert_int_equal(out.len, before);
    buffer_finish(&json);
}

static void test_duplicate_names(void **state)
{
    (void)state;
    check("{\"a\":1,\"a\":2}", "{\"M\":{\"a\":{\"N\":\"2\"}}}", 3 + 1 + 1 + 2);
    check("{\"a\":1,\"b\":{\"c\":1,\"c\":[1],\"d\":0},\"\\u0061\":3,\"b\":4,\"c\":5}",
          "{\"M\":{\"a\":{\"N\":\"3\"},\"b\":{\"N\":\"4\"},\"c\":{\"N\":\"5\"}}}", 3 + 3 * (1 + 1 + 2));
    check("{\"x\":{\"a\":1,\"a\":1},\"y\":{\"a\":1}}",
          "{\"M\":{\"x\":{\"M\":{\"a\":{\"N\":\"1\"}}},\"y\":{\"M\":{\"a\":{\"N\":\"1\"}}}}}", 3 + 2 * (1 + 1 + 3 + 4));
}

/* Many members take another way than few. */
static void test_many_duplicate_names(void **state)
{
    (void)state;
    struct buffer json;
    struct buffer expected;
    buffer_init(&json, 8192);
    buffer_init(&expected, 8192);
    append(&json, "{");
    append(&expected, "{\"M\":{");
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 100; i++) {
            int value = i + 1000 * round + 1;
            assert_int_equal(buffer_appendf(&json, "%s\"m%d\":%d", round || i ? "," : "", i, value), E_OK);
        }
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(buffer_appendf(&expected, "%s\"m%d\":{\"N\":\"%d\"}", i ? "," : "", i, i + 1001), E_OK);
    }
    append(&json, "}");
    append(&expected, "}}");
    assert_int_equal(buffer_append_byte(&expected, 0), E_OK);
    size_t size = 0;
    buffer_clear(&out);
    assert_int_equal(attribute_encode(&encoder, buffer_bytes(&json), &out, &size), E_OK);
    assert_text((const char *)expected.data);
    buffer_finish(&json);
    buffer_finish(&expected);
}

static void test_errors(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "{", "{\"a\":}", "[1,]", "01", "nul", "\"\xFF\"", "1 2", "\"\\x\""};
    size_t size = 0;
    assert_int_equal(buffer_append(&out, BYTES("kept")), E_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(attribute_encode(&encoder, bytes_str(bad[i]), &out, &size), E_MALFORMED);
        assert_text("kept");
    }
    struct buffer little;
    buffer_init(&little, 8);
    assert_int_equal(attribute_encode(&encoder, BYTES("\"0123456789\""), &little, &size), E_FULL);
    assert_int_equal(little.len, 0);
    buffer_finish(&little);
    assert_int_equal(attribute_append_string(&out, BYTES("\xFF")), E_MALFORMED);
    assert_text("kept");
}

static void test_decode(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"S\":\"a\\n\"}", "\"a\\n\""},
        {"{\"N\":\"12345678901234567890.123\"}", "12345678901234567890.123"},
        {"{\"N\":\"no number\"}", "\"no number\""},
        {"{\"B\":\"AAE=\"}", "\"AAE=\""},
        {"{\"BOOL\":false}", "false"},
        {"{\"NULL\":true}", "null"},
        {"{\"SS\":[\"a\",\"b\"]}", "[\"a\",\"b\"]"},
        {"{\"NS\":[\"1\",\"2.5\"]}", "[1,2.5]"},
        {"{\"BS\":[]}", "[]"},
        {" { \"M\" : { \"a\" : { \"L\" : [ { \"N\" : \"1\" } , { \"M\" : {} } ] } , \"b\" : { \"NULL\" : true } } } ",
         "{\"a\":[1,{}],\"b\":null}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buffer_clear(&out);
        assert_int_equal(attribute_decode(bytes_str(cases[i][0]), &out), E_OK);
        assert_text(cases[i][1]);
    }
    static const char *const bad[] = {"{}",
                                      "1",
                                      "{\"X\":1}",
                                      "{\"S\":1}",
                                      "{\"N\":1}",
                                      "{\"BOOL\":null}",
                                      "{\"NULL\":false}",
                                      "{\"L\":[1]}",
                                      "{\"M\":{\"a\":1}}",
                                      "{\"S\":\"a\",\"N\":\"1\"}",
                                      "{\"SS\":[1]}",
                                      "{\"S\":\"a\"} x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        buffer_clear(&out);
        assert_int_equal(attribute_decode(bytes_str(bad[i]), &out), E_MALFORMED);
        assert_int_equal(out.len, 0);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_types),
        CASE(test_strings),
        CASE(test_numbers),
        CASE(test_long_number),
        CASE(test_nesting),
        CASE(test_duplicate_names),
        CASE(test_many_duplicate_names),
        CASE(test_errors),
        CASE(test_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
