#include "store/sqlite_reader.h"

#include "base/buffer.h"
#include "store/sqlite_schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Rows and bytes that are copied out at a time; one row may go beyond PAGE_BYTES. */
enum { PAGE_ROWS = 512, PAGE_BYTES = 1 << 20, PAGE_BYTES_MAX = 64 << 20 };

enum statement { SQL_SENSORS, SQL_OLDEST, SQL_NEWEST, SQL_COUNT_ /* number of statements */ };

static const char *const statement_text[SQL_COUNT_] = {
    [SQL_SENSORS] = "SELECT sensor, first, last, count FROM sensor WHERE sensor > ?1 ORDER BY sensor",
    [SQL_OLDEST] = "SELECT timestamp, topic, message FROM measurement"
                   " WHERE sensor = ?1 AND timestamp BETWEEN ?2 AND ?3 ORDER BY timestamp",
    [SQL_NEWEST] = "SELECT timestamp, topic, message FROM measurement"
                   " WHERE sensor = ?1 AND timestamp BETWEEN ?2 AND ?3 ORDER BY timestamp DESC",
};

/* A row of a page: numbers, and where its texts lie in the page's memory. */
struct entry {
    int64_t numbers[3];
    size_t start;
    size_t lens[2];
};

struct sqlite_reader {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT_];
    char *path;
    struct buffer text; /* of the page */
    struct entry page[PAGE_ROWS];
};

/* --- opening --- */

/* "file:" URI with everything escaped that could mean something there. */
static enum err append_uri(struct buffer *uri, const char *path, const char *query)
{
    enum err e = buffer_append_str(uri, "file:");
    for (const char *p = path; e == E_OK && *p; p++) {
        if (*p == '%' || *p == '?' || *p == '#') {
            e = buffer_appendf(uri, "%%%02X", (unsigned)*p);
        } else {
            e = buffer_append_byte(uri, (uint8_t)*p);
        }
    }
    if (e == E_OK) {
        e = buffer_append_str(uri, query);
    }
    return e == E_OK ? buffer_append_byte(uri, 0) : e;
}

/* Without a writer there may be no -wal; without the right to create it WAL mode cannot be read, but then nobody writes
 * either and the file can be read as it is. */
static bool is_at_rest(const char *path)
{
    char wal[4096];
    int n = snprintf(wal, sizeof(wal), "%s-wal", path);
    return n > 0 && (size_t)n < sizeof(wal) && access(path, R_OK) == 0 && access(wal, F_OK) != 0 && errno == ENOENT;
}

static enum err open_file(struct sqlite_reader *r, uint32_t busy_ms, bool at_rest, struct sqlite_error *error)
{
    struct buffer uri;
    enum sqlite_schema_state state = SQLITE_SCHEMA_READY;
    buffer_init(&uri, 16384);
    enum err e = append_uri(&uri, r->path, at_rest ? "?mode=ro&immutable=1" : "?mode=ro");
    if (e != E_OK) {
        snprintf(error->text, sizeof(error->text), "%.200s: the name is too long", r->path);
        buffer_finish(&uri);
        return E_INVALID;
    }
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2((const char *)uri.data, &r->db, flags, NULL);
    buffer_finish(&uri);
    if (code != SQLITE_OK) {
        return sqlite_schema_error(r->db, code, r->path, "cannot open", error);
    }
    sqlite3_busy_timeout(r->db, (int)(busy_ms < INT32_MAX ? busy_ms : INT32_MAX));
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    e = sqlite_schema_check(r->db, r->path, &state, error);
    if (e == E_OK && state == SQLITE_SCHEMA_EMPTY) {
        snprintf(error->text, sizeof(error->text), "%.200s: nothing has been stored yet", r->path);
        e = E_VERSION;
    }
    for (int i = 0; e == E_OK && i < SQL_COUNT_; i++) {
        e = sqlite_schema_prepare(r->db, statement_text[i], r->path, &r->statements[i], error);
    }
    return e;
}

static void close_file(struct sqlite_reader *r)
{
    for (int i = 0; i < SQL_COUNT_; i++) {
        sqlite3_finalize(r->statements[i]);
        r->statements[i] = NULL;
    }
    sqlite3_close(r->db);
    r->db = NULL;
}

enum err sqlite_reader_open(const char *path, uint32_t busy_ms, struct sqlite_reader **out, struct sqlite_error *error)
{
    struct sqlite_reader *r = calloc(1, sizeof(*r));
    if (!r || !(r->path = strdup(path))) {
        free(r);
        snprintf(error->text, sizeof(error->text), "%.200s: no memory", path);
        return E_NOMEM;
    }
    buffer_init(&r->text, PAGE_BYTES_MAX);
    enum err e = open_file(r, busy_ms, false, error);
    if (e != E_OK && is_at_rest(path)) {
        close_file(r);
        e = open_file(r, busy_ms, true, error);
    }
    if (e != E_OK) {
        sqlite_reader_close(r);
        return e;
    }
    *out = r;
    return E_OK;
}

void sqlite_reader_close(struct sqlite_reader *r)
{
    if (r) {
        close_file(r);
        buffer_finish(&r->text);
        free(r->path);
        free(r);
    }
}

/* --- pages --- */

static struct bytes column(sqlite3_stmt *statement, int i)
{
    const void *data = sqlite3_column_text(statement, i);
    int len = sqlite3_column_bytes(statement, i);
    return bytes_make(data, data ? (size_t)len : 0);
}

/* Copies rows until the page is full. *end: there are no more. Resets the statement: the read lock is gone. */
static enum err read_page(struct sqlite_reader *r, enum statement which,
                          enum err (*copy)(struct sqlite_reader *r, sqlite3_stmt *statement, struct entry *entry),
                          size_t max, size_t *count, bool *end, struct sqlite_error *error)
{
    sqlite3_stmt *statement = r->statements[which];
    enum err e = E_OK;
    int code = SQLITE_ROW;
    size_t n = 0;
    buffer_clear(&r->text);
    while (e == E_OK && n < max && r->text.len < PAGE_BYTES && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        e = copy(r, statement, &r->page[n++]);
    }
    if (e != E_OK) {
        snprintf(error->text, sizeof(error->text), "%.200s: no memory for a row", r->path);
    } else if (code != SQLITE_ROW && code != SQLITE_DONE) {
        e = sqlite_schema_error(r->db, code, r->path, "cannot be read", error);
    }
    sqlite3_reset(statement);
    *count = n;
    *end = code == SQLITE_DONE;
    return e;
}

static struct bytes entry_text(const struct sqlite_reader *r, const struct entry *entry, int i)
{
    return bytes_sub(buffer_bytes(&r->text), entry->start + (i ? entry->lens[0] : 0), entry->lens[i]);
}

static enum err copy_texts(struct sqlite_reader *r, struct entry *entry, struct bytes first, struct bytes second)
{
    entry->start = r->text.len;
    entry->lens[0] = first.len;
    entry->lens[1] = second.len;
    enum err e = buffer_append(&r->text, first);
    return e == E_OK ? buffer_append(&r->text, second) : e;
}

static enum err copy_sensor(struct sqlite_reader *r, sqlite3_stmt *statement, struct entry *entry)
{
    for (int i = 0; i < 3; i++) {
        entry->numbers[i] = sqlite3_column_int64(statement, i + 1);
    }
    return copy_texts(r, entry, column(statement, 0), bytes_make(NULL, 0));
}

static enum err copy_row(struct sqlite_reader *r, sqlite3_stmt *statement, struct entry *entry)
{
    entry->numbers[0] = sqlite3_column_int64(statement, 0);
    return copy_texts(r, entry, column(statement, 1), column(statement, 2));
}

/* --- queries --- */

static void bind_text(sqlite3_stmt *statement, struct bytes text)
{
    sqlite3_bind_text64(statement, 1, text.len ? (const char *)text.data : "", text.len, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static struct sqlite_sensor sensor_of(const struct sqlite_reader *r, const struct entry *entry)
{
    return (struct sqlite_sensor){.sensor = entry_text(r, entry, 0),
                                  .first_ms = entry->numbers[0],
                                  .last_ms = entry->numbers[1],
                                  .count = (uint64_t)(entry->numbers[2] < 0 ? 0 : entry->numbers[2])};
}

enum err sqlite_reader_sensors(struct sqlite_reader *r, bool (*fn)(void *ctx, const struct sqlite_sensor *sensor),
                               void *ctx, struct sqlite_error *error)
{
    bool end = false;
    bind_text(r->statements[SQL_SENSORS], bytes_make(NULL, 0));
    while (!end) {
        size_t count = 0;
        enum err e = read_page(r, SQL_SENSORS, copy_sensor, PAGE_ROWS, &count, &end, error);
        for (size_t i = 0; e == E_OK && i < count; i++) {
            struct sqlite_sensor sensor = sensor_of(r, &r->page[i]);
            if (!fn(ctx, &sensor)) {
                return E_OK;
            }
        }
        if (e != E_OK) {
            return e;
        }
        if (count > 0) {
            bind_text(r->statements[SQL_SENSORS], entry_text(r, &r->page[count - 1], 0));
        }
    }
    return E_OK;
}

/* Calls fn for the rows of a page. false: it wants no more. */
static bool give_rows(struct sqlite_reader *r, size_t count, bool (*fn)(void *ctx, const struct sqlite_row *row),
                      void *ctx)
{
    for (size_t i = 0; i < count; i++) {
        const struct entry *entry = &r->page[i];
        struct sqlite_row row = {entry->numbers[0], entry_text(r, entry, 0), entry_text(r, entry, 1)};
        if (!fn(ctx, &row)) {
            return false;
        }
    }
    return true;
}

enum err sqlite_reader_range(struct sqlite_reader *r, const struct sqlite_range *range,
                             bool (*fn)(void *ctx, const struct sqlite_row *row), void *ctx, struct sqlite_error *error)
{
    enum statement which = range->newest_first ? SQL_NEWEST : SQL_OLDEST;
    sqlite3_stmt *statement = r->statements[which];
    uint64_t left = range->limit ? range->limit : UINT64_MAX;
    int64_t from = range->from_ms;
    int64_t to = range->to_ms;
    bind_text(statement, range->sensor);
    while (left > 0 && from <= to) {
        size_t count = 0;
        bool end = false;
        sqlite3_bind_int64(statement, 2, from);
        sqlite3_bind_int64(statement, 3, to);
        enum err e = read_page(r, which, copy_row, left < PAGE_ROWS ? (size_t)left : PAGE_ROWS, &count, &end, error);
        if (e != E_OK) {
            return e;
        }
        if (!give_rows(r, count, fn, ctx) || end) {
            return E_OK;
        }
        left -= count;
        int64_t last = r->page[count - 1].numbers[0];
        if (last == (range->newest_first ? INT64_MIN : INT64_MAX)) {
            return E_OK;
        }
        from = range->newest_first ? from : last + 1;
        to = range->newest_first ? last - 1 : to;
    }
    return E_OK;
}
