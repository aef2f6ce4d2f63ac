/* The tables of CONFIG.md, and what the writing and the reading side of the SQLite store share. Internal to store/. */
#ifndef STORE_SQLITE_SCHEMA_H
#define STORE_SQLITE_SCHEMA_H

#include "base/err.h"
#include "store/sqlite_error.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/* Stands in the file as `PRAGMA user_version`. A change of the tables counts it up. */
#define SQLITE_SCHEMA_VERSION 1

/* Converts the last error of `db` (NULL: no memory to open) and fills in `error`. `path` names the file, `what` the step. */
MUST_CHECK enum err sqlite_schema_error(sqlite3 *db, int code, const char *path, const char *what,
                                        struct sqlite_error *error);

MUST_CHECK enum err sqlite_schema_exec(sqlite3 *db, const char *sql, const char *path, struct sqlite_error *error);

/* A statement that is kept. */
MUST_CHECK enum err sqlite_schema_prepare(sqlite3 *db, const char *sql, const char *path, sqlite3_stmt **out,
                                          struct sqlite_error *error);

/* The one number that a query gives; 0 if it gives no row. */
MUST_CHECK enum err sqlite_schema_number(sqlite3 *db, const char *sql, const char *path, int64_t *out,
                                         struct sqlite_error *error);

enum sqlite_schema_state {
    SQLITE_SCHEMA_EMPTY,    /* no tables of ours yet */
    SQLITE_SCHEMA_UNMARKED, /* our tables without our version: restored from a dump, or made by hand */
    SQLITE_SCHEMA_READY,
};

/* Whether the file is ours. E_VERSION: another version, or tables of these names that are others. E_MALFORMED: not an
 * SQLite file. */
MUST_CHECK enum err sqlite_schema_check(sqlite3 *db, const char *path, enum sqlite_schema_state *state,
                                        struct sqlite_error *error);

/* Creates the tables that are missing, and marks the file as ours. */
MUST_CHECK enum err sqlite_schema_create(sqlite3 *db, const char *path, struct sqlite_error *error);

#endif
