/* A spool in a folder of its own, for tests. */
#ifndef TEST_SPOOL_FIXTURE_H
#define TEST_SPOOL_FIXTURE_H

#include "plugin/rejected.h"
#include "plugin/spool.h"

#define FIXTURE_PATH_SIZE 256u

struct fixture {
    char dir[FIXTURE_PATH_SIZE]; /* the spool's folder, inside a temporary one */
    unsigned copies;
    struct spool_options options;
    struct wall wall; /* what the spool sees as wall clock */
    struct spool *spool;
};

/* A new temporary folder; options: segments of 64 KiB, max_size 16 of them, no sync, sink sqlite alone. */
void fixture_init(struct fixture *f);
/* Closes and deletes everything. */
void fixture_finish(struct fixture *f);

/* Fails the test unless the spool opens. */
void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
/* Makes `copy` of the files as they are at this moment, beside the folder. Not open; its own folder goes with f's. */
void fixture_snapshot(struct fixture *f, struct fixture *copy);
/* Ends the spool as kill -9 does: the files stay as they are at this moment. Not open afterwards. */
void fixture_crash(struct fixture *f);

/* Payload "record <n>" and then '.' up to `size` bytes, topic "t/<n % 10>", for `sinks`. */
enum err fixture_append(struct fixture *f, uint64_t n, size_t size, uint8_t sinks);
/* The n of such a record; fails the test if anything in it is not as it was appended. */
uint64_t fixture_number(const struct record *r);

/* Reads and confirms up to `max` records; how many there were. Numbers go to `numbers` unless NULL. */
size_t fixture_drain(struct fixture *f, enum sink_id sink, size_t max, uint64_t *numbers);

/* Files in the folder whose name contains `part`. */
size_t fixture_count_files(const struct fixture *f, const char *part);
/* Path of the nth (from 0) file whose name contains `part`, in order of name; fails the test if there is none. */
void fixture_find(const struct fixture *f, const char *part, size_t nth, char out[FIXTURE_PATH_SIZE]);

/* A whole file. free() it. */
uint8_t *fixture_read(const char *path, size_t *size);
void fixture_write(const char *path, const void *data, size_t size);
/* Changes bytes of a file in place. */
void fixture_poke(const char *path, long offset, const void *data, size_t size);

#endif
