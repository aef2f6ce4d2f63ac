/* The loop's part: waking, syncing, the next segment, deletion, cursor files. What blocks runs in libuv's pool, in two jobs that
 * run one at a time each: sync (data and cursors to disk) and files (segments come and go). */
#include "plugin/spool_internal.h"

#include "base/log.h"
#include "plugin/map_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

LOG_POINT(log_sync, "spool.sync-failed", LOG_ERROR, "what was appended could not be synced to disk: tried again");
LOG_POINT(log_cursor, "spool.cursor-write-failed", LOG_ERROR,
          "a cursor could not be written: after a crash records are delivered again");
LOG_POINT(log_gone, "spool.segment-gone", LOG_ERROR,
          "the segment that is appended to was deleted by somebody: going on in a new one");
LOG_POINT(log_prepare, "spool.prepare-failed", LOG_DEBUG, "the next segment could not be prepared");

/* --- sync job --- */

static bool is_synced(const struct segment *seg)
{
    return !seg->written || (atomic_load(&seg->sealed) && seg->synced >= atomic_load(&seg->tail));
}

/* Oldest first, as they were written; what is not synced is at the young end. */
static void collect_unsynced(struct spool *s, struct sync_job *job)
{
    uv_mutex_lock(&s->lock);
    struct segment *seg = s->newest;
    while (seg && seg->older && !is_synced(seg->older)) {
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

static void finish_stop(struct spool *s);

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
    finish_stop(s);
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

/* `data`: it is time to sync what was appended. `cursors`: it is time to write their places. */
static void start_sync(struct spool *s, bool data, bool cursors)
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

/* --- file job --- */

/* In the pool. */
static void run_files(uv_work_t *work)
{
    struct file_job *job = work->data;
    if (job->filling) {
        segment_populate(job->filling, job->filling_from);
    }
    for (size_t i = 0; i < job->count; i++) {
        spool_delete_file(job->dir_fd, job->doomed[i]);
    }
    if (job->create) {
        job->create_result = spool_make_segment(job->spool, job->dir_fd, SPOOL_SEGMENT_MIN, &job->created);
        if (job->create_result == E_OK && job->populate) {
            segment_populate(job->created, 0);
            job->created->populated = true;
        }
    }
}

static void start_files(struct spool *s);

/* The prepared segment waits to be taken, unless the appender has helped itself meanwhile and there is no room for both. */
static void keep_spare(struct spool *s, struct segment *created)
{
    uv_mutex_lock(&s->lock);
    bool keep = !s->spare && s->bytes + created->size <= atomic_load(&s->max_size);
    if (keep) {
        s->spare = created;
        s->bytes += created->size;
        metric_set(&s->stats.bytes, s->bytes);
    }
    uv_mutex_unlock(&s->lock);
    if (!keep) {
        unlinkat(s->loop_dir_fd, created->name, 0);
        segment_destroy(created);
    }
}

/* How far the segment that is appended to is filled, in eighths. */
static unsigned eighths_filled(const struct segment *seg)
{
    return seg->size < SPOOL_SEGMENT_MIN ? 8 : (unsigned)(atomic_load(&seg->tail) / (seg->size / 8));
}

/* The last moment to prepare the next segment: from now on the oldest may go for it. */
static bool must_drop(struct spool *s, const struct segment *seg)
{
    return eighths_filled(seg) >= SPOOL_LATE_EIGHTHS && atomic_load(&s->full) == SPOOL_DROP_OLDEST;
}

/* Is it time to prepare the next segment? At spool_max_size the oldest goes for it, but not before it must. */
static bool spare_is_due(struct spool *s)
{
    bool due = false;
    uv_mutex_lock(&s->lock);
    struct segment *seg = s->newest;
    if (seg && !s->spare) {
        if (s->bytes + s->segment_size > atomic_load(&s->max_size)) {
            due = must_drop(s, seg) && spool_drop_oldest(s) != NULL;
        } else {
            due = eighths_filled(seg) >= SPOOL_EARLY_EIGHTHS &&
                  (mono_reached(mono_now(), s->prepare_at) || must_drop(s, seg));
        }
    }
    uv_mutex_unlock(&s->lock);
    spool_settle(s);
    return due;
}

/* The disk has no room for the next segment. */
static void on_disk_full(struct spool *s)
{
    bool dropped = false;
    uv_mutex_lock(&s->lock);
    if (s->newest && must_drop(s, s->newest) && !atomic_exchange(&s->dropped_in_vain, true)) {
        dropped = spool_drop_oldest(s) != NULL;
    }
    uv_mutex_unlock(&s->lock);
    spool_settle(s);
    s->files.again |= dropped;
}

static void on_files(uv_work_t *work, int status)
{
    struct file_job *job = work->data;
    struct spool *s = job->spool;
    job->running = false;
    for (size_t i = 0; i < job->count; i++) {
        job->doomed[i]->busy--;
    }
    if (job->filling) {
        job->filling->busy--;
        job->filling = NULL;
    }
    if (job->created) {
        atomic_store(&s->dropped_in_vain, false);
        keep_spare(s, job->created);
    } else if (job->create && status == 0) {
        log_emit(&log_prepare, "dir=%s error=%s", s->dir, err_name(job->create_result));
        s->prepare_at = mono_add_ms(mono_now(), SPOOL_RETRY_MS);
        if (job->create_result == E_NO_SPACE) {
            on_disk_full(s);
        }
    }
    spool_reap(s);
    if (job->again && status == 0 && !s->stopping) {
        start_files(s);
    }
    finish_stop(s);
}

/* The segment that is appended to, held, if its pages still come one by one; and from where on it is to be populated. */
static struct segment *take_unpopulated(struct spool *s, size_t *from)
{
    uv_mutex_lock(&s->lock);
    struct segment *seg = s->newest;
    if (seg && (!seg->written || seg->populated)) {
        seg = NULL;
    }
    uv_mutex_unlock(&s->lock);
    if (seg) {
        seg->populated = true;
        seg->busy++;
        *from = atomic_load(&seg->tail);
    }
    return seg;
}

static void start_files(struct spool *s)
{
    struct file_job *job = &s->files;
    if (job->running) {
        job->again = true;
        return;
    }
    job->count = 0;
    job->again = false;
    job->created = NULL;
    job->create_result = E_CANCELLED;
    job->create = spare_is_due(s);
    job->populate = atomic_load(&s->fast);
    job->filling = job->populate ? take_unpopulated(s, &job->filling_from) : NULL;
    job->dir_fd = s->loop_dir_fd;
    bool hold = s->beside || (s->sync.running && s->sync.sync_beside);
    for (struct segment *seg = hold ? NULL : s->removed; seg; seg = seg->next) {
        if (atomic_load(&seg->unlinked)) {
            continue;
        }
        if (job->count == SPOOL_JOB_SEGMENTS) {
            job->again = true;
            break;
        }
        seg->busy++;
        job->doomed[job->count++] = seg;
    }
    if (job->count > 0 || job->create || job->filling) {
        job->running = uv_queue_work(s->loop, &job->work, run_files, on_files) == 0;
    }
}

/* --- loop --- */

static void on_async(uv_async_t *async)
{
    struct spool *s = async->data;
    if (!s->unblocked) {
        map_guard_unblock();
        s->unblocked = true;
    }
    if (atomic_exchange(&s->noted, false)) {
        spool_settle(s);
        spool_collect(s);
        if (!s->stopping) {
            start_files(s);
        }
    }
    uint32_t woken = atomic_exchange(&s->woken, 0);
    for (unsigned k = 0; k < SINK_COUNT && !s->stopping; k++) {
        if (woken & SINK_BIT(k)) {
            s->wake(s->wake_ctx, (enum sink_id)k);
        }
    }
}

enum err spool_follow_folder(struct spool *s)
{
    if (!atomic_exchange(&s->folder_new, false)) {
        return E_OK;
    }
    enum err e = E_OK;
    int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* The pool may be using the number: the descriptor is exchanged behind it. */
    if (fd < 0 || dup3(fd, s->loop_dir_fd, O_CLOEXEC) < 0) {
        e = err_from_errno(errno);
        atomic_store(&s->folder_new, true); /* it is tried again */
    }
    if (fd >= 0) {
        close(fd);
    }
    s->places_void = true;
    return e;
}

/* Somebody has deleted the file that is appended to: what goes there now would not be found after a crash. */
static void check_active(struct spool *s)
{
    uv_mutex_lock(&s->lock);
    struct segment *seg = s->newest;
    bool ours = seg && seg->written;
    uv_mutex_unlock(&s->lock);
    if (!ours || faccessat(s->loop_dir_fd, seg->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT) {
        return;
    }
    uv_mutex_lock(&s->lock);
    bool gone = seg == s->newest; /* otherwise it may have been deleted by us */
    uv_mutex_unlock(&s->lock);
    if (gone && !atomic_exchange(&s->abandon, true)) {
        log_emit(&log_gone, "segment=%s", seg->name);
    }
}

static void housekeep(struct spool *s)
{
    if (spool_follow_folder(s) == E_OK) {
        check_active(s);
    }
    spool_collect(s);
    start_files(s);
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        struct cursor *c = &s->cursors[k];
        if ((s->sinks & SINK_BIT(k)) == 0) {
            continue;
        }
        bool stalled = c->stalled;
        c->stalled = false;
        cursor_update_oldest(c);
        if (stalled) {
            s->wake(s->wake_ctx, (enum sink_id)k);
        }
    }
}

/* Between two syncs; without an interval, of the folder and the cursors. */
static uint64_t sync_interval(struct spool *s)
{
    uint64_t ms = atomic_load(&s->sync_ms);
    if (ms == SPOOL_SYNC_ALWAYS || ms == SPOOL_SYNC_NEVER) {
        return SPOOL_TICK_MS;
    }
    return ms > SPOOL_SYNC_MIN_MS ? ms : SPOOL_SYNC_MIN_MS;
}

static void on_timer(uv_timer_t *timer)
{
    struct spool *s = timer->data;
    struct mono now = mono_now();
    struct mono next_sync = mono_add_ms(now, sync_interval(s));
    bool tick = mono_reached(now, s->tick_at);
    bool sync = mono_reached(now, s->sync_at);
    spool_settle(s);
    if (tick) {
        s->tick_at = mono_add_ms(now, SPOOL_TICK_MS);
        housekeep(s);
    }
    if (tick || sync) {
        start_sync(s, sync, tick);
    }
    s->sync_at = sync ? next_sync : mono_min(s->sync_at, next_sync);
    uv_timer_start(&s->timer, on_timer, mono_ms_until(now, mono_min(s->tick_at, s->sync_at)), 0);
}

enum err spool_start(struct spool *s, uv_loop_t *loop, void (*wake)(void *ctx, enum sink_id), void *ctx)
{
    s->loop = loop;
    s->wake = wake;
    s->wake_ctx = ctx;
    s->stopping = false;
    s->unblocked = false;
    s->async.data = s;
    s->timer.data = s;
    s->sync.work.data = &s->sync;
    s->sync.spool = s;
    s->files.work.data = &s->files;
    s->files.spool = s;
    s->loop_dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->loop_dir_fd < 0) {
        return err_from_errno(errno);
    }
    if (uv_async_init(loop, &s->async, on_async) != 0) {
        close(s->loop_dir_fd);
        s->loop_dir_fd = -1;
        return E_IO;
    }
    uv_timer_init(loop, &s->timer);
    s->open_handles = 2;
    s->tick_at = mono_add_ms(mono_now(), SPOOL_TICK_MS);
    s->sync_at = mono_add_ms(mono_now(), sync_interval(s));
    uv_timer_start(&s->timer, on_timer, 0, 0);
    atomic_store(&s->noted, true);
    atomic_store(&s->running, true);
    /* For what came before there was a loop. */
    uv_async_send(&s->async);
    return E_OK;
}

static void finish_stop(struct spool *s)
{
    if (s->stopping && s->open_handles == 0 && !s->sync.running && !s->files.running) {
        s->stopping = false;
        close(s->loop_dir_fd);
        s->loop_dir_fd = -1;
        s->on_stopped(s->stopped_ctx);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct spool *s = handle->data;
    s->open_handles--;
    finish_stop(s);
}

void spool_stop(struct spool *s, void (*on_stopped)(void *ctx), void *ctx)
{
    if (!atomic_exchange(&s->running, false)) {
        on_stopped(ctx);
        return;
    }
    s->stopping = true;
    s->on_stopped = on_stopped;
    s->stopped_ctx = ctx;
    uv_close((uv_handle_t *)&s->timer, on_closed);
    uv_close((uv_handle_t *)&s->async, on_closed);
}
