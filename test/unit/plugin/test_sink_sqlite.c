/* The SQLite sink on a real spool and a real file, with all that can happen to the file. */
#include "store/store_world.h"

#include "base/log.h"
#include "plugin/sink.h"

#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Spool and sink around a store_world, whose file the sink writes. */
struct scene {
    struct world *world;
    char spool_dir[80];
    uv_loop_t loop;
    struct spool *spool;
    struct rejected *rejected;
    struct sink *sink; /* NULL = stopped */
    struct sink_stats stats;
    struct plugin_options options;
    unsigned appended;
    bool spool_stopped;
};

static bool can_mount;
static char log_lines[8192];

static void on_log(void *ctx, enum log_level level, const char *line)
{
    size_t len = strlen(log_lines);
    (void)ctx;
    (void)level;
    snprintf(log_lines + len, sizeof(log_lines) - len, "%s\n", line);
}

static unsigned logged(const char *id)
{
    unsigned count = 0;
    for (const char *at = strstr(log_lines, id); at; at = strstr(at + 1, id)) {
        count++;
    }
    return count;
}

/* --- scene --- */

static void on_records(void *ctx, enum sink_id id)
{
    struct scene *s = ctx;
    assert_int_equal(id, SINK_SQLITE);
    if (s->sink) {
        s->sink->ops->wake(s->sink);
    }
}

static void open_spool(struct scene *s)
{
    struct spool_error why = {""};
    struct spool_options options = {.dir = s->spool_dir,
                                    .max_size = 64 << 20,
                                    .full = SPOOL_REJECT,
                                    .sync_ms = SPOOL_SYNC_NEVER,
                                    .sinks = SINK_BIT(SINK_SQLITE)};
    assert_int_equal(spool_open(&options, &s->spool, &why), E_OK);
    assert_int_equal(rejected_open(s->spool_dir, &s->rejected), E_OK);
}

static enum err create_sink(struct scene *s, char error[static 256])
{
    struct sink_host host = {
        .loop = &s->loop, .cursor = spool_cursor(s->spool, SINK_SQLITE), .rejected = s->rejected, .stats = &s->stats};
    s->options.sqlite_file = s->world->path;
    return sink_sqlite_type.create(&host, &s->options, &s->sink, error);
}

static void start(struct scene *s)
{
    char error[256] = "";
    assert_true(sink_sqlite_type.wanted(&(struct plugin_options){.sqlite_file = s->world->path}));
    assert_int_equal(create_sink(s, error), E_OK);
    s->sink->ops->wake(s->sink);
}

static void on_stopped(void *ctx)
{
    struct scene *s = ctx;
    s->sink = NULL;
}

static void on_spool_stopped(void *ctx)
{
    struct scene *s = ctx;
    s->spool_stopped = true;
}

static void stop(struct scene *s, uint32_t drain_ms)
{
    s->sink->ops->stop(s->sink, drain_ms, on_stopped, s);
    while (s->sink) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    void *world = NULL;
    log_lines[0] = 0;
    if (!s || world_setup(&world) != 0) {
        free(s);
        return -1;
    }
    s->world = world;
    snprintf(s->spool_dir, sizeof(s->spool_dir), "%s.spool", s->world->dir);
    uv_loop_init(&s->loop);
    open_spool(s);
    *state = s;
    return spool_start(s->spool, &s->loop, on_records, s) == E_OK ? 0 : -1;
}

static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        char name[400];
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(name) != 0) {
            remove_folder(name);
        }
    }
    if (dir) {
        closedir(dir);
    }
    rmdir(path);
}

static int teardown(void **state)
{
    struct scene *s = *state;
    void *world = s->world;
    if (s->sink) {
        stop(s, 0);
    }
    spool_stop(s->spool, on_spool_stopped, s);
    while (!s->spool_stopped) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    rejected_close(s->rejected);
    spool_close(s->spool);
    remove_folder(s->spool_dir);
    free(s);
    return world_teardown(&world);
}

static void append(struct scene *s, const char *sensor, const char *topic, struct bytes payload)
{
    struct record r = {.sinks = SINK_BIT(SINK_SQLITE),
                       .topic = bytes_str(topic),
                       .payload = payload,
                       .sensor = bytes_str(sensor),
                       .time_path = bytes_str("")};
    assert_int_equal(spool_append(s->spool, &r), E_OK);
    s->appended++;
}

static void append_many(struct scene *s, unsigned count)
{
    char payload[64];
    for (unsigned i = 0; i < count; i++) {
        snprintf(payload, sizeof(payload), "{\"n\":%u}", s->appended);
        append(s, "many", "a/many/b", bytes_str(payload));
    }
}

static void on_nap_over(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void on_nap_closed(uv_handle_t *handle)
{
    handle->data = NULL;
}

/* Runs the loop for so long, and longer until `done` says so (at most 10 s). */
static bool run(struct scene *s, unsigned ms, bool (*done)(struct scene *s))
{
    struct mono end = mono_add_ms(mono_now(), 10000);
    bool over = false;
    uv_timer_t nap;
    uv_timer_init(&s->loop, &nap);
    nap.data = &over;
    uv_update_time(&s->loop);
    uv_timer_start(&nap, on_nap_over, ms ? ms : 1, 2);
    while (!over || (done && !done(s) && !mono_reached(mono_now(), end))) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&nap, on_nap_closed);
    while (nap.data) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    return !done || done(s);
}

static bool nothing_waits(struct scene *s)
{
    return cursor_lag(spool_cursor(s->spool, SINK_SQLITE)) == 0;
}

static bool is_waiting(struct scene *s)
{
    return metric_get(&s->stats.state) == SINK_WAITING;
}

static bool is_running(struct scene *s)
{
    return metric_get(&s->stats.state) == SINK_RUNNING;
}

static bool has_failed(struct scene *s)
{
    return metric_get(&s->stats.state) == SINK_FAILED;
}

static int64_t rows(struct scene *s)
{
    return world_ask(s->world, "SELECT count(*) FROM measurement");
}

/* --- the way of a message --- */

static void test_stores(void **state)
{
    struct scene *s = *state;
    start(s);
    append(s, "test", "$aws/things/test/shadow/update", BYTES("{\"state\":{\"desired\":{\"temperature\":21.50}}}"));
    append(s, "s1", "a/s1/b", BYTES("{\"x\":123456789012345678901234567890}"));
    append(s, "raw", "a/raw/b", BYTES("\xFF\xFE"));
    struct mono begin = mono_now();
    assert_true(run(s, 0, nothing_waits));
    assert_in_range((mono_now().ns - begin.ns) / 1000000, 0, 900);
    assert_int_equal(rows(s), 3);
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
    assert_int_equal(logged("sqlite.opened"), 1);
}

static void test_batches(void **state)
{
    struct scene *s = *state;
    append_many(s, 20000);
    start(s);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(rows(s), 20000);
    assert_int_equal(metric_get(&s->stats.confirmed), 20000);
    world_check_counts(s->world);
    /* A stream is committed about once a second: of 30 records over 1.5 s the last are not there yet. */
    uint64_t largest_lag = 0;
    run(s, 1100, NULL);
    for (int i = 0; i < 30; i++) {
        append_many(s, 1);
        run(s, 50, NULL);
        uint64_t lag = cursor_lag(spool_cursor(s->spool, SINK_SQLITE));
        largest_lag = lag > largest_lag ? lag : largest_lag;
    }
    assert_in_range(largest_lag, 5, 25);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(rows(s), 20030);
}

static void test_rejects(void **state)
{
    struct scene *s = *state;
    append_many(s, 10);
    append(s, "", "a/b", BYTES("{}"));
    append_many(s, 10);
    append(s, "x", "$aws/things/x/shadow/update", BYTES("{}"));
    append_many(s, 10);
    start(s);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(rows(s), 30);
    assert_int_equal(rejected_count(s->rejected), 2);
    assert_int_equal(metric_get(&s->stats.rejected), 2);
    assert_int_equal(metric_get(&s->stats.confirmed), 30);
    assert_int_equal(logged("rejected.record"), 2);
    assert_int_equal(logged("the mapping gives this message no sensor name"), 1);
}

/* What cannot be set aside stays in the spool, and holds up nothing else. */
static void test_rejected_folder_fails(void **state)
{
    struct scene *s = *state;
    char path[120];
    snprintf(path, sizeof(path), "%s/rejected/new.tmp", s->spool_dir);
    assert_int_equal(mkdir(path, 0700), 0);
    start(s);
    append(s, "", "a/b", BYTES("{}"));
    append_many(s, 10);
    run(s, 700, NULL);
    assert_int_equal(rows(s), 10);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 1);
    append_many(s, 10);
    run(s, 1500, NULL);
    assert_int_equal(rows(s), 20);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 1);
    assert_true(metric_get(&s->stats.retried) > 0);
    assert_in_range(metric_get(&s->stats.sent), 21, 60);
    assert_int_equal(rmdir(path), 0);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(rejected_count(s->rejected), 1);
    assert_int_equal(rows(s), 20);
}

static void test_pause(void **state)
{
    struct scene *s = *state;
    start(s);
    s->sink->ops->pause(s->sink, true);
    append_many(s, 5);
    run(s, 200, NULL);
    assert_int_equal(metric_get(&s->stats.state), SINK_PAUSED);
    assert_int_equal(rows(s), 0);
    s->sink->ops->pause(s->sink, false);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(metric_get(&s->stats.state), SINK_RUNNING);
    assert_int_equal(rows(s), 5);
}

/* --- the end --- */

static void test_stop_drains(void **state)
{
    struct scene *s = *state;
    start(s);
    run(s, 50, NULL);
    append_many(s, 15000);
    stop(s, 5000);
    assert_true(nothing_waits(s));
    assert_int_equal(rows(s), 15000);
    assert_int_equal(metric_get(&s->stats.state), SINK_STOPPED);
    /* The next start goes on. */
    append_many(s, 10);
    start(s);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(rows(s), 15010);
    world_check_counts(s->world);
}

static void test_stop_at_once(void **state)
{
    struct scene *s = *state;
    start(s);
    append_many(s, 15000);
    run(s, 5, NULL);
    stop(s, 0);
    uint64_t lag = cursor_lag(spool_cursor(s->spool, SINK_SQLITE));
    assert_int_equal(rows(s), 15000 - (int64_t)lag);
}

static void test_stop_while_locked(void **state)
{
    struct scene *s = *state;
    sqlite3 *other = NULL;
    start(s);
    assert_int_equal(sqlite3_open(s->world->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    append_many(s, 10);
    run(s, 50, NULL);
    struct mono begin = mono_now();
    stop(s, 100);
    assert_in_range((mono_now().ns - begin.ns) / 1000000, 0, 700);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 10);
    sqlite3_close(other);
}

static void test_stop_before_running(void **state)
{
    struct scene *s = *state;
    char error[256];
    assert_int_equal(create_sink(s, error), E_OK);
    stop(s, 1000);
}

/* --- what happens to the file --- */

static void test_locked(void **state)
{
    struct scene *s = *state;
    sqlite3 *other = NULL;
    start(s);
    append_many(s, 10);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(sqlite3_open(s->world->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    append_many(s, 10);
    assert_true(run(s, 0, is_waiting));
    run(s, 1500, NULL);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 10);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    assert_true(run(s, 0, nothing_waits));
    assert_true(is_running(s));
    assert_int_equal(rows(s), 20);
    assert_int_equal(logged("sqlite.waiting"), 1);
    assert_int_equal(logged("sqlite.recovered"), 1);
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
    start(s);
    assert_true(is_waiting(s));
    run(s, 300, NULL);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    /* Without any message: the state is right again. */
    assert_true(run(s, 0, is_running));
    append_many(s, 10);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(rows(s), 10);
}

static void test_disk_full(void **state)
{
    struct scene *s = *state;
    if (!can_mount) {
        skip();
    }
    world_mount(s->world, 600);
    start(s);
    append_many(s, 30000);
    assert_true(run(s, 0, is_waiting));
    assert_int_equal(logged("sqlite.waiting"), 1);
    assert_int_equal(logged("error=no-space"), 1);
    uint64_t lag = cursor_lag(spool_cursor(s->spool, SINK_SQLITE));
    assert_int_equal(rows(s), 30000 - (int64_t)lag);
    run(s, 1500, NULL);
    assert_int_equal(logged("sqlite.waiting"), 1);
    world_remount(s->world, 30000);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(rows(s), 30000);
    assert_int_equal(metric_get(&s->stats.confirmed), 30000);
    assert_int_equal(logged("sqlite.recovered"), 1);
    world_check_counts(s->world);
}

static void test_file_deleted(void **state)
{
    struct scene *s = *state;
    start(s);
    append_many(s, 10);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(unlink(s->world->path), 0);
    append_many(s, 7);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(rows(s), 7);
    assert_int_equal(logged("moved or deleted"), 1);
    assert_int_equal(logged("sqlite.recovered"), 1);
    world_check_counts(s->world);
}

static void ruin(const char *path)
{
    static char junk[4096];
    struct stat st;
    memset(junk, 0xA5, sizeof(junk));
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    for (off_t at = 4096; at < st.st_size; at += 4096) {
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at), (ssize_t)sizeof(junk));
    }
    close(fd);
}

/* Said plainly, looked at slowly; whoever repairs it pauses and resumes the sink, or waits a minute. */
static void test_file_corrupt(void **state)
{
    struct scene *s = *state;
    char other[120];
    append_many(s, 3000);
    start(s);
    assert_true(run(s, 0, nothing_waits));
    stop(s, 1000);
    ruin(s->world->path);
    start(s);
    append_many(s, 10);
    assert_true(run(s, 0, has_failed));
    run(s, 1500, NULL);
    assert_true(has_failed(s));
    assert_int_equal(logged("sqlite.unusable"), 1);
    assert_int_equal(cursor_lag(spool_cursor(s->spool, SINK_SQLITE)), 10);
    snprintf(other, sizeof(other), "%s.bad", s->world->path);
    assert_int_equal(rename(s->world->path, other), 0);
    s->sink->ops->pause(s->sink, true);
    s->sink->ops->pause(s->sink, false);
    assert_true(run(s, 0, nothing_waits));
    assert_int_equal(rows(s), 10);
}

/* --- retention, reload, mistakes --- */

static void test_retention(void **state)
{
    struct scene *s = *state;
    assert_int_equal(world_open(s->world), E_OK);
    assert_int_equal(world_store(s->world, "old", 1000, 5000), E_OK);
    world_close(s->world);
    s->options.sqlite_retention = 3600 * 1000;
    start(s);
    append_many(s, 10);
    assert_true(run(s, 500, nothing_waits));
    assert_int_equal(rows(s), 10);
    assert_int_equal(world_ask(s->world, "SELECT count(*) FROM sensor"), 1);
    /* Taken away, and given again, while it runs. */
    s->options.sqlite_retention = 0;
    s->sink->ops->reload(s->sink, &s->options);
    run(s, 1200, NULL);
    assert_int_equal(rows(s), 10);
    s->options.sqlite_retention = 1;
    s->sink->ops->reload(s->sink, &s->options);
    run(s, 300, NULL);
    assert_int_equal(rows(s), 0);
    world_check_counts(s->world);
    append_many(s, 10);
    run(s, 1500, nothing_waits);
    assert_int_equal(rows(s), 0);
}

static void expect_mistake(struct scene *s, const char *reason)
{
    char error[256] = "";
    assert_int_not_equal(create_sink(s, error), E_OK);
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
    can_mount = world_can_mount();
    log_init(on_log, NULL, LOG_INFO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stores, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batches, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rejects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rejected_folder_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pause, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_drains, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_while_locked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_before_running, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locked_at_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retention, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mistakes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
