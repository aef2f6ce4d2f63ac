#include "unit.h"

#include "base/err.h"

#include <errno.h>

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < E_COUNT_; i++) {
        const char *name = err_name((enum err)i);
        assert_non_null(name);
        assert_string_not_equal(name, "unknown");
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(name, err_name((enum err)k));
        }
    }
    assert_string_equal(err_name(E_COUNT_), "unknown");
    assert_string_equal(err_name((enum err) - 1), "unknown");
}

static void test_from_errno(void **state)
{
    (void)state;
    assert_int_equal(err_from_errno(0), E_OK);
    assert_int_equal(err_from_errno(ENOSPC), E_NO_SPACE);
    assert_int_equal(err_from_errno(EDQUOT), E_NO_SPACE);
    assert_int_equal(err_from_errno(EROFS), E_READ_ONLY);
    assert_int_equal(err_from_errno(EACCES), E_ACCESS);
    assert_int_equal(err_from_errno(EWOULDBLOCK), E_AGAIN);
    assert_int_equal(err_from_errno(EPIPE), E_RESET);
    assert_int_equal(err_from_errno(EIO), E_IO);
    assert_int_equal(err_from_errno(12345), E_IO);
    assert_int_equal(err_from_errno(-1), E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_from_errno)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
