/* What the files of the spool share. Nobody else includes this.
 *
 *   spool.c              appending (broker's thread), accessors
 *   spool_segments.c     the list of live segments and the life of a removed one
 *   spool_load.c         which segments there are at opening
 *   spool_recover.c      what is in them
 *   spool_places.c       the cursors at opening
 *   spool_salvage.c      setting damaged segments aside
 *   spool_open.c         options, folder, lock, cursors; closing
 *   spool_maintenance.c  the loop: waking, housekeeping, when the next two are due
 *   spool_sync.c         what was appended, cursors and folder to disk
 *   spool_files.c        the next segment, deletion
 *   cursor.c             reading, window
 */
#ifndef PLUGIN_SPOOL_INTERNAL_H
#define PLUGIN_SPOOL_INTERNAL_H

#include "plugin/capture_clock.h"
#include "plugin/cursor.h"
#include "plugin/segment.h"

#define SPOOL_SEGMENT_DEFAULT (16u << 20)
#define SPOOL_SEGMENT_MIN (64u << 10)
#define SPOOL_SEGMENT_MAX (32u << 20)
#define SPOOL_SEGMENTS_MIN 4u /* max_size holds that many at least */
#define SPOOL_SOON_MS 20u
#define SPOOL_RETRY_MS 1000u /* between attempts at what the disk refused */
#define SPOOL_TICK_MS 1000u  /* housekeeping */
#define SPOOL_SYNC_MIN_MS 10u
#define SPOOL_EARLY_EIGHTHS 2u /* of a segment filled, when the next is prepared ... */
#define SPOOL_LATE_EIGHTHS 7u  /* ... and when the oldest is dropped for it */
#define SPOOL_FAST_MS 600u     /* for an eighth: so fast that pages are populated ahead */
#define SPOOL_JOB_SEGMENTS 32u /* that one job of the pool handles */
#define SPOOL_DAMAGED_MAX 16u  /* files *.damaged that are kept */
#define SPOOL_VERIFY_MS 500u   /* opening reads every record for that long; the rest is checked when it is read */

struct sync_job {
    uv_work_t work;
    struct spool *spool;
    bool running;
    int dir_fd;
    bool durable; /* fdatasync at all */
    bool sync_folder;
    bool sync_all; /* everything that an earlier process left unwritten, too */
    bool again;    /* the last attempt failed */
    bool sync_beside;
    enum err beside; /* the result of that */
    size_t count;
    struct segment *segments[SPOOL_JOB_SEGMENTS];
    size_t from[SPOOL_JOB_SEGMENTS], tails[SPOOL_JOB_SEGMENTS]; /* bytes to be synced */
    struct cursor_save {
        struct cursor *cursor; /* NULL = nothing to write */
        uint64_t position;
        enum err result;
    } saves[SINK_COUNT];
    enum err result;
};

struct file_job {
    uv_work_t work;
    struct spool *spool;
    bool running;
    bool again; /* more to do when it is back */
    int dir_fd;
    size_t count;
    struct segment *doomed[SPOOL_JOB_SEGMENTS];
    struct segment *filling; /* to be populated from `filling_from` */
    size_t filling_from;
    bool create; /* the next segment */
    bool populate;
    struct segment *created;
    enum err create_result;
};

struct spool {
    /* Fixed after opening. */
    char *dir;
    int dir_fd; /* broker's thread; both keep their numbers when the folder has to be made again */
    int lock_fd;
    uint8_t sinks;
    size_t segment_size;
    struct wall (*now)(void *ctx);
    struct wall (*now_coarse)(void *ctx); /* for times that are no keys */
    void *now_ctx;
    struct cursor cursors[SINK_COUNT]; /* those of `sinks` are in use */

    /* Broker's thread. */
    struct segment *active; /* also the newest live one; NULL = none could be made yet */
    uint64_t next_sequence;
    uint64_t last_sequence; /* of the last record in the spool */
    uint64_t records_before[SEGMENT_SINKS];
    size_t note_at;       /* tail from which the loop is told: the next eighth of the active segment */
    struct mono noted_at; /* when that happened last */
    struct mono retry_at; /* no attempt to make a segment before */
    enum err refusal;     /* E_OK, or why the disk refused last */
    uint32_t retry_ms;
    struct capture_clock capture;
    uint32_t (*shortcut)(void *ctx, const struct record *r, uint32_t sinks); /* or NULL */
    void *shortcut_ctx;

    /* Under the lock. */
    uv_mutex_t lock;
    struct segment *oldest, *newest; /* live segments */
    struct segment *spare;           /* the next active one, prepared */
    struct segment *dropped;         /* dropped by the appender, not yet seen by the loop */
    uint64_t bytes;                  /* of live segments and the spare */

    /* Any thread. */
    _Atomic uint64_t max_size;
    _Atomic uint64_t sync_ms;
    _Atomic int full;         /* enum spool_full */
    _Atomic uint32_t waiting; /* SINK_BIT()s of cursors that found nothing */
    _Atomic uint32_t woken;   /* SINK_BIT()s to be told by the loop */
    _Atomic uint64_t files_made;
    /* A segment was dropped because the disk is full, and that has not helped yet: no more go for it. Somebody else may be filling
     * the disk. */
    atomic_bool dropped_in_vain;
    atomic_bool noted;        /* the loop is to look at segments and files */
    atomic_bool fast;         /* the last eighth of a segment was filled within SPOOL_FAST_MS */
    atomic_bool unsettled;    /* `dropped` is not empty */
    atomic_bool abandon;      /* the active segment cannot take more */
    atomic_bool folder_dirty; /* names changed since the folder was synced */
    atomic_bool folder_new;   /* the folder was made again: the loop is to open it, and to make cursor files in it */
    atomic_bool running;      /* between spool_start and spool_stop */
    struct spool_stats stats;

    /* Loop thread. */
    struct segment *removed;      /* not live any more: file to be deleted, or still read; in order of removal ... */
    struct segment **removed_end; /* ... and where the next one is linked */
    bool sync_all_due;            /* an earlier process left things unwritten */
    bool sync_failed;             /* the last attempt */
    bool beside;                  /* files beside were written: nothing may depend on them before they are synced */
    bool places_void;             /* the cursors are not in the folder of now */
    struct mono sync_at, tick_at;
    struct mono prepare_at; /* no attempt to prepare a segment before */
    int loop_dir_fd; /* the loop's own and its pool's: they may have another table of files than the broker's thread */
    uv_loop_t *loop;
    uv_async_t async;
    uv_timer_t timer;
    struct sync_job sync;
    struct file_job files;
    void (*wake)(void *ctx, enum sink_id sink);
    void *wake_ctx;
    bool unblocked; /* SIGBUS, on the loop's thread */
    bool stopping;
    unsigned open_handles;
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
};

/* --- spool.c --- */

/* Has the loop look at segments and files, if it runs. Any thread. */
void spool_note(struct spool *s);
/* Makes a file for a segment of at least `least` bytes; less than segment_size only if the disk has no room for more. Not yet live.
 * Any thread, with its own dir_fd. */
MUST_CHECK enum err spool_make_segment(struct spool *s, int dir_fd, size_t least, struct segment **out);
/* Makes a new active segment with room for a record of `length` bytes. On a disk that is nearly full it is smaller than
 * others. Broker's thread. */
MUST_CHECK enum err spool_roll(struct spool *s, size_t length);

/* --- spool_maintenance.c --- */

/* Opens the folder that the broker's thread has made again in place of the one that is gone; nothing to do otherwise. On an error names
 * mean nothing for now. Loop thread. */
MUST_CHECK enum err spool_follow_folder(struct spool *s);

/* To be called when a handle of the loop or a job of the pool has ended: on_stopped follows once the last one has. Loop thread. */
void spool_finish_stop(struct spool *s);

/* --- spool_sync.c --- */

/* `data`: it is time to sync what was appended. `cursors`: it is time to write their places. Nothing while a job runs. Loop thread. */
void spool_start_sync(struct spool *s, bool data, bool cursors);

/* --- spool_files.c --- */

/* Prepares the next segment, if it is time to, and deletes the files of removed ones. While a job runs: once more after it. Loop
 * thread. */
void spool_start_files(struct spool *s);

/* --- spool_open.c --- */

/* Makes the folder and the lock anew if somebody removed them. Broker's thread. */
MUST_CHECK enum err spool_attach(struct spool *s, struct spool_error *error);
void spool_error_set(struct spool_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- spool_load.c --- */

/* Links all segments of the folder as live ones, in order of age, not mapped; those without a sound header are marked damaged. Before that,
 * what a crash has cut short is brought to its end. Broker's thread, at opening. */
MUST_CHECK enum err spool_load(struct spool *s, struct spool_error *error);

/* --- spool_recover.c --- */

/* Reads the folder: live segments, cursors, sequence, time of capture. Broker's thread, at opening. */
MUST_CHECK enum err spool_recover(struct spool *s, struct spool_error *error);

/* --- spool_places.c --- */

/* What is known of each sink's place at opening. */
struct sink_place {
    enum place_state {
        PLACE_NONE,     /* no cursor file: a new sink, unless there are records for it */
        PLACE_KNOWN,    /* `position` is from the file */
        PLACE_DAMAGED,  /* the file cannot be read: from the oldest record on */
        PLACE_RETURNED, /* its cursor was set aside when it was not configured: it starts at the end */
    } state;
    uint64_t position; /* records below are finished; 0 = all are needed, UINT64_MAX = none is */
    struct cursor_file file;
    uint64_t waiting; /* records in the spool that are not finished */
    uint64_t lost;    /* records that were not finished and are gone */
};

/* Reads the cursor files of all sinks. Changes nothing on disk. */
MUST_CHECK enum err spool_read_places(struct spool *s, struct sink_place places[SINK_COUNT], struct spool_error *error);
/* Positions the cursors of the configured sinks and sets those of others aside. */
void spool_settle_places(struct spool *s, struct sink_place places[SINK_COUNT]);

/* --- spool_salvage.c --- */

/* Writes the sound records of a damaged segment, which is mapped, to a new file in its place under header `h`, and sets the damaged
 * file aside. The result is loaded; NULL if nothing sound was in it. On failure everything stays as it was. */
MUST_CHECK enum err spool_salvage(int dir_fd, const struct segment *damaged, const struct segment_header *h,
                                  struct segment **out);
/* Brings to its end what a crash has cut short: deletes *.tmp, completes salvaging. True if a segment came back by that. */
MUST_CHECK enum err spool_clean_folder(int dir_fd, bool *changed);
/* Calls fn for each name in the folder, until it fails. Any thread. */
MUST_CHECK enum err spool_each_name(int dir_fd, enum err (*fn)(void *ctx, const char *name), void *ctx);
/* Renames a file to *.damaged; of those, SPOOL_DAMAGED_MAX are kept. */
MUST_CHECK enum err spool_set_aside(int dir_fd, const char *name);

/* --- spool_segments.c --- */

/* Under the lock, any thread. */
void spool_link_newest(struct spool *s, struct segment *seg);
void spool_unlink_live(struct spool *s, struct segment *seg);
/* Drops the oldest segment unless it is the newest too; the loop settles the account later. NULL = none. */
struct segment *spool_drop_oldest(struct spool *s);

/* Deletes the file of a removed segment, or sets it aside if it is damaged. Once only. Any thread. */
void spool_delete_file(int dir_fd, struct segment *seg);

/* The rest: loop thread. */

struct segment *spool_oldest(struct spool *s);
struct segment *spool_newer(struct spool *s, struct segment *seg);

/* Accounts for segments that the appender has dropped. Cheap when there are none. */
void spool_settle(struct spool *s);
/* Keeps the segment mapped; to be given back with spool_leave. */
MUST_CHECK enum err spool_enter(struct spool *s, struct segment *seg);
void spool_leave(struct spool *s, struct segment *seg);
/* To be called when a record has left a window (a pin is gone): removes, unmaps or frees what is not needed any more. */
void spool_unpinned(struct spool *s, struct segment *seg);
/* Looks at all live segments: removes those that every sink has passed, unmaps those that nobody uses. */
void spool_collect(struct spool *s);
/* Frees removed segments that nobody holds. */
void spool_reap(struct spool *s);
/* `n` records of a segment will never reach this sink. */
void spool_lost(struct spool *s, struct cursor *c, struct segment *seg, uint32_t n);
/* Records of the segment that this sink has neither finished nor in its window. */
uint32_t spool_unread(const struct segment *seg, enum sink_id sink);

#endif
