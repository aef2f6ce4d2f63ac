#include "unit.h"

#include "plugin/iotcore_pace.h"

static struct mono now;

static void wait_ms(uint64_t ms)
{
    now = mono_add_ms(now, ms);
}

/* Publishes as fast as allowed for `ms`; how many went out. */
static unsigned publish_for(struct iotcore_pace *p, uint64_t ms, size_t size)
{
    unsigned n = 0;
    for (uint64_t i = 0; i < ms; i++) {
        while (iotcore_pace_take(p, size, now) && n < 1000000) {
            n++;
        }
        wait_ms(1);
    }
    return n;
}

static void test_no_window_sees_more_than_the_limit(void **state)
{
    (void)state;
    static const uint64_t limits[] = {10, 100, 5000};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct iotcore_pace p;
        now = (struct mono){5};
        iotcore_pace_init(&p, limits[i], 0, now);
        unsigned sent[30];
        for (unsigned tenth = 0; tenth < 30; tenth++) {
            sent[tenth] = publish_for(&p, 100, 1);
        }
        unsigned total = 0;
        for (unsigned from = 0; from + 10 <= 30; from++) {
            unsigned in_window = 0;
            for (unsigned t = from; t < from + 10; t++) {
                in_window += sent[t];
            }
            assert_true(in_window <= limits[i] + 1);
            total = from % 10 == 0 ? total + in_window : total;
        }
        assert_true(total >= 3 * limits[i] * 9 / 10);
    }
}

static void test_no_limit(void **state)
{
    (void)state;
    struct iotcore_pace p;
    now = (struct mono){5};
    iotcore_pace_init(&p, 0, 0, now);
    for (int i = 0; i < 100000; i++) {
        assert_true(iotcore_pace_take(&p, 100000, now));
    }
    assert_int_equal(iotcore_pace_ready(&p, 1, now).ns, now.ns);
}

static void test_bytes(void **state)
{
    (void)state;
    struct iotcore_pace p;
    now = (struct mono){5};
    iotcore_pace_init(&p, 0, 100000, now);
    unsigned n = publish_for(&p, 10000, 10000);
    assert_in_range(n, 98, 106);
    wait_ms(1000);
    /* Larger than what can be saved up: goes, and the next ones pay for it. */
    assert_true(iotcore_pace_take(&p, 200000, now));
    assert_false(iotcore_pace_take(&p, 1, now));
    assert_in_range(mono_ms_until(now, iotcore_pace_ready(&p, 1, now)), 1700, 1800);
}

static void test_neither_bucket_pays_for_the_other(void **state)
{
    (void)state;
    struct iotcore_pace p;
    now = (struct mono){5};
    iotcore_pace_init(&p, 1, 1000, now);
    assert_true(iotcore_pace_take(&p, 100, now));
    double bytes = p.bytes.tokens;
    assert_false(iotcore_pace_take(&p, 100, now));
    assert_true(p.bytes.tokens >= bytes);
}

static void test_slows_down_and_recovers(void **state)
{
    (void)state;
    struct iotcore_pace p;
    now = (struct mono){5};
    iotcore_pace_init(&p, 100, 0, now);
    publish_for(&p, 2000, 1);
    assert_float_equal(iotcore_pace_slow(&p, now), 50, 0.01);
    assert_in_range(publish_for(&p, 5000, 1), 230, 256);
    assert_float_equal(iotcore_pace_slow(&p, now), 25, 0.01);
    assert_in_range(publish_for(&p, 5000, 1), 110, 130);
    publish_for(&p, 160000, 1);
    assert_in_range(publish_for(&p, 5000, 1), 470, 501);
    assert_int_equal(p.raise_at.ns, MONO_NEVER.ns);
}

static void test_slowest(void **state)
{
    (void)state;
    struct iotcore_pace p;
    now = (struct mono){5};
    iotcore_pace_init(&p, 100, 0, now);
    for (int i = 0; i < 20; i++) {
        iotcore_pace_slow(&p, now);
    }
    assert_in_range(publish_for(&p, 10000, 1), 9, 12);
}

/* Without a limit the busiest second is the measure. */
static void test_slows_down_without_a_limit(void **state)
{
    (void)state;
    struct iotcore_pace p;
    now = (struct mono){5};
    iotcore_pace_init(&p, 0, 0, now);
    for (int i = 0; i < 400; i++) {
        assert_true(iotcore_pace_take(&p, 1, now));
    }
    assert_float_equal(iotcore_pace_slow(&p, now), 200, 0.01);
    assert_in_range(publish_for(&p, 1000, 1), 180, 201);
    publish_for(&p, 200000, 1);
    assert_float_equal(p.rate, 0, 0.01);
}

static void test_configure(void **state)
{
    (void)state;
    struct iotcore_pace p;
    now = (struct mono){5};
    iotcore_pace_init(&p, 100, 0, now);
    iotcore_pace_configure(&p, 50, 0, now);
    assert_float_equal(p.rate, 50, 0.01);
    iotcore_pace_slow(&p, now);
    iotcore_pace_configure(&p, 200, 0, now);
    assert_float_equal(p.rate, 25, 0.01); /* what was learned stays */
    iotcore_pace_configure(&p, 10, 0, now);
    assert_float_equal(p.rate, 10, 0.01);
    iotcore_pace_configure(&p, 0, 0, now);
    assert_float_equal(p.rate, 0, 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_window_sees_more_than_the_limit),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_neither_bucket_pays_for_the_other),
        cmocka_unit_test(test_slows_down_and_recovers),
        cmocka_unit_test(test_slowest),
        cmocka_unit_test(test_slows_down_without_a_limit),
        cmocka_unit_test(test_configure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
