#include "store_world.h"

#include "store/sqlite_reader.h"

#include <grp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the callbacks saw. */
struct seen {
    uint64_t count;
    uint64_t stop_after; /* 0 = never */
    int64_t first_ms;
    int64_t last_ms;
    int64_t step_ms;     /* between rows; 0 = not all the same */
    char names[200];     /* of sensors, in a row */
    char message[100];   /* of the last row */
    struct world *world; /* writes while it reads */
};

static bool on_row(void *ctx, const struct sqlite_row *row)
{
    struct seen *s = ctx;
    int64_t step_ms = (int64_t)((uint64_t)row->timestamp_ms - (uint64_t)s->last_ms);
    if (s->count == 1) {
        s->step_ms = step_ms;
    } else if (s->count > 1 && step_ms != s->step_ms) {
        s->step_ms = 0;
    }
    s->first_ms = s->count ? s->first_ms : row->timestamp_ms;
    s->last_ms = row->timestamp_ms;
    assert_true(bytes_equal(row->topic, BYTES("topic/1")));
    snprintf(s->message, sizeof(s->message), "%.*s", (int)row->message.len, (const char *)row->message.data);
    s->count++;
    if (s->world && s->count == 1) {
        assert_int_equal(world_store(s->world, "new", 0, 10), E_OK);
    }
    return s->count != s->stop_after;
}

static bool on_sensor(void *ctx, const struct sqlite_sensor *sensor)
{
    struct seen *s = ctx;
    size_t len = strlen(s->names);
    snprintf(s->names + len, sizeof(s->names) - len, "%.*s %lld-%lld (%llu);", (int)sensor->sensor.len,
             (const char *)sensor->sensor.data, (long long)sensor->first_ms, (long long)sensor->last_ms,
             (unsigned long long)sensor->count);
    s->count++;
    return s->count != s->stop_after;
}

static struct sqlite_reader *open_reader(struct world *w)
{
    struct sqlite_reader *r = NULL;
    enum err e = sqlite_reader_open(w->path, 100, &r, &w->error);
    if (e != E_OK) {
        print_error("%s: %s\n", err_name(e), w->error.text);
    }
    assert_int_equal(e, E_OK);
    return r;
}

static struct seen read_range(struct world *w, struct sqlite_reader *r, struct sqlite_range range)
{
    struct seen s = {0};
    assert_int_equal(sqlite_reader_range(r, &range, on_row, &s, &w->error), E_OK);
    return s;
}

#define EVER .from_ms = INT64_MIN, .to_ms = INT64_MAX

static void test_range(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 1000000, 2000), E_OK);
    assert_int_equal(world_store(w, "b", 0, 3), E_OK);
    struct sqlite_reader *r = open_reader(w);
    struct seen s = read_range(w, r, (struct sqlite_range){.sensor = BYTES("a"), EVER});
    assert_int_equal(s.count, 2000);
    assert_int_equal(s.first_ms, 1000000);
    assert_int_equal(s.step_ms, 1000);
    s = read_range(w, r, (struct sqlite_range){.sensor = BYTES("a"), EVER, .newest_first = true});
    assert_int_equal(s.count, 2000);
    assert_int_equal(s.first_ms, 2999000);
    assert_int_equal(s.step_ms, -1000);
    /* Limits around the size of a page. */
    for (uint64_t limit = 511; limit <= 513; limit++) {
        s = read_range(w, r, (struct sqlite_range){.sensor = BYTES("a"), EVER, .limit = limit});
        assert_int_equal(s.count, limit);
        s = read_range(w, r,
                       (struct sqlite_range){.sensor = BYTES("a"),
                                             .from_ms = 1000000,
                                             .to_ms = 1000000 + (int64_t)limit * 1000 - 1,
                                             .newest_first = true});
        assert_int_equal(s.count, limit);
    }
    s = read_range(w, r, (struct sqlite_range){.sensor = BYTES("a"), .from_ms = 1001000, .to_ms = 1003000});
    assert_int_equal(s.count, 3);
    s = read_range(w, r, (struct sqlite_range){.sensor = BYTES("a"), .from_ms = 1001001, .to_ms = 1001999});
    assert_int_equal(s.count, 0);
    s = read_range(w, r, (struct sqlite_range){.sensor = BYTES("a"), .from_ms = 2, .to_ms = 1});
    assert_int_equal(s.count, 0);
    s = read_range(w, r, (struct sqlite_range){.sensor = BYTES("nobody"), EVER});
    assert_int_equal(s.count, 0);
    s = read_range(w, r, (struct sqlite_range){.sensor = BYTES("b"), EVER, .limit = 1, .newest_first = true});
    assert_int_equal(s.count, 1);
    assert_int_equal(s.last_ms, 2000);
    assert_string_equal(s.message,
                        "{\"n\":2,\"text\":\"000000000000000000000000000000000000000000000000000000000002\"}");
    sqlite_reader_close(r);
}

static void test_callback_stops(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 1000), E_OK);
    struct sqlite_reader *r = open_reader(w);
    struct sqlite_range all = {.sensor = BYTES("a"), EVER};
    for (uint64_t n = 510; n < 515; n++) {
        struct seen s = {.stop_after = n};
        assert_int_equal(sqlite_reader_range(r, &all, on_row, &s, &w->error), E_OK);
        assert_int_equal(s.count, n);
    }
    sqlite_reader_close(r);
}

/* Extremes of the key, and rows that are larger than a page. */
static void test_extremes(void **state)
{
    struct world *w = *state;
    static char big[(2 << 20) + 1];
    memset(big, 'x', sizeof(big) - 1);
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_OK);
    assert_int_equal(world_put(w, "a", INT64_MIN, big), E_OK);
    assert_int_equal(world_put(w, "a", 0, big), E_OK);
    assert_int_equal(world_put(w, "a", INT64_MAX, big), E_OK);
    assert_int_equal(sqlite_store_commit(w->store, &w->error), E_OK);
    struct sqlite_reader *r = open_reader(w);
    assert_int_equal(read_range(w, r, (struct sqlite_range){.sensor = BYTES("a"), EVER}).count, 3);
    assert_int_equal(read_range(w, r, (struct sqlite_range){.sensor = BYTES("a"), EVER, .newest_first = true}).count,
                     3);
    sqlite_reader_close(r);
}

static void test_sensors(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), E_OK);
    struct sqlite_reader *r = open_reader(w);
    struct seen s = {0};
    assert_int_equal(sqlite_reader_sensors(r, on_sensor, &s, &w->error), E_OK);
    assert_int_equal(s.count, 0);
    assert_int_equal(world_store(w, "b", 5000, 2), E_OK);
    assert_int_equal(world_store(w, "a", 1000, 1), E_OK);
    assert_int_equal(sqlite_reader_sensors(r, on_sensor, &s, &w->error), E_OK);
    assert_string_equal(s.names, "a 1000-1000 (1);b 5000-6000 (2);");
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_OK);
    static char names[1200][16];
    for (int i = 0; i < 1200; i++) {
        snprintf(names[i], sizeof(names[i]), "m%04d", i);
        assert_int_equal(world_put(w, names[i], 1, "{}"), E_OK);
    }
    assert_int_equal(sqlite_store_commit(w->store, &w->error), E_OK);
    s = (struct seen){0};
    assert_int_equal(sqlite_reader_sensors(r, on_sensor, &s, &w->error), E_OK);
    assert_int_equal(s.count, 1202);
    s = (struct seen){.stop_after = 600};
    assert_int_equal(sqlite_reader_sensors(r, on_sensor, &s, &w->error), E_OK);
    assert_int_equal(s.count, 600);
    sqlite_reader_close(r);
}

/* A callback that takes its time holds up nothing: the writer commits and empties its log meanwhile. */
static void test_no_lock_in_callback(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 1000), E_OK);
    struct sqlite_reader *r = open_reader(w);
    struct seen s = {.world = w};
    struct sqlite_range all = {.sensor = BYTES("a"), EVER};
    assert_int_equal(sqlite_reader_range(r, &all, on_row, &s, &w->error), E_OK);
    assert_int_equal(s.count, 1000);
    assert_int_equal(world_ask(w, "SELECT count(*) FROM measurement"), 1010);
    sqlite_reader_close(r);
}

static void become_nobody(struct world *w)
{
    assert_int_equal(chmod(w->dir, 0755), 0);
    assert_int_equal(seteuid(65534), 0);
}

/* A reader in a process and with a user of its own, who shares only the file's group, as the web server's does. It counts the
 * rows when asked. */
struct visitor {
    pid_t pid;
    int to;
    int from;
};

static void visit(struct world *w, int in, int out)
{
    struct sqlite_reader *r = NULL;
    struct sqlite_range all = {.sensor = BYTES("a"), EVER};
    if (setgroups(0, NULL) != 0 || setuid(65534) != 0) {
        _exit(2);
    }
    enum err e = sqlite_reader_open(w->path, 100, &r, &w->error);
    char ask;
    while (read(in, &ask, 1) == 1) {
        struct seen s = {0};
        e = e == E_OK ? sqlite_reader_range(r, &all, on_row, &s, &w->error) : e;
        int64_t answer = e == E_OK ? (int64_t)s.count : -(int64_t)e;
        if (write(out, &answer, sizeof(answer)) != (ssize_t)sizeof(answer)) {
            _exit(3);
        }
    }
    sqlite_reader_close(r);
    _exit(0);
}

static struct visitor visitor_start(struct world *w)
{
    int in[2];
    int out[2];
    assert_int_equal(chmod(w->dir, 0755), 0);
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    struct visitor v = {.pid = fork(), .to = in[1], .from = out[0]};
    assert_true(v.pid >= 0);
    if (v.pid == 0) {
        close(in[1]);
        visit(w, in[0], out[1]);
    }
    close(in[0]);
    close(out[1]);
    return v;
}

static int64_t visitor_ask(const struct visitor *v)
{
    int64_t answer = 0;
    assert_int_equal(write(v->to, "?", 1), 1);
    assert_int_equal(read(v->from, &answer, sizeof(answer)), (ssize_t)sizeof(answer));
    return answer;
}

static void visitor_stop(const struct visitor *v)
{
    int status;
    close(v->to);
    close(v->from);
    assert_int_equal(waitpid(v->pid, &status, 0), v->pid);
    assert_int_equal(status, 0);
}

static int64_t count_as_visitor(struct world *w)
{
    struct visitor v = visitor_start(w);
    int64_t count = visitor_ask(&v);
    visitor_stop(&v);
    return count;
}

/* Without the right to write: the writer at work, closed, back again, and after somebody removed -wal and -shm. */
static void test_without_rights(void **state)
{
    struct world *w = *state;
    char file[100];
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 700), E_OK);
    struct visitor v = visitor_start(w);
    assert_int_equal(visitor_ask(&v), 700);
    assert_int_equal(world_store(w, "a", 700000, 300), E_OK);
    assert_int_equal(visitor_ask(&v), 1000);
    visitor_stop(&v);
    world_close(w);
    v = visitor_start(w);
    assert_int_equal(visitor_ask(&v), 1000);
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 5000000, 300), E_OK);
    assert_int_equal(visitor_ask(&v), 1300);
    visitor_stop(&v);
    world_close(w);
    snprintf(file, sizeof(file), "%s-wal", w->path);
    assert_int_equal(unlink(file), 0);
    snprintf(file, sizeof(file), "%s-shm", w->path);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(count_as_visitor(w), 1300);
    assert_int_equal(access(file, F_OK), -1);
}

/* The writer was killed: what it committed is in -wal, and nobody has copied it into the file. */
static void test_after_kill(void **state)
{
    struct world *w = *state;
    if (geteuid() != 0) {
        skip();
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(world_open(w) == E_OK && world_store(w, "a", 0, 500) == E_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(count_as_visitor(w), 500);
}

static void expect_error(struct world *w, enum err expected, const char *part)
{
    struct sqlite_reader *r = NULL;
    enum err e = sqlite_reader_open(w->path, 100, &r, &w->error);
    if (e != expected || !strstr(w->error.text, part)) {
        print_error("%s: %s\n", err_name(e), w->error.text);
    }
    assert_int_equal(e, expected);
    assert_non_null(strstr(w->error.text, part));
    assert_null(r);
}

static void test_open_errors(void **state)
{
    struct world *w = *state;
    expect_error(w, E_NOT_FOUND, "No such file");
    FILE *f = fopen(w->path, "w");
    assert_non_null(f);
    fclose(f);
    expect_error(w, E_VERSION, "nothing has been stored yet");
    f = fopen(w->path, "w");
    assert_non_null(f);
    for (int i = 0; i < 1000; i++) {
        fputs("no database ", f);
    }
    fclose(f);
    expect_error(w, E_MALFORMED, "file is not a database");
    unlink(w->path);
    if (geteuid() == 0) {
        assert_int_equal(world_open(w), E_OK);
        world_close(w);
        assert_int_equal(chmod(w->path, 0600), 0);
        become_nobody(w);
        expect_error(w, E_ACCESS, "Permission denied");
        assert_int_equal(seteuid(0), 0);
    }
}

static void test_odd_name(void **state)
{
    struct world *w = *state;
    snprintf(w->path, sizeof(w->path), "%s/a%%41?b#c d", w->dir);
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 10), E_OK);
    struct sqlite_reader *r = open_reader(w);
    assert_int_equal(read_range(w, r, (struct sqlite_range){.sensor = BYTES("a"), EVER}).count, 10);
    sqlite_reader_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_range, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_callback_stops, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_extremes, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_sensors, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_no_lock_in_callback, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_without_rights, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_after_kill, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_open_errors, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_odd_name, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
