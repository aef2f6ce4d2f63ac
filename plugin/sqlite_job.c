#include "plugin/sqlite_job.h"

#include "plugin/map_guard.h"

#include <stdlib.h>

enum err sqlite_job_init(struct sqlite_job *j, const char *path)
{
    *j = (struct sqlite_job){.path = strdup(path)};
    enum err e = j->path ? sqlite_batch_init(&j->batch) : E_NOMEM;
    if (e != E_OK) {
        free(j->path);
        j->path = NULL;
    }
    return e;
}

void sqlite_job_finish(struct sqlite_job *j)
{
    sqlite_batch_finish(&j->batch);
    free(j->path);
    j->path = NULL;
}

enum err sqlite_job_open(struct sqlite_job *j)
{
    struct sqlite_store_options options = {.path = j->path, .busy_ms = SQLITE_JOB_BUSY_MS, .cancel = &j->cancel};
    return j->store ? E_OK : sqlite_store_open(&options, &j->store, &j->error);
}

static enum err perform(struct sqlite_job *j)
{
    enum err e = sqlite_job_open(j);
    if (e != E_OK) {
        return e;
    }
    switch (j->kind) {
    case SQLITE_JOB_STORE:
        return sqlite_batch_write(&j->batch, j->store, &j->error);
    case SQLITE_JOB_EXPIRE:
        return sqlite_store_expire(j->store, j->expire_before_ms, SQLITE_JOB_EXPIRE_ROWS, &j->expired, &j->expire_done,
                                   &j->error);
    case SQLITE_JOB_PROBE:
        e = sqlite_store_begin(j->store, &j->error);
        if (e == E_OK) {
            sqlite_store_rollback(j->store);
        }
        return e;
    case SQLITE_JOB_NONE:
    case SQLITE_JOB_CLOSE:
        break;
    }
    return E_OK;
}

/* Errors after which the open file is as good as before. */
static bool keeps_file(enum err e)
{
    return e == E_OK || e == E_BUSY || e == E_NO_SPACE || e == E_NOMEM;
}

void sqlite_job_run(struct sqlite_job *j)
{
    /* The batch reads from the spool's mappings. */
    map_guard_unblock();
    j->result = j->kind == SQLITE_JOB_CLOSE ? E_OK : perform(j);
    if (j->kind == SQLITE_JOB_CLOSE || !keeps_file(j->result)) {
        sqlite_store_close(j->store);
        j->store = NULL;
    }
}
