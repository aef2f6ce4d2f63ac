/* What is in the segments at opening: each is read, torn tails are cut, damage is set aside, what is missing is counted. */
#include "plugin/spool_internal.h"

#include "base/log.h"
#include "plugin/segment_scan.h"

#include <unistd.h>

LOG_POINT(log_torn, "spool.torn", LOG_WARNING, "the last record was not complete: it was cut off");
LOG_POINT(log_damaged, "spool.damaged", LOG_ERROR,
          "a segment is damaged: it was set aside, what is sound in it stays in the spool");
LOG_POINT(log_kept, "spool.damaged-kept", LOG_ERROR,
          "a segment is damaged and cannot be set aside now: its sound records are read from it");
LOG_POINT(log_missing, "spool.missing", LOG_ERROR, "records are missing between two segments");
LOG_POINT(log_gone, "spool.gone", LOG_ERROR,
          "files of the spool are gone: messages that were acknowledged may be lost");
LOG_POINT(log_mark, "spool.mark-failed", LOG_WARNING,
          "what was counted at this start could not be noted in a segment: it will be counted again at the next");
LOG_POINT(log_degraded, "spool.no-segment", LOG_ERROR,
          "no segment can be made for new messages: they are refused until the disk takes one");

struct recovery {
    struct spool *s;
    struct sink_place *places;
    struct mono verify_until;
    uint64_t before[SEGMENT_SINKS]; /* records of each sink up to the segment at hand */
    int64_t capture_high;
    uint64_t last_sequence;
};

/* --- one segment --- */

static bool sound(const struct segment *seg)
{
    return seg && !atomic_load(&seg->damaged);
}

/* The last sequence that should be in the segment, as its successor says. */
static uint64_t expected_last(const struct segment *seg, const struct segment_scan *scan)
{
    if (!seg->newer) {
        return scan->last_sequence;
    }
    return sound(seg->newer) ? seg->newer->header.previous_sequence : seg->newer->header.first_sequence - 1;
}

/* The counts can be had from the headers, without reading the records? */
static bool may_skip(const struct recovery *r, const struct segment *seg)
{
    const struct segment *next = seg->newer;
    if (!sound(seg) || !sound(next) || seg->header.marks[SEGMENT_INCOMPLETE] ||
        !mono_reached(mono_now(), r->verify_until)) {
        return false;
    }
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        uint64_t position = r->places[k].position;
        uint64_t count = next->header.records_before[k] - seg->header.records_before[k];
        if ((position > seg->header.first_sequence && position < next->header.first_sequence) || count > UINT32_MAX) {
            return false;
        }
    }
    return true;
}

static void counts_from_headers(const struct recovery *r, const struct segment *seg, struct segment_scan *scan)
{
    const struct segment *next = seg->newer;
    *scan = (struct segment_scan){.last_sequence = next->header.previous_sequence, .tail = seg->size};
    scan->capture_high = INT64_MIN;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        scan->count[k] = (uint32_t)(next->header.records_before[k] - seg->header.records_before[k]);
        scan->before[k] = r->places[k].position > seg->header.first_sequence ? scan->count[k] : 0;
    }
}

/* Adds what is missing to the account of each sink. What was for a sink is known from the headers around it; otherwise every
 * missing record counts for every sink. */
static void account_missing(struct recovery *r, const struct segment *seg, const struct segment_scan *scan)
{
    uint64_t last = expected_last(seg, scan);
    bool exact = sound(seg) && sound(seg->newer) && !seg->header.marks[SEGMENT_INCOMPLETE];
    uint64_t most = 0;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        uint64_t lost =
            scan->missing_from[k] + sequences_from(scan->last_sequence + 1, last + 1, r->places[k].position);
        if (exact) {
            uint64_t there = seg->newer->header.records_before[k] - seg->header.records_before[k];
            uint64_t gone = there > scan->count[k] ? there - scan->count[k] : 0;
            lost = gone < lost ? gone : lost;
        }
        r->places[k].lost += lost;
        most = lost > most && (r->s->sinks & SINK_BIT(k)) ? lost : most;
    }
    metric_add(&r->s->stats.dropped, most);
}

static struct segment_header header_for_salvage(const struct recovery *r, const struct segment *seg)
{
    struct segment_header h = seg->header;
    if (!sound(seg)) {
        h.previous_sequence = r->last_sequence < h.first_sequence ? r->last_sequence : h.first_sequence - 1;
        h.created_ms = r->s->now(r->s->now_ctx).ms;
        h.capture_high_ms = r->capture_high;
        memcpy(h.records_before, r->before, sizeof(h.records_before));
        h.marks[SEGMENT_FOLLOWED] = seg->newer != NULL;
        h.marks[SEGMENT_FIRST] = seg->older == NULL;
    }
    return h;
}

/* Puts the rewritten segment in the place of the damaged one, or nothing. */
static void replace_live(struct spool *s, struct segment *old, struct segment *fresh)
{
    if (!fresh) {
        spool_unlink_live(s, old);
        return;
    }
    fresh->older = old->older;
    fresh->newer = old->newer;
    fresh->live = true;
    *(old->older ? &old->older->newer : &s->oldest) = fresh;
    *(old->newer ? &old->newer->older : &s->newest) = fresh;
    s->bytes += fresh->size - old->size;
    metric_set(&s->stats.bytes, s->bytes);
}

/* What is missing beside this segment or in it has been counted: the next start does not count it again. */
static void note(struct recovery *r, struct segment *seg, enum segment_mark mark)
{
    if (seg && sound(seg) && !seg->header.marks[mark]) {
        seg->header.marks[mark] = true;
        enum err e = segment_mark(r->s->dir_fd, seg->name, mark, true);
        if (e != E_OK) {
            log_emit(&log_mark, "segment=%s error=%s", seg->name, err_name(e));
        }
    }
}

/* The segment, which is mapped, is damaged. *seg becomes what stands in its place, mapped, or NULL. */
static void set_damaged_aside(struct recovery *r, struct segment **seg, struct segment_scan *scan)
{
    struct segment *damaged = *seg;
    struct segment *fresh = NULL;
    struct segment_header h = header_for_salvage(r, damaged);
    uint64_t missing = scan->missing + sequences_from(scan->last_sequence + 1, expected_last(damaged, scan) + 1, 0);
    metric_add(&r->s->stats.damaged, 1);
    enum err e = spool_salvage(r->s->dir_fd, damaged, &h, &fresh);
    if (e != E_OK) {
        segment_destroy(fresh);
        atomic_store(&damaged->damaged, true);
        damaged->header = h;
        log_emit(&log_kept, "segment=%s readable=%u missing=%llu error=%s", damaged->name, scan->records,
                 (unsigned long long)missing, err_name(e));
        return;
    }
    log_emit(&log_damaged, "segment=%s readable=%u missing=%llu", damaged->name, scan->records,
             (unsigned long long)missing);
    if (!fresh) {
        note(r, damaged->older ? damaged->older : damaged->newer, damaged->older ? SEGMENT_INCOMPLETE : SEGMENT_FIRST);
    }
    replace_live(r->s, damaged, fresh);
    segment_destroy(damaged);
    *seg = fresh;
    if (fresh) {
        segment_scan(segment_image(fresh), fresh->header.first_sequence, true, scan);
    }
}

/* Takes the result over into the segment and the accounts. */
static void take_counts(struct recovery *r, struct segment *seg, const struct segment_scan *scan)
{
    atomic_store(&seg->tail, scan->tail);
    seg->synced = scan->tail;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        atomic_store(&seg->count[k], scan->count[k]);
        seg->done[k] = scan->before[k];
        r->places[k].waiting += scan->count[k] - scan->before[k];
        r->before[k] = seg->header.records_before[k] + scan->count[k];
    }
    for (unsigned k = SINK_COUNT; k < SEGMENT_SINKS; k++) {
        r->before[k] = seg->header.records_before[k];
    }
    r->capture_high = capture_clock_high(seg->header.capture_high_ms, scan->capture_high);
    r->last_sequence = scan->last_sequence > r->last_sequence ? scan->last_sequence : r->last_sequence;
}

/* Can be appended to: its size is what it was made with. */
static bool resumable(const struct segment *seg)
{
    return sound(seg) && seg->size == seg->header.size && seg->size % (size_t)sysconf(_SC_PAGESIZE) == 0;
}

/* The torn tail of a segment that is appended to goes when that begins; any other goes here. */
static void cut_tail(struct recovery *r, struct segment *seg, size_t tail)
{
    metric_add(&r->s->stats.torn, 1);
    log_emit(&log_torn, "segment=%s offset=%zu", seg->name, tail);
    if (!resumable(seg)) {
        size_t before = seg->size;
        enum err e = segment_cut(seg, r->s->dir_fd, tail);
        r->s->bytes -= before - seg->size;
        metric_set(&r->s->stats.bytes, r->s->bytes);
        if (e != E_OK) {
            log_emit(&log_mark, "segment=%s error=%s", seg->name, err_name(e));
        }
    }
}

/* A file that got its name and nothing else before the power went. */
static bool never_used(const struct segment *seg)
{
    return !sound(seg) && !seg->newer && segment_is_blank(bytes_make(seg->map, seg->map ? seg->size : 0), 0);
}

static void remove_unused(struct recovery *r, struct segment *seg)
{
    log_emit(&log_gone, "segment=%s reason='it is blank'", seg->name);
    spool_unlink_live(r->s, seg);
    spool_delete_file(r->s->dir_fd, seg);
    segment_destroy(seg);
    metric_add(&r->s->stats.torn, 1);
}

/* What can be told from the newest segment about an end that is not there any more. */
static void check_end(struct recovery *r, struct segment *seg)
{
    if (seg->newer || !sound(seg)) {
        return;
    }
    if (seg->header.marks[SEGMENT_FOLLOWED]) {
        log_emit(&log_gone, "segment=%s reason='newer segments are gone'", seg->name);
    }
    if (seg->size < seg->header.size && !seg->header.marks[SEGMENT_INCOMPLETE]) {
        log_emit(&log_gone, "segment=%s reason='the file was cut' bytes=%zu of=%llu", seg->name, seg->size,
                 (unsigned long long)seg->header.size);
        note(r, seg, SEGMENT_INCOMPLETE);
    }
}

/* Counts the segments before the oldest, should they not have been removed by us. */
static void check_beginning(struct recovery *r)
{
    struct segment *seg = r->s->oldest;
    uint64_t most = 0;
    bool unknown = false;
    if (!seg || !sound(seg) || seg->header.marks[SEGMENT_FIRST] || seg->header.previous_sequence == 0) {
        return;
    }
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        struct sink_place *p = &r->places[k];
        uint64_t lost = p->state == PLACE_KNOWN ? sequences_from(1, seg->header.first_sequence, p->position) : 0;
        p->lost += lost;
        most = lost > most && (r->s->sinks & SINK_BIT(k)) ? lost : most;
        unknown = unknown || p->state == PLACE_DAMAGED;
    }
    metric_add(&r->s->stats.dropped, most);
    if (most > 0 || unknown) {
        log_emit(&log_gone, "before_segment=%s reason='older segments are gone' missing=%llu", seg->name,
                 (unsigned long long)most);
    }
    note(r, seg, SEGMENT_FIRST);
}

/* Reads one segment, which is mapped. */
static void examine(struct recovery *r, struct segment *seg)
{
    struct segment_scan scan = {0};
    if (never_used(seg)) {
        atomic_store(&seg->damaged, false);
        remove_unused(r, seg);
        return;
    }
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        scan.from[k] = r->places[k].position;
    }
    segment_scan(bytes_make(seg->map, seg->map ? seg->size : 0), seg->header.first_sequence,
                 seg->header.marks[SEGMENT_INCOMPLETE], &scan);
    uint64_t short_by = sequences_from(scan.last_sequence + 1, expected_last(seg, &scan) + 1, 0);
    bool last = !seg->newer;
    bool damaged = !sound(seg) || scan.damaged || (scan.tail_dirty && !last);
    if (damaged || !seg->header.marks[SEGMENT_INCOMPLETE]) {
        account_missing(r, seg, &scan);
    }
    check_end(r, seg);
    if (damaged) {
        set_damaged_aside(r, &seg, &scan);
    } else if (scan.tail_dirty) {
        cut_tail(r, seg, scan.tail);
    } else if (short_by > 0 && !seg->header.marks[SEGMENT_INCOMPLETE]) {
        log_emit(&log_missing, "after_segment=%s records=%llu", seg->name, (unsigned long long)short_by);
        note(r, seg, SEGMENT_INCOMPLETE);
    }
    if (seg) {
        take_counts(r, seg, &scan);
        segment_unmap(seg);
    } else if (scan.last_sequence > r->last_sequence) {
        r->last_sequence = scan.last_sequence;
    }
}

static enum err examine_all(struct recovery *r, struct spool_error *error)
{
    struct spool *s = r->s;
    struct segment *next;
    check_beginning(r);
    for (struct segment *seg = s->oldest; seg; seg = next) {
        next = seg->newer;
        if (may_skip(r, seg)) {
            struct segment_scan scan;
            counts_from_headers(r, seg, &scan);
            take_counts(r, seg, &scan);
            continue;
        }
        enum err e = seg->size > 0 ? segment_map(seg, s->dir_fd, false) : E_OK;
        if (e != E_OK) {
            spool_error_set(error, "%s: %s: %s", s->dir, seg->name, err_name(e));
            return e;
        }
        examine(r, seg);
    }
    return E_OK;
}

/* --- the end of the spool --- */

/* Makes the newest segment the one that is appended to, if it can be; its torn tail goes. */
static enum err resume_newest(struct spool *s)
{
    struct segment *seg = s->newest;
    if (!seg || !resumable(seg) || s->next_sequence != s->last_sequence + 1) {
        return E_NOT_FOUND;
    }
    enum err e = segment_map(seg, s->dir_fd, true);
    if (e != E_OK) {
        return e;
    }
    size_t tail = atomic_load(&seg->tail);
    if (!segment_is_blank(bytes_make(seg->map, seg->size), tail)) {
        memset(seg->map + tail, 0, seg->size - tail);
    }
    if (segment_broken(seg)) {
        segment_unmap(seg);
        return E_IO;
    }
    seg->synced = 0;
    atomic_store(&seg->sealed, false);
    if (seg->header.marks[SEGMENT_FOLLOWED]) {
        /* What followed is gone, and that has been said. */
        seg->header.marks[SEGMENT_FOLLOWED] = false;
        seg->map[segment_mark_offset(SEGMENT_FOLLOWED)] = 0;
    }
    s->active = seg;
    s->note_at = tail + seg->size / 8;
    s->noted_at = mono_now();
    return E_OK;
}

static enum err begin_appending(struct spool *s, struct spool_error *error)
{
    if (resume_newest(s) == E_OK) {
        return E_OK;
    }
    enum err e = spool_roll(s, 0);
    if (e == E_NO_SPACE || e == E_FULL) {
        /* What is in the spool can be delivered nevertheless. */
        log_emit(&log_degraded, "dir=%s error=%s", s->dir, err_name(e));
        return E_OK;
    }
    if (e != E_OK) {
        spool_error_set(error, "%s: cannot make a segment: %s", s->dir, err_name(e));
    }
    return e;
}

/* The cursors know of records that are in no segment: the newest are gone, or all. Those that other sinks had not passed are lost. */
static void check_cursors(struct recovery *r)
{
    uint64_t reached = 0;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        uint64_t position = r->places[k].state == PLACE_KNOWN ? r->places[k].position : 0;
        reached = position > reached ? position : reached;
    }
    if (reached > r->last_sequence + 1) {
        uint64_t most = 0;
        for (unsigned k = 0; k < SINK_COUNT; k++) {
            struct sink_place *p = &r->places[k];
            uint64_t lost = p->state == PLACE_KNOWN ? sequences_from(r->last_sequence + 1, reached, p->position) : 0;
            p->lost += lost;
            most = lost > most && (r->s->sinks & SINK_BIT(k)) ? lost : most;
        }
        metric_add(&r->s->stats.dropped, most);
        log_emit(&log_gone, "dir=%s reason='a cursor is ahead of it' missing=%llu waited=%llu", r->s->dir,
                 (unsigned long long)(reached - r->last_sequence - 1), (unsigned long long)most);
    } else if (reached > 0 && !r->s->oldest) {
        log_emit(&log_gone, "dir=%s reason='no segment is left'", r->s->dir);
    }
}

enum err spool_recover(struct spool *s, struct spool_error *error)
{
    struct sink_place places[SINK_COUNT];
    struct recovery r = {.s = s, .places = places, .capture_high = INT64_MIN};
    enum err e = spool_read_places(s, places, error);
    e = e ? e : spool_load(s, error);
    if (e == E_OK) {
        r.verify_until = mono_add_ms(mono_now(), SPOOL_VERIFY_MS);
        e = examine_all(&r, error);
    }
    if (e != E_OK) {
        return e;
    }
    check_cursors(&r);
    s->last_sequence = r.last_sequence;
    s->next_sequence = r.last_sequence + 1;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if (places[k].state == PLACE_KNOWN && places[k].position > s->next_sequence) {
            s->next_sequence = places[k].position;
        }
    }
    memcpy(s->records_before, r.before, sizeof(r.before));
    capture_clock_init(&s->capture, s->now(s->now_ctx), r.capture_high);
    s->sync_all_due = s->oldest != NULL;
    e = begin_appending(s, error);
    if (e == E_OK) {
        spool_settle_places(s, places);
    }
    return e;
}
