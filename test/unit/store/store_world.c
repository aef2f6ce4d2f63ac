#include "store_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    if (!w) {
        return -1;
    }
    snprintf(w->dir, sizeof(w->dir), "/tmp/test_store.XXXXXX");
    if (!mkdtemp(w->dir)) {
        free(w);
        return -1;
    }
    snprintf(w->path, sizeof(w->path), "%s/store.db", w->dir);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;
    world_close(w);
    if (w->mounted) {
        umount2(w->dir, MNT_DETACH);
    }
    DIR *dir = opendir(w->dir);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        unlinkat(dirfd(dir), e->d_name, 0);
    }
    if (dir) {
        closedir(dir);
    }
    rmdir(w->dir);
    free(w);
    return 0;
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

bool world_can_mount(void)
{
    char map[64];
    snprintf(map, sizeof(map), "%u %u 1", (unsigned)geteuid(), (unsigned)geteuid());
    if (unshare(CLONE_NEWNS) != 0 &&
        (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !write_file("/proc/self/uid_map", map))) {
        return false;
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

void world_mount(struct world *w, unsigned kilobytes)
{
    char options[64];
    snprintf(options, sizeof(options), "size=%uk", kilobytes);
    assert_int_equal(mount("none", w->dir, "tmpfs", 0, options), 0);
    w->mounted = true;
}

void world_remount(struct world *w, unsigned kilobytes)
{
    char options[64];
    snprintf(options, sizeof(options), "size=%uk", kilobytes);
    assert_int_equal(mount("none", w->dir, "tmpfs", MS_REMOUNT, options), 0);
}

void world_remount_read_only(struct world *w)
{
    assert_int_equal(mount("none", w->dir, "tmpfs", MS_REMOUNT | MS_RDONLY, ""), 0);
}

enum err world_open(struct world *w)
{
    struct sqlite_store_options options = {.path = w->path, .busy_ms = 100, .cancel = &w->cancel};
    return sqlite_store_open(&options, &w->store, &w->error);
}

void world_close(struct world *w)
{
    sqlite_store_close(w->store);
    w->store = NULL;
}

enum err world_put(struct world *w, const char *sensor, int64_t timestamp_ms, const char *message)
{
    struct measurement m = {bytes_str(sensor), timestamp_ms, bytes_str(message)};
    return sqlite_store_put(w->store, &m, BYTES("topic/1"), &w->error);
}

enum err world_store(struct world *w, const char *sensor, int64_t from_ms, unsigned count)
{
    char message[100];
    enum err e = sqlite_store_begin(w->store, &w->error);
    for (unsigned i = 0; e == E_OK && i < count; i++) {
        snprintf(message, sizeof(message), "{\"n\":%u,\"text\":\"%060u\"}", i, i);
        e = world_put(w, sensor, from_ms + (int64_t)i * 1000, message);
    }
    return e == E_OK ? sqlite_store_commit(w->store, &w->error) : e;
}

int64_t world_ask(const struct world *w, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int64_t n = -1;
    assert_int_equal(sqlite3_open_v2(w->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        n = sqlite3_column_int64(statement, 0);
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return n;
}

void world_check_counts(const struct world *w)
{
    assert_int_equal(world_ask(w, "SELECT count(*) FROM (SELECT sensor, min(timestamp), max(timestamp), count(*)"
                                  " FROM measurement GROUP BY sensor EXCEPT SELECT * FROM sensor)"),
                     0);
    assert_int_equal(world_ask(w, "SELECT count(*) FROM sensor"),
                     world_ask(w, "SELECT count(DISTINCT sensor) FROM measurement"));
}
