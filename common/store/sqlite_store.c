#include "base/log.h"
#include "store/sqlite_store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Pages in the write-ahead log: from the first on it is copied into the file after a commit; from the second on readers are
 * waited for, so that it starts again from its beginning. */
enum { WAL_PAGES = 1000, WAL_PAGES_HELD = 16 * WAL_PAGES };

/* Longest name that expiry can take up: nobody but others writes one that long. */
enum { SENSOR_NAME_MAX = 1 << 20 };

/* Longest sleep between two tries for a lock. */
enum { BUSY_STEP_MS = 20 };

LOG_POINT(log_wal_held, "sqlite.wal-held", LOG_WARNING,
          "a reader keeps the write-ahead log from being emptied: it grows until the reader is done");

static const char *const statement_text[SQL_COUNT_] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_INSERT] = "INSERT OR IGNORE INTO measurement(sensor, timestamp, topic, message) VALUES(?1, ?2, ?3, ?4)",
    [SQL_REPLACE] = "UPDATE measurement SET topic = ?3, message = ?4 WHERE sensor = ?1 AND timestamp = ?2",
    [SQL_TALLY] =
        "INSERT INTO sensor(sensor, first, last, count) VALUES(?1, ?2, ?3, ?4)"
        " ON CONFLICT(sensor) DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last),"
        " count = count + excluded.count",
    [SQL_COMMIT] = "COMMIT",
    [SQL_EXPIRE_SENSOR] = "SELECT sensor FROM sensor WHERE sensor >= ?1 AND first < ?2 ORDER BY sensor LIMIT 1",
    [SQL_EXPIRE_UNTIL] = "SELECT timestamp FROM measurement WHERE sensor = ?1 AND timestamp < ?2"
                         " ORDER BY timestamp LIMIT 1 OFFSET ?3",
    [SQL_EXPIRE_ROWS] = "DELETE FROM measurement WHERE sensor = ?1 AND timestamp < ?2",
    [SQL_EXPIRE_COUNT] = "UPDATE sensor SET count = max(0, count - ?2), first = coalesce("
                         "(SELECT min(timestamp) FROM measurement WHERE sensor = ?1), 9223372036854775807)"
                         " WHERE sensor = ?1",
    [SQL_EXPIRE_EMPTY] = "DELETE FROM sensor WHERE sensor = ?1 AND first = ?2",
};

/* --- opening and closing --- */

static int on_busy(void *ctx, int tries)
{
    struct sqlite_store *s = ctx;
    struct mono now = mono_now();
    if (tries == 0) {
        s->busy_until = mono_add_ms(now, s->busy_ms);
    }
    if ((s->cancel && atomic_load(s->cancel)) || mono_reached(now, s->busy_until)) {
        return 0;
    }
    long ms = tries < BUSY_STEP_MS ? tries + 1 : BUSY_STEP_MS;
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
    return 1;
}

static int on_wal_commit(void *ctx, sqlite3 *db, const char *name, int pages)
{
    struct sqlite_store *s = ctx;
    (void)db;
    (void)name;
    s->wal_pages = pages;
    return SQLITE_OK;
}

/* SQLite falls back to reading when it may not write. */
static enum err check_writable(struct sqlite_store *s, struct sqlite_error *error)
{
    if (sqlite3_db_readonly(s->db, "main") != 1) {
        return E_OK;
    }
    bool file_system = faccessat(AT_FDCWD, s->path, W_OK, AT_EACCESS) != 0 && errno == EROFS;
    snprintf(error->text, sizeof(error->text), "%.200s: %s", s->path,
             file_system ? "the file system is read-only" : "no permission to write");
    return file_system ? E_READ_ONLY : E_ACCESS;
}

static enum err use_wal(struct sqlite_store *s, struct sqlite_error *error)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(s->db, "PRAGMA journal_mode = WAL", -1, &statement, NULL);
    bool wal = false;
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        wal = code == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    }
    enum err e = E_OK;
    if (code != SQLITE_ROW) {
        e = sqlite_schema_error(s->db, code, s->path, "cannot set WAL mode", error);
    } else if (!wal) {
        snprintf(error->text, sizeof(error->text), "%.200s: the file system does not support WAL mode", s->path);
        e = E_UNSUPPORTED;
    }
    sqlite3_finalize(statement);
    return e;
}

/* Why a file that is not there cannot be made: SQLite tells only that it is not there. */
static enum err check_directory(const char *path, struct sqlite_error *error)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!directory) {
        return E_NOMEM;
    }
    enum err e = E_NOT_FOUND;
    if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0) {
        char reason[60] = "";
        e = err_from_errno(errno);
        if (strerror_r(errno, reason, sizeof(reason)) != 0) {
            reason[0] = 0;
        }
        snprintf(error->text, sizeof(error->text), "%.200s: cannot create: %s", path, reason);
    }
    free(directory);
    return e;
}

static enum err set_up(struct sqlite_store *s, struct sqlite_error *error)
{
    static const char pragmas[] = "PRAGMA synchronous = FULL;"
                                  "PRAGMA wal_autocheckpoint = 0;"
                                  "PRAGMA journal_size_limit = 8388608;"
                                  "PRAGMA cache_size = -8192;"
                                  "PRAGMA trusted_schema = OFF;";
    int keep = 1;
    enum sqlite_schema_state state = SQLITE_SCHEMA_READY;
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_handler(s->db, on_busy, s);
    sqlite3_file_control(s->db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    enum err e = check_writable(s, error);
    if (e == E_OK) {
        e = sqlite_schema_check(s->db, s->path, &state, error);
    }
    if (e == E_OK) {
        e = use_wal(s, error);
    }
    if (e == E_OK) {
        e = sqlite_schema_exec(s->db, pragmas, s->path, error);
    }
    if (e == E_OK && state != SQLITE_SCHEMA_READY) {
        e = sqlite_schema_create(s->db, s->path, error);
    }
    for (int i = 0; e == E_OK && i < SQL_COUNT_; i++) {
        e = sqlite_schema_prepare(s->db, statement_text[i], s->path, &s->statements[i], error);
    }
    sqlite3_wal_hook(s->db, on_wal_commit, s);
    return e;
}

/* A new file is open to its group, and to nobody else, whatever the umask would leave; SQLite gives -wal and -shm the same mode.
 * What fails here fails again when SQLite opens the file, and is told then. */
static void create_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd >= 0) {
        close(fd);
    }
}

enum err sqlite_store_open(const struct sqlite_store_options *options, struct sqlite_store **out,
                           struct sqlite_error *error)
{
    if (options->path[0] == 0 || options->path[0] == ':') {
        snprintf(error->text, sizeof(error->text), "\"%.200s\" is no file name", options->path);
        return E_INVALID;
    }
    struct sqlite_store *s = calloc(1, sizeof(*s));
    char *path = s ? strdup(options->path) : NULL;
    if (!path) {
        free(s);
        snprintf(error->text, sizeof(error->text), "%.200s: no memory", options->path);
        return E_NOMEM;
    }
    s->path = path;
    buffer_init(&s->expire_at, SENSOR_NAME_MAX);
    s->busy_ms = options->busy_ms;
    s->cancel = options->cancel;
    s->wal_wait_at = WAL_PAGES_HELD;
    create_file(path);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2(path, &s->db, flags, NULL);
    enum err e = code == SQLITE_OK ? E_OK : sqlite_schema_error(s->db, code, path, "cannot open", error);
    if (e == E_OK) {
        e = set_up(s, error);
    } else if (e == E_NOT_FOUND) {
        e = check_directory(path, error);
    }
    if (e != E_OK) {
        sqlite_store_close(s);
        return e;
    }
    *out = s;
    return E_OK;
}

void sqlite_store_close(struct sqlite_store *s)
{
    if (!s) {
        return;
    }
    for (int i = 0; i < SQL_COUNT_; i++) {
        sqlite3_finalize(s->statements[i]);
    }
    sqlite3_close(s->db);
    sensor_tallies_finish(&s->tallies);
    buffer_finish(&s->expire_at);
    free(s->path);
    free(s);
}

/* --- batches --- */

int sqlite_store_run(struct sqlite_store *s, enum sqlite_statement which)
{
    int code = sqlite3_step(s->statements[which]);
    int reset = sqlite3_reset(s->statements[which]);
    return code == SQLITE_DONE ? reset : code;
}

int sqlite_store_bind_text(sqlite3_stmt *statement, int position, struct bytes text)
{
    return sqlite3_bind_text64(statement, position, text.len ? (const char *)text.data : "", text.len, SQLITE_STATIC,
                               SQLITE_UTF8);
}

/* The file at our path is no longer the one that is open. */
static enum err check_moved(struct sqlite_store *s, struct sqlite_error *error)
{
    int moved = 0;
    sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (!moved) {
        return E_OK;
    }
    snprintf(error->text, sizeof(error->text), "%.200s: the file was moved or deleted", s->path);
    return E_NOT_FOUND;
}

enum err sqlite_store_fail(struct sqlite_store *s, int code, const char *what, struct sqlite_error *error)
{
    enum err e = sqlite_schema_error(s->db, code, s->path, what, error);
    sqlite_store_rollback(s);
    return e;
}

void sqlite_store_rollback(struct sqlite_store *s)
{
    sensor_tallies_clear(&s->tallies);
    if (!sqlite3_get_autocommit(s->db)) {
        /* Whatever it says: there is no transaction any more. */
        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    }
}

enum err sqlite_store_begin(struct sqlite_store *s, struct sqlite_error *error)
{
    enum err e = check_moved(s, error);
    if (e != E_OK) {
        return e;
    }
    int code = sqlite_store_run(s, SQL_BEGIN);
    return code == SQLITE_OK ? E_OK : sqlite_store_fail(s, code, "cannot begin", error);
}

static bool is_row_error(int code)
{
    code &= 0xFF;
    return code == SQLITE_TOOBIG || code == SQLITE_CONSTRAINT || code == SQLITE_MISMATCH;
}

static enum err check_row(const struct measurement *m, struct sqlite_error *error)
{
    if (m->sensor.len == 0) {
        snprintf(error->text, sizeof(error->text), "the sensor has no name");
        return E_INVALID;
    }
    if (m->sensor.len > SQLITE_STORE_SENSOR_MAX) {
        snprintf(error->text, sizeof(error->text), "the sensor's name is longer than %u bytes",
                 SQLITE_STORE_SENSOR_MAX);
        return E_TOO_LARGE;
    }
    if (m->message.len > SQLITE_STORE_MESSAGE_MAX) {
        snprintf(error->text, sizeof(error->text), "the message is longer than %u bytes", SQLITE_STORE_MESSAGE_MAX);
        return E_TOO_LARGE;
    }
    return E_OK;
}

static int put_row(struct sqlite_store *s, enum sqlite_statement which, const struct measurement *m, struct bytes topic)
{
    sqlite3_stmt *statement = s->statements[which];
    int code = sqlite_store_bind_text(statement, 1, m->sensor);
    if (code == SQLITE_OK) {
        code = sqlite3_bind_int64(statement, 2, m->timestamp_ms);
    }
    if (code == SQLITE_OK) {
        code = sqlite_store_bind_text(statement, 3, topic);
    }
    if (code == SQLITE_OK) {
        code = sqlite_store_bind_text(statement, 4, m->message);
    }
    return code == SQLITE_OK ? sqlite_store_run(s, which) : code;
}

enum err sqlite_store_put(struct sqlite_store *s, const struct measurement *m, struct bytes topic,
                          struct sqlite_error *error)
{
    enum err e = check_row(m, error);
    if (e != E_OK) {
        return e;
    }
    int code = put_row(s, SQL_INSERT, m, topic);
    bool added = code == SQLITE_OK && sqlite3_changes(s->db) > 0;
    if (code == SQLITE_OK && !added) {
        code = put_row(s, SQL_REPLACE, m, topic);
    }
    if (is_row_error(code)) {
        return sqlite_schema_error(s->db, code, s->path, "row refused", error);
    }
    if (code != SQLITE_OK) {
        return sqlite_store_fail(s, code, "cannot insert", error);
    }
    if (added) {
        e = sensor_tallies_add(&s->tallies, m->sensor, m->timestamp_ms);
    }
    if (e != E_OK) {
        snprintf(error->text, sizeof(error->text), "%.200s: no memory", s->path);
        sqlite_store_rollback(s);
    }
    return e;
}

/* Brings table sensor up to date. */
static int put_tally(struct sqlite_store *s, const struct sensor_tally *t)
{
    sqlite3_stmt *statement = s->statements[SQL_TALLY];
    int code = sqlite_store_bind_text(statement, 1, t->sensor);
    if (code == SQLITE_OK) {
        code = sqlite3_bind_int64(statement, 2, t->first);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_bind_int64(statement, 3, t->last);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_bind_int64(statement, 4, (int64_t)t->count);
    }
    return code == SQLITE_OK ? sqlite_store_run(s, SQL_TALLY) : code;
}

void sqlite_store_checkpoint(struct sqlite_store *s)
{
    int left = 0;
    int done = 0;
    if (s->wal_pages < WAL_PAGES) {
        return;
    }
    bool wait = s->wal_pages >= s->wal_wait_at;
    int mode = wait ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int code = sqlite3_wal_checkpoint_v2(s->db, NULL, mode, &left, &done);
    if (wait && code == SQLITE_OK) {
        s->wal_wait_at = WAL_PAGES_HELD;
    } else if (wait) {
        s->wal_wait_at = s->wal_pages + WAL_PAGES_HELD;
        log_emit(&log_wal_held, "file=%s pages=%d", s->path, s->wal_pages);
    }
}

enum err sqlite_store_commit(struct sqlite_store *s, struct sqlite_error *error)
{
    int code = SQLITE_OK;
    for (size_t i = 0; code == SQLITE_OK && i < s->tallies.size; i++) {
        if (s->tallies.slots[i].sensor.data) {
            code = put_tally(s, &s->tallies.slots[i]);
        }
    }
    if (code == SQLITE_OK) {
        code = sqlite_store_run(s, SQL_COMMIT);
    }
    if (code != SQLITE_OK) {
        return sqlite_store_fail(s, code, "cannot commit", error);
    }
    sensor_tallies_clear(&s->tallies);
    enum err e = check_moved(s, error);
    if (e == E_OK) {
        sqlite_store_checkpoint(s);
    }
    return e;
}
