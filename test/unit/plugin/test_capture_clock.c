/* plugin/capture_clock.h: no sensor gets a millisecond twice. */
#include "unit.h"

#include "plugin/capture_clock.h"

#include <stdlib.h>

#define NOW INT64_C(1700000000000)

static int set_up(void **state)
{
    *state = malloc(sizeof(struct capture_clock));
    capture_clock_init(*state, (struct wall){NOW}, INT64_MIN);
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static int64_t next(struct capture_clock *c, const char *sensor, int64_t now)
{
    return capture_clock_next(c, bytes_str(sensor), (struct wall){now});
}

static void the_wall_clock_when_it_moves(void **state)
{
    assert_true(next(*state, "a", NOW) == NOW);
    assert_true(next(*state, "a", NOW + 1) == NOW + 1);
    assert_true(next(*state, "a", NOW + 5000) == NOW + 5000);
}

static void the_next_free_millisecond(void **state)
{
    for (int i = 0; i < 100; i++) {
        assert_true(next(*state, "a", NOW) == NOW + i);
    }
    assert_true(next(*state, "a", NOW + 50) == NOW + 100);
    assert_true(next(*state, "a", NOW + 101) == NOW + 101);
}

static void sensors_do_not_share(void **state)
{
    char name[32];
    unsigned moved = 0;
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "sensor-%d", i);
        moved += next(*state, name, NOW) != NOW;
    }
    assert_true(moved < 10); /* places of the table that two of them share */
}

static void without_a_sensor_the_time_as_it_is(void **state)
{
    assert_true(next(*state, "", NOW) == NOW);
    assert_true(next(*state, "", NOW) == NOW);
    assert_true(next(*state, "", NOW - 10) == NOW - 10);
}

static void small_steps_back(void **state)
{
    int64_t last = next(*state, "a", NOW);
    for (int i = 1; i < 5000; i++) {
        int64_t t = next(*state, "a", NOW - (i % 7) * 100000);
        assert_true(t > last);
        last = t;
    }
}

static void a_large_step_back_is_believed(void **state)
{
    assert_true(next(*state, "a", NOW) == NOW);
    int64_t later = NOW - CAPTURE_STEP_MAX_MS - 1;
    assert_true(next(*state, "a", later) == later);
    assert_true(next(*state, "a", later) == later + 1);
    assert_true(next(*state, "b", later + 3) == later + 3);
}

/* A sensor that is faster than milliseconds runs ahead for hours; that is not a step of the clock. */
static void running_ahead_is_no_step(void **state)
{
    struct capture_clock *c = *state;
    int64_t last = 0;
    for (int64_t i = 0; i < CAPTURE_STEP_MAX_MS * 2; i++) {
        int64_t t = next(c, "a", NOW);
        assert_true(t > last);
        last = t;
    }
}

static void restart(void **state)
{
    struct capture_clock *c = *state;
    next(c, "a", NOW);
    int64_t last = next(c, "a", NOW);
    int64_t high = c->high;
    assert_true(high == last);
    capture_clock_init(c, (struct wall){NOW}, high);
    assert_true(next(c, "a", NOW) == last + 1);
    assert_true(next(c, "b", NOW) == last + 1);
    /* Clock set back while we were away, a little and a lot. */
    capture_clock_init(c, (struct wall){NOW - 60000}, high);
    assert_true(next(c, "a", NOW - 60000) == last + 1);
    capture_clock_init(c, (struct wall){high - CAPTURE_STEP_MAX_MS - 1}, high);
    assert_true(next(c, "a", NOW - 2 * CAPTURE_STEP_MAX_MS) == NOW - 2 * CAPTURE_STEP_MAX_MS);
    /* Bytes from disk may be anything. */
    capture_clock_init(c, (struct wall){NOW}, INT64_MAX);
    assert_true(next(c, "a", NOW) == NOW);
}

static void high_of_times_in_order(void **state)
{
    (void)state;
    const int64_t ahead = NOW + INT64_C(1000) * CAPTURE_STEP_MAX_MS;
    assert_true(capture_clock_high(INT64_MIN, INT64_MIN) == INT64_MIN);
    assert_true(capture_clock_high(INT64_MIN, NOW) == NOW);
    assert_true(capture_clock_high(NOW, INT64_MIN) == NOW);
    assert_true(capture_clock_high(NOW, NOW - CAPTURE_STEP_MAX_MS) == NOW);
    assert_true(capture_clock_high(NOW, NOW + 1) == NOW + 1);
    assert_true(capture_clock_high(NOW, ahead) == ahead);
    assert_true(capture_clock_high(ahead, NOW) == NOW);
    assert_true(capture_clock_high(INT64_MAX, NOW) == NOW);
    assert_true(capture_clock_high(INT64_MAX, INT64_MAX - 1) == INT64_MAX);
    assert_true(capture_clock_high(NOW, INT64_MIN + 1) == INT64_MIN + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(the_wall_clock_when_it_moves),
        TEST(the_next_free_millisecond),
        TEST(sensors_do_not_share),
        TEST(without_a_sensor_the_time_as_it_is),
        TEST(small_steps_back),
        TEST(a_large_step_back_is_believed),
        TEST(running_ahead_is_no_step),
        TEST(restart),
        TEST(high_of_times_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
