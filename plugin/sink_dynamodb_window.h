/* The records that the DynamoDB sink has taken from its cursor: items made ready, waiting, on their way. No I/O; loop thread.
 *
 * Of records with the same keys (table, sensor, time) one at a time is sent, the latest: a record that comes while an older
 * one waits takes that one's place (they are the same measurement) and confirms it when it is stored; one that comes while the
 * older is on its way waits for the outcome. */
#ifndef PLUGIN_SINK_DYNAMODB_WINDOW_H
#define PLUGIN_SINK_DYNAMODB_WINDOW_H

#include "aws/dynamodb_item.h"
#include "base/backoff.h"
#include "plugin/record.h"
#include "plugin/sink_dynamodb_pace.h"

#define WINDOW_ENTRIES_MAX 8000u     /* below CURSOR_WINDOW_MAX */
#define WINDOW_BYTES_MAX (32u << 20) /* of items */
#define WINDOW_TABLES_MAX 256u

enum entry_state {
    ENTRY_READY,   /* in its table's queue */
    ENTRY_SUSPECT, /* in one of its table's suspect groups */
    ENTRY_DELAYED, /* refused for now; comes back when `due` */
    ENTRY_SENT,
    ENTRY_BEHIND,  /* waits for the older one with the same keys, which is sent */
    ENTRY_COVERED, /* a later one with the same keys stands for it; holds no item */
};

struct entry {
    struct entry *next;    /* links a queue, a group, a request, or those that one entry covers */
    struct entry *chain;   /* links entries of one hash slot */
    struct entry *behind;  /* the later one that waits for this */
    struct entry *covered; /* records that this one stands for */
    struct table *table;
    struct record record; /* borrowed from the cursor's window */
    int64_t timestamp_ms;
    struct bytes item; /* owned text */
    uint64_t hash;
    struct mono due;
    uint32_t refusals; /* in a row */
    enum entry_state state;
    bool sent_before;
    bool unprocessed; /* the answer handed it back */
};

/* Items that a batch was refused for, perhaps: they are tried apart from others. */
struct group {
    struct group *next;
    struct entry *entries;
    size_t count;
};

struct queue {
    struct entry *first;
    struct entry **last;
    size_t count;
    size_t bytes;
};

/* One DynamoDB table. */
struct table {
    struct table *next;
    char *name;
    struct queue ready;
    struct mono ready_since; /* when the queue became non-empty */
    struct group *groups;
    struct group **last_group;
    size_t entries; /* in whatever state */
    size_t in_flight;
    struct pace pace;
    struct mono hold;       /* nothing is sent before */
    struct backoff mistake; /* how long to wait while the configuration is wrong */
    bool broken;            /* refused for a reason that waiting does not change */
    char told[128];         /* the beginning of the reason last logged */

    struct mono refused_at; /* last time that items were refused for being too fast */
    struct mono refused_since;
    uint64_t refused; /* since then; 0 = all is well */
};

struct window {
    struct table *tables;
    size_t table_count;
    size_t entries;
    size_t bytes;
    size_t ready;         /* entries in queues and groups */
    struct entry **slots; /* hash table */
    struct entry **heap;  /* delayed entries, the next one due first */
    size_t delayed;
};

MUST_CHECK enum err window_init(struct window *w);
/* Frees all entries without confirming them. */
void window_finish(struct window *w);

/* Room for one more record? */
bool window_has_room(const struct window *w);

/* The table of this name, made if need be. E_FULL: too many tables have items. */
MUST_CHECK enum err window_table(struct window *w, struct bytes name, struct mono now, struct table **out);

/* Takes a record with its item (copied) in. E_NOMEM: nothing has changed. */
MUST_CHECK enum err window_add(struct window *w, struct table *t, const struct record *record,
                               const struct dynamodb_measurement *m, struct bytes item, struct mono now);

/* Takes up to `max` entries whose items have no more than max_bytes together (one at least) off the table's queue: they are sent now.
 * Linked by next. */
struct entry *window_send(struct window *w, struct table *t, size_t max, size_t max_bytes, size_t *count);
/* The same with the oldest suspect group, as a whole; NULL when there is none. */
struct entry *window_send_group(struct window *w, struct table *t, size_t *count);

/* Tables take turns: this one comes last now. */
void window_rotate(struct window *w, struct table *t);

/* Outcomes for an entry that is sent. */
/* Done, stored or set aside: calls on_record for its own record and for those that it covers, then frees it; the one that waited
 * behind it becomes ready. */
void window_done(struct window *w, struct entry *e,
                 void (*on_record)(void *ctx, const struct record *record, bool covered), void *ctx, struct mono now);
/* To the front of its queue. */
void window_return(struct window *w, struct entry *e, struct mono now);
/* Comes back to the queue at `due`. */
void window_delay(struct window *w, struct entry *e, struct mono due);
/* These (linked by next) are tried apart from others; without memory for that they go back to the queue. */
void window_suspect(struct window *w, struct table *t, struct entry *entries, size_t count, struct mono now);

/* Puts delayed entries that are due back into their queues. */
void window_release(struct window *w, struct mono now);
/* Lets delayed entries come back at `due` at the latest. */
void window_hurry(struct window *w, struct mono due);
/* When the next one is due; MONO_NEVER. */
struct mono window_next_due(const struct window *w);

/* Among the entries of a request, the one with these keys. */
struct entry *window_find_sent(struct entry *first, struct bytes sensor, int64_t timestamp_ms);

#endif
