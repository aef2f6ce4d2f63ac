/* The SQLite sink when something happens to its file. */
#include "sqlite_scene.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

static bool can_mount;

static void test_locked(void **state)
{
    struct scene *s = *state;
    sqlite3 *other = NULL;
    scene_start(s);
    scene_append_many(s, 10);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(sqlite3_open(s->world->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    scene_append_many(s, 10);
    assert_true(scene_run(s, 0, scene_is_waiting));
    scene_run(s, 1500, NULL);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 10);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_true(scene_is_running(s));
    assert_int_equal(scene_rows(s), 20);
    assert_int_equal(scene_logged("sqlite.waiting"), 1);
    assert_int_equal(scene_logged("sqlite.recovered"), 1);
    assert_true(metric_get(&s->stats.retried) >= 10);
    world_check_counts(s->world);
    sqlite3_close(other);
}

/* Locked when the broker starts: it starts all the same, and the sink finds the file when it can. */
static void test_locked_at_start(void **state)
{
    struct scene *s = *state;
    sqlite3 *other = NULL;
    assert_int_equal(world_open(s->world), E_OK);
    world_close(s->world);
    assert_int_equal(sqlite3_open(s->world->path, &other), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(other, "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; DELETE FROM sensor", NULL, NULL, NULL),
        SQLITE_OK);
    scene_start(s);
    assert_true(scene_is_waiting(s));
    scene_run(s, 300, NULL);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    /* Without any message: the state is right again. */
    assert_true(scene_run(s, 0, scene_is_running));
    scene_append_many(s, 10);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(scene_rows(s), 10);
}

static void test_disk_full(void **state)
{
    struct scene *s = *state;
    if (!can_mount) {
        skip();
    }
    world_mount(s->world, 600);
    scene_start(s);
    scene_append_many(s, 30000);
    assert_true(scene_run(s, 0, scene_is_waiting));
    assert_int_equal(scene_logged("sqlite.waiting"), 1);
    assert_int_equal(scene_logged("error=no-space"), 1);
    uint64_t lag = cursor_lag(spool_cursor(s->spool, SINK_SQLITE));
    assert_int_equal(scene_rows(s), 30000 - (int64_t)lag);
    scene_run(s, 1500, NULL);
    assert_int_equal(scene_logged("sqlite.waiting"), 1);
    world_remount(s->world, 30000);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(scene_rows(s), 30000);
    assert_int_equal(metric_get(&s->stats.confirmed), 30000);
    assert_int_equal(scene_logged("sqlite.recovered"), 1);
    world_check_counts(s->world);
}

static void test_file_deleted(void **state)
{
    struct scene *s = *state;
    scene_start(s);
    scene_append_many(s, 10);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(unlink(s->world->path), 0);
    scene_append_many(s, 7);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(scene_rows(s), 7);
    assert_int_equal(scene_logged("moved or deleted"), 1);
    assert_int_equal(scene_logged("sqlite.recovered"), 1);
    world_check_counts(s->world);
}

static void ruin(const char *path)
{
    static char junk[4096];
    struct stat st = {0};
    memset(junk, 0xA5, sizeof(junk));
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    for (off_t at = 4096; at < st.st_size; at += 4096) {
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at), (ssize_t)sizeof(junk));
    }
    close(fd);
}

/* Said plainly, looked at slowly; whoever repairs it pauses and resumes the sink, or waits. */
static void test_file_corrupt(void **state)
{
    struct scene *s = *state;
    char other[120];
    scene_append_many(s, 3000);
    scene_start(s);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    scene_stop(s, 1000);
    ruin(s->world->path);
    scene_start(s);
    scene_append_many(s, 10);
    assert_true(scene_run(s, 0, scene_has_failed));
    scene_run(s, 1500, NULL);
    assert_true(scene_has_failed(s));
    assert_int_equal(scene_logged("sqlite.unusable"), 1);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 10);
    snprintf(other, sizeof(other), "%s.bad", s->world->path);
    assert_int_equal(rename(s->world->path, other), 0);
    s->sink->ops->pause(s->sink, true);
    s->sink->ops->pause(s->sink, false);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_int_equal(scene_rows(s), 10);
}

static void copy_file(const char *from, const char *to)
{
    static char text[1 << 20];
    int in = open(from, O_RDONLY);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(in >= 0 && out >= 0);
    ssize_t n = read(in, text, sizeof(text));
    assert_in_range(n, 4097, sizeof(text) - 1);
    assert_int_equal(write(out, text, (size_t)n), n);
    close(in);
    close(out);
}

/* A disk that cannot read for a second looks like a damaged file: nobody waits a minute for it. */
static void test_damage_that_passes(void **state)
{
    struct scene *s = *state;
    char good[120];
    snprintf(good, sizeof(good), "%s.good", s->world->path);
    scene_append_many(s, 3000);
    scene_start(s);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    scene_stop(s, 1000);
    copy_file(s->world->path, good);
    ruin(s->world->path);
    s->options.sqlite_retention =
        3600 * 1000; /* does not say that the file is good while the batch says that it is not */
    scene_start(s);
    scene_append_many(s, 10);
    assert_true(scene_run(s, 0, scene_has_failed));
    scene_run(s, 300, NULL);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 10);
    copy_file(good, s->world->path);
    assert_true(scene_run(s, 0, scene_nothing_waits));
    assert_true(scene_is_running(s));
    assert_int_equal(scene_rows(s), 3010);
    assert_int_equal(scene_logged("sqlite.unusable"), 1);
    assert_int_equal(scene_logged("sqlite.recovered"), 1);
    world_check_counts(s->world);
    assert_int_equal(unlink(good), 0);
}

static void test_stop_while_locked(void **state)
{
    struct scene *s = *state;
    sqlite3 *other = NULL;
    scene_start(s);
    assert_int_equal(sqlite3_open(s->world->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    scene_append_many(s, 10);
    scene_run(s, 50, NULL);
    struct mono begin = mono_now();
    scene_stop(s, 100);
    assert_in_range((mono_now().ns - begin.ns) / 1000000, 0, 700);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 10);
    sqlite3_close(other);
}

int main(void)
{
    can_mount = world_can_mount();
    log_init(scene_on_log, NULL, LOG_INFO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_locked, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_locked_at_start, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_file_deleted, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_file_corrupt, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_damage_that_passes, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_stop_while_locked, scene_setup, scene_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
