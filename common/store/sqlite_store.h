/* The writing side of the local store: measurements into an SQLite file, in batches (CONFIG.md: tables measurement and
 * sensor; WAL mode).
 *
 * What a commit promises: `PRAGMA synchronous = FULL`, so that a row that was committed survives a power cut. (With NORMAL a
 * power cut may take back commits of which the spool's cursor has already been told. One fdatasync for a batch of thousands
 * costs little: docs/benchmarks.md.) The write-ahead log is checkpointed here, after commits: it is kept at a few MB, and
 * a reader that holds it up is waited for and told about in the log. -wal and -shm stay when the file is closed, so that a
 * reader without the right to create them can open it at any time.
 *
 * Any thread, one at a time. Calls block for disk work and up to busy_ms for another program's lock. Each error has a text
 * that names the file. */
#ifndef STORE_SQLITE_STORE_H
#define STORE_SQLITE_STORE_H

#include "store/measurement.h"
#include "store/sqlite_error.h"

#include <stdatomic.h>

/* Larger ones are refused row by row. 2048 bytes is what a DynamoDB key takes as well. */
#define SQLITE_STORE_SENSOR_MAX 2048u
#define SQLITE_STORE_MESSAGE_MAX (16u << 20)

struct sqlite_store;

struct sqlite_store_options {
    const char *path;          /* created if missing, readable for the group; its directory must be there */
    uint32_t busy_ms;          /* longest wait for a lock */
    const atomic_bool *cancel; /* true: no more waiting for locks, for a quick end; outlives the store; NULL = never */
};

/* E_INVALID: no file name (":memory:", a directory); E_NOT_FOUND: no such directory; E_ACCESS; E_READ_ONLY; E_MALFORMED: not
 * an SQLite file; E_VERSION: another program's, or made by a newer version; E_UNSUPPORTED: the file system cannot do WAL;
 * E_BUSY, E_NO_SPACE, E_CORRUPT, E_IO, E_NOMEM. */
MUST_CHECK enum err sqlite_store_open(const struct sqlite_store_options *options, struct sqlite_store **out,
                                      struct sqlite_error *error);
/* An open batch is rolled back. NULL is allowed. */
void sqlite_store_close(struct sqlite_store *s);

/* Opens a batch: one transaction. E_NOT_FOUND: the file was moved or deleted since it was opened: close and open again. */
MUST_CHECK enum err sqlite_store_begin(struct sqlite_store *s, struct sqlite_error *error);

/* Adds a measurement to the batch. The same sensor and time again replaces the row and counts once. `m->sensor` must stay
 * valid until commit or rollback. E_TOO_LARGE, E_INVALID: this row can never be stored, the batch goes on without it. Any
 * other error: the batch was rolled back. */
MUST_CHECK enum err sqlite_store_put(struct sqlite_store *s, const struct measurement *m, struct bytes topic,
                                     struct sqlite_error *error);

/* Brings table sensor up to date and commits. After E_OK the rows survive a power cut; after an error none of the batch is
 * stored, with one exception: E_NOT_FOUND, they went into a file that nobody will see. */
MUST_CHECK enum err sqlite_store_commit(struct sqlite_store *s, struct sqlite_error *error);
void sqlite_store_rollback(struct sqlite_store *s);

/* Deletes up to max_rows of the rows older than before_ms, in a transaction of its own, and keeps table sensor right (a
 * sensor without rows leaves it). Goes through the sensors in turn; *done when it has seen the last of them: the next call
 * begins anew. Not while a batch is open. */
MUST_CHECK enum err sqlite_store_expire(struct sqlite_store *s, int64_t before_ms, uint32_t max_rows, uint32_t *deleted,
                                        bool *done, struct sqlite_error *error);

#endif
