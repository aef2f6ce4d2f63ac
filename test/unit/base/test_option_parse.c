#include "unit.h"

#include "base/option.h"

#include <stdlib.h>

static void test_uint(void **state)
{
    (void)state;
    uint64_t n = 77;
    assert_int_equal(option_parse_uint(BYTES("0"), 0, 10, &n), E_OK);
    assert_int_equal(n, 0);
    assert_int_equal(option_parse_uint(BYTES("18446744073709551615"), 0, UINT64_MAX, &n), E_OK);
    assert_int_equal(n, UINT64_MAX);
    assert_int_equal(option_parse_uint(BYTES("007"), 0, 10, &n), E_OK);
    assert_int_equal(n, 7);
    static const char *const malformed[] = {"", " 1", "1 ", "-1", "+1", "0x10", "1.0", "1e3", "one", "12a", "1k", "１"};
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        assert_int_equal(option_parse_uint(bytes_str(malformed[i]), 0, UINT64_MAX, &n), E_MALFORMED);
    }
    assert_int_equal(option_parse_uint(BYTES("18446744073709551616"), 0, UINT64_MAX, &n), E_MALFORMED);
    assert_int_equal(option_parse_uint(BYTES("4"), 5, 10, &n), E_INVALID);
    assert_int_equal(option_parse_uint(BYTES("11"), 5, 10, &n), E_INVALID);
    assert_int_equal(n, 7);
    assert_int_equal(option_parse_uint(BYTES("5"), 5, 5, &n), E_OK);
    assert_int_equal(n, 5);
}

static void test_size(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},           {"1", 1},
        {"512k", 524288},   {"512K", 524288},
        {"128k", 131072},   {"16M", 16777216},
        {"16m", 16777216},  {"1G", 1073741824},
        {"2g", 2147483648}, {"17179869183G", 17179869183u * (UINT64_C(1) << 30)},
    };
    uint64_t n = 77;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(option_parse_size(bytes_str(good[i].text), &n), E_OK);
        assert_int_equal(n, good[i].bytes);
    }
    static const char *const bad[] = {"", "k", "1kB", "1 k", "1T", "-1k", "1.5M", "1s", "k1"};
    n = 77;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(option_parse_size(bytes_str(bad[i]), &n), E_MALFORMED);
    }
    assert_int_equal(option_parse_size(BYTES("17179869184G"), &n), E_INVALID);
    assert_int_equal(n, 77);
}

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {
        {"0", 0},        {"5", 5000},     {"250ms", 250},      {"10s", 10000},
        {"15m", 900000}, {"1h", 3600000}, {"30d", 2592000000}, {"0ms", 0},
    };
    uint64_t n = 77;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(option_parse_duration(bytes_str(good[i].text), &n), E_OK);
        assert_int_equal(n, good[i].ms);
    }
    static const char *const bad[] = {"", "s", "1 s", "1S", "1M", "1min", "1w", "-1s", "1.5s", "1s ", "always"};
    n = 77;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(option_parse_duration(bytes_str(bad[i]), &n), E_MALFORMED);
    }
    assert_int_equal(option_parse_duration(BYTES("18446744073709551615d"), &n), E_INVALID);
    assert_int_equal(option_parse_duration(BYTES("18446744073709552"), &n), E_INVALID);
    assert_int_equal(n, 77);
}

static void test_format(void **state)
{
    (void)state;
    char out[OPTION_NUMBER_SIZE];
    assert_string_equal(option_format_size(0, out), "0");
    assert_string_equal(option_format_size(1, out), "1");
    assert_string_equal(option_format_size(1023, out), "1023");
    assert_string_equal(option_format_size(1024, out), "1k");
    assert_string_equal(option_format_size(1025, out), "1025");
    assert_string_equal(option_format_size(1u << 20, out), "1M");
    assert_string_equal(option_format_size(UINT64_C(5) << 30, out), "5G");
    assert_string_equal(option_format_size(UINT64_MAX, out), "18446744073709551615");
    assert_string_equal(option_format_duration(0, out), "0");
    assert_string_equal(option_format_duration(1, out), "1ms");
    assert_string_equal(option_format_duration(1500, out), "1500ms");
    assert_string_equal(option_format_duration(90000, out), "90s");
    assert_string_equal(option_format_duration(120000, out), "2m");
    assert_string_equal(option_format_duration(7200000, out), "2h");
    assert_string_equal(option_format_duration(86400000, out), "1d");
    assert_string_equal(option_format_duration(UINT64_MAX, out), "18446744073709551615ms");
    for (uint64_t n = 1; n < UINT64_MAX / 7; n = n * 7 / 2 + 1) {
        uint64_t back;
        assert_int_equal(option_parse_size(bytes_str(option_format_size(n, out)), &back), E_OK);
        assert_int_equal(back, n);
        assert_int_equal(option_parse_duration(bytes_str(option_format_duration(n, out)), &back), E_OK);
        assert_int_equal(back, n);
    }
}

static void test_hostport(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
    } good[] = {
        {"localhost", "localhost", 42},
        {"localhost:1883", "localhost", 1883},
        {"a1-ats.iot.eu-west-1.amazonaws.com:443", "a1-ats.iot.eu-west-1.amazonaws.com", 443},
        {"192.0.2.1:65535", "192.0.2.1", 65535},
        {"[2001:db8::1]:8883", "2001:db8::1", 8883},
        {"[2001:db8::1]", "2001:db8::1", 42},
        {"2001:db8::1", "2001:db8::1", 42},
        {"::1", "::1", 42},
        {"[fe80::1%eth0]:1", "fe80::1%eth0", 1},
        {"under_score", "under_score", 42},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct option_hostport hp = {NULL, 0};
        assert_int_equal(option_parse_hostport(bytes_str(good[i].text), 42, &hp), E_OK);
        assert_string_equal(hp.host, good[i].host);
        assert_int_equal(hp.port, good[i].port);
        free(hp.host);
    }
    static const char *const malformed[] = {
        "",    ":",   ":1883",      "host:",  "host:abc", "host:1883x", "[::1",      "[::1]1883", "[]:1",    "[::1]:",
        "a b", "a/b", "http://a:1", "ho\"st", "[a]b:1",   "]",          "[[::1]]:1", "host:-1",   "host: 1",
    };
    struct option_hostport untouched = {NULL, 7};
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        assert_int_equal(option_parse_hostport(bytes_str(malformed[i]), 42, &untouched), E_MALFORMED);
    }
    assert_int_equal(option_parse_hostport(BYTES("host:0"), 42, &untouched), E_INVALID);
    assert_int_equal(option_parse_hostport(BYTES("host:65536"), 42, &untouched), E_INVALID);
    assert_int_equal(option_parse_hostport(BYTES("a\0b"), 42, &untouched), E_MALFORMED);
    char longest[256];
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(option_parse_hostport(bytes_make(longest, 256), 42, &untouched), E_MALFORMED);
    assert_null(untouched.host);
    assert_int_equal(untouched.port, 7);
    assert_int_equal(option_parse_hostport(bytes_make(longest, 255), 42, &untouched), E_OK);
    free(untouched.host);
}

static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *words[5];
    } cases[] = {
        {"", {NULL}},
        {"  \t ", {NULL}},
        {"one", {"one"}},
        {"  one\ttwo  three ", {"one", "two", "three"}},
        {"a \"\" b", {"a", "", "b"}},
        {"\"two words\" x", {"two words", "x"}},
        {"\"\"", {""}},
        {"\"a\"b c\" d", {"a\"b c", "d"}},
        {"\"open", {"\"open"}},
        {"\"open again", {"\"open", "again"}},
        {"in\"side\" x", {"in\"side\"", "x"}},
        {"\"", {"\""}},
        {"\" ", {"\""}},
        {"\"\"\"", {"\""}},
        {"a\r", {"a"}},
        {"# not a comment here", {"#", "not", "a", "comment", "here"}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes rest = bytes_str(cases[i].text);
        struct bytes word;
        for (size_t k = 0; k < 5 && cases[i].words[k]; k++) {
            assert_true(option_next_word(&rest, &word));
            assert_true(bytes_equal(word, bytes_str(cases[i].words[k])));
        }
        assert_false(option_next_word(&rest, &word));
        assert_int_equal(rest.len, 0);
    }
}

static void test_print_word(void **state)
{
    (void)state;
    static const char *const words[] = {"a",   "",     "two words", "tab\there", "\"",
                                        "\"a", "a\"b", "\"a\"",     "\"a b\"",   "#"};
    struct buffer out;
    buffer_init(&out, 1000);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        assert_int_equal(option_print_word(bytes_str(words[i]), &out), E_OK);
        assert_int_equal(buffer_append_byte(&out, ' '), E_OK);
    }
    struct bytes rest = buffer_bytes(&out);
    struct bytes word;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        assert_true(option_next_word(&rest, &word));
        assert_true(bytes_equal(word, bytes_str(words[i])));
    }
    assert_false(option_next_word(&rest, &word));
    buffer_finish(&out);
    buffer_init(&out, 4);
    assert_int_equal(option_print_word(BYTES("a b"), &out), E_FULL);
    assert_int_equal(out.len, 0);
    buffer_finish(&out);
}

static void test_trim(void **state)
{
    (void)state;
    assert_true(bytes_equal(option_trim(BYTES(" \t a b \r")), BYTES("a b")));
    assert_int_equal(option_trim(BYTES(" \r\t ")).len, 0);
    assert_int_equal(option_trim((struct bytes){NULL, 0}).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uint),       cmocka_unit_test(test_size),     cmocka_unit_test(test_duration),
        cmocka_unit_test(test_format),     cmocka_unit_test(test_hostport), cmocka_unit_test(test_words),
        cmocka_unit_test(test_print_word), cmocka_unit_test(test_trim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
