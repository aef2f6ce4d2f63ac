#include "unit.h"

#include "base/backoff.h"

#define SECOND UINT64_C(1000000000)

static struct mono at(double seconds)
{
    return (struct mono){(uint64_t)(seconds * 1e9)};
}

static void test_backoff_grows_to_the_cap(void **state)
{
    (void)state;
    static const uint32_t limits[] = {100, 200, 400, 800, 1600, 2000, 2000, 2000};
    enum { RUNS = 2000, TRIES = sizeof(limits) / sizeof(limits[0]) };
    uint32_t highest[TRIES] = {0};
    uint64_t sum[TRIES] = {0};
    for (uint64_t seed = 0; seed < RUNS; seed++) {
        struct backoff b;
        backoff_init(&b, 100, 2000, seed);
        for (size_t i = 0; i < TRIES; i++) {
            uint32_t ms = backoff_next_ms(&b);
            assert_in_range(ms, 0, limits[i]);
            highest[i] = ms > highest[i] ? ms : highest[i];
            sum[i] += ms;
        }
        assert_int_equal(b.tries, TRIES);
    }
    for (size_t i = 0; i < TRIES; i++) {
        assert_in_range(highest[i], limits[i] * 95 / 100, limits[i]);
        assert_in_range(sum[i] / RUNS, limits[i] * 45 / 100, limits[i] * 55 / 100); /* full jitter: uniform from 0 */
    }
}

static void test_backoff_reset(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 10, UINT32_MAX, 1);
    for (int i = 0; i < 100; i++) {
        backoff_next_ms(&b);
    }
    assert_int_equal(b.tries, 100);
    backoff_reset(&b);
    for (int i = 0; i < 50; i++) {
        backoff_reset(&b);
        assert_in_range(backoff_next_ms(&b), 0, 10);
    }
}

static void test_backoff_extremes(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, UINT32_MAX, UINT32_MAX, 3);
    uint32_t highest = 0;
    for (int i = 0; i < 200; i++) {
        uint32_t ms = backoff_next_ms(&b);
        highest = ms > highest ? ms : highest;
    }
    assert_true(highest > UINT32_MAX / 10 * 9);
    b.tries = UINT32_MAX;
    backoff_next_ms(&b);
    assert_int_equal(b.tries, UINT32_MAX);
    backoff_init(&b, 0, 1000, 3);
    assert_int_equal(backoff_next_ms(&b), 0);
    backoff_init(&b, 1000, 0, 3);
    assert_int_equal(backoff_next_ms(&b), 0);
}

static void test_bucket_burst_then_rate(void **state)
{
    (void)state;
    struct token_bucket t;
    token_bucket_init(&t, 100, 10, at(5));
    for (int i = 0; i < 10; i++) {
        assert_true(token_bucket_take(&t, 1, at(5)));
    }
    assert_false(token_bucket_take(&t, 1, at(5)));
    struct mono ready = token_bucket_ready(&t, 1, at(5));
    assert_in_range(ready.ns, at(5.0099).ns, at(5.0101).ns);
    assert_false(token_bucket_take(&t, 1, (struct mono){ready.ns - 10000}));
    assert_true(token_bucket_take(&t, 1, ready));
    /* Idle for long: no more than the burst is saved up. */
    for (int i = 0; i < 10; i++) {
        assert_true(token_bucket_take(&t, 1, at(100)));
    }
    assert_false(token_bucket_take(&t, 1, at(100)));
}

/* Driven by its own deadlines the bucket lets exactly burst + rate * time through. */
static void test_bucket_holds_its_rate(void **state)
{
    (void)state;
    static const double rates[] = {0.5, 3, 100, 1000.0 / 3, 524288};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct token_bucket t;
        struct mono now = at(12345.678);
        token_bucket_init(&t, rates[i], 1, now);
        assert_true(token_bucket_take(&t, 1, now));
        uint64_t start = now.ns;
        for (int n = 0; n < 1000; n++) {
            now = token_bucket_ready(&t, 1, now);
            assert_true(token_bucket_take(&t, 1, now));
        }
        double seconds = (double)(now.ns - start) / 1e9;
        double expected = 1000 / rates[i];
        assert_true(seconds > expected * 0.999 && seconds < expected * 1.001);
    }
}

static void test_bucket_debt(void **state)
{
    (void)state;
    struct token_bucket t;
    token_bucket_init(&t, 10, 5, at(0));
    assert_true(token_bucket_take(&t, 25, at(0))); /* larger than the burst: waits for the whole burst only */
    assert_true(t.tokens < -19.9);
    assert_false(token_bucket_take(&t, 1, at(2)));
    assert_in_range(token_bucket_ready(&t, 1, at(2)).ns, at(2.0999).ns, at(2.1001).ns);
    assert_in_range(token_bucket_ready(&t, 100, at(0)).ns, at(2.4999).ns, at(2.5001).ns);
    assert_true(token_bucket_take(&t, 1, at(2.101)));
}

static void test_bucket_without_limit(void **state)
{
    (void)state;
    struct token_bucket t;
    token_bucket_init(&t, 0, 0, at(1));
    for (int i = 0; i < 1000; i++) {
        assert_true(token_bucket_take(&t, 1e9, at(1)));
    }
    assert_int_equal(token_bucket_ready(&t, 1e9, at(1)).ns, at(1).ns);
    token_bucket_set_rate(&t, 10, 3, at(1));
    assert_true(token_bucket_take(&t, 3, at(1)));
    assert_false(token_bucket_take(&t, 1, at(1)));
    token_bucket_set_rate(&t, 0, 0, at(1));
    assert_true(token_bucket_take(&t, 1000, at(1)));
}

static void test_bucket_new_rate(void **state)
{
    (void)state;
    struct token_bucket t;
    token_bucket_init(&t, 10, 10, at(0));
    assert_true(token_bucket_take(&t, 10, at(0)));
    token_bucket_set_rate(&t, 100, 100, at(0.5)); /* five were earned at the old rate */
    assert_true(token_bucket_take(&t, 5, at(0.5)));
    assert_false(token_bucket_take(&t, 1, at(0.5)));
    assert_true(token_bucket_take(&t, 50, at(1)));
    token_bucket_set_rate(&t, 100, 2, at(3)); /* saved up more than the new burst */
    assert_true(token_bucket_take(&t, 2, at(3)));
    assert_false(token_bucket_take(&t, 1, at(3)));
}

static void test_bucket_odd_times(void **state)
{
    (void)state;
    struct token_bucket t;
    token_bucket_init(&t, 10, 1, at(10));
    assert_true(token_bucket_take(&t, 1, at(10)));
    assert_false(token_bucket_take(&t, 1, at(9))); /* a reading older than the last one earns nothing */
    assert_false(token_bucket_take(&t, 1, at(10.05)));
    assert_true(token_bucket_take(&t, 1, at(10.11)));
    token_bucket_init(&t, 1e-12, 1, at(10));
    assert_true(token_bucket_take(&t, 1, at(10)));
    assert_int_equal(token_bucket_ready(&t, 1, at(10)).ns, MONO_NEVER.ns);
    assert_true(token_bucket_take(&t, 1, MONO_NEVER) || t.tokens < 1);
}

static void test_random_seed(void **state)
{
    (void)state;
    uint64_t ones = 0;
    uint64_t zeros = 0;
    uint64_t last = random_seed();
    for (int i = 0; i < 64; i++) {
        uint64_t seed = random_seed();
        assert_int_not_equal(seed, last);
        ones |= seed;
        zeros |= ~seed;
        last = seed;
    }
    assert_int_equal(ones, UINT64_MAX);
    assert_int_equal(zeros, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff_grows_to_the_cap), cmocka_unit_test(test_backoff_reset),
        cmocka_unit_test(test_backoff_extremes),         cmocka_unit_test(test_bucket_burst_then_rate),
        cmocka_unit_test(test_bucket_holds_its_rate),    cmocka_unit_test(test_bucket_debt),
        cmocka_unit_test(test_bucket_without_limit),     cmocka_unit_test(test_bucket_new_rate),
        cmocka_unit_test(test_bucket_odd_times),         cmocka_unit_test(test_random_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
