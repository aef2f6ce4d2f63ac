/* Deletes old rows from the SQLite store, a few at a time. */
#include "store/sqlite_store_internal.h"

/* Every statement here has the current sensor as its first parameter and a number as its second. */
static int bind_sensor(struct sqlite_store *s, enum sqlite_statement which, int64_t number)
{
    int code = sqlite_store_bind_text(s->statements[which], 1, buffer_bytes(&s->expire_at));
    return code == SQLITE_OK ? sqlite3_bind_int64(s->statements[which], 2, number) : code;
}

static int run_for_sensor(struct sqlite_store *s, enum sqlite_statement which, int64_t number)
{
    int code = bind_sensor(s, which, number);
    return code == SQLITE_OK ? sqlite_store_run(s, which) : code;
}

/* The first column of the first row, as a number. SQLITE_DONE: there is no row. */
static int query_number(struct sqlite_store *s, enum sqlite_statement which, int64_t *number)
{
    sqlite3_stmt *statement = s->statements[which];
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        *number = sqlite3_column_int64(statement, 0);
    }
    sqlite3_reset(statement);
    return code;
}

/* The current sensor if it still has old rows, or the next that has. SQLITE_DONE: there is none. */
static int next_sensor(struct sqlite_store *s, int64_t before_ms)
{
    sqlite3_stmt *statement = s->statements[SQL_EXPIRE_SENSOR];
    int code = bind_sensor(s, SQL_EXPIRE_SENSOR, before_ms);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    if (code == SQLITE_ROW) {
        const void *name = sqlite3_column_text(statement, 0);
        struct bytes sensor = bytes_make(name, name ? (size_t)sqlite3_column_bytes(statement, 0) : 0);
        buffer_clear(&s->expire_at);
        code = buffer_append(&s->expire_at, sensor) == E_OK ? SQLITE_ROW : SQLITE_NOMEM;
    }
    sqlite3_reset(statement);
    return code;
}

/* Deletes up to `max` rows of the current sensor. */
static int expire_rows(struct sqlite_store *s, int64_t before_ms, uint32_t max, uint32_t *deleted)
{
    int64_t until = before_ms;
    int code = bind_sensor(s, SQL_EXPIRE_UNTIL, before_ms);
    if (code == SQLITE_OK) {
        code = sqlite3_bind_int64(s->statements[SQL_EXPIRE_UNTIL], 3, max);
    }
    if (code == SQLITE_OK) {
        code = query_number(s, SQL_EXPIRE_UNTIL, &until);
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        return code;
    }
    code = run_for_sensor(s, SQL_EXPIRE_ROWS, until);
    if (code != SQLITE_OK) {
        return code;
    }
    int rows = sqlite3_changes(s->db);
    *deleted += (uint32_t)rows;
    code = run_for_sensor(s, SQL_EXPIRE_COUNT, rows);
    return code == SQLITE_OK ? run_for_sensor(s, SQL_EXPIRE_EMPTY, INT64_MAX) : code;
}

enum err sqlite_store_expire(struct sqlite_store *s, int64_t before_ms, uint32_t max_rows, uint32_t *deleted,
                             bool *done, struct sqlite_error *error)
{
    uint32_t count = 0;
    enum err e = sqlite_store_begin(s, error);
    if (e != E_OK) {
        return e;
    }
    int code = SQLITE_ROW;
    while (count < max_rows && (code = next_sensor(s, before_ms)) == SQLITE_ROW) {
        code = expire_rows(s, before_ms, max_rows - count, &count);
        if (code != SQLITE_OK) {
            break;
        }
    }
    bool end = code == SQLITE_DONE;
    if (end) {
        buffer_clear(&s->expire_at);
        code = SQLITE_OK;
    }
    if (code == SQLITE_OK) {
        code = sqlite_store_run(s, SQL_COMMIT);
    }
    if (code != SQLITE_OK) {
        return sqlite_store_fail(s, code, "cannot delete old rows", error);
    }
    sqlite_store_checkpoint(s);
    *deleted = count;
    *done = end;
    return E_OK;
}
