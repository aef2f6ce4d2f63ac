#include "unit.h"

#include "plugin/iotcore_traffic.h"

static const struct {
    unsigned per_second;
    bool low, high;
} rates[] = {{1, true, false}, {1000, true, false}, {2500, true, false}, {5000, false, false}, {20000, false, true}};

/* Evenly spaced for a second, then looked at in the millisecond of the last. */
static void test_even_rates(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct iotcore_traffic t = {0};
        uint64_t now = 0;
        for (unsigned n = 0; n <= rates[i].per_second; n++) {
            now = 5000 + n * (uint64_t)1000 / rates[i].per_second;
            traffic_sent(&t, now);
        }
        assert_int_equal(traffic_is_low(&t, now), rates[i].low);
        assert_int_equal(traffic_is_high(&t), rates[i].high);
        assert_true(traffic_is_low(&t, now + 1000));
    }
}

static void test_a_burst_after_silence(void **state)
{
    struct iotcore_traffic t = {0};
    (void)state;
    traffic_sent(&t, 1000);
    for (unsigned n = 1; n <= 8; n++) {
        assert_int_equal(traffic_is_low(&t, 2000), n <= 3);
        assert_false(traffic_is_high(&t));
        traffic_sent(&t, 2000);
    }
    assert_true(traffic_is_high(&t));
    assert_false(traffic_is_low(&t, 2001));
    assert_true(traffic_is_low(&t, 2004));
    traffic_sent(&t, 2100);
    assert_false(traffic_is_high(&t));
}

static void test_acks(void **state)
{
    struct iotcore_acks a = {0};
    (void)state;
    for (uint64_t ms = 1000; ms < 2000; ms += 6) { /* 167 a second */
        assert_false(acks_come_often(&a, ms));
    }
    assert_false(acks_come_often(&a, 3000));
    assert_false(acks_come_often(&a, 3001));
    assert_true(acks_come_often(&a, 3002));
    assert_true(acks_come_often(&a, 3009));
    /* The next lump, of three and of two. */
    assert_false(acks_come_often(&a, 3013));
    assert_false(acks_come_often(&a, 3013));
    assert_true(acks_come_often(&a, 3013));
    assert_false(acks_come_often(&a, 3023));
    assert_false(acks_come_often(&a, 3023));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even_rates),
        cmocka_unit_test(test_a_burst_after_silence),
        cmocka_unit_test(test_acks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
