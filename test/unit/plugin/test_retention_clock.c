/* The time by which old rows are deleted, when the wall clock leaps. */
#include "unit.h"

#include "base/log.h"
#include "plugin/retention_clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOUR INT64_C(3600000)
#define YEAR (INT64_C(365) * 24 * HOUR)
#define START INT64_C(1700000000000)

static const struct wall unknown = {INT64_MAX};
static unsigned lines;

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    lines += strncmp(line, "sqlite.clock-ahead: ", 20) == 0;
}

/* A machine that has been up for a while; `at` ms later its wall clock shows START + at + ahead. */
static int64_t ask(struct retention_clock *c, int64_t at, int64_t ahead, uint64_t hold)
{
    struct mono now = {(uint64_t)(123456789 + at) * 1000000u};
    return retention_clock_now(c, (struct wall){START + at + ahead}, now, hold).ms - START - at;
}

static struct retention_clock started(struct wall seen)
{
    struct retention_clock c;
    lines = 0;
    retention_clock_init(&c, seen, (struct wall){START}, (struct mono){UINT64_C(123456789) * 1000000u});
    return c;
}

static void test_follows_the_wall_clock(void **state)
{
    (void)state;
    struct retention_clock c = started(unknown);
    assert_int_equal(ask(&c, 0, 0, HOUR), 0);
    assert_int_equal(ask(&c, 60000, 250, HOUR), 250);
    assert_int_equal(ask(&c, 90000, HOUR, HOUR), HOUR);
    assert_int_equal(ask(&c, 120000, -YEAR, HOUR), -YEAR);
    assert_int_equal(lines, 0);
}

static void test_leap_that_passes(void **state)
{
    (void)state;
    struct retention_clock c = started(unknown);
    assert_int_equal(ask(&c, 60000, 5 * YEAR, HOUR), 0);
    assert_int_equal(ask(&c, 600000, 5 * YEAR + 10, HOUR), 0);
    assert_int_equal(lines, 1);
    assert_int_equal(ask(&c, 660000, 5, HOUR), 5);
    /* The next one waits as long. */
    assert_int_equal(ask(&c, HOUR + 60000, 5 * YEAR, HOUR), 5);
    assert_int_equal(lines, 2);
}

static void test_leap_that_stays(void **state)
{
    (void)state;
    struct retention_clock c = started(unknown);
    assert_int_equal(ask(&c, 60000, 2 * HOUR, HOUR), 0);
    assert_int_equal(ask(&c, 59999 + HOUR, 2 * HOUR + 9, HOUR), 0);
    assert_int_equal(ask(&c, 60000 + HOUR, 2 * HOUR + 9, HOUR), 2 * HOUR + 9);
    assert_int_equal(ask(&c, 61000 + HOUR, 2 * HOUR + 9, HOUR), 2 * HOUR + 9);
    assert_int_equal(lines, 1);
}

/* A clock that wanders waits for its last leap. */
static void test_leap_after_leap(void **state)
{
    (void)state;
    struct retention_clock c = started(unknown);
    assert_int_equal(ask(&c, 0, YEAR, HOUR), 0);
    assert_int_equal(ask(&c, HOUR / 2, 10 * YEAR, HOUR), 0);
    assert_int_equal(ask(&c, HOUR, 10 * YEAR, HOUR), 0);
    assert_int_equal(ask(&c, HOUR + HOUR / 2, 10 * YEAR, HOUR), 10 * YEAR);
    assert_int_equal(lines, 2);
}

static void test_short_retention(void **state)
{
    (void)state;
    struct retention_clock c = started(unknown);
    assert_int_equal(ask(&c, 1000, YEAR, 2000), 0);
    assert_int_equal(ask(&c, 3000, YEAR, 2000), YEAR);
}

/* What an earlier run has seen. */
static void test_start(void **state)
{
    (void)state;
    struct retention_clock c = started((struct wall){START - 5 * YEAR});
    assert_int_equal(ask(&c, 0, 0, HOUR), -5 * YEAR);
    assert_int_equal(ask(&c, 60000, -5 * YEAR + 30, HOUR), -5 * YEAR + 30); /* NTP came */
    assert_int_equal(lines, 1);
    c = started((struct wall){START - 5 * YEAR}); /* it was off so long */
    assert_int_equal(ask(&c, 0, 0, HOUR), -5 * YEAR);
    assert_int_equal(ask(&c, HOUR, 0, HOUR), 0);
    c = started((struct wall){START - 600000}); /* a restart */
    assert_int_equal(ask(&c, 0, 0, HOUR), 0);
    c = started((struct wall){START + 5 * YEAR}); /* the clock of the earlier run was wrong */
    assert_int_equal(ask(&c, 0, 0, HOUR), 0);
    assert_int_equal(lines, 0);
}

static void touch(const char *path, time_t seconds)
{
    const struct timespec at = {.tv_sec = seconds, .tv_nsec = 5000000};
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(utimensat(AT_FDCWD, path, (const struct timespec[]){at, at}, 0), 0);
}

static void test_seen(void **state)
{
    (void)state;
    char dir[] = "/tmp/retention-XXXXXX";
    char path[64];
    char wal[80];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/store.db", dir);
    snprintf(wal, sizeof(wal), "%s-wal", path);
    assert_int_equal(retention_clock_seen(path).ms, INT64_MAX);
    touch(path, 1000000);
    assert_int_equal(retention_clock_seen(path).ms, 1000000005);
    touch(wal, 1000001);
    assert_int_equal(retention_clock_seen(path).ms, 1000001005);
    touch(wal, 10);
    assert_int_equal(retention_clock_seen(path).ms, 1000000005);
    unlink(path);
    unlink(wal);
    rmdir(dir);
}

int main(void)
{
    log_init(on_log, NULL, LOG_INFO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows_the_wall_clock),
        cmocka_unit_test(test_leap_that_passes),
        cmocka_unit_test(test_leap_that_stays),
        cmocka_unit_test(test_leap_after_leap),
        cmocka_unit_test(test_short_retention),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
