/* The SQLite sink: the way of a message, the end, retention, mistakes. */
#include "sqlite_scene.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the way of a message --- */

static void test_stores(void **state)
{
    struct scene *s = *state;
    scene_start(s);
    scene_append(s, "test", "$aws/things/test/shadow/update",
                 BYTES("{\"state\":{\"desired\":{\"temperature\":21.50}}}"));
    scene_append(s, "s1", "a/s1/b", BYTES("{\"x\":123456789012345678901234567890}"));
    scene_append(s, "raw", "a/raw/b", BYTES("\xFF\xFE"));
    struct mono begin = mono_now();
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_in_range((mono_now().ns - begin.ns) / 1000000, 0, 900);
    assert_int_equal(scene_rows(s), 3);
    assert_int_equal(world_ask(s->world, "SELECT count(*) FROM measurement WHERE sensor = 'test' AND topic ="
                                         " '$aws/things/test/shadow/update' AND message = '{\"temperature\":21.50}'"),
                     1);
    assert_int_equal(world_ask(s->world, "SELECT count(*) FROM measurement WHERE message IN ('{\"raw\":\"//4=\"}',"
                                         " '{\"x\":123456789012345678901234567890}')"),
                     2);
    assert_true(llabs(world_ask(s->world, "SELECT max(timestamp) FROM measurement") - wall_now().ms) < 10000);
    assert_int_equal(metric_get(&s->stats.sent), 3);
    assert_int_equal(metric_get(&s->stats.confirmed), 3);
    assert_int_equal(metric_get(&s->stats.retried), 0);
    assert_int_equal(metric_get(&s->stats.state), SINK_RUNNING);
    assert_int_equal(scene_logged("sqlite.opened"), 1);
}

static void test_batches(void **state)
{
    struct scene *s = *state;
    scene_append_many(s, 20000);
    scene_start(s);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(scene_rows(s), 20000);
    assert_int_equal(metric_get(&s->stats.confirmed), 20000);
    world_check_counts(s->world);
    /* A stream is committed about once a second: of 30 records over 1.5 s the last are not there yet (of so many over a longer time, on a
     * busy machine, it may be few). */
    uint64_t largest_lag = 0;
    scene_run(s, 1100, NULL);
    struct mono slow = mono_add_ms(mono_now(), 3000);
    for (int i = 0; i < 30; i++) {
        scene_append_many(s, 1);
        scene_run(s, 50, NULL);
        uint64_t lag = cursor_lag(spool_cursor(s->spool, SINK_SQLITE));
        largest_lag = lag > largest_lag ? lag : largest_lag;
    }
    assert_in_range(largest_lag, mono_reached(mono_now(), slow) ? 1 : 5, 25);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(scene_rows(s), 20030);
}

static void test_rejects(void **state)
{
    struct scene *s = *state;
    scene_append_many(s, 10);
    scene_append(s, "", "a/b", BYTES("{}"));
    scene_append_many(s, 10);
    scene_append(s, "x", "$aws/things/x/shadow/update", BYTES("{}"));
    scene_append_many(s, 10);
    scene_start(s);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(scene_rows(s), 30);
    assert_int_equal(rejected_count(s->rejected), 2);
    assert_int_equal(metric_get(&s->stats.rejected), 2);
    assert_int_equal(metric_get(&s->stats.confirmed), 30);
    assert_int_equal(scene_logged("rejected.record"), 2);
    assert_int_equal(scene_logged("the mapping gives this message no sensor name"), 1);
}

static struct {
    uint64_t last, largest;
} steps; /* of the number of files */

static bool all_in_steps(struct scene *s)
{
    uint64_t count = rejected_count(s->rejected);
    steps.largest = count - steps.last > steps.largest ? count - steps.last : steps.largest;
    steps.last = count;
    return scene_nothing_waits(s);
}

/* Each one is a file: between a few of them the loop turns to others. */
static void test_rejects_a_few_at_a_time(void **state)
{
    struct scene *s = *state;
    for (unsigned i = 0; i < 500; i++) {
        scene_append(s, "", "a/b", BYTES("{}"));
    }
    scene_append_many(s, 10);
    scene_start(s);
    assert_true(scene_run(s, 0, all_in_steps));
    assert_in_range(steps.largest, 1, 100);
    assert_int_equal(rejected_count(s->rejected), 500);
    assert_int_equal(metric_get(&s->stats.rejected), 500);
    assert_int_equal(metric_get(&s->stats.confirmed), 10);
    assert_int_equal(scene_rows(s), 10);
}

static bool twenty_rows(struct scene *s)
{
    return scene_rows(s) == 20;
}

static bool ten_rows(struct scene *s)
{
    return scene_rows(s) == 10;
}

/* What cannot be set aside stays in the spool, and holds up nothing else. */
static void test_rejected_folder_fails(void **state)
{
    struct scene *s = *state;
    char path[120];
    snprintf(path, sizeof(path), "%s/rejected/new.tmp", s->spool_dir);
    assert_int_equal(mkdir(path, 0700), 0);
    scene_start(s);
    scene_append(s, "", "a/b", BYTES("{}"));
    scene_append_many(s, 10);
    assert_true(scene_run(s, 0, ten_rows));
    scene_run(s, 100, NULL);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 1);
    scene_append_many(s, 10);
    assert_true(scene_run(s, 0, twenty_rows));
    scene_run(s, 100, NULL);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 1);
    assert_true(metric_get(&s->stats.retried) > 0);
    assert_in_range(metric_get(&s->stats.sent), 21, 60);
    assert_int_equal(rmdir(path), 0);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(rejected_count(s->rejected), 1);
    assert_int_equal(scene_rows(s), 20);
}

static void test_pause(void **state)
{
    struct scene *s = *state;
    scene_start(s);
    s->sink->ops->pause(s->sink, true);
    scene_append_many(s, 5);
    scene_run(s, 200, NULL);
    assert_int_equal(metric_get(&s->stats.state), SINK_PAUSED);
    assert_int_equal(scene_rows(s), 0);
    s->sink->ops->pause(s->sink, false);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(metric_get(&s->stats.state), SINK_RUNNING);
    assert_int_equal(scene_rows(s), 5);
}

/* --- the end --- */

static void test_stop_drains(void **state)
{
    struct scene *s = *state;
    scene_start(s);
    scene_run(s, 50, NULL);
    scene_append_many(s, 15000);
    scene_stop(s, 5000);
    assert_true(scene_nothing_waits(s));
    assert_int_equal(scene_rows(s), 15000);
    assert_int_equal(metric_get(&s->stats.state), SINK_STOPPED);
    /* The next start goes on. */
    scene_append_many(s, 10);
    scene_start(s);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(scene_rows(s), 15010);
    world_check_counts(s->world);
}

static void test_stop_at_once(void **state)
{
    struct scene *s = *state;
    scene_start(s);
    scene_append_many(s, 15000);
    scene_run(s, 5, NULL);
    scene_stop(s, 0);
    uint64_t lag = cursor_lag(spool_cursor(s->spool, SINK_SQLITE));
    assert_int_equal(scene_rows(s), 15000 - (int64_t)lag);
}

static void test_stop_before_running(void **state)
{
    struct scene *s = *state;
    char error[256];
    assert_int_equal(scene_create_sink(s, error), E_OK);
    scene_stop(s, 1000);
}

/* --- retention, reload, mistakes --- */

static void test_retention(void **state)
{
    struct scene *s = *state;
    assert_int_equal(world_open(s->world), E_OK);
    assert_int_equal(world_store(s->world, "old", 1000, 5000), E_OK);
    world_close(s->world);
    s->options.sqlite_retention = 3600 * 1000;
    scene_start(s);
    scene_append_many(s, 10);
    assert_true(scene_run(s, 500, scene_nothing_waits));
    assert_int_equal(scene_rows(s), 10);
    assert_int_equal(world_ask(s->world, "SELECT count(*) FROM sensor"), 1);
    /* Taken away, and given again, while it runs. */
    s->options.sqlite_retention = 0;
    s->sink->ops->reload(s->sink, &s->options);
    scene_run(s, 1200, NULL);
    assert_int_equal(scene_rows(s), 10);
    s->options.sqlite_retention = 1;
    s->sink->ops->reload(s->sink, &s->options);
    scene_run(s, 300, NULL);
    assert_int_equal(scene_rows(s), 0);
    world_check_counts(s->world);
    scene_append_many(s, 10);
    scene_run(s, 1500, scene_nothing_waits);
    assert_int_equal(scene_rows(s), 0);
}

static void written_days_ago(const char *path, int days)
{
    const struct timespec then = {.tv_sec = (time_t)(wall_now().ms / 1000) - (time_t)days * 86400};
    assert_int_equal(utimensat(AT_FDCWD, path, (const struct timespec[]){then, then}, 0), 0);
}

/* A clock that is years ahead at the start does not take the history away; one that stays so does. */
static void test_retention_and_the_clock(void **state)
{
    struct scene *s = *state;
    char wal[120];
    const int64_t year_ago = wall_now().ms - INT64_C(365) * 86400000;
    snprintf(wal, sizeof(wal), "%s-wal", s->world->path);
    assert_int_equal(world_open(s->world), E_OK);
    assert_int_equal(world_store(s->world, "old", year_ago - INT64_C(10) * 86400000, 5), E_OK);
    assert_int_equal(world_store(s->world, "kept", year_ago - 7200000, 5), E_OK);
    world_close(s->world);
    written_days_ago(s->world->path, 365);
    written_days_ago(wal, 365);
    s->options.sqlite_retention = 86400000;
    scene_start(s);
    scene_append_many(s, 10);
    assert_true(scene_run(s, 500, scene_nothing_waits));
    assert_int_equal(world_ask(s->world, "SELECT count(*) FROM measurement WHERE sensor = 'old'"), 0);
    assert_int_equal(world_ask(s->world, "SELECT count(*) FROM measurement WHERE sensor = 'kept'"), 5);
    assert_int_equal(scene_logged("sqlite.clock-ahead"), 1);
    assert_int_equal(scene_logged("believed_in_s=3600"), 1);
    /* A retention of seconds has no history to lose. */
    scene_stop(s, 1000);
    written_days_ago(s->world->path, 365);
    written_days_ago(wal, 365);
    s->options.sqlite_retention = 1000;
    scene_start(s);
    scene_run(s, 2500, NULL);
    assert_int_equal(scene_rows(s), 0);
}

static void expect_mistake(struct scene *s, const char *reason)
{
    char error[256] = "";
    assert_int_not_equal(scene_create_sink(s, error), E_OK);
    if (strncmp(error, "option sqlite_file: ", 20) != 0 || !strstr(error, reason)) {
        print_error("%s\n", error);
    }
    assert_int_equal(strncmp(error, "option sqlite_file: ", 20), 0);
    assert_non_null(strstr(error, reason));
    assert_null(s->sink);
}

static void test_mistakes(void **state)
{
    struct scene *s = *state;
    char good[80];
    memcpy(good, s->world->path, sizeof(good));
    assert_false(sink_sqlite_type.wanted(&(struct plugin_options){.sqlite_file = NULL}));
    snprintf(s->world->path, sizeof(s->world->path), "%s/no/store.db", s->world->dir);
    expect_mistake(s, "No such file or directory");
    snprintf(s->world->path, sizeof(s->world->path), "%s", s->world->dir);
    expect_mistake(s, "Is a directory");
    memcpy(s->world->path, good, sizeof(good));
    FILE *f = fopen(good, "w");
    assert_non_null(f);
    for (int i = 0; i < 1000; i++) {
        fputs("a text ", f);
    }
    fclose(f);
    expect_mistake(s, "file is not a database");
}

int main(void)
{
    log_init(scene_on_log, NULL, LOG_INFO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stores, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_batches, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_rejects, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_rejects_a_few_at_a_time, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_rejected_folder_fails, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_pause, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_stop_drains, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_stop_at_once, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_stop_before_running, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_retention, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_retention_and_the_clock, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_mistakes, scene_setup, scene_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
