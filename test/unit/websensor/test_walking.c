#include "unit.h"

#include "websensor/walking.h"

#include <math.h>

enum { SAMPLES = 600 };

/* `hz` steps a second with this amplitude, gravity on z, at this rate. */
static void make(double rate, double hz, double amplitude, double *x, double *y, double *z)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        double t = (double)i / rate;
        x[i] = 0.3 * sin(2 * M_PI * hz / 2 * t);
        y[i] = 0;
        z[i] = 9.81 + amplitude * sin(2 * M_PI * hz * t);
    }
}

static struct walking_verdict judge(double rate, double hz, double amplitude)
{
    static double x[SAMPLES], y[SAMPLES], z[SAMPLES];
    struct walking w = {0};
    struct walking_verdict v;
    make(rate, hz, amplitude, x, y, z);
    for (size_t i = 0; i < SAMPLES; i += 60) {
        assert_int_equal(walking_add(&w, rate, x + i, y + i, z + i, 60), E_OK);
    }
    assert_int_equal(walking_now(&w, &v), E_OK);
    return v;
}

static void steps(void **state)
{
    (void)state;
    static const double rates[] = {25, 50, 60, 100};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct walking_verdict v = judge(rates[i], 1.8, 3);
        assert_true(v.walking);
        assert_true(fabs(v.cadence - 108) < 6);
        assert_true(v.confidence > 0.5 && v.confidence <= 1);
    }
}

static void rest(void **state)
{
    (void)state;
    assert_false(judge(60, 1.8, 0).walking);
    assert_false(judge(60, 1.8, 0.2).walking); /* too weak */
    assert_false(judge(60, 1.8, 40).walking);  /* too strong */
    assert_false(judge(60, 2.9, 5).walking);   /* a run */
    assert_true(judge(60, 1.8, 0).cadence == 0);
}

static void too_little_and_too_odd(void **state)
{
    (void)state;
    double x[WALKING_SHORTEST] = {0};
    struct walking w = {0};
    struct walking_verdict v;
    assert_int_equal(walking_add(&w, 50, x, x, x, 50), E_OK);
    assert_int_equal(walking_now(&w, &v), E_AGAIN);
    assert_int_equal(walking_add(&w, 5, x, x, x, 1), E_INVALID);
    assert_int_equal(walking_add(&w, NAN, x, x, x, 1), E_INVALID);
    x[3] = INFINITY;
    assert_int_equal(walking_add(&w, 50, x, x, x, 10), E_INVALID);
    assert_int_equal(w.count, 50);
    x[3] = 0;
    assert_int_equal(walking_add(&w, 60, x, x, x, 10), E_OK); /* another rate begins anew */
    assert_true(w.count < 50);
}

/* However the samples are cut into batches, the resampled stream is the same. */
static void batches(void **state)
{
    (void)state;
    static double x[SAMPLES], y[SAMPLES], z[SAMPLES];
    make(60, 1.8, 3, x, y, z);
    struct walking whole = {0}, cut = {0};
    assert_int_equal(walking_add(&whole, 60, x, y, z, SAMPLES), E_OK);
    for (size_t i = 0; i < SAMPLES;) {
        size_t n = i % 7 + 1 < SAMPLES - i ? i % 7 + 1 : SAMPLES - i;
        assert_int_equal(walking_add(&cut, 60, x + i, y + i, z + i, n), E_OK);
        i += n;
    }
    assert_int_equal(whole.count, cut.count);
    assert_memory_equal(whole.window, cut.window, sizeof(whole.window));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps),
        cmocka_unit_test(rest),
        cmocka_unit_test(too_little_and_too_odd),
        cmocka_unit_test(batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
