/* The spool on the loop: waking, housekeeping, and when to give work to libuv's pool (spool_sync.c, spool_files.c). */
#include "plugin/spool_internal.h"

#include "base/log.h"
#include "plugin/map_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

LOG_POINT(log_gone, "spool.segment-gone", LOG_ERROR,
          "the segment that is appended to was deleted by somebody: going on in a new one");

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
            spool_start_files(s);
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
    spool_start_files(s);
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
        spool_start_sync(s, sync, tick);
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

void spool_finish_stop(struct spool *s)
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
    spool_finish_stop(s);
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
