/* Appending, on the broker's thread. */
#include "plugin/spool_internal.h"

#include "base/log.h"
#include "plugin/record_codec.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define CACHE_LINE 64u
#define FETCH_AHEAD_MAX 512u

LOG_POINT(log_full, "spool.full", LOG_WARNING, "the spool is at spool_max_size: messages are refused");
LOG_POINT(log_refused, "spool.refused", LOG_ERROR, "the disk takes no new segment: messages are refused");
LOG_POINT(log_recovered, "spool.recovered", LOG_NOTICE, "the disk takes new segments again");
LOG_POINT(log_broken, "spool.write-failed", LOG_ERROR, "a segment could not be written: going on in a new one");
LOG_POINT(log_sync, "spool.append-sync-failed", LOG_ERROR, "a message could not be synced to disk: it is refused");
LOG_POINT(log_followed, "spool.follow-failed", LOG_WARNING,
          "it could not be noted in a segment that another one follows: should that be lost, nothing will say so");
LOG_POINT(log_large, "spool.too-large", LOG_WARNING, "a message is too large for the spool");

void spool_note(struct spool *s)
{
    atomic_store(&s->noted, true);
    if (atomic_load(&s->running)) {
        uv_async_send(&s->async);
    }
}

/* --- room --- */

static enum err refuse(struct spool *s, enum err e)
{
    s->refusal = e;
    s->retry_at = mono_add_ms(mono_now(), s->retry_ms);
    s->retry_ms = SPOOL_RETRY_MS;
    log_emit(&log_refused, "dir=%s error=%s", s->dir, err_name(e));
    return e;
}

/* Drops the oldest segment and its file; false if there is none to drop. Under the lock, because the loop may free what it has
 * settled. */
static bool drop_one(struct spool *s)
{
    uv_mutex_lock(&s->lock);
    struct segment *seg = spool_drop_oldest(s);
    if (seg) {
        spool_delete_file(s->dir_fd, seg);
    }
    uv_mutex_unlock(&s->lock);
    if (seg) {
        spool_note(s);
    }
    return seg != NULL;
}

/* Sees to it that one more segment stays within max_size. */
static enum err make_room(struct spool *s)
{
    for (;;) {
        uv_mutex_lock(&s->lock);
        bool fits = s->bytes + s->segment_size <= atomic_load(&s->max_size);
        uv_mutex_unlock(&s->lock);
        if (fits) {
            return E_OK;
        }
        if (atomic_load(&s->full) == SPOOL_REJECT || !drop_one(s)) {
            log_emit(&log_full, "dir=%s max_size=%llu", s->dir, (unsigned long long)atomic_load(&s->max_size));
            return E_FULL;
        }
    }
}

enum err spool_make_segment(struct spool *s, int dir_fd, size_t least, struct segment **out)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    enum err e = E_NO_SPACE;
    /* Where the disk has no room for a whole segment, it may have some for a smaller one. */
    for (size_t size = s->segment_size; e == E_NO_SPACE && size >= least; size = size / 4 / page * page) {
        char name[SEGMENT_NAME_SIZE];
        snprintf(name, sizeof(name), "new-%llu.tmp", (unsigned long long)atomic_fetch_add(&s->files_made, 1));
        e = segment_create(dir_fd, name, size, out);
    }
    return e;
}

/* The prepared segment, if it is large enough. */
static struct segment *take_spare(struct spool *s, size_t least)
{
    uv_mutex_lock(&s->lock);
    struct segment *spare = s->spare;
    s->spare = NULL;
    s->bytes -= spare ? spare->size : 0; /* counted again when it is live */
    uv_mutex_unlock(&s->lock);
    if (spare && spare->size < least) {
        unlinkat(s->dir_fd, spare->name, 0);
        segment_destroy(spare);
        spare = NULL;
    }
    return spare;
}

/* A segment to write to, not yet live: the one prepared by the pool, or one made here and now. */
static enum err fresh_segment(struct spool *s, size_t length, struct segment **out)
{
    size_t least = SEGMENT_HEADER_SIZE + record_room(length);
    least = least > SPOOL_SEGMENT_MIN ? least : SPOOL_SEGMENT_MIN;
    *out = take_spare(s, least);
    if (*out) {
        return E_OK;
    }
    enum err e = make_room(s);
    if (e != E_OK) {
        return e;
    }
    e = spool_make_segment(s, s->dir_fd, least, out);
    if (e == E_NO_SPACE && atomic_load(&s->full) == SPOOL_DROP_OLDEST && !atomic_exchange(&s->dropped_in_vain, true)) {
        if (drop_one(s)) {
            e = spool_make_segment(s, s->dir_fd, least, out);
            /* The blocks are free once no reader has the segment mapped any more: very soon. */
            s->retry_ms = SPOOL_SOON_MS;
        }
    }
    if (e == E_OK) {
        atomic_store(&s->dropped_in_vain, false);
    }
    return e;
}

/* Notes on disk that the segment has a successor. Should the file of that be gone one day, this says so: nothing else knows of the
 * newest segment. */
static void note_followed(struct spool *s, const char *name)
{
    enum err e = segment_mark(s->dir_fd, name, SEGMENT_FOLLOWED, true);
    if (e != E_OK && e != E_NOT_FOUND) {
        log_emit(&log_followed, "segment=%s error=%s", name, err_name(e));
    }
}

/* Makes the segment the newest, and seals the one before it. */
static void publish(struct spool *s, struct segment *fresh)
{
    char followed[SEGMENT_NAME_SIZE] = "";
    uv_mutex_lock(&s->lock);
    struct segment *old = s->newest; /* the active one, or one that recovery has sealed */
    spool_link_newest(s, fresh);
    if (old && atomic_load(&old->tail) == SEGMENT_HEADER_SIZE) {
        /* It never held a record. The new one may have taken its name. */
        atomic_store(&old->unlinked, strcmp(old->name, fresh->name) == 0);
        spool_unlink_live(s, old);
        old->next = s->dropped;
        s->dropped = old;
        atomic_store(&s->unsettled, true);
    }
    if (old) {
        atomic_store(&old->sealed, true);
    }
    struct segment *before = fresh->older;
    if (before && !before->header.marks[SEGMENT_FOLLOWED]) {
        before->header.marks[SEGMENT_FOLLOWED] = true;
        memcpy(followed, before->name, sizeof(followed));
    }
    uv_mutex_unlock(&s->lock);
    if (followed[0] != '\0') {
        note_followed(s, followed);
    }
    s->active = fresh;
    s->note_at = fresh->size / 8;
    s->noted_at = mono_now();
    atomic_store(&s->folder_dirty, true);
    atomic_store(&s->abandon, false);
}

static struct segment_header next_header(struct spool *s)
{
    struct segment_header h = {
        .first_sequence = s->next_sequence,
        .previous_sequence = s->last_sequence,
        .created_ms = s->now(s->now_ctx).ms,
        .capture_high_ms = s->capture.high,
    };
    memcpy(h.records_before, s->records_before, sizeof(h.records_before));
    uv_mutex_lock(&s->lock);
    /* Nothing stands before it, but for one that it replaces because that never held a record. */
    const struct segment *oldest = s->oldest;
    h.marks[SEGMENT_FIRST] = !oldest || (oldest == s->newest && atomic_load(&oldest->tail) == SEGMENT_HEADER_SIZE);
    uv_mutex_unlock(&s->lock);
    return h;
}

/* A segment with its header and its name, not yet live. */
static enum err new_segment(struct spool *s, size_t length, struct segment **out)
{
    struct segment *fresh = NULL;
    enum err e = fresh_segment(s, length, &fresh);
    if (e != E_OK) {
        return e;
    }
    struct segment_header h = next_header(s);
    e = segment_activate(fresh, s->dir_fd, &h);
    if (e == E_OK && atomic_load(&s->sync_ms) == SPOOL_SYNC_ALWAYS) {
        e = segment_sync(fresh, 0, SEGMENT_HEADER_SIZE);
        if (e == E_OK && fsync(s->dir_fd) != 0) {
            e = err_from_errno(errno);
        }
    }
    if (e != E_OK) {
        unlinkat(s->dir_fd, fresh->name, 0);
        segment_destroy(fresh);
        return e;
    }
    *out = fresh;
    return E_OK;
}

enum err spool_roll(struct spool *s, size_t length)
{
    struct spool_error why;
    struct segment *fresh = NULL;
    if (s->refusal != E_OK && !mono_reached(mono_now(), s->retry_at)) {
        return s->refusal;
    }
    enum err e = new_segment(s, length, &fresh);
    if (e == E_NOT_FOUND && spool_attach(s, &why) == E_OK) {
        e = new_segment(s, length, &fresh);
    }
    if (e == E_FULL) {
        return e;
    }
    if (e != E_OK) {
        return refuse(s, e);
    }
    if (s->refusal != E_OK) {
        log_emit(&log_recovered, "dir=%s", s->dir);
        s->refusal = E_OK;
    }
    publish(s, fresh);
    spool_note(s);
    return E_OK;
}

/* --- append --- */

/* Has the memory of the next record, should it be as long as this one, brought into the cache while the broker reads the message.
 * Otherwise the CRC over what was just written waits for it. */
static void fetch_ahead(const struct segment *seg, size_t tail, size_t room)
{
    size_t ahead = (room < FETCH_AHEAD_MAX ? room : FETCH_AHEAD_MAX) + CACHE_LINE; /* it seldom begins with a line */
    size_t end = ahead < seg->size - tail ? tail + ahead : seg->size;
    for (size_t at = tail; at < end; at += CACHE_LINE) {
        __builtin_prefetch(seg->map + at, 1);
    }
}

/* Counts first, then the tail: a reader that sees the record sees it counted. */
static void publish_record(struct spool *s, struct segment *seg, const struct record *r, size_t tail)
{
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if (r->sinks & SINK_BIT(k)) {
            uint32_t count = atomic_load_explicit(&seg->count[k], memory_order_relaxed);
            atomic_store_explicit(&seg->count[k], count + 1, memory_order_relaxed);
            metric_set(&s->cursors[k].in, metric_get(&s->cursors[k].in) + 1);
            s->records_before[k]++;
        }
    }
    s->last_sequence = r->sequence;
    s->next_sequence = r->sequence + 1;
    metric_set(&s->stats.appended, metric_get(&s->stats.appended) + 1);
    atomic_store(&seg->tail, tail);
}

/* The active segment takes no more. What is in it stays readable. */
static void abandon_broken(struct spool *s)
{
    struct segment *seg = s->active;
    log_emit(&log_broken, "segment=%s", seg->name);
    if (segment_make_readable(seg, s->dir_fd) != E_OK) {
        atomic_store(&seg->damaged, true);
    }
    atomic_store(&s->abandon, true);
}

/* Writes the record behind the tail. E_IO etc.: it is not there. */
static enum err write_record(struct spool *s, const struct record *r, size_t length)
{
    struct segment *seg = s->active;
    size_t tail = atomic_load_explicit(&seg->tail, memory_order_relaxed);
    uint8_t *at = seg->map + tail;
    record_encode(r, length, at);
    record_commit(at, length);
    if (segment_broken(seg)) {
        abandon_broken(s);
        return E_IO;
    }
    if (atomic_load_explicit(&s->sync_ms, memory_order_relaxed) == SPOOL_SYNC_ALWAYS) {
        enum err e = segment_sync(seg, tail, tail + length);
        if (e != E_OK) {
            log_emit(&log_sync, "segment=%s error=%s", seg->name, err_name(e));
            /* No reader has seen it: as if it had never been. */
            record_commit(at, 0);
            memset(at, 0, record_room(length));
            return e;
        }
    }
    size_t room = record_room(length);
    publish_record(s, seg, r, tail + room);
    fetch_ahead(seg, tail + room, room);
    return E_OK;
}

static bool active_has_room(struct spool *s, size_t length)
{
    struct segment *seg = s->active;
    return seg && !atomic_load_explicit(&s->abandon, memory_order_relaxed) &&
           record_room(length) <= seg->size - atomic_load_explicit(&seg->tail, memory_order_relaxed);
}

static enum err append(struct spool *s, struct record *r, bool again)
{
    size_t length;
    if ((r->sinks & s->sinks) == 0 || (r->sinks & ~s->sinks) != 0) {
        return E_INVALID;
    }
    enum err e = record_length(r, &length);
    if (e == E_OK && length > s->segment_size / 2) {
        e = E_TOO_LARGE;
    }
    if (e != E_OK) {
        log_emit(&log_large, "bytes=%zu limit=%zu", r->payload.len, s->segment_size / 2);
        return e;
    }
    r->sequence = s->next_sequence;
    if (!again) {
        struct wall now = r->sensor.len > 0 ? s->now(s->now_ctx) : s->now_coarse(s->now_ctx);
        r->capture_ms = capture_clock_next(&s->capture, r->sensor, now);
    }
    for (int attempt = 0; attempt < 2; attempt++) {
        e = active_has_room(s, length) ? E_OK : spool_roll(s, length);
        if (e == E_OK) {
            e = write_record(s, r, length);
        }
        if (e == E_OK || !atomic_load_explicit(&s->abandon, memory_order_relaxed)) {
            break;
        }
    }
    return e;
}

/* Wakes the cursors of the record's sinks that had found nothing. */
static void wake(struct spool *s, const struct record *r)
{
    uint32_t waiting = atomic_fetch_and(&s->waiting, ~(uint32_t)r->sinks) & r->sinks;
    if (waiting && s->shortcut) {
        waiting &= ~s->shortcut(s->shortcut_ctx, r, waiting);
    }
    if (waiting) {
        atomic_fetch_or(&s->woken, waiting);
        if (atomic_load(&s->running)) {
            uv_async_send(&s->async);
        }
    }
}

/* An eighth of the active segment has been filled. */
static void note_eighth(struct spool *s, const struct segment *seg)
{
    struct mono now = mono_now();
    atomic_store(&s->fast, mono_ms_until(s->noted_at, now) < SPOOL_FAST_MS);
    s->noted_at = now;
    s->note_at += seg->size / 8;
    spool_note(s);
}

static enum err append_and_wake(struct spool *s, struct record *r, bool again)
{
    enum err e = append(s, r, again);
    if (e != E_OK) {
        metric_add(&s->stats.refused, 1);
        return e;
    }
    /* Against arm() in cursor.c: it sets its bit and looks at the tail, here the tail was stored before the bits are looked at. */
    if (atomic_load(&s->waiting) & r->sinks) {
        wake(s, r);
    }
    struct segment *seg = s->active;
    if (atomic_load_explicit(&seg->tail, memory_order_relaxed) >= s->note_at) {
        note_eighth(s, seg);
    }
    return E_OK;
}

enum err spool_append(struct spool *s, struct record *r)
{
    return append_and_wake(s, r, false);
}

enum err spool_append_again(struct spool *s, struct record *r)
{
    return append_and_wake(s, r, true);
}

/* --- accessors --- */

void spool_set_limits(struct spool *s, uint64_t max_size, enum spool_full full, uint64_t sync_ms)
{
    uint64_t least = (uint64_t)s->segment_size * SPOOL_SEGMENTS_MIN;
    atomic_store(&s->max_size, max_size < least ? least : max_size);
    atomic_store(&s->full, full);
    atomic_store(&s->sync_ms, sync_ms);
}

void spool_set_shortcut(struct spool *s, uint32_t (*take)(void *ctx, const struct record *r, uint32_t sinks), void *ctx)
{
    s->shortcut = take;
    s->shortcut_ctx = ctx;
}

struct cursor *spool_cursor(struct spool *s, enum sink_id id)
{
    return &s->cursors[id];
}

const struct spool_stats *spool_stats(struct spool *s)
{
    uint64_t records = 0;
    int64_t oldest = 0;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if (s->sinks & SINK_BIT(k)) {
            uint64_t lag = cursor_lag(&s->cursors[k]);
            int64_t ms = cursor_oldest_ms(&s->cursors[k]);
            records = lag > records ? lag : records;
            oldest = ms != 0 && (oldest == 0 || ms < oldest) ? ms : oldest;
        }
    }
    metric_set(&s->stats.records, records);
    metric_set(&s->stats.oldest_ms, (uint64_t)oldest);
    return &s->stats;
}
