#include "unit.h"

#include "websensor/seen.h"

static void once(void **state)
{
    (void)state;
    struct seen *s;
    assert_int_equal(seen_create(64, &s), E_OK);
    assert_int_equal(seen_begin(s, 5), SEEN_NEVER);
    assert_int_equal(seen_begin(s, 5), SEEN_UNDER_WAY);
    seen_end(s, 5, SEEN_FAILED);
    assert_int_equal(seen_begin(s, 5), SEEN_FAILED);
    assert_int_equal(seen_begin(s, 5), SEEN_UNDER_WAY);
    seen_end(s, 5, SEEN_DONE);
    assert_int_equal(seen_begin(s, 5), SEEN_DONE);
    assert_int_equal(seen_begin(s, 5), SEEN_DONE);
    assert_int_equal(seen_begin(s, 6), SEEN_NEVER);
    seen_end(s, 7, SEEN_DONE); /* not known: nothing happens */
    seen_destroy(s);
}

static void oldest_gives_way(void **state)
{
    (void)state;
    struct seen *s;
    assert_int_equal(seen_create(7, &s), E_OK); /* one set */
    for (uint64_t key = 1; key <= 8; key++) {
        assert_int_equal(seen_begin(s, key), SEEN_NEVER);
        seen_end(s, key, SEEN_DONE);
    }
    assert_int_equal(seen_begin(s, 1), SEEN_DONE);
    assert_int_equal(seen_begin(s, 9), SEEN_NEVER); /* takes the place of 2 */
    assert_int_equal(seen_begin(s, 1), SEEN_DONE);
    assert_int_equal(seen_begin(s, 2), SEEN_NEVER);
    seen_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(once), cmocka_unit_test(oldest_gives_way)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
