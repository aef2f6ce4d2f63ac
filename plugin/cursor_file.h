/* A cursor's place on disk: a file with two slots that are written in turn, each with a generation and a CRC, so that a write
 * that is cut short leaves the other. Nothing is allocated after creation: a full disk does not stop it. Format:
 * docs/spool-format.md. One thread at a time. */
#ifndef PLUGIN_CURSOR_FILE_H
#define PLUGIN_CURSOR_FILE_H

#include "base/err.h"
#include "plugin/record.h"

struct cursor_file {
    int fd; /* -1 = closed */
    uint64_t generation;
};

#define CURSOR_NAME_SIZE 40u

/* "cursor-<sink>", with ".<suffix>" unless that is NULL. */
void cursor_file_name(enum sink_id sink, const char *suffix, char out[CURSOR_NAME_SIZE]);

/* Opens the file and reads the newest sound slot. `position`: every record of the sink below it is confirmed. E_NOT_FOUND;
 * E_CORRUPT: no slot is sound; E_VERSION; E_IO ... */
MUST_CHECK enum err cursor_file_open(int dir_fd, enum sink_id sink, struct cursor_file *out, uint64_t *position);

/* Creates the file, or replaces it, whole or not at all. */
MUST_CHECK enum err cursor_file_create(int dir_fd, enum sink_id sink, uint64_t position, struct cursor_file *out);

/* Writes the position over the older slot; `durable`: returns once it is on disk. */
MUST_CHECK enum err cursor_file_save(struct cursor_file *f, enum sink_id sink, uint64_t position, bool durable);

void cursor_file_close(struct cursor_file *f);

#endif
