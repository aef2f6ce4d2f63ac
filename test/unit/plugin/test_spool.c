/* plugin/spool.h: appending, cursors, limits, reopening. */
#include "unit.h"

#include "plugin/spool_internal.h"
#include "spool_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SQLITE SINK_BIT(SINK_SQLITE)
#define IOTCORE SINK_BIT(SINK_IOTCORE)

static int set_up(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_init(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_finish(*state);
    free(*state);
    return 0;
}

static void append_many(struct fixture *f, uint64_t first, uint64_t count, size_t size, uint8_t sinks)
{
    for (uint64_t n = first; n < first + count; n++) {
        assert_int_equal(fixture_append(f, n, size, sinks), E_OK);
    }
}

static void expect_drain(struct fixture *f, enum sink_id sink, uint64_t first, size_t count)
{
    uint64_t *numbers = calloc(count + 1, sizeof(*numbers));
    assert_int_equal(fixture_drain(f, sink, count + 1, numbers), count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(numbers[i], first + i);
    }
    free(numbers);
}

static uint64_t lag(struct fixture *f, enum sink_id sink)
{
    return cursor_lag(spool_cursor(f->spool, sink));
}

static uint64_t dropped(struct fixture *f, enum sink_id sink)
{
    return cursor_dropped(spool_cursor(f->spool, sink));
}

static void records_come_back_in_order(void **state)
{
    struct fixture *f = *state;
    struct record r;
    fixture_open(f);
    assert_int_equal(cursor_next(spool_cursor(f->spool, SINK_SQLITE), &r), E_AGAIN);
    append_many(f, 0, 2000, 100, SQLITE);
    assert_int_equal(lag(f, SINK_SQLITE), 2000);
    expect_drain(f, SINK_SQLITE, 0, 2000);
    assert_int_equal(lag(f, SINK_SQLITE), 0);
    assert_int_equal(metric_get(&spool_stats(f->spool)->appended), 2000);
}

static void reopening_goes_on_where_it_was(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    append_many(f, 0, 1500, 100, SQLITE);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, 700, NULL), 700);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(lag(f, SINK_SQLITE), 800);
    append_many(f, 1500, 10, 100, SQLITE);
    expect_drain(f, SINK_SQLITE, 700, 810);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(lag(f, SINK_SQLITE), 0);
    assert_int_equal(metric_get(&spool_stats(f->spool)->torn), 0);
    assert_int_equal(metric_get(&spool_stats(f->spool)->damaged), 0);
}

static void crash_loses_nothing(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    append_many(f, 0, 1500, 100, SQLITE);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, 700, NULL), 700);
    fixture_crash(f);
    fixture_open(f);
    /* The cursor was not written: from the beginning. Nothing was torn: a record is there or not. */
    assert_int_equal(metric_get(&spool_stats(f->spool)->torn), 0);
    expect_drain(f, SINK_SQLITE, 0, 1500);
}

static void every_field_survives(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    struct record in = {.sinks = SQLITE,
                        .qos = 2,
                        .remote_qos = 1,
                        .retain = true,
                        .payload_format = 1,
                        .topic = BYTES("a/b"),
                        .remote_topic = BYTES("remote/a/b"),
                        .payload = BYTES("\0\1\2"),
                        .client_id = BYTES("client"),
                        .content_type = BYTES("text/plain"),
                        .response_topic = BYTES("answer"),
                        .correlation_data = BYTES("\xff\0"),
                        .user_properties = BYTES("\0\1a\0\1b"),
                        .sensor = BYTES("s"),
                        .time_path = BYTES("t.u"),
                        .message_path = BYTES("m"),
                        .table = BYTES("table")};
    struct record out;
    assert_int_equal(spool_append(f->spool, &in), E_OK);
    assert_int_equal(in.sequence, 1);
    assert_int_equal(in.capture_ms, f->wall.ms);
    assert_int_equal(cursor_next(spool_cursor(f->spool, SINK_SQLITE), &out), E_OK);
    assert_int_equal(out.sequence, 1);
    assert_int_equal(out.capture_ms, in.capture_ms);
    assert_int_equal(out.sinks, SQLITE);
    assert_true(out.qos == 2 && out.remote_qos == 1 && out.retain && out.payload_format == 1);
    const struct bytes *from = &in.topic;
    const struct bytes *to = &out.topic;
    for (; from <= &in.table; from++, to++) {
        assert_true(bytes_equal(*from, *to));
    }
}

static void what_cannot_be_stored_is_refused(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    assert_int_equal(fixture_append(f, 0, SPOOL_SEGMENT_MIN / 2 + 1, SQLITE), E_TOO_LARGE);
    assert_int_equal(fixture_append(f, 0, SPOOL_SEGMENT_MIN / 2 - 100, SQLITE), E_OK);
    assert_int_equal(fixture_append(f, 0, 10, 0), E_INVALID);
    assert_int_equal(fixture_append(f, 0, 10, IOTCORE), E_INVALID);
    assert_int_equal(fixture_append(f, 0, 10, SQLITE | IOTCORE), E_INVALID);
    assert_int_equal(metric_get(&spool_stats(f->spool)->refused), 4);
    expect_drain(f, SINK_SQLITE, 0, 1);
}

static void each_sink_has_its_own_place(void **state)
{
    struct fixture *f = *state;
    f->options.sinks = SQLITE | IOTCORE;
    fixture_open(f);
    for (uint64_t n = 0; n < 3000; n++) {
        assert_int_equal(fixture_append(f, n, 100, (uint8_t)(n % 3 == 0 ? SQLITE | IOTCORE : SQLITE)), E_OK);
    }
    assert_int_equal(lag(f, SINK_SQLITE), 3000);
    assert_int_equal(lag(f, SINK_IOTCORE), 1000);
    expect_drain(f, SINK_SQLITE, 0, 3000);
    assert_int_equal(metric_get(&spool_stats(f->spool)->records), 1000);
    uint64_t numbers[1001];
    assert_int_equal(fixture_drain(f, SINK_IOTCORE, 1001, numbers), 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(numbers[i], 3 * i);
    }
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(lag(f, SINK_SQLITE) + lag(f, SINK_IOTCORE), 0);
}

static void segments_go_once_every_sink_has_passed(void **state)
{
    struct fixture *f = *state;
    f->options.sinks = SQLITE | IOTCORE;
    fixture_open(f);
    append_many(f, 0, 3000, 100, SQLITE | IOTCORE);
    size_t segments = fixture_count_files(f, ".seg");
    assert_true(segments >= 5);
    expect_drain(f, SINK_SQLITE, 0, 3000);
    fixture_close(f);
    assert_int_equal(fixture_count_files(f, ".seg"), segments);
    fixture_open(f);
    expect_drain(f, SINK_IOTCORE, 0, 3000);
    fixture_close(f);
    assert_int_equal(fixture_count_files(f, ".seg"), 1);
    fixture_open(f);
    append_many(f, 3000, 1, 100, IOTCORE);
    expect_drain(f, SINK_IOTCORE, 3000, 1);
}

/* A stopped sink holds the segments with its own records, not those behind them. */
static void segments_go_from_the_middle(void **state)
{
    struct fixture *f = *state;
    f->options.sinks = SQLITE | IOTCORE;
    fixture_open(f);
    append_many(f, 0, 10, 100, SQLITE | IOTCORE);
    append_many(f, 10, 3000, 100, SQLITE);
    append_many(f, 3010, 10, 100, SQLITE | IOTCORE);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, 1000, NULL), 1000);
    fixture_close(f);
    fixture_open(f);
    expect_drain(f, SINK_SQLITE, 1000, 2020);
    fixture_close(f);
    assert_int_equal(fixture_count_files(f, ".seg"), 2);
    for (unsigned i = 0; i < 2; i++) {
        fixture_open(f);
        assert_int_equal(lag(f, SINK_IOTCORE), 20);
        assert_int_equal(metric_get(&spool_stats(f->spool)->dropped), 0);
        fixture_crash(f);
    }
    fixture_open(f);
    uint64_t numbers[21];
    assert_int_equal(fixture_drain(f, SINK_IOTCORE, 21, numbers), 20);
    assert_int_equal(numbers[9], 9);
    assert_int_equal(numbers[10], 3010);
    assert_int_equal(dropped(f, SINK_IOTCORE) + dropped(f, SINK_SQLITE), 0);
}

/* --- limits --- */

static void full_rejects(void **state)
{
    struct fixture *f = *state;
    uint64_t n = 0;
    fixture_open(f);
    while (fixture_append(f, n, 1000, SQLITE) == E_OK) {
        n++;
    }
    assert_true(n > 500);
    assert_int_equal(fixture_append(f, n, 1000, SQLITE), E_FULL);
    assert_true(metric_get(&spool_stats(f->spool)->bytes) <= f->options.max_size);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, 100, NULL), 100);
    append_many(f, n, 1, 1000, SQLITE);
    expect_drain(f, SINK_SQLITE, 100, (size_t)n + 1 - 100);
    assert_int_equal(dropped(f, SINK_SQLITE), 0);
}

static void full_drops_the_oldest(void **state)
{
    struct fixture *f = *state;
    f->options.full = SPOOL_DROP_OLDEST;
    fixture_open(f);
    append_many(f, 0, 3000, 1000, SQLITE);
    assert_true(metric_get(&spool_stats(f->spool)->bytes) <= f->options.max_size);
    assert_true(fixture_count_files(f, ".seg") <= 16);
    uint64_t *numbers = calloc(3000, sizeof(*numbers));
    size_t count = fixture_drain(f, SINK_SQLITE, 3000, numbers);
    assert_true(count > 500 && count < 1100);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(numbers[i], 3000 - count + i);
    }
    free(numbers);
    assert_int_equal(dropped(f, SINK_SQLITE), 3000 - count);
    assert_int_equal(metric_get(&spool_stats(f->spool)->dropped), 3000 - count);
    assert_int_equal(lag(f, SINK_SQLITE), 0);
}

/* Counts add up at every moment, whatever is in flight when its segment is dropped. */
static void dropped_while_in_flight(void **state)
{
    struct fixture *f = *state;
    struct record held[200];
    f->options.full = SPOOL_DROP_OLDEST;
    fixture_open(f);
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    append_many(f, 0, 200, 1000, SQLITE);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(cursor_next(c, &held[i]), E_OK);
    }
    append_many(f, 200, 3000, 1000, SQLITE);
    /* Borrowed records stay readable although their segments are gone. */
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(fixture_number(&held[i]), i);
    }
    for (unsigned i = 0; i < 200; i += 2) {
        cursor_confirm(c, held[i].sequence);
    }
    assert_int_equal(lag(f, SINK_SQLITE) + 100 + dropped(f, SINK_SQLITE), 3200);
    uint64_t before = dropped(f, SINK_SQLITE);
    cursor_rewind(c);
    assert_int_equal(dropped(f, SINK_SQLITE), before + 100);
    size_t count = fixture_drain(f, SINK_SQLITE, 3200, NULL);
    assert_int_equal(count + 100 + dropped(f, SINK_SQLITE), 3200);
    assert_int_equal(lag(f, SINK_SQLITE), 0);
}

static void returned_records_of_a_dropped_segment_are_lost(void **state)
{
    struct fixture *f = *state;
    struct record r;
    f->options.full = SPOOL_DROP_OLDEST;
    fixture_open(f);
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    append_many(f, 0, 50, 1000, SQLITE);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(cursor_next(c, &r), E_OK);
    }
    cursor_rewind(c);
    append_many(f, 50, 2000, 1000, SQLITE);
    size_t count = fixture_drain(f, SINK_SQLITE, 2050, NULL);
    assert_int_equal(count + dropped(f, SINK_SQLITE), 2050);
    assert_int_equal(lag(f, SINK_SQLITE), 0);
}

static void sizes_are_clamped(void **state)
{
    struct fixture *f = *state;
    f->options.max_size = 1;
    f->options.segment_size = 0;
    fixture_open(f);
    append_many(f, 0, 100, 1000, SQLITE);
    expect_drain(f, SINK_SQLITE, 0, 100);
    spool_set_limits(f->spool, 0, SPOOL_DROP_OLDEST, SPOOL_SYNC_ALWAYS);
    append_many(f, 100, 500, 1000, SQLITE);
    assert_true(metric_get(&spool_stats(f->spool)->bytes) <= 4 * SPOOL_SEGMENT_MIN);
    size_t count = fixture_drain(f, SINK_SQLITE, 500, NULL);
    assert_int_equal(count + dropped(f, SINK_SQLITE), 500);
}

static void sync_always(void **state)
{
    struct fixture *f = *state;
    f->options.sync_ms = SPOOL_SYNC_ALWAYS;
    fixture_open(f);
    append_many(f, 0, 200, 1000, SQLITE);
    fixture_crash(f);
    fixture_open(f);
    expect_drain(f, SINK_SQLITE, 0, 200);
}

/* --- opening --- */

static void the_folder_is_private(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    fixture_open(f);
    assert_int_equal(stat(f->dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void one_process_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct spool *other;
    struct spool_error error;
    char pid[32];
    fixture_open(f);
    assert_int_equal(spool_open(&f->options, &other, &error), E_BUSY);
    snprintf(pid, sizeof(pid), "pid %ld", (long)getpid());
    assert_non_null(strstr(error.text, f->dir));
    assert_non_null(strstr(error.text, pid));
    fixture_close(f);
    fixture_open(f);
}

static void no_parent_folder(void **state)
{
    struct fixture *f = *state;
    struct spool *s;
    struct spool_error error;
    f->options.dir = "/nonexistent/for/sure";
    assert_int_equal(spool_open(&f->options, &s, &error), E_NOT_FOUND);
    assert_non_null(strstr(error.text, "/nonexistent/for/sure"));
    f->options.dir = "/dev/null";
    assert_int_not_equal(spool_open(&f->options, &s, &error), E_OK);
    f->options.dir = f->dir;
}

static void sink_that_is_not_configured_any_more(void **state)
{
    struct fixture *f = *state;
    f->options.sinks = SQLITE | IOTCORE;
    fixture_open(f);
    append_many(f, 0, 3000, 100, SQLITE | IOTCORE);
    assert_int_equal(fixture_drain(f, SINK_IOTCORE, 10, NULL), 10);
    fixture_close(f);
    f->options.sinks = SQLITE;
    fixture_open(f);
    assert_int_equal(fixture_count_files(f, "cursor-iotcore.unused"), 1);
    /* Its records hold no segments. */
    expect_drain(f, SINK_SQLITE, 0, 3000);
    append_many(f, 3000, 10, 100, SQLITE);
    fixture_close(f);
    assert_int_equal(fixture_count_files(f, ".seg"), 1);
    /* When it comes back it starts at the end. */
    f->options.sinks = SQLITE | IOTCORE;
    fixture_open(f);
    assert_int_equal(lag(f, SINK_IOTCORE), 0);
    assert_int_equal(fixture_count_files(f, ".unused"), 0);
    append_many(f, 3010, 5, 100, SQLITE | IOTCORE);
    expect_drain(f, SINK_IOTCORE, 3010, 5);
    expect_drain(f, SINK_SQLITE, 3000, 15);
}

static void new_sink_starts_at_the_end(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    append_many(f, 0, 2000, 100, SQLITE);
    fixture_close(f);
    f->options.sinks = SQLITE | IOTCORE;
    fixture_open(f);
    assert_int_equal(lag(f, SINK_IOTCORE), 0);
    append_many(f, 2000, 2000, 100, SQLITE | IOTCORE);
    expect_drain(f, SINK_IOTCORE, 2000, 2000);
    expect_drain(f, SINK_SQLITE, 0, 4000);
}

/* --- times of capture --- */

static void times_of_a_sensor_never_repeat(void **state)
{
    struct fixture *f = *state;
    int64_t last[10] = {0};
    uint64_t n = 0;
    for (unsigned run = 0; run < 4; run++) {
        fixture_open(f);
        append_many(f, n, 300, 100, SQLITE);
        struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
        struct record r;
        for (unsigned i = 0; i < 300; i++) {
            assert_int_equal(cursor_next(c, &r), E_OK);
            uint64_t number = fixture_number(&r);
            assert_true(r.capture_ms > last[number % 10]);
            assert_true(number >= n);
            last[number % 10] = r.capture_ms;
            cursor_confirm(c, r.sequence);
        }
        n += 300;
        f->wall.ms += run == 0 ? 0 : -25; /* the same millisecond again; steps back */
        if (run < 2) {
            fixture_close(f);
        } else {
            fixture_crash(f);
            fixture_open(f);
            fixture_drain(f, SINK_SQLITE, 10000, NULL);
            fixture_close(f);
        }
    }
}

/* A record from when the clock was years ahead is no reason to doubt the clock at each start, and to give times out twice. */
static void a_clock_that_was_ahead_is_history(void **state)
{
    struct fixture *f = *state;
    int64_t last[10] = {0};
    fixture_open(f);
    f->wall.ms += INT64_C(5) * 365 * 86400000;
    append_many(f, 0, 1, 100, SQLITE);
    f->wall.ms -= INT64_C(5) * 365 * 86400000;
    for (unsigned run = 0; run < 3; run++) {
        struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
        struct record r;
        append_many(f, 1 + run * 100, 100, 100, SQLITE);
        while (cursor_next(c, &r) == E_OK) {
            uint64_t number = fixture_number(&r);
            assert_true(number == 0 || r.capture_ms > last[number % 10]);
            assert_true(number == 0 || r.capture_ms < f->wall.ms + 1000);
            last[number % 10] = number == 0 ? 0 : r.capture_ms;
            cursor_confirm(c, r.sequence);
        }
        fixture_close(f);
        fixture_open(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(records_come_back_in_order),
        TEST(reopening_goes_on_where_it_was),
        TEST(crash_loses_nothing),
        TEST(every_field_survives),
        TEST(what_cannot_be_stored_is_refused),
        TEST(each_sink_has_its_own_place),
        TEST(segments_go_once_every_sink_has_passed),
        TEST(segments_go_from_the_middle),
        TEST(full_rejects),
        TEST(full_drops_the_oldest),
        TEST(dropped_while_in_flight),
        TEST(returned_records_of_a_dropped_segment_are_lost),
        TEST(sizes_are_clamped),
        TEST(sync_always),
        TEST(the_folder_is_private),
        TEST(one_process_at_a_time),
        TEST(no_parent_folder),
        TEST(sink_that_is_not_configured_any_more),
        TEST(new_sink_starts_at_the_end),
        TEST(times_of_a_sensor_never_repeat),
        TEST(a_clock_that_was_ahead_is_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
