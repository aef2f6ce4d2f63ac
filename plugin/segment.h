/* A segment: a file of fixed size whose blocks are allocated before anything is written to it, mapped into memory, with a
 * header and records one behind the other. Format: docs/spool-format.md. No descriptor is kept: the mapping is all that is needed,
 * and may be used by threads that do not share descriptors (net/file_table.h). `dir_fd` is always the caller's own.
 *
 * Threads: a segment that is appended to belongs to the broker's thread until it is sealed; readers follow `tail`. The other
 * fields say whose they are. */
#ifndef PLUGIN_SEGMENT_H
#define PLUGIN_SEGMENT_H

#include "plugin/segment_format.h"

#include <stdatomic.h>

struct map_guard;

#define SEGMENT_NAME_SIZE 40u

struct segment {
    struct segment *older, *newer; /* links the live segments of a spool by age; under the spool's lock */
    bool live;                     /* in that list; under the lock */
    struct segment *next;          /* links segments in one of the spool's lists of removed ones */
    char name[SEGMENT_NAME_SIZE];
    struct segment_header header;
    size_t size;             /* of the file and of the mapping */
    uint8_t *map;            /* NULL = not mapped. Loop thread, once the segment is sealed */
    struct map_guard *guard; /* while mapped */
    bool written;            /* by this process: there may be something to sync. Loop thread, once sealed */

    _Atomic size_t tail;                /* behind the last committed record. Stored by the appender */
    atomic_bool sealed;                 /* nothing will be appended any more */
    _Atomic uint32_t count[SINK_COUNT]; /* records of each sink; stored by the appender before the tail */
    atomic_bool unlinked;               /* the file is gone, or not ours any more */
    atomic_bool damaged;                /* to be set aside, not deleted */

    /* Loop thread. */
    uint32_t done[SINK_COUNT]; /* records that each sink has finished: confirmed or lost */
    uint32_t pins[SINK_COUNT]; /* records in each sink's window */
    uint32_t lost[SINK_COUNT]; /* of the finished ones, those that never reached the sink */
    uint32_t lost_records;     /* the largest of these */
    uint32_t readers;          /* cursors that stand here */
    bool populated;            /* segment_populate has been called */
    size_t synced;             /* bytes known to be on disk */
    uint32_t busy;             /* jobs of the pool that use it */
    bool removed;              /* not live any more; freed once nothing holds it */

    /* Once removed: the segment in which that is to be noted before the file is deleted, and how. */
    char witness[SEGMENT_NAME_SIZE];
    enum segment_mark witnessed;
};

/* Creates a file of `size` bytes (a multiple of the page size) with all blocks allocated and zero, and maps it for
 * appending. The header is not written yet. Any thread. E_NO_SPACE, E_READ_ONLY, E_ACCESS, E_NOT_FOUND (no folder), E_IO. */
MUST_CHECK enum err segment_create(int dir_fd, const char *name, size_t size, struct segment **out);

/* Writes the header and gives the file its name, "<first sequence>.seg". */
MUST_CHECK enum err segment_activate(struct segment *s, int dir_fd, const struct segment_header *h);

/* Has the kernel do now, in pieces, what it would do at the first write to each page from `from` on: two thirds of what appending
 * costs. As dirty pages they are written to disk, so this is for segments that will be full soon. Any thread. */
void segment_populate(const struct segment *s, size_t from);

/* Returns once the bytes of the mapping from `from` to `to` are on disk. Unlike fdatasync(2) it leaves populated pages behind
 * them alone. Nobody writes to that part any more, `to` itself excepted. Any thread. */
MUST_CHECK enum err segment_sync(const struct segment *s, size_t from, size_t to);
/* To be called before syncing again after an error. The kernel takes a page that could not be written for clean: it would never be
 * written, and the next sync would say that all is well. Linux 5.14. Any thread. */
void segment_make_dirty(const struct segment *s, size_t from, size_t to);

/* Sets a mark in the header of a file, or takes it away. Any thread. */
MUST_CHECK enum err segment_mark(int dir_fd, const char *name, enum segment_mark mark, bool set);

/* Cuts the file to `size` bytes. Unmaps it. Any thread. */
MUST_CHECK enum err segment_cut(struct segment *s, int dir_fd, size_t size);

/* Opens an existing file and maps it for reading. E_CORRUPT: it has no sound header; the segment is there nevertheless, to be
 * read without (header: first_sequence taken from the name, the rest 0). E_VERSION, E_NOT_FOUND, E_IO ...: there is none. */
MUST_CHECK enum err segment_load(int dir_fd, const char *name, struct segment **out);

/* Unmaps and frees. The file stays. NULL is allowed. */
void segment_destroy(struct segment *s);

/* Maps the file (again). E_NOT_FOUND: it is gone; E_CORRUPT: its size has changed; others may pass. */
MUST_CHECK enum err segment_map(struct segment *s, int dir_fd, bool writable);
void segment_unmap(struct segment *s);

/* True if a write to the mapping may not have reached the file. */
bool segment_broken(const struct segment *s);
/* Ends appending to a broken segment: the same mapping, from the file again, for reading only. On an error it stays as it is. */
MUST_CHECK enum err segment_make_readable(struct segment *s, int dir_fd);

/* The bytes up to the tail. Valid while mapped. */
static inline struct bytes segment_image(const struct segment *s)
{
    return bytes_make(s->map, atomic_load_explicit(&s->tail, memory_order_acquire));
}

/* "<20 digits>.seg" <-> first sequence. Parsing refuses anything else. */
void segment_name(uint64_t first_sequence, char out[SEGMENT_NAME_SIZE]);
bool segment_parse_name(const char *name, uint64_t *first_sequence);

#endif
