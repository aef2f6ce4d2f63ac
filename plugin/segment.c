#include "plugin/segment.h"

#include "base/log.h"
#include "plugin/map_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

LOG_POINT(log_redo, "spool.sync-lost", LOG_ERROR,
          "what could not be synced cannot be tried again: after a power cut it may be missing");

#define DIGITS 20u
#define POPULATE_PIECE (256u << 10) /* the process cannot map anything meanwhile */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

void segment_name(uint64_t first_sequence, char out[SEGMENT_NAME_SIZE])
{
    snprintf(out, SEGMENT_NAME_SIZE, "%020" PRIu64 ".seg", first_sequence);
}

bool segment_parse_name(const char *name, uint64_t *first_sequence)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || value > (SEQUENCE_MAX - 9) / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(name[i] - '0');
    }
    if (value == 0 || strcmp(name + DIGITS, ".seg") != 0) {
        return false;
    }
    *first_sequence = value;
    return true;
}

static struct segment *segment_new(const char *name)
{
    struct segment *s = calloc(1, sizeof(*s));
    if (s) {
        atomic_store(&s->tail, SEGMENT_HEADER_SIZE);
        snprintf(s->name, sizeof(s->name), "%s", name);
    }
    return s;
}

void segment_destroy(struct segment *s)
{
    if (s) {
        segment_unmap(s);
        free(s);
    }
}

/* Copy-on-write file systems would need a new block for each write to an allocated one. Where the file cannot be made an
 * exception, the guard of the mapping is what is left. */
static void forbid_copy_on_write(int fd)
{
    struct statfs fs;
    int flags = 0;
    if (fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == BTRFS_SUPER_MAGIC &&
        ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
}

static enum err write_zeros(int fd, size_t size)
{
    static const uint8_t zeros[65536];
    for (size_t at = 0; at < size;) {
        size_t n = size - at < sizeof(zeros) ? size - at : sizeof(zeros);
        ssize_t written = pwrite(fd, zeros, n, (off_t)at);
        if (written < 0 && errno != EINTR) {
            return err_from_errno(errno);
        }
        at += written > 0 ? (size_t)written : 0;
    }
    return E_OK;
}

/* Beyond the limit for the size of files the kernel does not only say no: it ends the process (SIGXFSZ). */
static bool allowed(size_t size)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur;
}

/* fallocate(2) itself, because posix_fallocate emulates it with one write per block where it is missing. */
static enum err allocate(int fd, size_t size)
{
    if (!allowed(size)) {
        return E_NO_SPACE;
    }
    for (;;) {
        if (fallocate(fd, 0, 0, (off_t)size) == 0) {
            return E_OK;
        }
        if (errno == EOPNOTSUPP || errno == ENOSYS) {
            return write_zeros(fd, size);
        }
        if (errno != EINTR) {
            return err_from_errno(errno);
        }
    }
}

static enum err map_fd(struct segment *s, int fd, bool writable)
{
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    uint8_t *map = mmap(NULL, s->size, protection, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        return err_from_errno(errno);
    }
    enum err e = map_guard_add(map, s->size, &s->guard);
    if (e != E_OK) {
        munmap(map, s->size);
        return e;
    }
    (void)madvise(map, s->size, MADV_SEQUENTIAL);
    s->map = map;
    return E_OK;
}

enum err segment_create(int dir_fd, const char *name, size_t size, struct segment **out)
{
    struct segment *s = segment_new(name);
    if (!s) {
        return E_NOMEM;
    }
    enum err e;
    s->size = size;
    s->written = true;
    int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        e = err_from_errno(errno);
        goto fail;
    }
    forbid_copy_on_write(fd);
    e = allocate(fd, size);
    if (e == E_OK) {
        e = map_fd(s, fd, true);
    }
    close(fd);
    if (e != E_OK) {
        unlinkat(dir_fd, name, 0);
        goto fail;
    }
    *out = s;
    return E_OK;
fail:
    segment_destroy(s);
    return e;
}

enum err segment_activate(struct segment *s, int dir_fd, const struct segment_header *h)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(h->first_sequence, name);
    s->header = *h;
    s->header.size = s->size;
    segment_header_encode(&s->header, s->map);
    if (segment_broken(s)) {
        return E_IO;
    }
    if (renameat(dir_fd, s->name, dir_fd, name) != 0) {
        return err_from_errno(errno);
    }
    memcpy(s->name, name, sizeof(name));
    return E_OK;
}

void segment_populate(const struct segment *s, size_t from)
{
    for (size_t at = from / POPULATE_PIECE * POPULATE_PIECE; at < s->size; at += POPULATE_PIECE) {
        size_t n = s->size - at < POPULATE_PIECE ? s->size - at : POPULATE_PIECE;
        if (madvise(s->map + at, n, MADV_POPULATE_WRITE) != 0) {
            return; /* an older kernel, or a failing disk: the pages come as they are written to */
        }
    }
}

void segment_make_dirty(const struct segment *s, size_t from, size_t to)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    from = from / page * page;
    /* By a system call, because a write to a page that cannot be had raises SIGBUS; and what is mapped for writing already would not
     * become dirty. */
    (void)madvise(s->map + from, to - from, MADV_DONTNEED);
    if (madvise(s->map + from, to - from, MADV_POPULATE_WRITE) != 0) {
        log_emit(&log_redo, "segment=%s error=%s", s->name, err_name(err_from_errno(errno)));
    }
}

enum err segment_sync(const struct segment *s, size_t from, size_t to)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    from = from / page * page;
    size_t full = to / page * page;
    if (full > from) {
        /* Writing a page to disk takes the right to write to it from every mapping, one page after the other, and each time the
         * other processors are interrupted. Here nothing is mapped any more by then, for one interruption. The data stay in the
         * page cache. */
        (void)madvise(s->map + from, full - from, MADV_DONTNEED);
    }
    return msync(s->map + from, to - from, MS_SYNC) == 0 ? E_OK : err_from_errno(errno);
}

enum err segment_mark(int dir_fd, const char *name, enum segment_mark mark, bool set)
{
    const uint8_t byte = set ? SEGMENT_MARKED : 0;
    enum err e = E_OK;
    int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    ssize_t n;
    do {
        n = pwrite(fd, &byte, 1, (off_t)segment_mark_offset(mark));
    } while (n < 0 && errno == EINTR);
    if (n != 1) {
        e = n < 0 ? err_from_errno(errno) : E_IO;
    }
    if (close(fd) != 0 && e == E_OK) {
        e = err_from_errno(errno);
    }
    return e;
}

enum err segment_cut(struct segment *s, int dir_fd, size_t size)
{
    int fd = openat(dir_fd, s->name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err e = E_OK;
    segment_unmap(s);
    if (ftruncate(fd, (off_t)size) != 0) {
        e = err_from_errno(errno);
    } else {
        s->size = size;
    }
    if (close(fd) != 0 && e == E_OK) {
        e = err_from_errno(errno);
    }
    return e;
}

enum err segment_load(int dir_fd, const char *name, struct segment **out)
{
    uint64_t first;
    struct stat st;
    struct segment *s = segment_new(name);
    if (!s) {
        return E_NOMEM;
    }
    enum err e = E_INVALID;
    int fd = -1;
    if (!segment_parse_name(name, &first)) {
        goto fail;
    }
    fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0) {
        e = err_from_errno(errno);
        goto fail;
    }
    s->size = (uint64_t)st.st_size > SIZE_MAX / 2 ? 0 : (size_t)st.st_size;
    e = S_ISREG(st.st_mode) && s->size > 0 ? map_fd(s, fd, false) : E_OK;
    if (e == E_OK) {
        e = segment_header_decode(bytes_make(s->map, s->map ? s->size : 0), &s->header);
    }
    if (e == E_OK && s->header.first_sequence != first) {
        e = E_CORRUPT;
    }
    if (e != E_OK && e != E_CORRUPT) {
        goto fail;
    }
    if (e == E_CORRUPT) {
        s->header = (struct segment_header){.first_sequence = first, .size = s->size};
    }
    close(fd);
    atomic_store(&s->sealed, true);
    atomic_store(&s->tail, s->size);
    *out = s;
    return e;
fail:
    if (fd >= 0) {
        close(fd);
    }
    segment_destroy(s);
    return e;
}

/* Opens the file of a segment, if it is as long as the segment. */
static enum err open_whole(const struct segment *s, int dir_fd, int flags, int *out)
{
    struct stat st;
    int fd = openat(dir_fd, s->name, flags | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err e = fstat(fd, &st) != 0 ? err_from_errno(errno) : E_OK;
    if (e == E_OK && (uint64_t)st.st_size != s->size) {
        e = E_CORRUPT;
    }
    if (e != E_OK) {
        close(fd);
        return e;
    }
    *out = fd;
    return E_OK;
}

enum err segment_map(struct segment *s, int dir_fd, bool writable)
{
    int fd = -1;
    enum err e = open_whole(s, dir_fd, writable ? O_RDWR : O_RDONLY, &fd);
    if (e != E_OK) {
        return e;
    }
    e = map_fd(s, fd, writable);
    close(fd);
    s->written = e == E_OK && writable;
    return e;
}

void segment_unmap(struct segment *s)
{
    if (s->map) {
        map_guard_remove(s->guard);
        munmap(s->map, s->size);
        s->map = NULL;
        s->guard = NULL;
    }
    s->written = false;
}

bool segment_broken(const struct segment *s)
{
    return map_guard_hit(s->guard);
}

enum err segment_make_readable(struct segment *s, int dir_fd)
{
    int fd = -1;
    enum err e = open_whole(s, dir_fd, O_RDONLY, &fd);
    if (e == E_OK) {
        if (mmap(s->map, s->size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) != s->map) {
            e = err_from_errno(errno);
        }
        close(fd);
    }
    return e;
}
