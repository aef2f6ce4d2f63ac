#include "store_world.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The table and the numbers as the contract has them, read with the shell that users have. */
static void test_shell_reads(void **state)
{
    struct world *w = *state;
    char command[300];
    char line[300] = "";
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_OK);
    assert_int_equal(world_put(w, "caf\xC3\xA9", 1585900000123, "{\"n\":123456789012345678901234567890.10}"), E_OK);
    assert_int_equal(sqlite_store_commit(w->store, &w->error), E_OK);
    snprintf(command, sizeof(command),
             "sqlite3 -readonly %s \"SELECT sensor, timestamp, topic, message, typeof(message) FROM measurement;"
             " SELECT sensor, first, last, count FROM sensor; PRAGMA journal_mode; PRAGMA user_version\"",
             w->path);
    FILE *shell = popen(command, "r");
    assert_non_null(shell);
    size_t n = fread(line, 1, sizeof(line) - 1, shell);
    line[n] = 0;
    assert_int_equal(pclose(shell), 0);
    assert_string_equal(line, "caf\xC3\xA9|1585900000123|topic/1|{\"n\":123456789012345678901234567890.10}|text\n"
                              "caf\xC3\xA9|1585900000123|1585900000123|1\nwal\n1\n");
}

static mode_t mode_of(const char *path, const char *end)
{
    char name[300];
    struct stat st;
    snprintf(name, sizeof(name), "%s%s", path, end);
    assert_int_equal(stat(name, &st), 0);
    return st.st_mode & 07777;
}

/* A dashboard of another user reads by the group: all three files are open to it, and to nobody else. */
static void test_open_to_the_group(void **state)
{
    struct world *w = *state;
    mode_t before = umask(022);
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 1), E_OK);
    umask(before);
    assert_int_equal(mode_of(w->path, ""), 0640);
    assert_int_equal(mode_of(w->path, "-wal"), 0640);
    assert_int_equal(mode_of(w->path, "-shm"), 0640);
}

static void test_counts(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 10000, 5), E_OK);
    assert_int_equal(world_store(w, "b", 50000, 3000), E_OK);
    assert_int_equal(world_store(w, "a", 5000, 3), E_OK);
    assert_int_equal(world_ask(w, "SELECT count FROM sensor WHERE sensor = 'a'"), 8);
    assert_int_equal(world_ask(w, "SELECT first FROM sensor WHERE sensor = 'a'"), 5000);
    assert_int_equal(world_ask(w, "SELECT last FROM sensor WHERE sensor = 'a'"), 14000);
    assert_int_equal(world_ask(w, "SELECT count(*) FROM measurement"), 3008);
    world_check_counts(w);
    /* It stays right over a restart. */
    world_close(w);
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 20000, 2), E_OK);
    world_check_counts(w);
}

static void test_repeated_delivery(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 100), E_OK);
    assert_int_equal(world_store(w, "a", 0, 100), E_OK);
    assert_int_equal(world_store(w, "a", 50000, 100), E_OK);
    assert_int_equal(world_ask(w, "SELECT count FROM sensor"), 150);
    world_check_counts(w);
    /* The same key with another message: the later one stands, within a batch and after it. */
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_OK);
    assert_int_equal(world_put(w, "a", 7, "{\"v\":1}"), E_OK);
    assert_int_equal(world_put(w, "a", 7, "{\"v\":2}"), E_OK);
    assert_int_equal(sqlite_store_commit(w->store, &w->error), E_OK);
    assert_int_equal(world_ask(w, "SELECT message ->> 'v' FROM measurement WHERE timestamp = 7"), 2);
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_OK);
    assert_int_equal(world_put(w, "a", 7, "{\"v\":3}"), E_OK);
    assert_int_equal(sqlite_store_commit(w->store, &w->error), E_OK);
    assert_int_equal(world_ask(w, "SELECT message ->> 'v' FROM measurement WHERE timestamp = 7"), 3);
    world_check_counts(w);
}

static void test_refused_rows(void **state)
{
    struct world *w = *state;
    struct buffer big;
    assert_int_equal(world_open(w), E_OK);
    buffer_init(&big, SQLITE_STORE_MESSAGE_MAX + 1);
    assert_int_equal(buffer_reserve(&big, SQLITE_STORE_MESSAGE_MAX + 1), E_OK);
    memset(big.data, 'x', SQLITE_STORE_MESSAGE_MAX + 1);
    struct measurement m = {bytes_make(big.data, SQLITE_STORE_SENSOR_MAX + 1), 1, BYTES("{}")};
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_OK);
    assert_int_equal(world_put(w, "a", 1, "{}"), E_OK);
    assert_int_equal(world_put(w, "", 2, "{}"), E_INVALID);
    assert_string_equal(w->error.text, "the sensor has no name");
    assert_int_equal(sqlite_store_put(w->store, &m, BYTES("t"), &w->error), E_TOO_LARGE);
    m.sensor.len--;
    assert_int_equal(sqlite_store_put(w->store, &m, BYTES("t"), &w->error), E_OK);
    m.timestamp_ms++;
    m.message = bytes_make(big.data, SQLITE_STORE_MESSAGE_MAX + 1);
    assert_int_equal(sqlite_store_put(w->store, &m, BYTES("t"), &w->error), E_TOO_LARGE);
    m.message.len--;
    assert_int_equal(sqlite_store_put(w->store, &m, BYTES("t"), &w->error), E_OK);
    assert_int_equal(world_put(w, "a", 3, "{}"), E_OK);
    assert_int_equal(sqlite_store_commit(w->store, &w->error), E_OK);
    assert_int_equal(world_ask(w, "SELECT count(*) FROM measurement"), 4);
    world_check_counts(w);
    buffer_finish(&big);
}

static void test_rollback(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 10), E_OK);
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_OK);
    assert_int_equal(world_put(w, "a", 500, "{}"), E_OK);
    sqlite_store_rollback(w->store);
    sqlite_store_rollback(w->store);
    assert_int_equal(world_store(w, "a", 10000, 1), E_OK);
    assert_int_equal(world_ask(w, "SELECT count FROM sensor"), 11);
    world_check_counts(w);
    /* Closing in the middle of a batch. */
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_OK);
    assert_int_equal(world_put(w, "a", 500, "{}"), E_OK);
    world_close(w);
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_ask(w, "SELECT count(*) FROM measurement"), 11);
    world_check_counts(w);
}

static uint32_t expire(struct world *w, int64_t before_ms, uint32_t max_rows, bool *done)
{
    uint32_t deleted = 0;
    assert_int_equal(sqlite_store_expire(w->store, before_ms, max_rows, &deleted, done, &w->error), E_OK);
    world_check_counts(w);
    return deleted;
}

static void test_expire(void **state)
{
    struct world *w = *state;
    bool done = false;
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(expire(w, 100000, 10, &done), 0);
    assert_true(done);
    assert_int_equal(world_store(w, "a", 0, 100), E_OK);
    assert_int_equal(world_store(w, "b", 90000, 20), E_OK);
    assert_int_equal(world_store(w, "c", 0, 5), E_OK);
    assert_int_equal(world_store(w, "d", 100000, 5), E_OK);
    /* In steps of at most 30: 100 of a, 10 of b, all of c (which leaves the table), none of d. */
    uint32_t steps[] = {30, 30, 30, 25};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(expire(w, 100000, 30, &done), steps[i]);
        assert_int_equal(done, i == 3);
    }
    assert_int_equal(world_ask(w, "SELECT count(*) FROM measurement"), 15);
    assert_int_equal(world_ask(w, "SELECT count(*) FROM sensor"), 2);
    assert_int_equal(world_ask(w, "SELECT first FROM sensor WHERE sensor = 'b'"), 100000);
    /* What comes later is seen by the next round, whatever its place. */
    assert_int_equal(world_store(w, "a", 1000, 1), E_OK);
    assert_int_equal(expire(w, 100000, 30, &done), 1);
    assert_true(done);
    assert_int_equal(expire(w, 100000, 30, &done), 0);
    assert_true(done);
    /* A step that is exactly used up is not the last. */
    assert_int_equal(world_store(w, "a", 0, 30), E_OK);
    assert_int_equal(expire(w, 100000, 30, &done), 30);
    assert_false(done);
    assert_int_equal(expire(w, 100000, 30, &done), 0);
    assert_true(done);
}

static void write_text(const char *path, const char *text, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
}

static void execute(const struct world *w, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int user_version(const struct world *w)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int version = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return version;
}

static void expect_open(struct world *w, enum err expected, const char *part)
{
    enum err e = world_open(w);
    if (e != expected || !strstr(w->error.text, part)) {
        print_error("%s: %s\n", err_name(e), w->error.text);
    }
    assert_int_equal(e, expected);
    assert_non_null(strstr(w->error.text, part));
    assert_null(w->store);
}

static void test_open_errors(void **state)
{
    struct world *w = *state;
    static char junk[8192];
    memset(junk, 'j', sizeof(junk));
    snprintf(w->path, sizeof(w->path), "%s/none/store.db", w->dir);
    expect_open(w, E_NOT_FOUND, "No such file or directory");
    snprintf(w->path, sizeof(w->path), "%s", w->dir);
    expect_open(w, E_INVALID, "Is a directory");
    snprintf(w->path, sizeof(w->path), ":memory:");
    expect_open(w, E_INVALID, "is no file name");
    w->path[0] = 0;
    expect_open(w, E_INVALID, "is no file name");
    snprintf(w->path, sizeof(w->path), "%s/store.db", w->dir);
    write_text(w->path, junk, sizeof(junk));
    expect_open(w, E_MALFORMED, "file is not a database");
    assert_int_equal(unlink(w->path), 0);
    execute(w, "CREATE TABLE sensor(id INTEGER)");
    expect_open(w, E_VERSION, "another program");
    assert_int_equal(unlink(w->path), 0);
    execute(w, "PRAGMA user_version = 7; CREATE TABLE x(id INTEGER)");
    expect_open(w, E_VERSION, "another program (user_version 7)");
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(world_open(w), E_OK);
    world_close(w);
    execute(w, "PRAGMA user_version = 2");
    expect_open(w, E_VERSION, "newer version (schema 2, known is 1)");
    execute(w, "PRAGMA user_version = 1; ALTER TABLE measurement DROP COLUMN topic");
    expect_open(w, E_VERSION, "tables do not fit");
    /* The tables as documented, but without our mark: a dump that was restored. */
    assert_int_equal(unlink(w->path), 0);
    execute(w, "CREATE TABLE measurement(sensor TEXT, timestamp INTEGER, topic TEXT, message TEXT,"
               " PRIMARY KEY(sensor, timestamp)) WITHOUT ROWID;"
               "CREATE TABLE sensor(sensor TEXT PRIMARY KEY, first INTEGER, last INTEGER, count INTEGER)");
    assert_int_equal(world_open(w), E_OK);
    world_close(w);
    assert_int_equal(user_version(w), 1);
    assert_int_equal(unlink(w->path), 0);
    execute(w, "CREATE TABLE measurement(sensor TEXT, timestamp INTEGER, topic TEXT, message TEXT);"
               "CREATE TABLE sensor(sensor TEXT PRIMARY KEY, first INTEGER, last INTEGER, count INTEGER)");
    expect_open(w, E_VERSION, "another program");
    /* An empty file is a new one. */
    assert_int_equal(unlink(w->path), 0);
    write_text(w->path, "", 0);
    assert_int_equal(world_open(w), E_OK);
}

static void test_no_permission(void **state)
{
    struct world *w = *state;
    if (geteuid() == 0) {
        assert_int_equal(chmod(w->dir, 0755), 0);
        assert_int_equal(seteuid(65534), 0);
    } else {
        assert_int_equal(chmod(w->dir, 0500), 0);
    }
    enum err missing = world_open(w);
    struct sqlite_error error = w->error;
    assert_int_equal(seteuid(getuid()), 0);
    assert_int_equal(chmod(w->dir, 0755), 0);
    assert_int_equal(missing, E_ACCESS);
    assert_non_null(strstr(error.text, "Permission denied"));
    assert_int_equal(world_open(w), E_OK);
    world_close(w);
    assert_int_equal(chmod(w->path, 0444), 0);
    if (geteuid() == 0) {
        assert_int_equal(seteuid(65534), 0);
    }
    enum err read_only = world_open(w);
    error = w->error;
    assert_int_equal(seteuid(getuid()), 0);
    assert_int_equal(read_only, E_ACCESS);
    assert_non_null(strstr(error.text, "no permission to write"));
}

static void test_locked(void **state)
{
    struct world *w = *state;
    sqlite3 *other = NULL;
    uint32_t deleted;
    bool done;
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(sqlite3_open(w->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct mono start = mono_now();
    assert_int_equal(world_store(w, "a", 0, 10), E_BUSY);
    uint64_t waited = (mono_now().ns - start.ns) / 1000000;
    assert_in_range(waited, 90, 5000);
    assert_int_equal(sqlite_store_expire(w->store, 5, 10, &deleted, &done, &w->error), E_BUSY);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(world_store(w, "a", 0, 10), E_OK);
    world_check_counts(w);
    /* Nor can it be opened while somebody has it for himself. */
    world_close(w);
    assert_int_equal(
        sqlite3_exec(other, "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; DELETE FROM sensor", NULL, NULL, NULL),
        SQLITE_OK);
    expect_open(w, E_BUSY, "locked");
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    assert_int_equal(world_open(w), E_OK);
    world_check_counts(w);
    /* No more waiting once it is cancelled. */
    assert_int_equal(sqlite3_open(w->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    atomic_store(&w->cancel, true);
    start = mono_now();
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_BUSY);
    assert_in_range((mono_now().ns - start.ns) / 1000000, 0, 80);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
}

static void test_moved(void **state)
{
    struct world *w = *state;
    char other[100];
    snprintf(other, sizeof(other), "%s.old", w->path);
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 10), E_OK);
    assert_int_equal(rename(w->path, other), 0);
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_NOT_FOUND);
    assert_non_null(strstr(w->error.text, "moved or deleted"));
    assert_int_equal(rename(other, w->path), 0);
    assert_int_equal(sqlite_store_begin(w->store, &w->error), E_OK);
    assert_int_equal(world_put(w, "a", 99000, "{}"), E_OK);
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(sqlite_store_commit(w->store, &w->error), E_NOT_FOUND);
    world_close(w);
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 3), E_OK);
    assert_int_equal(world_ask(w, "SELECT count(*) FROM measurement"), 3);
}

/* A table that was dropped under our feet is an error, and opening again makes no new one in a file marked as ours. */
static void test_table_dropped(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 10), E_OK);
    execute(w, "DROP TABLE sensor");
    assert_int_equal(world_store(w, "a", 99000, 10), E_VERSION);
    world_close(w);
    expect_open(w, E_VERSION, "another program");
}

static void test_corrupt(void **state)
{
    struct world *w = *state;
    static char junk[4096];
    struct stat st;
    assert_int_equal(world_open(w), E_OK);
    for (int i = 0; i < 50; i++) {
        char name[16];
        snprintf(name, sizeof(name), "s%d", i);
        assert_int_equal(world_store(w, name, 0, 200), E_OK);
    }
    world_close(w);
    memset(junk, 0xA5, sizeof(junk));
    int fd = open(w->path, O_WRONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    for (off_t at = 4096; at < st.st_size; at += 4096) {
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at), (ssize_t)sizeof(junk));
    }
    close(fd);
    enum err e = world_open(w);
    if (e == E_OK) {
        e = world_store(w, "s10", 0, 10);
    }
    assert_int_equal(e, E_CORRUPT);
    assert_non_null(strstr(w->error.text, "malformed"));
}

/* A reader in the middle of a transaction: the log grows, the writer goes on; when the reader is done it starts anew. */
static void test_wal_stays_small(void **state)
{
    struct world *w = *state;
    char wal[100];
    struct stat st;
    sqlite3 *reader = NULL;
    snprintf(wal, sizeof(wal), "%s-wal", w->path);
    assert_int_equal(world_open(w), E_OK);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(world_store(w, "a", (int64_t)i * 4000000, 2000), E_OK);
    }
    assert_int_equal(stat(wal, &st), 0);
    assert_in_range(st.st_size, 1, 9 << 20);
    assert_int_equal(sqlite3_open(w->path, &reader), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM sensor", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 180; i++) {
        assert_int_equal(world_store(w, "b", (int64_t)i * 4000000, 2000), E_OK);
    }
    assert_int_equal(stat(wal, &st), 0);
    assert_true(st.st_size > 20 << 20);
    assert_int_equal(sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(world_store(w, "c", (int64_t)i * 4000000, 2000), E_OK);
    }
    assert_int_equal(stat(wal, &st), 0);
    assert_in_range(st.st_size, 1, 9 << 20);
    sqlite3_close(reader);
    world_close(w);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shell_reads, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_open_to_the_group, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_counts, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_repeated_delivery, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_refused_rows, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_rollback, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_expire, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_open_errors, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_no_permission, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_locked, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_moved, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_table_dropped, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_corrupt, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_wal_stays_small, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
