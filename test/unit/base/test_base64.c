#include "unit.h"

#include "base/base64.h"

static void test_both_ways(void **state)
{
    /* RFC 4648 section 10. */
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    (void)state;
    struct buffer b;
    buffer_init(&b, 4096);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        buffer_clear(&b);
        assert_int_equal(base64_encode(bytes_str(pairs[i][0]), &b), E_OK);
        assert_true(bytes_equal(buffer_bytes(&b), bytes_str(pairs[i][1])));
        buffer_clear(&b);
        assert_int_equal(base64_decode(bytes_str(pairs[i][1]), &b), E_OK);
        assert_true(bytes_equal(buffer_bytes(&b), bytes_str(pairs[i][0])));
    }
    uint8_t all[256];
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (uint8_t)(255 - i);
    }
    struct buffer back;
    buffer_init(&back, 4096);
    for (size_t n = 0; n <= sizeof(all); n++) {
        buffer_clear(&b);
        buffer_clear(&back);
        assert_int_equal(base64_encode(bytes_make(all, n), &b), E_OK);
        assert_int_equal(base64_decode(buffer_bytes(&b), &back), E_OK);
        assert_true(bytes_equal(buffer_bytes(&back), bytes_make(all, n)));
    }
    buffer_finish(&back);
    buffer_finish(&b);
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {"Z",     "Zg",   "Zg=",  "Z===",   "====",     "Zh==", "Zm9=",
                                      "Zm9v=", "Z g=", "Zg-_", "Zg==\n", "Zg==Zg==", "=Zg=", "\xFFg=="};
    (void)state;
    struct buffer b;
    buffer_init(&b, 4096);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(base64_decode(bytes_str(bad[i]), &b), E_MALFORMED);
        assert_int_equal(b.len, 0);
    }
    buffer_finish(&b);
}

static void test_ceiling(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 3);
    assert_int_equal(base64_encode(BYTES("f"), &b), E_FULL);
    assert_int_equal(b.len, 0);
    buffer_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways), cmocka_unit_test(test_malformed),
                                       cmocka_unit_test(test_ceiling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
