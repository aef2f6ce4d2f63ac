/* Cursors: the window, confirming out of order, rewinding, returning; against a model with random operations. */
#include "unit.h"

#include "plugin/spool_internal.h"
#include "spool_fixture.h"

#include <stdlib.h>

#define SQLITE SINK_BIT(SINK_SQLITE)
#define IOTCORE SINK_BIT(SINK_IOTCORE)

static int set_up(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_init(f);
    f->options.max_size = UINT64_C(64) << 20;
    fixture_open(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_finish(*state);
    free(*state);
    return 0;
}

static void append_many(struct fixture *f, uint64_t first, uint64_t count)
{
    for (uint64_t n = first; n < first + count; n++) {
        assert_int_equal(fixture_append(f, n, 60, SQLITE), E_OK);
    }
}

/* The next record's number. */
static uint64_t next(struct cursor *c)
{
    struct record r;
    assert_int_equal(cursor_next(c, &r), E_OK);
    uint64_t n = fixture_number(&r);
    assert_int_equal(r.sequence, n + 1);
    return n;
}

static void expect_none(struct cursor *c)
{
    struct record r;
    assert_int_equal(cursor_next(c, &r), E_AGAIN);
}

static void confirm(struct cursor *c, uint64_t n)
{
    cursor_confirm(c, n + 1);
}

static void out_of_order(void **state)
{
    struct fixture *f = *state;
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    append_many(f, 0, 5);
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(next(c), i);
    }
    expect_none(c);
    confirm(c, 3);
    confirm(c, 1);
    assert_int_equal(cursor_lag(c), 3);
    assert_int_equal(cursor_position(c), 1);
    confirm(c, 0);
    assert_int_equal(cursor_position(c), 3);
    confirm(c, 2);
    assert_int_equal(cursor_position(c), 5);
    confirm(c, 2); /* again, and unknown ones: no effect */
    confirm(c, 77);
    assert_int_equal(cursor_lag(c), 1);
    confirm(c, 4);
    assert_int_equal(cursor_lag(c), 0);
    assert_int_equal(cursor_position(c), 6);
}

static void rewind_skips_what_is_confirmed(void **state)
{
    struct fixture *f = *state;
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    append_many(f, 0, 6);
    for (uint64_t i = 0; i < 5; i++) {
        next(c);
    }
    confirm(c, 1);
    confirm(c, 3);
    cursor_rewind(c);
    assert_int_equal(next(c), 0);
    assert_int_equal(next(c), 2);
    assert_int_equal(next(c), 4);
    assert_int_equal(next(c), 5);
    expect_none(c);
    cursor_rewind(c);
    cursor_rewind(c);
    assert_int_equal(next(c), 0);
}

static void returned_comes_before_later_ones(void **state)
{
    struct fixture *f = *state;
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    append_many(f, 0, 6);
    for (uint64_t i = 0; i < 4; i++) {
        next(c);
    }
    cursor_return(c, 2 + 1);
    cursor_return(c, 1 + 1);
    cursor_return(c, 1 + 1);
    cursor_return(c, 99);
    assert_int_equal(next(c), 1);
    assert_int_equal(next(c), 2);
    assert_int_equal(next(c), 4);
    cursor_return(c, 4 + 1);
    confirm(c, 4); /* confirmed although it was handed back */
    assert_int_equal(next(c), 5);
    expect_none(c);
}

static void the_window_has_an_end(void **state)
{
    struct fixture *f = *state;
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    struct record r;
    append_many(f, 0, CURSOR_WINDOW_MAX + 10);
    for (uint64_t i = 0; i < CURSOR_WINDOW_MAX; i++) {
        assert_int_equal(next(c), i);
    }
    assert_int_equal(cursor_next(c, &r), E_FULL);
    confirm(c, 5);
    assert_int_equal(cursor_next(c, &r), E_FULL); /* the oldest is still there */
    cursor_return(c, 7 + 1);
    assert_int_equal(next(c), 7);
    confirm(c, 0);
    assert_int_equal(next(c), CURSOR_WINDOW_MAX);
    assert_int_equal(cursor_next(c, &r), E_FULL);
    for (uint64_t i = 1; i <= CURSOR_WINDOW_MAX; i++) {
        confirm(c, i);
    }
    assert_int_equal(next(c), CURSOR_WINDOW_MAX + 1);
}

/* A few large records in each segment: the window would map the whole spool. */
static void the_window_lies_in_few_segments(void **state)
{
    struct fixture *f = *state;
    struct record r;
    uint64_t taken = 0;
    unsigned mapped = 0;
    for (uint64_t n = 0; n < 3 * (CURSOR_SEGMENTS_MAX + 10); n++) {
        assert_int_equal(fixture_append(f, n, 20000, SQLITE), E_OK);
    }
    fixture_close(f); /* which keeps mapped what it has written */
    fixture_open(f);
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    while (cursor_next(c, &r) == E_OK) {
        taken++;
    }
    assert_int_equal(cursor_next(c, &r), E_FULL);
    assert_in_range(taken, 2 * CURSOR_SEGMENTS_MAX, 3 * CURSOR_SEGMENTS_MAX);
    for (const struct segment *seg = f->spool->oldest; seg; seg = seg->newer) {
        mapped += seg->map != NULL;
    }
    assert_in_range(mapped, 2, CURSOR_SEGMENTS_MAX + 2); /* and the active one */
    for (uint64_t n = 0; n < taken; n++) {
        confirm(c, n);
        if (n > 3) {
            assert_int_equal(next(c), taken++);
            if (taken == 3 * (CURSOR_SEGMENTS_MAX + 10)) {
                break;
            }
        }
    }
    expect_none(c);
}

static void oldest(void **state)
{
    struct fixture *f = *state;
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    cursor_update_oldest(c);
    assert_int_equal(cursor_oldest_ms(c), 0);
    int64_t first = f->wall.ms;
    append_many(f, 0, 1);
    f->wall.ms += 1000;
    append_many(f, 1, 1);
    cursor_update_oldest(c);
    assert_true(cursor_oldest_ms(c) == first);
    assert_int_equal(metric_get(&spool_stats(f->spool)->oldest_ms), first);
    assert_int_equal(next(c), 0); /* looking did not take it */
    cursor_update_oldest(c);
    assert_true(cursor_oldest_ms(c) == first);
    confirm(c, 0);
    cursor_update_oldest(c);
    assert_true(cursor_oldest_ms(c) == first + 1000);
    assert_int_equal(next(c), 1);
    confirm(c, 1);
    cursor_update_oldest(c);
    assert_int_equal(cursor_oldest_ms(c), 0);
}

/* --- against a model --- */

enum { WAITING, OUT, DONE };

struct model {
    uint8_t state[20000];
    uint64_t count, waiting, out;
};

static uint64_t first_in(const struct model *m, uint8_t state)
{
    uint64_t n = 0;
    while (n < m->count && m->state[n] != state) {
        n++;
    }
    return n;
}

/* A random record that is out; the rng decides. */
static uint64_t any_out(const struct model *m, uint64_t *rng)
{
    uint64_t n = *rng >> 33;
    do {
        n = (n + 1) % m->count;
    } while (m->state[n] != OUT);
    return n;
}

static void change(struct model *m, uint64_t n, uint8_t state)
{
    m->waiting -= m->state[n] == WAITING;
    m->out -= m->state[n] == OUT;
    m->state[n] = state;
    m->waiting += state == WAITING;
    m->out += state == OUT;
}

static void take_one(struct model *m, struct cursor *c)
{
    if (m->waiting == 0) {
        expect_none(c);
        return;
    }
    uint64_t n = next(c);
    assert_int_equal(n, first_in(m, WAITING));
    change(m, n, OUT);
}

static void step(struct fixture *f, struct model *m, struct cursor *c, uint64_t *rng)
{
    *rng = *rng * 6364136223846793005u + 1442695040888963407u;
    unsigned dice = (unsigned)(*rng >> 40) % 1000;
    if (dice < 300 && m->count < sizeof(m->state)) {
        append_many(f, m->count, 1);
        m->count++;
        m->waiting++;
    } else if (dice < 700) {
        take_one(m, c);
    } else if (dice < 950 && m->out > 0) {
        uint64_t n = any_out(m, rng);
        confirm(c, n);
        change(m, n, DONE);
    } else if (dice < 995 && m->out > 0) {
        uint64_t n = any_out(m, rng);
        cursor_return(c, n + 1);
        change(m, n, WAITING);
    } else if (dice == 999) {
        cursor_rewind(c);
        for (uint64_t n = 0; n < m->count; n++) {
            if (m->state[n] == OUT) {
                change(m, n, WAITING);
            }
        }
    }
    assert_int_equal(cursor_lag(c), m->waiting + m->out);
}

static void as_the_model_says(void **state)
{
    struct fixture *f = *state;
    struct model *m = calloc(1, sizeof(*m));
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    uint64_t rng = 42;
    for (unsigned i = 0; i < 40000; i++) {
        step(f, m, c, &rng);
        if (i % 10000 == 9999) {
            /* An orderly restart: what was confirmed out of order is given again, nothing else. */
            uint64_t position = cursor_position(c);
            fixture_close(f);
            fixture_open(f);
            c = spool_cursor(f->spool, SINK_SQLITE);
            for (uint64_t n = position - 1; n < m->count; n++) {
                change(m, n, WAITING);
            }
        }
    }
    assert_true(m->count > 5000);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(out_of_order),          TEST(rewind_skips_what_is_confirmed),  TEST(returned_comes_before_later_ones),
        TEST(the_window_has_an_end), TEST(the_window_lies_in_few_segments), TEST(oldest),
        TEST(as_the_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
