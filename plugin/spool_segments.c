/* The live segments of a spool, and what becomes of those that are removed. */
#include "plugin/spool_internal.h"

#include "base/log.h"

#include <errno.h>
#include <unistd.h>

LOG_POINT(log_dropped, "spool.dropped", LOG_WARNING, "the spool is full: the oldest segment was dropped");
LOG_POINT(log_mark, "spool.removal-not-noted", LOG_WARNING,
          "the removal of a segment could not be noted: the next start will miss it");
LOG_POINT(log_delete, "spool.delete-failed", LOG_WARNING, "a segment that is not needed any more cannot be deleted");

/* --- under the lock --- */

void spool_link_newest(struct spool *s, struct segment *seg)
{
    seg->older = s->newest;
    seg->newer = NULL;
    if (s->newest) {
        s->newest->newer = seg;
    } else {
        s->oldest = seg;
    }
    s->newest = seg;
    seg->live = true;
    s->bytes += seg->size;
    metric_set(&s->stats.bytes, s->bytes);
}

void spool_unlink_live(struct spool *s, struct segment *seg)
{
    if (seg->older) {
        seg->older->newer = seg->newer;
    } else {
        s->oldest = seg->newer;
    }
    if (seg->newer) {
        seg->newer->older = seg->older;
    } else {
        s->newest = seg->older;
    }
    seg->live = false;
    s->bytes -= seg->size;
    metric_set(&s->stats.bytes, s->bytes);
}

/* Has the removal of a segment noted in a neighbour that stays, so that it is not missed at the next start. Under the lock. */
static void choose_witness(struct segment *seg)
{
    struct segment *witness = seg->older ? seg->older : seg->newer;
    seg->witnessed = seg->older ? SEGMENT_INCOMPLETE : SEGMENT_FIRST;
    witness->header.marks[seg->witnessed] = true;
    memcpy(seg->witness, witness->name, sizeof(seg->witness));
}

struct segment *spool_drop_oldest(struct spool *s)
{
    struct segment *seg = s->oldest;
    if (!seg || seg == s->newest) {
        return NULL;
    }
    choose_witness(seg);
    spool_unlink_live(s, seg);
    seg->next = s->dropped;
    s->dropped = seg;
    atomic_store(&s->unsettled, true);
    return seg;
}

void spool_delete_file(int dir_fd, struct segment *seg)
{
    if (atomic_exchange(&seg->unlinked, true)) {
        return;
    }
    enum err e = E_OK;
    if (seg->witness[0] != '\0') {
        e = segment_mark(dir_fd, seg->witness, seg->witnessed, true);
    }
    if (e != E_OK && e != E_NOT_FOUND) {
        log_emit(&log_mark, "segment=%s error=%s", seg->witness, err_name(e));
    }
    e = E_OK;
    if (atomic_load(&seg->damaged)) {
        e = spool_set_aside(dir_fd, seg->name);
    } else if (unlinkat(dir_fd, seg->name, 0) != 0) {
        e = err_from_errno(errno);
    }
    if (e != E_OK && e != E_NOT_FOUND) {
        log_emit(&log_delete, "segment=%s error=%s", seg->name, err_name(e));
    }
}

/* --- loop thread --- */

struct segment *spool_oldest(struct spool *s)
{
    uv_mutex_lock(&s->lock);
    struct segment *seg = s->oldest;
    uv_mutex_unlock(&s->lock);
    return seg;
}

struct segment *spool_newer(struct spool *s, struct segment *seg)
{
    uv_mutex_lock(&s->lock);
    struct segment *newer = seg->newer;
    if (!seg->live) {
        /* Removed meanwhile: its links are those of then. */
        newer = s->oldest;
        while (newer && newer->header.first_sequence < seg->header.first_sequence) {
            newer = newer->newer;
        }
    }
    uv_mutex_unlock(&s->lock);
    return newer;
}

uint32_t spool_unread(const struct segment *seg, enum sink_id sink)
{
    uint32_t count = atomic_load_explicit(&seg->count[sink], memory_order_relaxed);
    uint32_t accounted = seg->done[sink] + seg->pins[sink];
    return count > accounted ? count - accounted : 0;
}

void spool_lost(struct spool *s, struct cursor *c, struct segment *seg, uint32_t n)
{
    seg->done[c->sink] += n;
    seg->lost[c->sink] += n;
    metric_add(&c->dropped, n);
    atomic_store_explicit(&c->out, metric_get(&c->out) + n, memory_order_release);
    if (seg->lost[c->sink] > seg->lost_records) {
        metric_add(&s->stats.dropped, seg->lost[c->sink] - seg->lost_records);
        seg->lost_records = seg->lost[c->sink];
    }
}

static bool held(const struct segment *seg)
{
    uint32_t holders = seg->readers + seg->busy;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        holders += seg->pins[k];
    }
    return holders > 0;
}

static bool passed(const struct spool *s, const struct segment *seg)
{
    if (!atomic_load(&seg->sealed)) { /* before the counts: those of a sealed segment are its last */
        return false;
    }
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if ((s->sinks & SINK_BIT(k)) && seg->done[k] < atomic_load_explicit(&seg->count[k], memory_order_relaxed)) {
            return false;
        }
    }
    return true;
}

static bool is_synced(const struct spool *s, const struct segment *seg)
{
    uint64_t sync_ms = atomic_load(&s->sync_ms);
    return seg->synced >= atomic_load(&seg->tail) || sync_ms == SPOOL_SYNC_NEVER || sync_ms == SPOOL_SYNC_ALWAYS;
}

/* Lets go of what readers and syncing need. */
static void relax(struct spool *s, struct segment *seg)
{
    if (atomic_load(&seg->sealed) && !held(seg) && (seg->removed || !seg->written || is_synced(s, seg))) {
        segment_unmap(seg);
    }
}

/* Files are deleted in the order in which segments are removed, so that a crash leaves the younger ones. */
static void add_removed(struct spool *s, struct segment *seg)
{
    seg->removed = true;
    seg->next = NULL;
    *s->removed_end = seg;
    s->removed_end = &seg->next;
}

/* A segment that every sink has passed leaves the list; its file is deleted by the pool. */
static bool remove_if_passed(struct spool *s, struct segment *seg)
{
    if (seg->removed || !passed(s, seg)) {
        return false;
    }
    uv_mutex_lock(&s->lock);
    struct segment *next = seg->newer;
    /* Never the newest: it says where the sequence stands. Nor one that the appender has just dropped. */
    bool removable = seg->live && next;
    if (removable) {
        choose_witness(seg);
        spool_unlink_live(s, seg);
    }
    uv_mutex_unlock(&s->lock);
    if (!removable) {
        return false;
    }
    add_removed(s, seg);
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if (s->sinks & SINK_BIT(k)) {
            cursor_segment_passed(&s->cursors[k], seg, next);
        }
    }
    spool_note(s);
    return true;
}

enum err spool_enter(struct spool *s, struct segment *seg)
{
    if (!seg->map) {
        bool alone = s->loop_dir_fd < 0; /* before spool_start there is one thread only */
        if (!alone && spool_follow_folder(s) != E_OK) {
            return E_IO;
        }
        enum err e = segment_map(seg, alone ? s->dir_fd : s->loop_dir_fd, false);
        if (e != E_OK) {
            return e;
        }
    }
    seg->readers++;
    return E_OK;
}

void spool_leave(struct spool *s, struct segment *seg)
{
    seg->readers--;
    relax(s, seg);
}

void spool_unpinned(struct spool *s, struct segment *seg)
{
    if (seg->removed) {
        if (!held(seg)) {
            spool_reap(s);
        }
    } else if (!remove_if_passed(s, seg)) {
        relax(s, seg);
    }
}

void spool_collect(struct spool *s)
{
    struct segment *next;
    for (struct segment *seg = spool_oldest(s); seg; seg = next) {
        next = spool_newer(s, seg);
        if (!remove_if_passed(s, seg)) {
            relax(s, seg);
        }
    }
}

void spool_reap(struct spool *s)
{
    struct segment **link = &s->removed;
    while (*link) {
        struct segment *seg = *link;
        if (atomic_load(&seg->unlinked) && !held(seg)) {
            *link = seg->next;
            segment_destroy(seg);
        } else {
            link = &seg->next;
        }
    }
    s->removed_end = link;
}

static void settle_one(struct spool *s, struct segment *seg)
{
    uint64_t lost = 0;
    add_removed(s, seg);
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if (s->sinks & SINK_BIT(k)) {
            uint64_t before = metric_get(&s->cursors[k].dropped);
            cursor_segment_dropped(&s->cursors[k], seg);
            uint64_t n = metric_get(&s->cursors[k].dropped) - before;
            lost = n > lost ? n : lost;
        }
    }
    if (lost > 0) {
        log_emit(&log_dropped, "segment=%s records=%llu", seg->name, (unsigned long long)lost);
    }
}

void spool_settle(struct spool *s)
{
    if (!atomic_load_explicit(&s->unsettled, memory_order_relaxed)) {
        return;
    }
    uv_mutex_lock(&s->lock);
    struct segment *newest_first = s->dropped;
    s->dropped = NULL;
    atomic_store(&s->unsettled, false);
    uv_mutex_unlock(&s->lock);
    while (newest_first) {
        struct segment *seg = newest_first;
        newest_first = seg->next;
        settle_one(s, seg);
    }
    spool_reap(s);
    spool_note(s);
}
