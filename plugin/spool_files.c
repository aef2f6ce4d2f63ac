/* Segments come and go: the next one is prepared, removed ones are deleted, by one job of libuv's pool at a time. */
#include "plugin/spool_internal.h"

#include "base/log.h"

#include <unistd.h>

LOG_POINT(log_prepare, "spool.prepare-failed", LOG_DEBUG, "the next segment could not be prepared");

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
        spool_start_files(s);
    }
    spool_finish_stop(s);
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

void spool_start_files(struct spool *s)
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
