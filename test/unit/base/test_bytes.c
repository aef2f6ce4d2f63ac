#include "unit.h"

#include "base/bytes.h"

#include <stdlib.h>

static void test_equal_and_prefix(void **state)
{
    (void)state;
    struct bytes none = {NULL, 0};
    assert_true(bytes_equal(none, BYTES("")));
    assert_true(bytes_equal(BYTES("abc"), bytes_str("abc")));
    assert_false(bytes_equal(BYTES("abc"), BYTES("abd")));
    assert_false(bytes_equal(BYTES("abc"), BYTES("ab")));
    assert_true(bytes_equal(bytes_str(NULL), none));
    assert_true(bytes_starts_with(BYTES("abc"), none));
    assert_true(bytes_starts_with(BYTES("abc"), BYTES("abc")));
    assert_false(bytes_starts_with(BYTES("ab"), BYTES("abc")));
    assert_false(bytes_starts_with(none, BYTES("a")));
}

static void test_sub(void **state)
{
    (void)state;
    struct bytes b = BYTES("abcdef");
    assert_true(bytes_equal(bytes_sub(b, 0, 6), b));
    assert_true(bytes_equal(bytes_sub(b, 2, 2), BYTES("cd")));
    assert_true(bytes_equal(bytes_sub(b, 4, SIZE_MAX), BYTES("ef")));
    assert_int_equal(bytes_sub(b, 6, 1).len, 0);
    assert_int_equal(bytes_sub(b, SIZE_MAX, SIZE_MAX).len, 0);
    assert_null(bytes_sub(bytes_str(NULL), 3, 3).data);
}

static void test_compare(void **state)
{
    (void)state;
    struct bytes none = {NULL, 0};
    assert_int_equal(bytes_compare(none, none), 0);
    assert_int_equal(bytes_compare(none, BYTES("a")), -1);
    assert_int_equal(bytes_compare(BYTES("a"), none), 1);
    assert_int_equal(bytes_compare(BYTES("ab"), BYTES("ab")), 0);
    assert_int_equal(bytes_compare(BYTES("ab"), BYTES("abc")), -1);
    assert_int_equal(bytes_compare(BYTES("b"), BYTES("abc")), 1);
    assert_int_equal(bytes_compare(BYTES("\x80"), BYTES("\x7f")), 1);
    assert_int_equal(bytes_compare(BYTES("a\0b"), BYTES("a\0c")), -1);
}

static void test_dup_str(void **state)
{
    (void)state;
    char *s = bytes_dup_str(BYTES("topic"));
    assert_string_equal(s, "topic");
    free(s);
    s = bytes_dup_str((struct bytes){NULL, 0});
    assert_string_equal(s, "");
    free(s);
    assert_null(bytes_dup_str((struct bytes){(const uint8_t *)"", SIZE_MAX}));
}

static void test_utf8_accepts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "",
        "ascii",
        "na\xc3\xafve",
        "\xc2\x80",
        "\xdf\xbf",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xef\xbf\xbf",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
        "eight by\xe2\x82\xactes and more",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(bytes_is_utf8(bytes_str(good[i])));
    }
    assert_true(bytes_is_utf8(BYTES("a\0b")));
    assert_true(bytes_is_utf8((struct bytes){NULL, 0}));
}

static void test_utf8_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",                /* continuation alone */
        "\xbf",                /* the same */
        "\xc0\x80",            /* overlong NUL */
        "\xc1\xbf",            /* overlong */
        "\xe0\x9f\xbf",        /* overlong */
        "\xed\xa0\x80",        /* first surrogate */
        "\xed\xbf\xbf",        /* last surrogate */
        "\xf0\x8f\xbf\xbf",    /* overlong */
        "\xf4\x90\x80\x80",    /* U+110000 */
        "\xf5\x80\x80\x80",    /* lead byte out of range */
        "\xff",                /* never in UTF-8 */
        "\xc3",                /* cut */
        "\xe2\x82",            /* cut */
        "\xf0\x9f\x98",        /* cut */
        "\xc3\x28",            /* no continuation */
        "\xe2\x28\xa1",        /* no continuation */
        "\xf0\x9f\x28\x80",    /* no continuation */
        "12345678\xff",        /* behind a word of ASCII */
        "1234567\xc3\xa9\xc3", /* across words */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(bytes_is_utf8(bytes_str(bad[i])));
    }
}

/* Every code point is accepted in its one form; the count of well-formed 1 to 3 byte strings is exact. */
static void test_utf8_count(void **state)
{
    (void)state;
    unsigned long count = 0;
    for (unsigned i = 0; i < 1u << 16; i++) {
        uint8_t two[] = {(uint8_t)(i >> 8), (uint8_t)i};
        count += bytes_is_utf8(bytes_make(two, 2));
    }
    assert_int_equal(count, 128 * 128 + 1920); /* two of ASCII, or one of U+0080 to U+07FF */
    count = 0;
    for (unsigned i = 0xE00000; i < 0xF00000; i++) {
        uint8_t three[] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        count += bytes_is_utf8(bytes_make(three, 3));
    }
    assert_int_equal(count, 0x10000 - 0x800 - 2048);
}

/* The values are part of the contract: hashes spread topics over connections and must not move between versions. */
static void test_hash_is_stable(void **state)
{
    (void)state;
    assert_int_equal(bytes_hash(BYTES(""), 0), 0x2ea02b1365def25eu);
    assert_int_equal(bytes_hash(BYTES("a"), 0), 0x140d311925ade156u);
    assert_int_equal(bytes_hash(BYTES("sensors/greenhouse/temperature"), 1), 0x45c1839345f44a38u);
    assert_int_equal(bytes_hash((struct bytes){NULL, 0}, 0), bytes_hash(BYTES(""), 0));
}

static void test_hash_spreads(void **state)
{
    (void)state;
    enum { BINS = 64, TOPICS = 64000 };
    unsigned bins[BINS] = {0};
    for (unsigned i = 0; i < TOPICS; i++) {
        char topic[32];
        int n = snprintf(topic, sizeof(topic), "dev/%u/t", i);
        bins[bytes_hash(bytes_make(topic, (size_t)n), 7) % BINS]++;
    }
    for (size_t i = 0; i < BINS; i++) {
        assert_in_range(bins[i], TOPICS / BINS * 8 / 10, TOPICS / BINS * 12 / 10);
    }
    assert_int_not_equal(bytes_hash(BYTES("a"), 1), bytes_hash(BYTES("a"), 2));
    assert_int_not_equal(bytes_hash(BYTES("a"), 1), bytes_hash(BYTES("a\0"), 1));
    assert_int_not_equal(bytes_hash(BYTES("\0"), 1), bytes_hash(BYTES("\0\0"), 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_and_prefix), cmocka_unit_test(test_sub),
        cmocka_unit_test(test_compare),          cmocka_unit_test(test_dup_str),
        cmocka_unit_test(test_utf8_accepts),     cmocka_unit_test(test_utf8_refuses),
        cmocka_unit_test(test_utf8_count),       cmocka_unit_test(test_hash_is_stable),
        cmocka_unit_test(test_hash_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
