/* Records on their way into the local store: taken from the cursor on the loop's thread, mapped and written on a thread of
 * libuv's pool, confirmed on the loop's thread again. One thread at a time; whoever holds the batch hands it over. */
#ifndef PLUGIN_SQLITE_BATCH_H
#define PLUGIN_SQLITE_BATCH_H

#include "plugin/record.h"
#include "store/sqlite_store.h"

/* Ceilings of one transaction. */
#define SQLITE_BATCH_ROWS 4096u
#define SQLITE_BATCH_BYTES (8u << 20)

struct sqlite_batch {
    struct record *records; /* owned array; what they point to is the spool's, valid until they are confirmed */
    uint32_t *reasons;      /* for each record: 0, or 1 + where in `texts` its reason stands */
    size_t count;
    size_t bytes;          /* of payloads */
    struct buffer texts;   /* reasons, each with its NUL */
    struct buffer message; /* the measurement that is being made */
};

MUST_CHECK enum err sqlite_batch_init(struct sqlite_batch *b);
void sqlite_batch_finish(struct sqlite_batch *b);

static inline bool sqlite_batch_full(const struct sqlite_batch *b)
{
    return b->count == SQLITE_BATCH_ROWS || b->bytes >= SQLITE_BATCH_BYTES;
}

/* The batch is not full. */
void sqlite_batch_add(struct sqlite_batch *b, const struct record *record);
/* Forgets the records. */
void sqlite_batch_clear(struct sqlite_batch *b);

/* Writes all records in one transaction. E_OK: each is stored, or has a reason why it never can be. Any other error: none of
 * them is (with E_NOT_FOUND: in a file that nobody will see). May block. */
MUST_CHECK enum err sqlite_batch_write(struct sqlite_batch *b, struct sqlite_store *store, struct sqlite_error *error);

/* After sqlite_batch_write: why record i can never be stored; NULL when it is stored. Until the batch is cleared. */
const char *sqlite_batch_reason(const struct sqlite_batch *b, size_t i);

#endif
