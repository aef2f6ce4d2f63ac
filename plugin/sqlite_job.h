/* The work that the SQLite sink gives to libuv's pool, one piece at a time. While it runs everything in here belongs to the
 * thread of the pool, before and after that to the loop's thread. */
#ifndef PLUGIN_SQLITE_JOB_H
#define PLUGIN_SQLITE_JOB_H

#include "plugin/sqlite_batch.h"

enum sqlite_job_kind {
    SQLITE_JOB_NONE,
    SQLITE_JOB_STORE,  /* writes the batch */
    SQLITE_JOB_EXPIRE, /* deletes up to SQLITE_JOB_EXPIRE_ROWS rows that are older than expire_before_ms */
    SQLITE_JOB_PROBE,  /* looks whether the file can be written */
    SQLITE_JOB_CLOSE,  /* closes the file */
};

/* Longest wait for the lock of another program; that blocks one thread of the pool. */
#define SQLITE_JOB_BUSY_MS 1000u
#define SQLITE_JOB_EXPIRE_ROWS 2000u

struct sqlite_job {
    enum sqlite_job_kind kind;  /* SQLITE_JOB_NONE: nothing runs */
    char *path;                 /* owned */
    struct sqlite_store *store; /* NULL = to be opened by the next job */
    atomic_bool cancel;         /* any thread: no more waiting for locks */
    struct sqlite_batch batch;
    int64_t expire_before_ms;
    uint32_t expired; /* rows */
    bool expire_done;
    enum err result;
    struct sqlite_error error;
};

MUST_CHECK enum err sqlite_job_init(struct sqlite_job *j, const char *path);
void sqlite_job_finish(struct sqlite_job *j); /* the file is closed */

/* Opens the file unless it is open. */
MUST_CHECK enum err sqlite_job_open(struct sqlite_job *j);

/* Does the work and sets result (and error, if it is not E_OK). After an error that the open file may be the reason of, it is
 * closed, to be opened anew by the next job. */
void sqlite_job_run(struct sqlite_job *j);

#endif
