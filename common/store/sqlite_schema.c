#include "store/sqlite_schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char tables[] = "BEGIN IMMEDIATE;"
                             "CREATE TABLE IF NOT EXISTS measurement("
                             " sensor TEXT NOT NULL,"
                             " timestamp INTEGER NOT NULL,"
                             " topic TEXT NOT NULL,"
                             " message TEXT NOT NULL /* JSON */,"
                             " PRIMARY KEY(sensor, timestamp)) WITHOUT ROWID;"
                             "CREATE TABLE IF NOT EXISTS sensor("
                             " sensor TEXT NOT NULL PRIMARY KEY,"
                             " first INTEGER NOT NULL,"
                             " last INTEGER NOT NULL,"
                             " count INTEGER NOT NULL);"
                             "PRAGMA user_version = 1;"
                             "COMMIT;";

_Static_assert(SQLITE_SCHEMA_VERSION == 1, "user_version stands in `tables` as text");

/* Codes that hide an errno. */
static enum err from_system_error(int errnum)
{
    switch (errnum) {
    case 0:
    case ENOLCK:
        return E_IO;
    case EISDIR:
        return E_INVALID;
    default:
        return err_from_errno(errnum);
    }
}

static enum err convert(sqlite3 *db, int code)
{
    if (code == SQLITE_READONLY_DBMOVED) {
        return E_NOT_FOUND;
    }
    switch (code & 0xFF) {
    case SQLITE_NOMEM:
        return E_NOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return E_BUSY;
    case SQLITE_READONLY:
        return E_READ_ONLY;
    case SQLITE_FULL:
        return E_NO_SPACE;
    case SQLITE_CORRUPT:
        return E_CORRUPT;
    case SQLITE_NOTADB:
        return E_MALFORMED;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return E_ACCESS;
    case SQLITE_TOOBIG:
        return E_TOO_LARGE;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        return E_INVALID;
    case SQLITE_INTERRUPT:
    case SQLITE_ABORT:
        return E_CANCELLED;
    case SQLITE_SCHEMA:
    case SQLITE_ERROR:
        /* Our statements are right: the tables are not ours (dropped, changed by somebody). */
        return E_VERSION;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        return from_system_error(db ? sqlite3_system_errno(db) : 0);
    default:
        return E_IO;
    }
}

enum err sqlite_schema_error(sqlite3 *db, int code, const char *path, const char *what, struct sqlite_error *error)
{
    enum err e = db ? convert(db, code) : E_NOMEM;
    int errnum = db ? sqlite3_system_errno(db) : 0;
    bool tell = errnum != 0 && ((code & 0xFF) == SQLITE_CANTOPEN || (code & 0xFF) == SQLITE_IOERR);
    char reason[60] = "";
    if (tell && strerror_r(errnum, reason, sizeof(reason)) != 0) {
        tell = false;
    }
    snprintf(error->text, sizeof(error->text), "%.180s: %s: %.60s%s%s", path, what,
             db ? sqlite3_errmsg(db) : sqlite3_errstr(code), tell ? ": " : "", tell ? reason : "");
    return e;
}

enum err sqlite_schema_exec(sqlite3 *db, const char *sql, const char *path, struct sqlite_error *error)
{
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (code == SQLITE_OK) {
        return E_OK;
    }
    enum err e = sqlite_schema_error(db, code, path, "statement failed", error);
    if (!sqlite3_get_autocommit(db)) {
        /* Whatever it says: there is no transaction any more. */
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }
    return e;
}

enum err sqlite_schema_prepare(sqlite3 *db, const char *sql, const char *path, sqlite3_stmt **out,
                               struct sqlite_error *error)
{
    int code = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    return code == SQLITE_OK ? E_OK : sqlite_schema_error(db, code, path, "tables do not fit", error);
}

enum err sqlite_schema_number(sqlite3 *db, const char *sql, const char *path, int64_t *out, struct sqlite_error *error)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    int64_t number = 0;
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
            number = sqlite3_column_int64(statement, 0);
            code = SQLITE_DONE;
        }
    }
    enum err e = code == SQLITE_DONE ? E_OK : sqlite_schema_error(db, code, path, "cannot be read", error);
    sqlite3_finalize(statement);
    if (e == E_OK) {
        *out = number;
    }
    return e;
}

static enum err refuse(const char *path, int64_t version, bool newer, struct sqlite_error *error)
{
    if (newer) {
        snprintf(error->text, sizeof(error->text), "%.200s: made by a newer version (schema %lld, known is %d)", path,
                 (long long)version, SQLITE_SCHEMA_VERSION);
    } else {
        snprintf(error->text, sizeof(error->text), "%.200s: an SQLite file of another program (user_version %lld)",
                 path, (long long)version);
    }
    return E_VERSION;
}

enum err sqlite_schema_check(sqlite3 *db, const char *path, enum sqlite_schema_state *state, struct sqlite_error *error)
{
    static const char named_as_ours[] =
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('measurement', 'sensor')";
    static const char columns_of_ours[] =
        "SELECT (SELECT count(*) FROM pragma_table_info('measurement') WHERE (name = 'sensor' AND pk = 1)"
        " OR (name = 'timestamp' AND pk = 2) OR (name IN ('topic', 'message') AND pk = 0))"
        " + (SELECT count(*) FROM pragma_table_info('sensor') WHERE (name = 'sensor' AND pk = 1)"
        " OR (name IN ('first', 'last', 'count') AND pk = 0))";
    int64_t version;
    int64_t ours;
    int64_t columns = 0;
    enum err e = sqlite_schema_number(db, "PRAGMA user_version", path, &version, error);
    if (e == E_OK) {
        e = sqlite_schema_number(db, named_as_ours, path, &ours, error);
    }
    if (e == E_OK && version == 0 && ours == 2) {
        e = sqlite_schema_number(db, columns_of_ours, path, &columns, error);
    }
    if (e != E_OK) {
        return e;
    }
    if (version == 0 && ours == 0) {
        *state = SQLITE_SCHEMA_EMPTY;
    } else if (version == 0 && columns == 8) {
        *state = SQLITE_SCHEMA_UNMARKED;
    } else if (version == SQLITE_SCHEMA_VERSION && ours == 2) {
        *state = SQLITE_SCHEMA_READY;
    } else {
        return refuse(path, version, ours == 2 && version > SQLITE_SCHEMA_VERSION, error);
    }
    return E_OK;
}

enum err sqlite_schema_create(sqlite3 *db, const char *path, struct sqlite_error *error)
{
    return sqlite_schema_exec(db, tables, path, error);
}
