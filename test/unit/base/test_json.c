#include "unit.h"

#include "base/json.h"

#include <stdlib.h>

static const char type_letters[] = ".{}[]nsNtf0";

/* The token types of a document as letters; '!' at a syntax error, '^' when too deep. */
static void tokens_of(struct bytes document, uint32_t depth_max, char *out, size_t size)
{
    struct json_reader r;
    struct json_token t = {0};
    size_t n = 0;
    json_reader_init(&r, document, depth_max);
    for (;;) {
        enum err e = json_next(&r, &t);
        if (n + 2 > size) {
            break;
        }
        if (e != E_OK) {
            assert_int_equal(json_next(&r, &t), e);
            out[n++] = e == E_TOO_LARGE ? '^' : '!';
            break;
        }
        if (t.type == JSON_END) {
            break;
        }
        out[n++] = type_letters[t.type];
    }
    out[n] = 0;
}

static void expect_tokens(const char *document, const char *expected)
{
    char got[128];
    tokens_of(bytes_str(document), JSON_DEPTH_MAX, got, sizeof(got));
    if (strcmp(got, expected) != 0) {
        print_error("document: %s\n", document);
    }
    assert_string_equal(got, expected);
}

static void test_tokens(void **state)
{
    (void)state;
    expect_tokens("{}", "{}");
    expect_tokens(" [ ] ", "[]");
    expect_tokens("1", "N");
    expect_tokens("\"\"", "s");
    expect_tokens("true", "t");
    expect_tokens("\tfalse\r\n", "f");
    expect_tokens("null", "0");
    expect_tokens("{\"a\":1,\"b\":[true,null,{\"c\":\"d\"}]}", "{nNn[t0{ns}]}");
    expect_tokens("[[],{},[{}]]", "[[]{}[{}]]");
    expect_tokens("{\"a\":1,\"a\":2}", "{nNnN}");
}

static void test_malformed(void **state)
{
    (void)state;
    expect_tokens("", "!");
    expect_tokens("  ", "!");
    expect_tokens("{", "{!");
    expect_tokens("[1", "[N!");
    expect_tokens("[1,", "[N!");
    expect_tokens("[1,]", "[N!");
    expect_tokens("[,1]", "[!");
    expect_tokens("[1 2]", "[N!");
    expect_tokens("[1}", "[N!");
    expect_tokens("{]", "{!");
    expect_tokens("{\"a\"}", "{!");
    expect_tokens("{\"a\":}", "{n!");
    expect_tokens("{\"a\":1,}", "{nN!");
    expect_tokens("{\"a\":1 \"b\":2}", "{nN!");
    expect_tokens("{1:2}", "{!");
    expect_tokens("{a:2}", "{!");
    expect_tokens("]", "!");
    expect_tokens("}", "!");
    expect_tokens(",", "!");
    expect_tokens(":", "!");
    expect_tokens("{} {}", "{}!");
    expect_tokens("1 1", "N!");
    expect_tokens("{}x", "{}!");
    expect_tokens("tru", "!");
    expect_tokens("truex", "t!");
    expect_tokens("True", "!");
    expect_tokens("NaN", "!");
    expect_tokens("Infinity", "!");
    expect_tokens("-Infinity", "!");
    expect_tokens("'a'", "!");
    expect_tokens("// c\n1", "!");
    expect_tokens("\f1", "!");
    expect_tokens("\xC2\xA0"
                  "1",
                  "!");
}

static void test_numbers(void **state)
{
    static const char *const good[] = {"0",
                                       "-0",
                                       "10",
                                       "-1",
                                       "0.5",
                                       "1.0",
                                       "1e5",
                                       "1E+5",
                                       "1e-05",
                                       "-0.0e0",
                                       "123456789012345678901234567890.12345678901234567890",
                                       "1e999999999999"};
    static const char *const bad[] = {"01",   "-",     "-01", "+1", ".5",  "1.",    "1.e5", "1e",  "1e+",
                                      "0x10", "1_000", "--1", "1-", "1,5", "1e5.5", "00",   "-.5", "\xD9\xA1"};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct json_token t;
        assert_int_equal(json_parse(bytes_str(good[i]), 0, &t), E_OK);
        assert_int_equal(t.type, JSON_NUMBER);
        assert_true(bytes_equal(t.text, bytes_str(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct json_token t;
        assert_int_equal(json_parse(bytes_str(bad[i]), 0, &t), E_MALFORMED);
    }
}

static void expect_text(const char *document, struct bytes value)
{
    struct json_token t;
    struct buffer b;
    buffer_init(&b, 1000);
    assert_int_equal(json_parse(bytes_str(document), 0, &t), E_OK);
    assert_int_equal(t.type, JSON_STRING);
    assert_true(bytes_equal(json_raw(&t), bytes_str(document)));
    assert_int_equal(json_unescape(&t, &b), E_OK);
    assert_true(bytes_equal(buffer_bytes(&b), value));
    assert_true(json_text_equal(&t, value));
    assert_false(json_text_equal(&t, BYTES("something else")));
    if (value.len > 0) {
        assert_false(json_text_equal(&t, bytes_sub(value, 0, value.len - 1)));
        assert_false(json_text_equal(&t, bytes_sub(value, 1, value.len)));
    }
    buffer_finish(&b);
}

static void test_strings(void **state)
{
    (void)state;
    expect_text("\"\"", BYTES(""));
    expect_text("\"plain\"", BYTES("plain"));
    expect_text("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", BYTES("\"\\/\b\f\n\r\t"));
    expect_text("\"\\u0041\\u00e4\\u20AC\"", BYTES("A\xC3\xA4\xE2\x82\xAC"));
    expect_text("\"a\\u0000b\"", BYTES("a\0b"));
    expect_text("\"\\ud83d\\ude00!\"", BYTES("\xF0\x9F\x98\x80!"));
    expect_text("\"\\uDBFF\\uDFFF\"", BYTES("\xF4\x8F\xBF\xBF"));
    expect_text("\"\\ud800\"", BYTES("\xEF\xBF\xBD"));
    expect_text("\"\\ud800x\"", BYTES("\xEF\xBF\xBDx"));
    expect_text("\"\\udc00\\ud800\"", BYTES("\xEF\xBF\xBD\xEF\xBF\xBD"));
    expect_text("\"\\ud800\\n\"", BYTES("\xEF\xBF\xBD\n"));
    expect_text("\"\\ud800\\ud83d\\ude00\"", BYTES("\xEF\xBF\xBD\xF0\x9F\x98\x80"));
    expect_text("\"\xC3\xA4\x7F\"", BYTES("\xC3\xA4\x7F"));
}

static void test_bad_strings(void **state)
{
    static const char *const bad[] = {"\"",
                                      "\"abc",
                                      "\"\\\"",
                                      "\"\\x\"",
                                      "\"\\u\"",
                                      "\"\\u12\"",
                                      "\"\\u123g\"",
                                      "\"\\u 123\"",
                                      "\"\n\"",
                                      "\"\x1F\"",
                                      "\"\xFF\"",
                                      "\"\xC0\x80\"",
                                      "\"\xED\xA0\x80\"",
                                      "\"\xC3\"",
                                      "\"\xF4\x90\x80\x80\"",
                                      "\"\\",
                                      "\"\\U0041\"",
                                      "\"\t\""};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct json_token t;
        assert_int_equal(json_parse(bytes_str(bad[i]), 0, &t), E_MALFORMED);
    }
    struct json_token t;
    assert_int_equal(json_parse(BYTES("\"a\0b\""), 0, &t), E_MALFORMED);
    assert_int_equal(json_parse(BYTES("\"\\\0\""), 0, &t), E_MALFORMED);
    assert_int_equal(json_parse(BYTES("1\0"), 0, &t), E_MALFORMED);
}

static void test_byte_order_mark(void **state)
{
    (void)state;
    expect_tokens("\xEF\xBB\xBF{}", "{}");
    expect_tokens("\xEF\xBB\xBF", "!");
    expect_tokens("\xEF\xBB\xBF\xEF\xBB\xBF{}", "!");
    expect_tokens(" \xEF\xBB\xBF{}", "!");
    expect_tokens("\xFE\xFF{}", "!");
}

static void test_depth(void **state)
{
    (void)state;
    char got[16];
    struct json_token t;
    static uint8_t deep[200000];
    memset(deep, '[', sizeof(deep) / 2);
    memset(deep + sizeof(deep) / 2, ']', sizeof(deep) / 2);
    struct bytes limit =
        bytes_sub(bytes_make(deep, sizeof(deep)), sizeof(deep) / 2 - JSON_DEPTH_MAX, 2 * JSON_DEPTH_MAX);
    assert_int_equal(json_parse(limit, JSON_DEPTH_MAX, &t), E_OK);
    assert_int_equal(t.text.len, limit.len);
    assert_int_equal(json_parse(limit, JSON_DEPTH_MAX - 1, &t), E_TOO_LARGE);
    assert_int_equal(json_parse(bytes_make(deep, sizeof(deep)), UINT32_MAX, &t), E_TOO_LARGE);
    tokens_of(BYTES("[]"), 0, got, sizeof(got));
    assert_string_equal(got, "^");
    tokens_of(BYTES("[{}]"), 2, got, sizeof(got));
    assert_string_equal(got, "[{}]");
    tokens_of(BYTES("[{\"a\":[]}]"), 2, got, sizeof(got));
    assert_string_equal(got, "[{n^");
    /* Kinds of bracket are remembered at every level. */
    static uint8_t mixed[6 * 500 + 1];
    size_t n = 0;
    for (int i = 0; i < 500; i++) {
        memcpy(mixed + n, "{\"\":[", 5);
        n += 5;
    }
    for (int i = 0; i < 250; i++) {
        memcpy(mixed + n, "]}", 2);
        n += 2;
    }
    struct json_token whole;
    assert_int_equal(json_parse(bytes_make(mixed, n), JSON_DEPTH_MAX, &whole), E_MALFORMED);
}

static void test_next_whole(void **state)
{
    (void)state;
    struct json_reader r;
    struct json_token t;
    json_reader_init(&r, BYTES(" {\"a\" : [1, {\"b\":2}] , \"c\":\"x\"} "), JSON_DEPTH_MAX);
    assert_int_equal(json_next(&r, &t), E_OK);
    assert_int_equal(t.type, JSON_OBJECT);
    assert_int_equal(json_next_whole(&r, &t), E_OK);
    assert_int_equal(t.type, JSON_NAME);
    assert_int_equal(json_next_whole(&r, &t), E_OK);
    assert_int_equal(t.type, JSON_ARRAY);
    assert_true(bytes_equal(t.text, BYTES("[1, {\"b\":2}]")));
    assert_int_equal(json_next_whole(&r, &t), E_OK);
    assert_true(json_text_equal(&t, BYTES("c")));
    assert_int_equal(json_next_whole(&r, &t), E_OK);
    assert_int_equal(t.type, JSON_STRING);
    assert_true(bytes_equal(json_raw(&t), BYTES("\"x\"")));
    assert_int_equal(json_next_whole(&r, &t), E_OK);
    assert_int_equal(t.type, JSON_OBJECT_END);
    assert_int_equal(json_next_whole(&r, &t), E_OK);
    assert_int_equal(t.type, JSON_END);
    assert_int_equal(json_next(&r, &t), E_OK);
    assert_int_equal(t.type, JSON_END);
    assert_int_equal(json_parse(BYTES("\xEF\xBB\xBF {\"a\":1} \n"), JSON_DEPTH_MAX, &t), E_OK);
    assert_true(bytes_equal(t.text, BYTES("{\"a\":1}")));
    json_reader_init(&r, BYTES("[x"), JSON_DEPTH_MAX);
    assert_int_equal(json_next_whole(&r, &t), E_MALFORMED);
    assert_int_equal(json_offset(&r), 1);
}

static void expect_found(const char *document, const char *path, const char *raw)
{
    struct json_token t;
    assert_int_equal(json_find(bytes_str(document), bytes_str(path), JSON_DEPTH_MAX, &t), E_OK);
    assert_true(bytes_equal(json_raw(&t), bytes_str(raw)));
}

static void expect_not_found(const char *document, const char *path, enum err expected)
{
    struct json_token t;
    assert_int_equal(json_find(bytes_str(document), bytes_str(path), JSON_DEPTH_MAX, &t), expected);
}

static void test_find(void **state)
{
    (void)state;
    expect_found("{\"a\":1}", "a", "1");
    expect_found("{\"a\":{\"b\":{\"c\":\"x\"}}}", "a.b.c", "\"x\"");
    expect_found("{\"a\":{\"b\":[1]}}", "a.b", "[1]");
    expect_found("{\"b\":{\"a\":1},\"a\":2}", "a", "2");
    expect_found("{\"a\":1,\"a\":2}", "a", "2");
    expect_found("{\"\\u0061\":1}", "a", "1");
    expect_found("{\"\":{\"\":7}}", ".", "7");
    expect_found("\xEF\xBB\xBF{\"\xC3\xA4\":null}", "\xC3\xA4", "null");
    expect_not_found("{\"a\":{\"b\":1},\"a\":{\"c\":2}}", "a.b", E_NOT_FOUND);
    expect_not_found("{\"a\":1}", "b", E_NOT_FOUND);
    expect_not_found("{\"a\":1}", "a.b", E_NOT_FOUND);
    expect_not_found("{\"a\":[{\"b\":1}]}", "a.b", E_NOT_FOUND);
    expect_not_found("[1]", "a", E_NOT_FOUND);
    expect_not_found("\"a\"", "a", E_NOT_FOUND);
    expect_not_found("{\"a.b\":1}", "a.b", E_NOT_FOUND);
    expect_not_found("{}", "a", E_NOT_FOUND);
    /* What stands behind the member is checked too. */
    expect_not_found("{\"a\":1,}", "a", E_MALFORMED);
    expect_not_found("{\"a\":1}x", "a", E_MALFORMED);
    expect_not_found("", "a", E_MALFORMED);
}

static void test_append_string(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 100);
    assert_int_equal(json_append_string(&b, BYTES("a\"\\/\b\f\n\r\t\x01\x1F\x7F\xC3\xA4\0z")), E_OK);
    assert_true(
        bytes_equal(buffer_bytes(&b), BYTES("\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7F\xC3\xA4\\u0000z\"")));
    buffer_clear(&b);
    assert_int_equal(json_append_string(&b, BYTES("")), E_OK);
    assert_true(bytes_equal(buffer_bytes(&b), BYTES("\"\"")));
    buffer_clear(&b);
    assert_int_equal(json_append_string(&b, BYTES("\xFF")), E_MALFORMED);
    assert_int_equal(b.len, 0);
    static const uint8_t zeros[100];
    assert_int_equal(json_append_string(&b, bytes_make(zeros, 17)), E_FULL);
    assert_int_equal(b.len, 0);
    assert_int_equal(json_append_string(&b, bytes_make(zeros, 16)), E_OK);
    buffer_finish(&b);
}

static void test_large(void **state)
{
    (void)state;
    size_t size = 128 * 1024;
    uint8_t *text = malloc(size);
    assert_non_null(text);
    memset(text, 'x', size);
    text[0] = text[size - 1] = '"';
    struct json_token t;
    assert_int_equal(json_parse(bytes_make(text, size), 0, &t), E_OK);
    assert_int_equal(t.text.len, size - 2);
    memset(text, '9', size);
    assert_int_equal(json_parse(bytes_make(text, size), 0, &t), E_OK);
    assert_int_equal(t.text.len, size);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),      cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_numbers),     cmocka_unit_test(test_strings),
        cmocka_unit_test(test_bad_strings), cmocka_unit_test(test_byte_order_mark),
        cmocka_unit_test(test_depth),       cmocka_unit_test(test_next_whole),
        cmocka_unit_test(test_find),        cmocka_unit_test(test_append_string),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
