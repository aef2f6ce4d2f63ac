#include "unit.h"

#include "store/sensor_tally.h"

static const struct sensor_tally *find(const struct sensor_tallies *t, const char *name)
{
    const struct sensor_tally *found = NULL;
    for (size_t i = 0; i < t->size; i++) {
        if (t->slots[i].sensor.data && bytes_equal(t->slots[i].sensor, bytes_str(name))) {
            assert_null(found);
            found = &t->slots[i];
        }
    }
    return found;
}

static void test_tallies(void **state)
{
    (void)state;
    struct sensor_tallies t = {0};
    sensor_tallies_clear(&t);
    assert_int_equal(sensor_tallies_add(&t, BYTES("a"), 5), E_OK);
    assert_int_equal(sensor_tallies_add(&t, BYTES("b"), -1), E_OK);
    assert_int_equal(sensor_tallies_add(&t, BYTES("a"), 9), E_OK);
    assert_int_equal(sensor_tallies_add(&t, BYTES("a"), 2), E_OK);
    assert_int_equal(t.used, 2);
    assert_int_equal(find(&t, "a")->first, 2);
    assert_int_equal(find(&t, "a")->last, 9);
    assert_int_equal(find(&t, "a")->count, 3);
    assert_int_equal(find(&t, "b")->first, -1);
    assert_int_equal(find(&t, "b")->last, -1);
    assert_int_equal(find(&t, "b")->count, 1);
    sensor_tallies_clear(&t);
    assert_int_equal(t.used, 0);
    assert_null(find(&t, "a"));
    sensor_tallies_finish(&t);
}

static void test_many(void **state)
{
    (void)state;
    static char names[5000][16];
    struct sensor_tallies t = {0};
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5000; i++) {
            snprintf(names[i], sizeof(names[i]), "s%d", i);
            assert_int_equal(sensor_tallies_add(&t, bytes_str(names[i]), i + round), E_OK);
        }
    }
    assert_int_equal(t.used, 5000);
    for (int i = 0; i < 5000; i += 777) {
        assert_int_equal(find(&t, names[i])->count, 3);
        assert_int_equal(find(&t, names[i])->last, i + 2);
    }
    sensor_tallies_finish(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tallies), cmocka_unit_test(test_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
