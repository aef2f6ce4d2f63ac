/* A folder of its own with a store in it, for the tests of the SQLite store; a private mount namespace where a disk can be
 * small, full or read-only. */
#ifndef TEST_STORE_WORLD_H
#define TEST_STORE_WORLD_H

#include "unit.h"

#include "store/sqlite_store.h"

struct world {
    char dir[64];
    char path[80];
    struct sqlite_store *store; /* NULL = closed */
    struct sqlite_error error;
    atomic_bool cancel;
    bool mounted;
};

/* cmocka's setup and teardown: *state is the world. */
int world_setup(void **state);
int world_teardown(void **state);

/* Before any test: whether disks can be mounted. */
bool world_can_mount(void);
/* A new disk of this many bytes on the folder, or the same disk with another size. */
void world_mount(struct world *w, unsigned kilobytes);
void world_remount(struct world *w, unsigned kilobytes);
void world_remount_read_only(struct world *w);

enum err world_open(struct world *w);
void world_close(struct world *w);

/* One row in the open batch. */
enum err world_put(struct world *w, const char *sensor, int64_t timestamp_ms, const char *message);
/* A batch of `count` rows of one sensor, a second apart. */
enum err world_store(struct world *w, const char *sensor, int64_t from_ms, unsigned count);

/* The number that a query gives, on another connection; -1: it gives none. */
int64_t world_ask(const struct world *w, const char *sql);
/* Compares table sensor with what is in table measurement. */
void world_check_counts(const struct world *w);

#endif
