/* What was appended, the cursors and the folder to disk: one job of libuv's pool at a time. */
#include "plugin/spool_internal.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

LOG_POINT(log_sync, "spool.sync-failed", LOG_ERROR, "what was appended could not be synced to disk: tried again");
LOG_POINT(log_cursor, "spool.cursor-write-failed", LOG_ERROR,
          "a cursor could not be written: after a crash records are delivered again");

/* Nothing of it will have to be synced any more. */
static bool needs_no_sync(const struct segment *seg)
{
    return !seg->written || (atomic_load(&seg->sealed) && seg->synced >= atomic_load(&seg->tail));
}

/* Oldest first, as they were written; what is not synced is at the young end. */
static void collect_unsynced(struct spool *s, struct sync_job *job)
{
    uv_mutex_lock(&s->lock);
    struct segment *seg = s->newest;
    while (seg && seg->older && !needs_no_sync(seg->older)) {
        seg = seg->older;
    }
    for (; seg && job->count < SPOOL_JOB_SEGMENTS; seg = seg->newer) {
        size_t tail = atomic_load(&seg->tail);
        if (seg->written && seg->synced < tail) {
            seg->busy++;
            job->segments[job->count] = seg;
            job->from[job->count] = seg->synced;
            job->tails[job->count] = tail;
            job->count++;
        }
    }
    uv_mutex_unlock(&s->lock);
}

static bool collect_cursors(struct spool *s, struct sync_job *job)
{
    bool any = false;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        struct cursor *c = &s->cursors[k];
        struct cursor_save *save = &job->saves[k];
        *save = (struct cursor_save){0};
        if ((s->sinks & SINK_BIT(k)) == 0) {
            continue;
        }
        uint64_t position = cursor_position(c);
        if (position != c->saved) {
            *save = (struct cursor_save){c, position, E_OK};
            any = true;
        }
    }
    return any;
}

static enum err sync_one(void *ctx, const char *name)
{
    int dir_fd = *(const int *)ctx;
    uint64_t first;
    int fd = segment_parse_name(name, &first) ? openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0) {
        return E_OK; /* not ours, or deleted meanwhile */
    }
    enum err e = fdatasync(fd) == 0 ? E_OK : err_from_errno(errno);
    close(fd);
    return e;
}

/* In the pool. Segments and cursor files are held by `busy` and by there being one such job. */
static void run_sync(uv_work_t *work)
{
    struct sync_job *job = work->data;
    job->result = job->sync_all ? spool_each_name(job->dir_fd, sync_one, &job->dir_fd) : E_OK;
    for (size_t i = 0; i < job->count && job->again; i++) {
        segment_make_dirty(job->segments[i], job->from[i], job->tails[i]);
    }
    for (size_t i = 0; i < job->count && job->result == E_OK; i++) {
        job->result = segment_sync(job->segments[i], job->from[i], job->tails[i]);
    }
    if (job->result == E_OK && job->sync_folder && fsync(job->dir_fd) != 0) {
        job->result = err_from_errno(errno);
    }
    /* The whole file system: nobody knows which files they are. */
    job->beside = job->sync_beside && syncfs(job->dir_fd) != 0 ? err_from_errno(errno) : E_OK;
    job->result = job->result == E_OK ? job->beside : job->result;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        struct cursor_save *save = &job->saves[k];
        struct cursor *c = save->cursor;
        save->result = job->beside;
        if (c && job->beside == E_OK) {
            save->result = cursor_file_save(job->dir_fd, &c->file, c->sink, save->position, job->durable);
        }
    }
}

static void on_synced(uv_work_t *work, int status)
{
    struct sync_job *job = work->data;
    struct spool *s = job->spool;
    enum err e = status == 0 ? job->result : E_CANCELLED;
    job->running = false;
    s->beside |= job->sync_beside && (status != 0 || job->beside != E_OK);
    for (size_t i = 0; i < job->count; i++) {
        job->segments[i]->busy--;
        if (e == E_OK) {
            job->segments[i]->synced = job->tails[i];
        }
    }
    if (e != E_OK) {
        atomic_store(&s->folder_dirty, true);
        s->sync_all_due |= job->sync_all;
        s->sync_failed = true;
        log_emit(&log_sync, "dir=%s error=%s", s->dir, err_name(e));
    } else if (job->count > 0) {
        s->sync_failed = false;
    }
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        struct cursor_save *save = &job->saves[k];
        if (save->cursor && save->result == E_OK && status == 0) {
            save->cursor->saved = save->position;
        } else if (save->cursor) {
            log_emit(&log_cursor, "sink=%s error=%s", sink_id_name(save->cursor->sink), err_name(save->result));
        }
    }
    spool_collect(s);
    spool_reap(s);
    spool_finish_stop(s);
}

/* After a change of the folder every cursor has to be written there. */
static void void_places(struct spool *s)
{
    if (s->places_void) {
        s->places_void = false;
        for (unsigned k = 0; k < SINK_COUNT; k++) {
            s->cursors[k].saved = 0;
        }
    }
}

void spool_start_sync(struct spool *s, bool data, bool cursors)
{
    struct sync_job *job = &s->sync;
    uint64_t sync_ms = atomic_load(&s->sync_ms);
    if (job->running) {
        return;
    }
    void_places(s);
    job->count = 0;
    job->dir_fd = s->loop_dir_fd;
    job->durable = data && sync_ms != SPOOL_SYNC_NEVER;
    job->sync_folder = job->durable && atomic_exchange(&s->folder_dirty, false);
    job->sync_all = job->durable && s->sync_all_due;
    s->sync_all_due = s->sync_all_due && !job->sync_all;
    if (job->durable && sync_ms != SPOOL_SYNC_ALWAYS) {
        collect_unsynced(s, job);
    }
    job->again = s->sync_failed;
    job->sync_beside = s->beside && sync_ms != SPOOL_SYNC_NEVER;
    s->beside = false;
    memset(job->saves, 0, sizeof(job->saves));
    bool any = cursors && collect_cursors(s, job);
    if (job->count > 0 || job->sync_folder || job->sync_all || job->sync_beside || any) {
        job->running = uv_queue_work(s->loop, &job->work, run_sync, on_synced) == 0;
    }
}

void spool_written_beside(struct spool *s)
{
    s->beside = true;
}
