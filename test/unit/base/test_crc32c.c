#include "unit.h"

#include "base/crc32c.h"

/* RFC 3720 appendix B.4, and the check value of the catalogue of CRC algorithms ("123456789"). */
static void test_known_values(void **state)
{
    (void)state;
    uint8_t data[48] = {0};
    uint32_t (*const functions[])(uint32_t, struct bytes) = {crc32c, crc32c_portable};
    static const uint8_t read10[48] = {
        0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0,    0,
    };
    for (size_t f = 0; f < 2; f++) {
        assert_int_equal(functions[f](0, BYTES("123456789")), 0xE3069283);
        assert_int_equal(functions[f](0, BYTES("")), 0);
        assert_int_equal(functions[f](0, (struct bytes){NULL, 0}), 0);
        memset(data, 0, 32);
        assert_int_equal(functions[f](0, bytes_make(data, 32)), 0x8A9136AA);
        memset(data, 0xFF, 32);
        assert_int_equal(functions[f](0, bytes_make(data, 32)), 0x62A8AB43);
        for (size_t i = 0; i < 32; i++) {
            data[i] = (uint8_t)i;
        }
        assert_int_equal(functions[f](0, bytes_make(data, 32)), 0x46DD794E);
        for (size_t i = 0; i < 32; i++) {
            data[i] = (uint8_t)(31 - i);
        }
        assert_int_equal(functions[f](0, bytes_make(data, 32)), 0x113FDB5C);
        assert_int_equal(functions[f](0, bytes_make(read10, 48)), 0xD9963A56);
    }
}

static void fill(uint8_t *data, size_t n)
{
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)(x >> 24);
    }
}

/* One bit at a time, straight from the definition. */
static uint32_t by_bits(uint32_t crc, struct bytes b)
{
    crc = ~crc;
    for (size_t i = 0; i < b.len; i++) {
        crc ^= b.data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) ? (crc >> 1) ^ 0x82F63B78u : crc >> 1;
        }
    }
    return ~crc;
}

static void test_every_length_and_alignment(void **state)
{
    (void)state;
    uint8_t data[300];
    fill(data, sizeof(data));
    for (size_t start = 0; start < 9; start++) {
        for (size_t n = 0; start + n <= sizeof(data); n++) {
            struct bytes b = bytes_make(data + start, n);
            uint32_t expected = by_bits(0, b);
            assert_int_equal(crc32c(0, b), expected);
            assert_int_equal(crc32c_portable(0, b), expected);
        }
    }
}

/* Long enough to be summed up in parts that follow one another. */
static void test_long(void **state)
{
    (void)state;
    static uint8_t data[20000];
    fill(data, sizeof(data));
    for (size_t n = sizeof(data) - 30; n <= sizeof(data); n++) {
        struct bytes b = bytes_make(data, n);
        assert_int_equal(crc32c(0x12345678, b), by_bits(0x12345678, b));
    }
}

static void test_continues(void **state)
{
    (void)state;
    uint8_t data[100];
    fill(data, sizeof(data));
    struct bytes all = bytes_make(data, sizeof(data));
    uint32_t expected = crc32c(0, all);
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        assert_int_equal(crc32c(crc32c(0, bytes_sub(all, 0, cut)), bytes_sub(all, cut, all.len)), expected);
        assert_int_equal(crc32c_portable(crc32c(0, bytes_sub(all, 0, cut)), bytes_sub(all, cut, all.len)), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_every_length_and_alignment),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_continues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
