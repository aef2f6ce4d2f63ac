#include "unit.h"

#include "net/listeners.h"

static void added_and_printed(void **state)
{
    (void)state;
    static const char *const values[] = {"1884", "  1885\t192.0.2.1 ", "65535 ::1", "1886 fe80::1%lo"};
    struct listeners list = {.count = 0};
    struct option_error error;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        assert_int_equal(listeners_add(&list, bytes_str(values[i]), &error), E_OK);
    }
    struct buffer text;
    buffer_init(&text, 1024);
    assert_int_equal(listeners_print(&list, "listener", &text), E_OK);
    assert_int_equal(buffer_append_byte(&text, '\0'), E_OK);
    assert_string_equal((char *)text.data, "listener 1884\nlistener 1885 192.0.2.1\nlistener 65535 ::1\n"
                                           "listener 1886 fe80::1%lo\n");
    buffer_finish(&text);
}

static void refused(void **state)
{
    (void)state;
    static const char *const values[] = {
        "",
        "0",
        "65536",
        "x",
        "1884 nowhere",
        "1884 127.0.0.1 more",
        "1884 127.0.0.1:1",
        "1884 [::1]",
        "1884 0000:0000:0000:0000:0000:0000:0000:0001%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct listeners list = {.count = 0};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct option_error error = {""};
        assert_int_equal(listeners_add(&list, bytes_str(values[i]), &error), E_INVALID);
        assert_non_null(strstr(error.text, "PORT [ADDR]"));
    }
    assert_int_equal(list.count, 0);
}

static void not_too_many(void **state)
{
    (void)state;
    struct listeners list = {.count = 0};
    struct option_error error;
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        assert_int_equal(listeners_add(&list, BYTES("1884"), &error), E_OK);
    }
    assert_int_equal(listeners_add(&list, BYTES("1884"), &error), E_INVALID);
    assert_int_equal(list.count, LISTENERS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(added_and_printed),
        cmocka_unit_test(refused),
        cmocka_unit_test(not_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
