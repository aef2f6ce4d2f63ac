/* The cursors at opening: each sink's place in the spool. */
#include "plugin/spool_internal.h"

#include "base/log.h"

#include <fcntl.h>
#include <unistd.h>

LOG_POINT(log_new, "spool.cursor-new", LOG_NOTICE, "a new sink starts at the end of the spool");
LOG_POINT(log_missing, "spool.cursor-missing", LOG_WARNING,
          "a cursor is gone although records wait for its sink: going on from the oldest");
LOG_POINT(log_damaged, "spool.cursor-damaged", LOG_WARNING,
          "a cursor cannot be read: going on from the oldest record, some will be delivered again");
LOG_POINT(log_unused, "spool.cursor-unused", LOG_NOTICE,
          "a sink is not configured any more: its cursor was set aside, its records are not kept");
LOG_POINT(log_rename, "spool.cursor-rename-failed", LOG_WARNING, "a cursor file could not be renamed");

#define UNUSED "unused"
#define DAMAGED "damaged"

static bool set_aside_before(int dir_fd, enum sink_id sink)
{
    char name[CURSOR_NAME_SIZE];
    cursor_file_name(sink, UNUSED, name);
    return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

enum err spool_read_places(struct spool *s, struct sink_place places[SINK_COUNT], struct spool_error *error)
{
    enum err result = E_OK;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        struct sink_place *p = &places[k];
        enum sink_id sink = (enum sink_id)k;
        *p = (struct sink_place){0};
        enum err e = cursor_file_read(s->dir_fd, sink, &p->file, &p->position);
        if (e == E_OK) {
            p->state = PLACE_KNOWN;
        } else if (e == E_CORRUPT) {
            p->state = PLACE_DAMAGED;
        } else if (e == E_NOT_FOUND && set_aside_before(s->dir_fd, sink)) {
            p->state = PLACE_RETURNED;
            p->position = UINT64_MAX;
        } else if (e != E_NOT_FOUND) {
            char name[CURSOR_NAME_SIZE];
            cursor_file_name(sink, NULL, name);
            spool_error_set(error, "%s: %s: %s", s->dir, name,
                            e == E_VERSION ? "written by another version of this program" : err_name(e));
            result = e;
        }
    }
    return result;
}

static void rename_cursor(struct spool *s, enum sink_id sink, const char *suffix)
{
    char name[CURSOR_NAME_SIZE];
    char target[CURSOR_NAME_SIZE];
    cursor_file_name(sink, NULL, name);
    cursor_file_name(sink, suffix, target);
    if (renameat(s->dir_fd, name, s->dir_fd, target) != 0) {
        log_emit(&log_rename, "file=%s", name);
    }
}

/* The segment in which reading begins: the newest that does not begin behind the position. */
static struct segment *segment_of(struct spool *s, uint64_t position)
{
    struct segment *seg = s->newest;
    while (seg && seg->older && seg->header.first_sequence > position) {
        seg = seg->older;
    }
    return seg;
}

/* Says what became of a place that is not simply known, and gives its position a number. */
static void decide(struct spool *s, enum sink_id sink, struct sink_place *p)
{
    const char *name = sink_id_name(sink);
    unsigned long long waiting = p->waiting;
    bool fresh = p->state == PLACE_NONE && p->waiting == 0;
    if (fresh || p->state == PLACE_RETURNED) {
        p->position = s->next_sequence;
        p->lost = 0;
        if (s->next_sequence > 1) {
            log_emit(&log_new, "sink=%s position=%llu", name, (unsigned long long)p->position);
        }
    } else if (p->state == PLACE_NONE) {
        log_emit(&log_missing, "sink=%s records=%llu", name, waiting);
    } else if (p->state == PLACE_DAMAGED) {
        log_emit(&log_damaged, "sink=%s records=%llu", name, waiting);
        rename_cursor(s, sink, DAMAGED);
    }
    if (p->position == 0) {
        p->position = s->oldest ? s->oldest->header.first_sequence : s->next_sequence;
    }
}

static void place_cursor(struct spool *s, struct cursor *c, struct sink_place *p)
{
    decide(s, c->sink, p);
    c->from = p->position;
    c->reached = p->position;
    c->segment = segment_of(s, p->position);
    c->saved = p->position;
    c->file = p->file;
    metric_set(&c->in, p->waiting);
    metric_set(&c->dropped, p->lost);
    if (c->file.generation == 0 && cursor_file_create(s->dir_fd, c->sink, p->position, &c->file) != E_OK) {
        c->saved = 0; /* a full disk: housekeeping tries again */
    }
    if (p->state == PLACE_RETURNED && c->file.generation > 0) {
        char unused[CURSOR_NAME_SIZE];
        cursor_file_name(c->sink, UNUSED, unused);
        unlinkat(s->dir_fd, unused, 0);
    }
}

void spool_settle_places(struct spool *s, struct sink_place places[SINK_COUNT])
{
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        struct sink_place *p = &places[k];
        if (s->sinks & SINK_BIT(k)) {
            place_cursor(s, &s->cursors[k], p);
        } else if (p->state == PLACE_KNOWN || p->state == PLACE_DAMAGED) {
            log_emit(&log_unused, "sink=%s records=%llu", sink_id_name((enum sink_id)k),
                     (unsigned long long)p->waiting);
            rename_cursor(s, (enum sink_id)k, UNUSED);
        }
    }
}
