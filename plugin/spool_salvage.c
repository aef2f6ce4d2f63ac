/* Damaged segments: what is sound in them is written anew, the file itself is set aside. */
#include "plugin/spool_internal.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

LOG_POINT(log_forgotten, "spool.damaged-deleted", LOG_WARNING,
          "too many damaged files are kept: the oldest was deleted");

#define SALVAGE_TMP "salvage.tmp"
#define SALVAGED ".salvaged" /* complete, and to replace the segment of the same name */
#define DAMAGED ".damaged"
#define NAME_SIZE 64u

/* --- folder --- */

enum err spool_each_name(int dir_fd, enum err (*fn)(void *ctx, const char *name), void *ctx)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        enum err e = err_from_errno(errno);
        if (fd >= 0) {
            close(fd);
        }
        return e;
    }
    enum err e = E_OK;
    while (e == E_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            e = errno ? err_from_errno(errno) : E_OK;
            break;
        }
        e = fn(ctx, entry->d_name);
    }
    closedir(dir);
    return e;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name);
    size_t suffix_len = strlen(suffix);
    return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

static bool exists(int dir_fd, const char *name)
{
    return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- setting aside --- */

struct damaged_files {
    unsigned count;
    char oldest[NAME_SIZE];
};

static enum err count_damaged(void *ctx, const char *name)
{
    struct damaged_files *found = ctx;
    if (strstr(name, ".seg" DAMAGED) && strlen(name) < NAME_SIZE) {
        if (found->count == 0 || strcmp(name, found->oldest) < 0) {
            memcpy(found->oldest, name, strlen(name) + 1);
        }
        found->count++;
    }
    return E_OK;
}

static enum err limit_damaged(int dir_fd)
{
    struct damaged_files found = {0};
    enum err e = spool_each_name(dir_fd, count_damaged, &found);
    if (e == E_OK && found.count >= SPOOL_DAMAGED_MAX) {
        log_emit(&log_forgotten, "file=%s", found.oldest);
        e = unlinkat(dir_fd, found.oldest, 0) == 0 ? E_OK : err_from_errno(errno);
    }
    return e;
}

enum err spool_set_aside(int dir_fd, const char *name)
{
    char target[NAME_SIZE];
    snprintf(target, sizeof(target), "%s" DAMAGED, name);
    for (unsigned i = 2; exists(dir_fd, target) && i < 100; i++) {
        snprintf(target, sizeof(target), "%s" DAMAGED ".%u", name, i);
    }
    enum err e = limit_damaged(dir_fd);
    if (e == E_OK && renameat(dir_fd, name, dir_fd, target) != 0) {
        e = err_from_errno(errno);
    }
    return e;
}

/* --- salvaging --- */

/* Copies the sound records behind one another. The result has room: it is as large as the image. */
static void copy_records(struct bytes image, const struct segment_header *h, struct segment *to, uint32_t *records)
{
    struct segment_walk w = segment_walk_start(image, h->first_sequence);
    size_t tail = SEGMENT_HEADER_SIZE;
    enum segment_step step;
    do {
        struct record r;
        size_t start = w.offset;
        step = segment_walk(&w, &r);
        if (step == SEGMENT_RECORD) {
            struct bytes raw = bytes_sub(image, start, w.offset - start);
            memcpy(to->map + tail, raw.data, raw.len);
            tail += w.offset - start;
            (*records)++;
        }
    } while (step == SEGMENT_RECORD || step == SEGMENT_GAP);
}

/* Gives the new file its lasting name, in steps each of which spool_clean_folder can complete. */
static enum err replace(int dir_fd, const char *name)
{
    char salvaged[NAME_SIZE];
    snprintf(salvaged, sizeof(salvaged), "%s" SALVAGED, name);
    if (renameat(dir_fd, SALVAGE_TMP, dir_fd, salvaged) != 0) {
        return err_from_errno(errno);
    }
    enum err e = spool_set_aside(dir_fd, name);
    if (e == E_OK && renameat(dir_fd, salvaged, dir_fd, name) != 0) {
        e = err_from_errno(errno);
    }
    if (e == E_OK && fsync(dir_fd) != 0) {
        e = err_from_errno(errno);
    }
    return e;
}

enum err spool_salvage(int dir_fd, const struct segment *damaged, const struct segment_header *h, struct segment **out)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = (damaged->size + page - 1) / page * page;
    uint32_t records = 0;
    struct segment *fresh = NULL;
    *out = NULL;
    if (damaged->size <= SEGMENT_HEADER_SIZE) {
        return spool_set_aside(dir_fd, damaged->name);
    }
    enum err e = segment_create(dir_fd, SALVAGE_TMP, size, &fresh);
    if (e != E_OK) {
        return e;
    }
    struct segment_header header = *h;
    header.size = size;
    header.marks[SEGMENT_INCOMPLETE] = true;
    segment_header_encode(&header, fresh->map);
    copy_records(segment_image(damaged), h, fresh, &records);
    if (segment_broken(fresh)) {
        e = E_IO;
    } else if (records > 0) {
        e = segment_sync(fresh, 0, size);
    }
    segment_destroy(fresh);
    if (e != E_OK || records == 0) {
        unlinkat(dir_fd, SALVAGE_TMP, 0);
        return e == E_OK ? spool_set_aside(dir_fd, damaged->name) : e;
    }
    e = replace(dir_fd, damaged->name);
    return e == E_OK ? segment_load(dir_fd, damaged->name, out) : e;
}

struct cleaning {
    int dir_fd;
    bool changed;
};

static enum err clean_one(void *ctx, const char *name)
{
    struct cleaning *c = ctx;
    char segment[NAME_SIZE];
    if (ends_with(name, ".tmp")) {
        return unlinkat(c->dir_fd, name, 0) == 0 ? E_OK : err_from_errno(errno);
    }
    if (!ends_with(name, ".seg" SALVAGED) || strlen(name) >= NAME_SIZE) {
        return E_OK;
    }
    snprintf(segment, sizeof(segment), "%.*s", (int)(strlen(name) - strlen(SALVAGED)), name);
    if (exists(c->dir_fd, segment)) {
        return unlinkat(c->dir_fd, name, 0) == 0 ? E_OK : err_from_errno(errno);
    }
    c->changed = true;
    return renameat(c->dir_fd, name, c->dir_fd, segment) == 0 ? E_OK : err_from_errno(errno);
}

enum err spool_clean_folder(int dir_fd, bool *changed)
{
    struct cleaning c = {.dir_fd = dir_fd};
    enum err e = spool_each_name(dir_fd, clean_one, &c);
    *changed = c.changed;
    return e;
}
