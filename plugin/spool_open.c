/* Opening and closing: options, folder, lock. */
#include "plugin/spool_internal.h"

#include "base/log.h"
#include "plugin/map_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

LOG_POINT(log_opened, "spool.opened", LOG_INFO, "spool opened");
LOG_POINT(log_new_folder, "spool.folder-new", LOG_ERROR, "the spool's folder was gone: it was made again");
LOG_POINT(log_open, "spool.open", LOG_WARNING, "other users may change the spool's folder");
LOG_POINT(log_close, "spool.close-failed", LOG_ERROR, "the spool could not be written in full at closing");

#define LOCK_NAME "lock"

void spool_error_set(struct spool_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
}

/* --- folder and lock --- */

static void describe_holder(int lock_fd, const char *dir, struct spool_error *error)
{
    char pid[16] = "";
    ssize_t n = pread(lock_fd, pid, sizeof(pid) - 1, 0);
    pid[n > 0 ? n : 0] = '\0';
    pid[strspn(pid, "0123456789")] = '\0';
    spool_error_set(error, "%s: in use by another process%s%s", dir, pid[0] ? ", pid " : "", pid);
}

static enum err take_lock(int dir_fd, const char *dir, int *out, struct spool_error *error)
{
    int fd = openat(dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        int failure = errno;
        spool_error_set(error, "%s: cannot open %s: %s", dir, LOCK_NAME, strerror(failure));
        return err_from_errno(failure);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int failure = errno;
        if (failure == EWOULDBLOCK) {
            describe_holder(fd, dir, error);
        } else {
            spool_error_set(error, "%s: cannot lock: %s", dir, strerror(failure));
        }
        close(fd);
        return failure == EWOULDBLOCK ? E_BUSY : err_from_errno(failure);
    }
    /* For the error message of others only: a full disk does not matter here. */
    if (ftruncate(fd, 0) == 0) {
        (void)!dprintf(fd, "%ld\n", (long)getpid());
    }
    *out = fd;
    return E_OK;
}

/* A folder that was there before may be somebody's trap: who owns it, or may write to it, can take away what waits in it. */
static void note_owner(int fd, const char *dir)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && ((st.st_mode & S_IWOTH) || (st.st_uid != geteuid() && st.st_uid != 0))) {
        log_emit(&log_open, "dir=%s mode=%03o owner=%u", dir, (unsigned)(st.st_mode & 0777), (unsigned)st.st_uid);
    }
}

/* Makes and opens the folder, and locks it. */
static enum err open_folder(const char *dir, int *dir_fd, int *lock_fd, struct spool_error *error)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        int failure = errno;
        spool_error_set(error, "%s: cannot create: %s", dir, strerror(failure));
        return err_from_errno(failure);
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int failure = errno;
        spool_error_set(error, "%s: cannot open: %s", dir, strerror(failure));
        return err_from_errno(failure);
    }
    enum err e = take_lock(fd, dir, lock_fd, error);
    if (e != E_OK) {
        close(fd);
        return e;
    }
    note_owner(fd, dir);
    *dir_fd = fd;
    return E_OK;
}

enum err spool_attach(struct spool *s, struct spool_error *error)
{
    int dir_fd = -1;
    int lock_fd = -1;
    enum err e = open_folder(s->dir, &dir_fd, &lock_fd, error);
    if (e != E_OK) {
        return e;
    }
    if (dup3(dir_fd, s->dir_fd, O_CLOEXEC) < 0 || dup3(lock_fd, s->lock_fd, O_CLOEXEC) < 0) {
        e = err_from_errno(errno);
    }
    close(dir_fd);
    close(lock_fd);
    if (e == E_OK) {
        atomic_store(&s->folder_new, true);
        log_emit(&log_new_folder, "dir=%s", s->dir);
    }
    return e;
}

/* --- open --- */

static struct wall default_now(void *ctx)
{
    (void)ctx;
    return wall_now();
}

static struct wall default_now_coarse(void *ctx)
{
    (void)ctx;
    return wall_now_coarse();
}

/* Brings sizes into an order in which the spool can work: whole pages, at least SPOOL_SEGMENTS_MIN segments. */
static void set_sizes(struct spool *s, const struct spool_options *o)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t size = o->segment_size ? o->segment_size : SPOOL_SEGMENT_DEFAULT;
    size = size < o->max_size / SPOOL_SEGMENTS_MIN ? size : o->max_size / SPOOL_SEGMENTS_MIN;
    size = size > SPOOL_SEGMENT_MIN ? size : SPOOL_SEGMENT_MIN;
    size = size < SPOOL_SEGMENT_MAX ? size : SPOOL_SEGMENT_MAX;
    s->segment_size = (size_t)((size + page - 1) / page * page);
    spool_set_limits(s, o->max_size, o->full, o->sync_ms);
}

static enum err create(const struct spool_options *o, struct spool **out)
{
    struct spool *s = calloc(1, sizeof(*s));
    if (!s) {
        return E_NOMEM;
    }
    s->dir_fd = -1;
    s->lock_fd = -1;
    s->loop_dir_fd = -1;
    s->removed_end = &s->removed;
    s->retry_ms = SPOOL_RETRY_MS;
    s->dir = strdup(o->dir);
    if (!s->dir || uv_mutex_init(&s->lock) != 0) {
        free(s->dir);
        free(s);
        return E_NOMEM;
    }
    s->sinks = o->sinks & (SINK_BIT(SINK_COUNT) - 1);
    s->now = o->now ? o->now : default_now;
    s->now_coarse = o->now ? o->now : default_now_coarse;
    s->now_ctx = o->now_ctx;
    set_sizes(s, o);
    *out = s;
    return E_OK;
}

static void destroy_list(struct segment *seg, struct segment *(*next_of)(const struct segment *))
{
    while (seg) {
        struct segment *next = next_of(seg);
        segment_destroy(seg);
        seg = next;
    }
}

static struct segment *newer_of(const struct segment *seg)
{
    return seg->newer;
}

static struct segment *next_of(const struct segment *seg)
{
    return seg->next;
}

/* Frees everything; files stay as they are. */
static void destroy(struct spool *s)
{
    destroy_list(s->oldest, newer_of);
    destroy_list(s->dropped, next_of);
    destroy_list(s->removed, next_of);
    segment_destroy(s->spare);
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if (s->sinks & SINK_BIT(k)) {
            cursor_finish(&s->cursors[k]);
        }
    }
    if (s->dir_fd >= 0) {
        close(s->dir_fd);
        close(s->lock_fd); /* and with it the lock */
    }
    uv_mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
}

enum err spool_open(const struct spool_options *o, struct spool **out, struct spool_error *error)
{
    struct spool *s;
    enum err e = map_guard_install();
    if (e != E_OK) {
        spool_error_set(error, "%s: cannot install a signal handler: %s", o->dir, err_name(e));
        return e;
    }
    e = create(o, &s);
    if (e != E_OK) {
        spool_error_set(error, "%s: no memory", o->dir);
        map_guard_uninstall();
        return e;
    }
    for (unsigned k = 0; k < SINK_COUNT && e == E_OK; k++) {
        if (s->sinks & SINK_BIT(k)) {
            e = cursor_init(&s->cursors[k], s, (enum sink_id)k);
        }
    }
    if (e != E_OK) {
        spool_error_set(error, "%s: no memory", o->dir);
    } else {
        e = open_folder(s->dir, &s->dir_fd, &s->lock_fd, error);
    }
    if (e == E_OK) {
        e = spool_recover(s, error);
    }
    if (e != E_OK) {
        destroy(s);
        map_guard_uninstall();
        return e;
    }
    log_emit(&log_opened, "dir=%s bytes=%llu next_sequence=%llu records=%llu", s->dir,
             (unsigned long long)metric_get(&s->stats.bytes), (unsigned long long)s->next_sequence,
             (unsigned long long)metric_get(&spool_stats(s)->records));
    *out = s;
    return E_OK;
}

/* --- close --- */

static enum err save_cursor(struct spool *s, struct cursor *c, bool durable)
{
    uint64_t position = cursor_position(c);
    bool there = position == c->saved && !atomic_load(&s->folder_new) && !s->places_void;
    return there ? E_OK : cursor_file_save(s->dir_fd, &c->file, c->sink, position, durable);
}

/* Writes what an orderly end writes; tells what failed. */
static void flush(struct spool *s)
{
    bool durable = atomic_load(&s->sync_ms) != SPOOL_SYNC_NEVER;
    enum err e = E_OK;
    for (struct segment *seg = s->oldest; durable && seg; seg = seg->newer) {
        if (seg->written) {
            if (s->sync_failed) {
                segment_make_dirty(seg, seg->synced, atomic_load(&seg->tail));
            }
            enum err synced = segment_sync(seg, 0, atomic_load(&seg->tail));
            e = synced != E_OK ? synced : e;
        }
    }
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        enum err saved = s->sinks & SINK_BIT(k) ? save_cursor(s, &s->cursors[k], durable) : E_OK;
        e = saved != E_OK ? saved : e;
    }
    if (durable && fsync(s->dir_fd) != 0) {
        e = err_from_errno(errno);
    }
    if (e != E_OK) {
        log_emit(&log_close, "dir=%s error=%s", s->dir, err_name(e));
    }
}

void spool_close(struct spool *s)
{
    if (!s) {
        return;
    }
    spool_settle(s);
    spool_collect(s);
    if (s->beside && atomic_load(&s->sync_ms) != SPOOL_SYNC_NEVER && syncfs(s->dir_fd) != 0) {
        log_emit(&log_close, "dir=%s error=%s", s->dir, err_name(err_from_errno(errno)));
    }
    for (struct segment *seg = s->removed; seg; seg = seg->next) {
        spool_delete_file(s->dir_fd, seg);
    }
    if (s->spare) {
        unlinkat(s->dir_fd, s->spare->name, 0);
    }
    flush(s);
    destroy(s);
    map_guard_uninstall();
}
