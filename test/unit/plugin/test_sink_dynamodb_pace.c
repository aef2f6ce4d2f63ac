#include "unit.h"

#include "plugin/sink_dynamodb_pace.h"

static struct pace p;
static struct mono now;

/* `seconds` of sending: of `speed` items a second, in batches of 25, at most `capacity` a second are taken. */
static void send_for(unsigned seconds, double speed, double capacity)
{
    struct token_bucket table;
    token_bucket_init(&table, capacity, capacity / 10 > 25 ? capacity / 10 : 25, now);
    for (double sent = 0; sent < speed * seconds; sent += 25) {
        uint64_t step = (uint64_t)(25 / speed * 1e9);
        struct mono ready = pace_ready(&p, 25, now);
        now.ns += step;
        now = now.ns > ready.ns ? now : ready;
        pace_take(&p, 25, now);
        bool taken = token_bucket_take(&table, 25, now);
        pace_result(&p, taken ? 25 : 0, taken ? 0 : 25, now);
    }
}

static int set_up(void **state)
{
    (void)state;
    now = (struct mono){UINT64_C(1000000000)};
    pace_init(&p, now);
    return 0;
}

static void test_no_limit_at_first(void **state)
{
    (void)state;
    send_for(5, 10000, 1e9);
    assert_true(p.rate == 0);
    assert_int_equal(pace_ready(&p, 25, now).ns, now.ns);
}

static void test_finds_the_capacity(void **state)
{
    (void)state;
    send_for(10, 10000, 1000);
    assert_true(p.rate > 500 && p.rate < 2200);
    /* most of what goes now is taken */
    struct mono start = now;
    size_t taken = 0;
    struct token_bucket table;
    token_bucket_init(&table, 1000, 100, now);
    for (int i = 0; i < 400; i++) {
        struct mono ready = pace_ready(&p, 25, now);
        now = now.ns > ready.ns ? now : ready;
        pace_take(&p, 25, now);
        bool ok = token_bucket_take(&table, 25, now);
        taken += ok ? 25 : 0;
        pace_result(&p, ok ? 25 : 0, ok ? 0 : 25, now);
    }
    double seconds = (double)(now.ns - start.ns) / 1e9;
    assert_true((double)taken / seconds > 700);
}

static void test_never_stops_and_comes_back(void **state)
{
    (void)state;
    send_for(10, 10000, 0.001);
    assert_true(p.rate == PACE_MIN);
    for (int i = 0; i < 10000 && p.rate != 0; i++) {
        struct mono ready = pace_ready(&p, 25, now);
        now = now.ns > ready.ns ? now : ready;
        now.ns += 100000;
        pace_take(&p, 25, now);
        pace_result(&p, 25, 0, now);
    }
    assert_true(p.rate == 0);
}

/* A share that is always refused, whatever the speed, does not slow it down. */
static void test_constant_share(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++) {
        now.ns += 2500000;
        pace_result(&p, 17, 8, now);
    }
    assert_true(p.rate == 0);
}

/* Few items say little, and so does what was long ago. */
static void test_small_samples(void **state)
{
    (void)state;
    pace_result(&p, 0, 25, now);
    now.ns += UINT64_C(5000000000);
    pace_result(&p, 0, 25, now);
    now.ns += 200000000;
    pace_result(&p, 0, 25, now);
    assert_true(p.rate == 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, set_up)
    const struct CMUnitTest tests[] = {
        CASE(test_no_limit_at_first), CASE(test_finds_the_capacity), CASE(test_never_stops_and_comes_back),
        CASE(test_constant_share),    CASE(test_small_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
