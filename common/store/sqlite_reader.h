/* The reading side of the local store. Opens the file read-only and beside a writer that is at work: it needs the right to
 * read the file, its -wal and its -shm, and none to write. No read lock is held while a callback runs: rows are copied out
 * in pages, so that a slow consumer cannot keep the write-ahead log growing; what is written between two pages is seen.
 *
 * Any thread, one at a time. */
#ifndef STORE_SQLITE_READER_H
#define STORE_SQLITE_READER_H

#include "base/bytes.h"
#include "base/err.h"
#include "store/sqlite_error.h"

struct sqlite_reader;

/* busy_ms: longest wait for a lock. E_NOT_FOUND: no such file; E_ACCESS; E_MALFORMED: not an SQLite file; E_VERSION: another
 * program's, a newer version's, or empty (the writer has not made its tables yet); E_BUSY, E_CORRUPT, E_IO, E_NOMEM. */
MUST_CHECK enum err sqlite_reader_open(const char *path, uint32_t busy_ms, struct sqlite_reader **out,
                                       struct sqlite_error *error);
void sqlite_reader_close(struct sqlite_reader *r); /* NULL is allowed */

struct sqlite_sensor {
    struct bytes sensor; /* borrowed during the callback */
    int64_t first_ms;
    int64_t last_ms;
    uint64_t count; /* of its measurements */
};

/* Calls fn for each sensor, by name, until it returns false. */
MUST_CHECK enum err sqlite_reader_sensors(struct sqlite_reader *r,
                                          bool (*fn)(void *ctx, const struct sqlite_sensor *sensor), void *ctx,
                                          struct sqlite_error *error);

struct sqlite_row {
    int64_t timestamp_ms;
    struct bytes topic;   /* borrowed during the callback */
    struct bytes message; /* JSON object; the same */
};

struct sqlite_range {
    struct bytes sensor;
    int64_t from_ms; /* both ends belong to the range */
    int64_t to_ms;
    uint64_t limit;    /* at most so many rows; 0 = all */
    bool newest_first; /* otherwise oldest first */
};

/* Calls fn for each row of a range until it returns false. A sensor that is not there has no rows. The newest row:
 * {.from_ms = INT64_MIN, .to_ms = INT64_MAX, .limit = 1, .newest_first = true}. */
MUST_CHECK enum err sqlite_reader_range(struct sqlite_reader *r, const struct sqlite_range *range,
                                        bool (*fn)(void *ctx, const struct sqlite_row *row), void *ctx,
                                        struct sqlite_error *error);

#endif
