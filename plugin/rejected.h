/* Messages that a sink can never deliver: set aside in <spool_dir>/rejected/, one JSON file each (name
 * <sequence>-<sink>.json: sink, reason, capture time, topic, client, QoS, retain and payload as text or base64, and the rest of the
 * record, so that it can be appended again). Ceilings: REJECTED_MAX_FILES files, REJECTED_MAX_BYTES bytes; beyond, the oldest
 * goes, counted and logged. Loop thread, except where stated. */
#ifndef PLUGIN_REJECTED_H
#define PLUGIN_REJECTED_H

#include "base/buffer.h"
#include "plugin/record.h"

struct rejected;

#define REJECTED_MAX_FILES 1000u
#define REJECTED_MAX_BYTES (64u << 20)

MUST_CHECK enum err rejected_open(const char *spool_dir, struct rejected **out);
void rejected_close(struct rejected *r);

/* `written` is called when a file has got its name, before rejected_put returns: it is not on disk yet. */
void rejected_watch(struct rejected *r, void (*written)(void *ctx), void *ctx);

/* Writes the file (complete or not at all: written beside and renamed). On E_OK the caller confirms the record. Any error:
 * the record stays in the spool and is tried again later. `reason` is one line in plain words. */
MUST_CHECK enum err rejected_put(struct rejected *r, enum sink_id sink, const struct record *record,
                                 const char *reason);

uint64_t rejected_count(const struct rejected *r);
/* Calls fn for each file, oldest first, until it returns false. */
void rejected_list(struct rejected *r, bool (*fn)(void *ctx, const char *name, struct bytes json), void *ctx);
/* Reads one back into a record that borrows from `memory`. */
MUST_CHECK enum err rejected_get(struct rejected *r, const char *name, struct buffer *memory, struct record *out,
                                 enum sink_id *sink);
MUST_CHECK enum err rejected_drop(struct rejected *r, const char *name);

#endif
