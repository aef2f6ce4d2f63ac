#include "plugin/cursor.h"

#include "base/log.h"
#include "plugin/record_codec.h"
#include "plugin/spool_internal.h"

#include <stdlib.h>

LOG_POINT(log_unreadable, "spool.unreadable", LOG_ERROR, "a segment cannot be read now: its records wait");
LOG_POINT(log_damage, "spool.damage-read", LOG_ERROR,
          "damaged records were left out: the segment is set aside once the rest is delivered");

enum err cursor_init(struct cursor *c, struct spool *s, enum sink_id sink)
{
    *c = (struct cursor){.spool = s, .sink = sink};
    /* Not touched before it is used: costs no memory until then. */
    c->window = calloc(CURSOR_WINDOW_MAX, sizeof(*c->window));
    return c->window ? E_OK : E_NOMEM;
}

void cursor_finish(struct cursor *c)
{
    free(c->window);
    c->window = NULL;
}

/* --- window --- */

static struct window_entry *entry_at(const struct cursor *c, uint32_t place)
{
    return &c->window[(c->head + place) % CURSOR_WINDOW_MAX];
}

/* The place of a sequence, or `used` if it is not in the window. */
static uint32_t find_place(const struct cursor *c, uint64_t sequence)
{
    uint32_t low = 0;
    uint32_t high = c->used;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entry_at(c, middle)->sequence < sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < c->used && entry_at(c, low)->sequence == sequence ? low : c->used;
}

static void push_entry(struct cursor *c, uint64_t sequence, size_t offset)
{
    struct segment *seg = c->segment;
    *entry_at(c, c->used) = (struct window_entry){sequence, seg, (uint32_t)offset, WINDOW_IN_FLIGHT};
    c->used++;
    c->segments += seg->pins[c->sink]++ == 0;
}

static bool window_full(const struct cursor *c)
{
    return c->used == CURSOR_WINDOW_MAX || c->segments >= CURSOR_SEGMENTS_MAX;
}

/* Takes done entries off the front. */
static void advance_head(struct cursor *c)
{
    while (c->used > 0 && entry_at(c, 0)->state == WINDOW_DONE) {
        c->head = (c->head + 1) % CURSOR_WINDOW_MAX;
        c->used--;
        c->return_hint -= c->return_hint > 0;
    }
}

/* Ends an entry: the record's segment is not held for it any more. */
static struct segment *finish_entry(struct cursor *c, struct window_entry *entry)
{
    struct segment *seg = entry->segment;
    c->returned -= entry->state == WINDOW_RETURNED;
    entry->state = WINDOW_DONE;
    entry->segment = NULL;
    c->segments -= --seg->pins[c->sink] == 0;
    return seg;
}

static void lose_entry(struct cursor *c, struct window_entry *entry)
{
    struct segment *seg = finish_entry(c, entry);
    spool_lost(c->spool, c, seg, 1);
}

/* --- reading --- */

static bool wanted(const struct cursor *c, const struct record *r)
{
    return (r->sinks & SINK_BIT(c->sink)) != 0 && r->sequence >= c->from;
}

static void leave(struct cursor *c, struct segment *next)
{
    struct segment *seg = c->segment;
    bool entered = c->entered;
    c->segment = next;
    c->entered = false;
    if (entered) {
        spool_leave(c->spool, seg);
    }
}

static void note_damage(struct cursor *c, const char *what)
{
    struct segment *seg = c->segment;
    if (!atomic_exchange(&seg->damaged, true)) {
        metric_add(&c->spool->stats.damaged, 1);
        log_emit(&log_damage, "segment=%s sink=%s offset=%zu what=%s", seg->name, sink_id_name(c->sink), c->walk.offset,
                 what);
    }
}

/* Nothing more can be read in this sealed segment. E_OK: reading goes on in the next; E_AGAIN: there is none. */
static enum err finish_segment(struct cursor *c)
{
    struct segment *seg = c->segment;
    uint32_t unread = spool_unread(seg, c->sink);
    if (unread > 0) {
        note_damage(c, "missing");
        spool_lost(c->spool, c, seg, unread);
    }
    struct segment *next = spool_newer(c->spool, seg);
    if (!next) {
        return E_AGAIN;
    }
    leave(c, next);
    spool_unpinned(c->spool, seg);
    return E_OK;
}

/* E_OK: c->segment is held. E_AGAIN: there is no segment, or it cannot be read now. */
static enum err enter(struct cursor *c)
{
    while (!c->entered) {
        if (!c->segment) {
            c->segment = spool_oldest(c->spool);
        }
        if (!c->segment) {
            return E_AGAIN;
        }
        enum err e = spool_enter(c->spool, c->segment);
        if (e == E_NOT_FOUND || e == E_CORRUPT) {
            /* Somebody took the file away or cut it. */
            if (finish_segment(c) != E_OK) {
                return E_AGAIN;
            }
            continue;
        }
        if (e != E_OK) {
            log_emit(&log_unreadable, "segment=%s sink=%s error=%s", c->segment->name, sink_id_name(c->sink),
                     err_name(e));
            c->stalled = true;
            return E_AGAIN;
        }
        c->entered = true;
        c->careful = c->segment->header.marks[SEGMENT_INCOMPLETE];
        c->walk = segment_walk_start(segment_image(c->segment), c->segment->header.first_sequence);
        c->reached = c->walk.expected > c->reached ? c->walk.expected : c->reached;
    }
    return E_OK;
}

/* The walk has met damage. True: look again from `before`, this time at every record. */
static bool step_back(struct cursor *c, const struct segment_walk *before, bool bytes_skipped)
{
    if (c->careful) {
        if (bytes_skipped) {
            note_damage(c, "checksum");
        }
        return false;
    }
    c->careful = true;
    c->walk = *before;
    return true;
}

/* Asks to be woken for what comes next. False: it has come already. */
static bool arm(struct cursor *c)
{
    struct spool *s = c->spool;
    atomic_fetch_or(&s->waiting, SINK_BIT(c->sink));
    /* What was appended before the appender could see the bit is seen here. */
    bool more = c->segment ? (c->entered && atomic_load(&c->segment->tail) != c->walk.image.len) ||
                                 spool_newer(s, c->segment) != NULL
                           : spool_oldest(s) != NULL;
    if (more) {
        atomic_fetch_and(&s->waiting, ~SINK_BIT(c->sink));
    }
    return !more;
}

/* The next record of this sink in c->segment, which is entered. E_NOT_FOUND: none is left in it. E_AGAIN: none yet. */
static enum err read_segment(struct cursor *c, struct record *out, size_t *offset)
{
    struct segment *seg = c->segment;
    for (;;) {
        bool sealed = atomic_load(&seg->sealed); /* before the tail: the tail of a sealed segment is its last */
        c->walk.image = segment_image(seg);
        struct segment_walk before = c->walk;
        if (!c->careful) {
            segment_walk_skip(&c->walk, (uint8_t)SINK_BIT(c->sink), c->from);
        }
        *offset = c->walk.offset;
        enum segment_step step = segment_walk(&c->walk, out);
        if ((step == SEGMENT_GAP || step == SEGMENT_TAIL) &&
            step_back(c, &before, step == SEGMENT_TAIL || c->walk.offset != *offset)) {
            continue;
        }
        c->reached = c->walk.expected > c->reached ? c->walk.expected : c->reached;
        if (step == SEGMENT_RECORD && wanted(c, out)) {
            return E_OK;
        }
        if (step == SEGMENT_END || step == SEGMENT_TAIL) {
            return sealed ? E_NOT_FOUND : E_AGAIN;
        }
    }
}

/* The next record of this sink; the walk stands behind it. `wait`: the sink is to be woken when there is none. */
static enum err read_next(struct cursor *c, bool wait, struct record *out, size_t *offset)
{
    for (;;) {
        enum err e = enter(c);
        if (e == E_OK) {
            e = read_segment(c, out, offset);
        }
        if (e == E_NOT_FOUND) {
            e = finish_segment(c);
            if (e == E_OK) {
                continue;
            }
        }
        if (e == E_AGAIN && wait && !c->stalled && !arm(c)) {
            continue;
        }
        return e;
    }
}

static enum err decode_entry(const struct window_entry *entry, struct record *out)
{
    const struct segment *seg = entry->segment;
    return record_decode(bytes_sub(segment_image(seg), entry->offset, seg->size), out);
}

/* The oldest entry that is to be given again. */
static enum err next_returned(struct cursor *c, struct record *out)
{
    enum err e = E_AGAIN;
    for (uint32_t place = c->return_hint; c->returned > 0 && e != E_OK; place++) {
        struct window_entry *entry = entry_at(c, place);
        c->return_hint = place + 1;
        if (entry->state != WINDOW_RETURNED) {
            continue;
        }
        e = decode_entry(entry, out);
        if (e == E_OK) {
            entry->state = WINDOW_IN_FLIGHT;
            c->returned--;
        } else {
            struct segment *seg = entry->segment;
            lose_entry(c, entry);
            spool_unpinned(c->spool, seg);
        }
    }
    advance_head(c);
    return e;
}

bool cursor_is_near(const struct cursor *c)
{
    struct spool *s = c->spool;
    return c->entered && c->segment == s->active && c->returned == 0 && !c->stalled && !window_full(c) &&
           !atomic_load(&s->unsettled);
}

enum err cursor_next(struct cursor *c, struct record *out)
{
    struct record r;
    size_t offset;
    spool_settle(c->spool);
    c->stalled = false;
    enum err e = c->returned > 0 ? next_returned(c, &r) : E_AGAIN;
    if (e != E_OK) {
        if (window_full(c)) {
            return E_FULL;
        }
        e = read_next(c, true, &r, &offset);
        if (e != E_OK) {
            return e;
        }
        push_entry(c, r.sequence, offset);
    }
    *out = r;
    return E_OK;
}

/* --- what the sink says about records --- */

void cursor_confirm(struct cursor *c, uint64_t sequence)
{
    spool_settle(c->spool);
    uint32_t place = find_place(c, sequence);
    if (place == c->used || entry_at(c, place)->state == WINDOW_DONE) {
        return;
    }
    struct segment *seg = finish_entry(c, entry_at(c, place));
    seg->done[c->sink]++;
    atomic_store_explicit(&c->out, metric_get(&c->out) + 1, memory_order_release);
    advance_head(c);
    spool_unpinned(c->spool, seg);
}

/* Marks one entry that is in flight; one whose segment was dropped meanwhile is lost instead. */
static void return_entry(struct cursor *c, uint32_t place)
{
    struct window_entry *entry = entry_at(c, place);
    struct segment *seg = entry->segment;
    if (entry->state != WINDOW_IN_FLIGHT) {
        return;
    }
    if (seg->removed) {
        lose_entry(c, entry);
        spool_unpinned(c->spool, seg);
        return;
    }
    entry->state = WINDOW_RETURNED;
    c->returned++;
    c->return_hint = place < c->return_hint ? place : c->return_hint;
}

void cursor_return(struct cursor *c, uint64_t sequence)
{
    spool_settle(c->spool);
    uint32_t place = find_place(c, sequence);
    if (place < c->used) {
        return_entry(c, place);
        advance_head(c);
    }
}

void cursor_rewind(struct cursor *c)
{
    spool_settle(c->spool);
    for (uint32_t place = 0; place < c->used; place++) {
        return_entry(c, place);
    }
    advance_head(c);
}

/* --- segments that go --- */

void cursor_segment_dropped(struct cursor *c, struct segment *seg)
{
    for (uint32_t place = 0; place < c->used; place++) {
        struct window_entry *entry = entry_at(c, place);
        if (entry->segment == seg && entry->state == WINDOW_RETURNED) {
            lose_entry(c, entry);
        }
    }
    advance_head(c);
    uint32_t unread = spool_unread(seg, c->sink);
    if (unread > 0) {
        spool_lost(c->spool, c, seg, unread);
    }
    if (c->segment == seg) {
        c->from = c->reached;
        leave(c, NULL);
    }
}

void cursor_segment_passed(struct cursor *c, struct segment *seg, struct segment *next)
{
    if (c->segment == seg) {
        leave(c, next);
    }
}

/* --- figures --- */

uint64_t cursor_position(const struct cursor *c)
{
    return c->used > 0 ? entry_at(c, 0)->sequence : c->reached;
}

uint64_t cursor_lag(const struct cursor *c)
{
    uint64_t out = atomic_load_explicit(&c->out, memory_order_acquire);
    return metric_get(&c->in) - out;
}

uint64_t cursor_dropped(const struct cursor *c)
{
    return metric_get(&c->dropped);
}

int64_t cursor_oldest_ms(const struct cursor *c)
{
    return atomic_load_explicit(&c->oldest_ms, memory_order_relaxed);
}

void cursor_update_oldest(struct cursor *c)
{
    struct record r;
    size_t offset;
    int64_t oldest = 0;
    spool_settle(c->spool);
    if (c->used > 0) {
        oldest = decode_entry(entry_at(c, 0), &r) == E_OK ? r.capture_ms : 0;
    } else if (cursor_lag(c) > 0 && read_next(c, false, &r, &offset) == E_OK) {
        /* A look ahead, taken back. */
        oldest = r.capture_ms;
        c->walk.offset = offset;
        c->walk.expected = r.sequence;
        c->reached = r.sequence;
    }
    atomic_store_explicit(&c->oldest_ms, oldest, memory_order_relaxed);
}
