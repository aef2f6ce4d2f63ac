/* The spool: the plugin's only queue. Append-only segments of records on disk, preallocated and mapped; one cursor per
 * sink, each with a window of records sent and not yet confirmed. Format: docs/spool-format.md.
 *
 * Threads: one appender (the broker's thread) and one reader (the loop thread: every cursor, maintenance). Blocking work
 * (fdatasync, allocating the next segment, deleting) runs in libuv's pool, never on the broker's thread except where
 * stated. What spool_append has accepted survives kill -9 of the process; after `spool_sync` a power cut too.
 */
#ifndef PLUGIN_SPOOL_H
#define PLUGIN_SPOOL_H

#include "base/clock.h"
#include "base/err.h"
#include "base/metrics.h"
#include "plugin/record.h"

#include <uv.h>

struct spool;
struct cursor;

enum spool_full { SPOOL_DROP_OLDEST, SPOOL_REJECT };

#define SPOOL_SYNC_ALWAYS 0u
#define SPOOL_SYNC_NEVER UINT64_MAX

struct spool_options {
    const char *dir;       /* created 0700 if missing (its parent must be there) */
    uint64_t max_size;     /* bytes of all segments; raised to what four of the smallest segments take */
    uint64_t segment_size; /* 0 = 16 MiB, or max_size / 4 if that is less; 64 KiB to 32 MiB, whole pages */
    enum spool_full full;
    uint64_t sync_ms; /* fdatasync interval, SPOOL_SYNC_ALWAYS or SPOOL_SYNC_NEVER */
    uint8_t sinks;    /* SINK_BIT()s that are configured: each has a cursor; others are set aside */
    struct wall (*now)(
        void *ctx); /* wall clock for times of capture; NULL = wall_now, or the coarse one where no sensor is named */
    void *now_ctx;
};

struct spool_error {
    char text[320]; /* one line for the log; begins with the folder */
};

/* Opens or creates; recovers after a crash (cuts a torn tail, sets damaged segments aside as *.damaged). A sink that is new, or
 * was not configured the last time, starts at the end. A full disk is no error: what is there can be delivered.
 * E_BUSY: in use by another process; E_VERSION: other format; E_NOT_FOUND: no parent folder; E_ACCESS, E_READ_ONLY, E_IO.
 * Broker's thread, before the loop runs. */
MUST_CHECK enum err spool_open(const struct spool_options *o, struct spool **out, struct spool_error *error);

/* Starts maintenance (sync, next segment, deletion, cursor files) on the loop. Loop thread, or before the loop runs. From then on the
 * spool uses one descriptor of the folder on the broker's thread and another, opened here, on the loop's. `wake(ctx)`
 * is called on the loop thread when records have arrived for a cursor that had found none. The loop's first turn unblocks
 * SIGBUS on its thread (plugin/map_guard.h). */
MUST_CHECK enum err spool_start(struct spool *s, uv_loop_t *loop, void (*wake)(void *ctx, enum sink_id), void *ctx);

/* Stops maintenance; on_stopped once nothing of it runs any more (at once if it was never started). Loop thread, while the
 * broker's thread does not append (it waits for the end of the loop). */
void spool_stop(struct spool *s, void (*on_stopped)(void *ctx), void *ctx);

/* Writes the cursors, syncs (as configured), unmaps, unlocks, frees. After the loop has ended. NULL is allowed. */
void spool_close(struct spool *s);

/* Limits that may change while running. Broker's thread. */
void spool_set_limits(struct spool *s, uint64_t max_size, enum spool_full full, uint64_t sync_ms);

/* Copies a record into the spool; sets r->sequence and r->capture_ms. When this returns E_OK the record survives kill -9 (and
 * with SPOOL_SYNC_ALWAYS a power cut). E_FULL: at max_size under SPOOL_REJECT; E_NO_SPACE, E_READ_ONLY, E_IO ...: the disk
 * refuses (it is tried again with later calls, at most every second); E_TOO_LARGE: over half a segment, or a field over its
 * limit; E_INVALID: r->sinks is empty or names a sink that is not configured. Waits for the disk with SPOOL_SYNC_ALWAYS, and when a segment
 * is full before the pool has prepared the next one. Broker's thread. */
MUST_CHECK enum err spool_append(struct spool *s, struct record *r);
/* The same for a record that comes back (from rejected/): it keeps its time of capture, and so the key under which it is stored. */
MUST_CHECK enum err spool_append_again(struct spool *s, struct record *r);

/* Has the append of record `r` ask `take` before the sinks that wait for records are woken: those whose SINK_BIT()s it returns have dealt
 * with the record. Broker's thread, like `take`. */
void spool_set_shortcut(struct spool *s, uint32_t (*take)(void *ctx, const struct record *r, uint32_t sinks),
                        void *ctx);

/* The cursor of a configured sink. Loop thread. */
struct cursor *spool_cursor(struct spool *s, enum sink_id id);

/* The next record for this sink that is not in the window yet. Borrowed: valid until it is confirmed or the cursor rewound.
 * E_AGAIN: none now, wake() will come. E_FULL: the window holds CURSOR_WINDOW_MAX records, or they lie in CURSOR_SEGMENTS_MAX
 * segments, each of which is mapped. Loop thread.
 * With drop_oldest a record that the sink holds may be dropped: it stays valid and may be confirmed, but is not given again. */
#define CURSOR_WINDOW_MAX 8192u
#define CURSOR_SEGMENTS_MAX                                                                                            \
    (UINTPTR_MAX > UINT32_MAX ? 256u : 16u) /* a process of 32 bits has 2 or 3 GB for everything */
MUST_CHECK enum err cursor_next(struct cursor *c, struct record *out);
/* The sink has durably handed over (or set aside) this record. In any order within the window. Loop thread. */
void cursor_confirm(struct cursor *c, uint64_t sequence);
/* Forgets the window: the next cursor_next gives the oldest unconfirmed record again (those confirmed out of order are
 * skipped). Loop thread. */
void cursor_rewind(struct cursor *c);
/* Hands the one record back, to be given again by cursor_next before later ones. Loop thread. */
void cursor_return(struct cursor *c, uint64_t sequence);

/* Does the next record of this sink, if there is one, lie where both the appender and the cursor are, so that no file is touched to read
 * it? Broker's thread, while it counts as the loop's. */
bool cursor_is_near(const struct cursor *c);

/* Files that confirmed records now depend on have been written in the spool's folder: they are synced before it is noted that the records
 * are finished. Loop thread. */
void spool_written_beside(struct spool *s);

/* Records for this sink that are not confirmed. Any thread. */
uint64_t cursor_lag(const struct cursor *c);
/* Capture time of the oldest of them, 0 = none; looked up about once a second. Any thread. */
int64_t cursor_oldest_ms(const struct cursor *c);
/* Records dropped before this sink confirmed them (drop_oldest, damage). Any thread. */
uint64_t cursor_dropped(const struct cursor *c);

struct spool_stats {
    metric_value records;   /* in segments and needed by a sink */
    metric_value bytes;     /* of segments on disk */
    metric_value oldest_ms; /* capture time of the oldest record needed, 0 = none */
    metric_value appended;
    metric_value refused; /* appends that did not succeed */
    metric_value dropped; /* records that left before every sink confirmed them */
    metric_value torn;    /* torn tails cut at opening */
    metric_value damaged; /* segments set aside */
};
/* The figures of now. Any thread. */
const struct spool_stats *spool_stats(struct spool *s);

#endif
