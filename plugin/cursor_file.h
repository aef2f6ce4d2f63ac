/* A cursor's place on disk: a file with two slots that are written in turn, each with a generation and a CRC, so that a write
 * that is cut short leaves the other. Nothing is allocated after creation: a full disk does not stop it. It is opened by name for each
 * access, so that threads with descriptors of their own (net/file_table.h) can share it. Format: docs/spool-format.md. One thread
 * at a time. */
#ifndef PLUGIN_CURSOR_FILE_H
#define PLUGIN_CURSOR_FILE_H

#include "base/err.h"
#include "plugin/record.h"

struct cursor_file {
    uint64_t generation; /* of the newest slot; 0 = there is no file yet */
};

#define CURSOR_NAME_SIZE 40u

/* "cursor-<sink>", with ".<suffix>" unless that is NULL. */
void cursor_file_name(enum sink_id sink, const char *suffix, char out[CURSOR_NAME_SIZE]);

/* Reads the newest sound slot. `position`: every record of the sink below it is confirmed. E_NOT_FOUND;
 * E_CORRUPT: no slot is sound; E_VERSION; E_IO ... */
MUST_CHECK enum err cursor_file_read(int dir_fd, enum sink_id sink, struct cursor_file *out, uint64_t *position);

/* Creates the file, or replaces it, whole or not at all. */
MUST_CHECK enum err cursor_file_create(int dir_fd, enum sink_id sink, uint64_t position, struct cursor_file *out);

/* Writes the position over the older slot; `durable`: returns once it is on disk. A file that is not there (any more) is
 * created. */
MUST_CHECK enum err cursor_file_save(int dir_fd, struct cursor_file *f, enum sink_id sink, uint64_t position,
                                     bool durable);

#endif
