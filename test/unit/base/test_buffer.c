#include "unit.h"

#include "base/buffer.h"

#include <wchar.h>

static void test_grows_and_keeps(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 100000);
    assert_null(b.data);
    for (unsigned i = 0; i < 50000; i++) {
        assert_int_equal(buffer_append_byte(&b, (uint8_t)i), E_OK);
    }
    assert_int_equal(b.len, 50000);
    for (unsigned i = 0; i < 50000; i++) {
        assert_int_equal(b.data[i], (uint8_t)i);
    }
    assert_true(b.cap <= b.max);
    buffer_finish(&b);
    assert_null(b.data);
    assert_int_equal(b.max, 100000);
    assert_int_equal(buffer_append_str(&b, "again"), E_OK);
    buffer_finish(&b);
}

static void test_ceiling(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 10);
    assert_int_equal(buffer_append(&b, BYTES("12345678")), E_OK);
    assert_int_equal(buffer_append(&b, BYTES("901")), E_FULL);
    assert_int_equal(b.len, 8);
    assert_int_equal(buffer_append(&b, BYTES("90")), E_OK);
    assert_int_equal(buffer_append_byte(&b, 'x'), E_FULL);
    assert_int_equal(buffer_append_str(&b, "x"), E_FULL);
    assert_int_equal(buffer_appendf(&b, "%d", 1), E_FULL);
    assert_int_equal(buffer_reserve(&b, 0), E_OK);
    assert_int_equal(buffer_reserve(&b, SIZE_MAX), E_FULL);
    assert_true(bytes_equal(buffer_bytes(&b), BYTES("1234567890")));
    assert_true(b.cap <= 10);
    buffer_finish(&b);

    buffer_init(&b, 0);
    assert_int_equal(buffer_append_byte(&b, 'x'), E_FULL);
    assert_int_equal(buffer_append(&b, (struct bytes){NULL, 0}), E_OK);
    assert_null(b.data);
    buffer_finish(&b);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, SIZE_MAX);
    assert_int_equal(buffer_append_str(&b, "kept"), E_OK);
    assert_int_equal(buffer_reserve(&b, SIZE_MAX / 2), E_NOMEM);
    assert_true(bytes_equal(buffer_bytes(&b), BYTES("kept")));
    buffer_finish(&b);
}

static void test_reserve_then_write(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 1000);
    assert_int_equal(buffer_reserve(&b, 300), E_OK);
    memset(b.data, 'x', 300);
    b.len = 300;
    assert_int_equal(buffer_reserve(&b, 700), E_OK);
    assert_int_equal(b.cap, 1000);
    assert_int_equal(buffer_reserve(&b, 701), E_FULL);
    buffer_finish(&b);
}

/* Text fills the buffer to the last byte of its ceiling: the NUL of printf needs none of it. */
static void test_printf_to_the_ceiling(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 5);
    assert_int_equal(buffer_appendf(&b, "%d", 123), E_OK);
    assert_int_equal(buffer_appendf(&b, "%d", 456), E_FULL);
    assert_int_equal(buffer_appendf(&b, "%s", ""), E_OK);
    assert_int_equal(buffer_appendf(&b, "%d", 45), E_OK);
    assert_true(bytes_equal(buffer_bytes(&b), BYTES("12345")));
    buffer_finish(&b);

    buffer_init(&b, 200);
    assert_int_equal(buffer_appendf(&b, "%0150d|%s", 7, "end"), E_OK);
    assert_int_equal(b.len, 154);
    assert_memory_equal(b.data + 149, "7|end", 5);
    buffer_finish(&b);
}

static void test_printf_that_fails(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, SIZE_MAX);
    assert_int_equal(buffer_append_str(&b, "kept"), E_OK);
    static const wchar_t no_character[] = {(wchar_t)0x7FFFFFFF, 0};
    assert_int_equal(buffer_appendf(&b, "ab%ls", no_character), E_INVALID);
    assert_true(bytes_equal(buffer_bytes(&b), BYTES("kept")));
    buffer_finish(&b);
}

static void test_consume(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 100);
    buffer_consume(&b, 5);
    assert_int_equal(buffer_append_str(&b, "abcdef"), E_OK);
    buffer_consume(&b, 0);
    assert_true(bytes_equal(buffer_bytes(&b), BYTES("abcdef")));
    buffer_consume(&b, 2);
    assert_true(bytes_equal(buffer_bytes(&b), BYTES("cdef")));
    buffer_consume(&b, 100);
    assert_int_equal(b.len, 0);
    assert_int_equal(buffer_append_str(&b, "xyz"), E_OK);
    buffer_clear(&b);
    assert_int_equal(b.len, 0);
    assert_true(b.cap >= 6);
    buffer_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_and_keeps),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_reserve_then_write),
        cmocka_unit_test(test_printf_to_the_ceiling),
        cmocka_unit_test(test_printf_that_fails),
        cmocka_unit_test(test_consume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
