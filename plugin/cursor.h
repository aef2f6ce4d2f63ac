/* A sink's place in the spool (inside; what sinks use is in spool.h). Loop thread, except where stated. */
#ifndef PLUGIN_CURSOR_H
#define PLUGIN_CURSOR_H

#include "plugin/cursor_file.h"
#include "plugin/segment_format.h"
#include "plugin/spool.h"

struct segment;

enum window_state {
    WINDOW_IN_FLIGHT, /* the sink has it */
    WINDOW_RETURNED,  /* to be given again */
    WINDOW_DONE,      /* confirmed or lost, older ones are not */
};

struct window_entry {
    uint64_t sequence;
    struct segment *segment; /* NULL when done */
    uint32_t offset;
    enum window_state state;
};

struct cursor {
    struct spool *spool;
    enum sink_id sink;

    struct segment *segment; /* where reading goes on; NULL = the oldest live one */
    bool entered;            /* `segment` is held and `walk` is set */
    struct segment_walk walk;
    bool careful;     /* damage was met in this segment: no record is passed over unchecked */
    bool stalled;     /* the disk refused to read; housekeeping wakes the sink again */
    uint64_t from;    /* records below are not to be read again */
    uint64_t reached; /* every record below has been read */

    /* Ring of CURSOR_WINDOW_MAX entries, sequences ascending; the first is never done. */
    struct window_entry *window;
    uint32_t head, used;
    uint32_t segments;    /* that hold records of it which are not done */
    uint32_t returned;    /* entries to be given again ... */
    uint32_t return_hint; /* ... none of them before this place */

    struct cursor_file file;
    uint64_t saved; /* position in the file */

    metric_value in;  /* records that came for this sink; stored by the appender */
    metric_value out; /* of those, confirmed or lost; in - out is the lag */
    metric_value dropped;
    _Atomic int64_t oldest_ms;
};

MUST_CHECK enum err cursor_init(struct cursor *c, struct spool *s, enum sink_id sink);
void cursor_finish(struct cursor *c);

/* Every record of the sink below this is confirmed or lost. */
uint64_t cursor_position(const struct cursor *c);

/* The segment has been dropped: what is in flight may still be confirmed, the rest is lost. */
void cursor_segment_dropped(struct cursor *c, struct segment *seg);
/* The segment goes because every sink has passed it; reading goes on in `next`. */
void cursor_segment_passed(struct cursor *c, struct segment *seg, struct segment *next);

/* Looks up the capture time of the oldest record that is not confirmed. */
void cursor_update_oldest(struct cursor *c);

#endif
