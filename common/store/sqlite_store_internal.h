/* The inside of the SQLite store: what batches and expiry share. Internal to store/. */
#ifndef STORE_SQLITE_STORE_INTERNAL_H
#define STORE_SQLITE_STORE_INTERNAL_H

#include "store/sensor_tally.h"
#include "store/sqlite_schema.h"
#include "store/sqlite_store.h"

enum sqlite_statement {
    SQL_BEGIN,
    SQL_INSERT,
    SQL_REPLACE,
    SQL_TALLY,
    SQL_COMMIT,
    SQL_EXPIRE_SENSOR,
    SQL_EXPIRE_UNTIL,
    SQL_EXPIRE_ROWS,
    SQL_EXPIRE_COUNT,
    SQL_EXPIRE_EMPTY,
    SQL_COUNT_ /* number of statements */
};

struct sqlite_store {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT_];
    struct sensor_tallies tallies; /* of the open batch */
    char *path;
    struct buffer expire_at; /* name of the sensor that expiry has seen last; empty = none */
    uint32_t busy_ms;
    struct mono busy_until;
    const atomic_bool *cancel;
    int wal_pages; /* after the last commit */
    int wal_wait_at;
};

/* Borrows the text until the statement is reset. An empty one is no NULL. */
MUST_CHECK int sqlite_store_bind_text(sqlite3_stmt *statement, int position, struct bytes text);

/* Runs a statement that gives no rows. Bindings stay. SQLITE_OK or the code of what went wrong. */
MUST_CHECK int sqlite_store_run(struct sqlite_store *s, enum sqlite_statement which);

/* Ends the transaction after an error, which is converted. */
MUST_CHECK enum err sqlite_store_fail(struct sqlite_store *s, int code, const char *what, struct sqlite_error *error);

/* After a commit: copies the write-ahead log into the file when it has grown. A failure is no loss, and shows at the next
 * commit. */
void sqlite_store_checkpoint(struct sqlite_store *s);

#endif
