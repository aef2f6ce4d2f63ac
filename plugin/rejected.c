#include "plugin/rejected.h"

#include "base/clock.h"
#include "base/log.h"
#include "plugin/rejected_json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

LOG_POINT(log_set_aside, "rejected.record", LOG_WARNING,
          "a record can never be delivered: it was set aside in rejected/");
LOG_POINT(log_dropped, "rejected.dropped", LOG_WARNING, "rejected/ is full: its oldest file was deleted");
LOG_POINT(log_undeletable, "rejected.delete-failed", LOG_WARNING,
          "rejected/ is full, and its oldest file cannot be deleted");
LOG_POINT(log_failed, "rejected.write-failed", LOG_ERROR,
          "a rejected record could not be written: it stays in the spool");
LOG_POINT(log_unreadable, "rejected.unreadable", LOG_WARNING, "a file in rejected/ cannot be read");

#define FOLDER "rejected"
#define TMP_NAME "new.tmp"
#define NAME_SIZE 64u

struct entry {
    uint64_t sequence;
    enum sink_id sink;
    uint64_t size;
};

struct rejected {
    int dir_fd;
    uint64_t bytes;
    size_t count;
    void (*written)(void *ctx); /* or NULL */
    void *written_ctx;
    struct entry entries[REJECTED_MAX_FILES]; /* oldest first */
};

/* --- names --- */

static void entry_name(const struct entry *entry, char out[NAME_SIZE])
{
    snprintf(out, NAME_SIZE, "%" PRIu64 "-%s.json", entry->sequence, sink_id_name(entry->sink));
}

/* Exactly what entry_name writes: nothing else names a file. */
static bool parse_name(const char *name, struct entry *out)
{
    char canonical[NAME_SIZE];
    char *end;
    struct entry entry = {0};
    const char *dot = strrchr(name, '.');
    errno = 0;
    entry.sequence = strtoull(name, &end, 10);
    if (errno != 0 || end == name || *end != '-' || !dot || dot < end ||
        !sink_id_parse(bytes_make(end + 1, (size_t)(dot - end - 1)), &entry.sink)) {
        return false;
    }
    entry_name(&entry, canonical);
    *out = entry;
    return strcmp(name, canonical) == 0;
}

static int compare(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    if (x->sequence != y->sequence) {
        return x->sequence < y->sequence ? -1 : 1;
    }
    return (x->sink > y->sink) - (x->sink < y->sink);
}

/* The place of an entry, or where it belongs. */
static size_t place_of(const struct rejected *r, const struct entry *entry)
{
    size_t low = 0;
    size_t high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&r->entries[middle], entry) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const struct rejected *r, size_t place, const struct entry *entry)
{
    return place < r->count && compare(&r->entries[place], entry) == 0;
}

/* --- list --- */

static void forget(struct rejected *r, size_t place)
{
    r->bytes -= r->entries[place].size;
    r->count--;
    memmove(&r->entries[place], &r->entries[place + 1], (r->count - place) * sizeof(r->entries[0]));
}

static void remember(struct rejected *r, const struct entry *entry)
{
    size_t place = place_of(r, entry);
    memmove(&r->entries[place + 1], &r->entries[place], (r->count - place) * sizeof(r->entries[0]));
    r->entries[place] = *entry;
    r->count++;
    r->bytes += entry->size;
}

static void drop_oldest(struct rejected *r)
{
    char name[NAME_SIZE];
    entry_name(&r->entries[0], name);
    if (unlinkat(r->dir_fd, name, 0) == 0) {
        log_emit(&log_dropped, "file=%s", name);
    } else if (errno != ENOENT) {
        log_emit(&log_undeletable, "file=%s error=%s", name, err_name(err_from_errno(errno)));
    }
    forget(r, 0);
}

/* Room for one more file of this size. */
static void make_room(struct rejected *r, uint64_t size)
{
    while (r->count > 0 && (r->count >= REJECTED_MAX_FILES || r->bytes + size > REJECTED_MAX_BYTES)) {
        drop_oldest(r);
    }
}

static enum err scan(struct rejected *r)
{
    int fd = openat(r->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        enum err e = err_from_errno(errno);
        if (fd >= 0) {
            close(fd);
        }
        return e;
    }
    for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        struct entry entry;
        struct stat st;
        if (parse_name(d->d_name, &entry) && fstatat(r->dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode)) {
            entry.size = (uint64_t)st.st_size;
            make_room(r, entry.size);
            remember(r, &entry);
        }
    }
    closedir(dir);
    return E_OK;
}

enum err rejected_open(const char *spool_dir, struct rejected **out)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/" FOLDER, spool_dir);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        return E_INVALID;
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return err_from_errno(errno);
    }
    struct rejected *r = calloc(1, sizeof(*r));
    if (!r) {
        return E_NOMEM;
    }
    enum err e = E_OK;
    r->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->dir_fd < 0) {
        e = err_from_errno(errno);
        free(r);
        return e;
    }
    unlinkat(r->dir_fd, TMP_NAME, 0); /* left by a crash */
    e = scan(r);
    if (e != E_OK) {
        rejected_close(r);
        return e;
    }
    *out = r;
    return E_OK;
}

void rejected_watch(struct rejected *r, void (*written)(void *ctx), void *ctx)
{
    r->written = written;
    r->written_ctx = ctx;
}

void rejected_close(struct rejected *r)
{
    if (r) {
        close(r->dir_fd);
        free(r);
    }
}

/* --- files --- */

static enum err write_file(int dir_fd, const char *name, struct bytes text)
{
    int fd = openat(dir_fd, TMP_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err e = E_OK;
    while (text.len > 0 && e == E_OK) {
        ssize_t n = write(fd, text.data, text.len);
        if (n < 0 && errno != EINTR) {
            e = err_from_errno(errno);
        }
        text = bytes_sub(text, n > 0 ? (size_t)n : 0, text.len);
    }
    if (e == E_OK) {
        /* Starts writing, so that the data is not behind its name on disk, without waiting for it on the loop. Only a hint: who
         * watches sees to the rest. */
        (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    if (close(fd) != 0 && e == E_OK) {
        e = err_from_errno(errno);
    }
    if (e == E_OK && renameat(dir_fd, TMP_NAME, dir_fd, name) != 0) {
        e = err_from_errno(errno);
    }
    if (e != E_OK) {
        unlinkat(dir_fd, TMP_NAME, 0);
    }
    return e;
}

enum err rejected_put(struct rejected *r, enum sink_id sink, const struct record *record, const char *reason)
{
    char name[NAME_SIZE];
    char topic[128];
    char why[400];
    struct entry entry = {.sequence = record->sequence, .sink = sink};
    struct buffer text;
    buffer_init(&text, REJECTED_MAX_BYTES);
    enum err e = rejected_print(record, sink, reason, wall_now().ms, &text);
    if (e == E_OK) {
        entry.size = text.len;
        make_room(r, entry.size);
        entry_name(&entry, name);
        e = write_file(r->dir_fd, name, buffer_bytes(&text));
    }
    if (e == E_OK) {
        size_t place = place_of(r, &entry);
        if (is_at(r, place, &entry)) {
            forget(r, place); /* its file was replaced */
        }
        remember(r, &entry);
        if (r->written) {
            r->written(r->written_ctx);
        }
        log_emit(&log_set_aside, "file=%s topic=\"%s\" reason=\"%s\"", name,
                 log_escape(record->topic, topic, sizeof(topic)), log_escape(bytes_str(reason), why, sizeof(why)));
    } else {
        log_emit(&log_failed, "sink=%s sequence=%" PRIu64 " error=%s", sink_id_name(sink), record->sequence,
                 err_name(e));
    }
    buffer_finish(&text);
    return e;
}

uint64_t rejected_count(const struct rejected *r)
{
    return r->count;
}

static enum err read_file(struct rejected *r, const char *name, struct buffer *out)
{
    struct stat st;
    int fd = openat(r->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err e = fstat(fd, &st) == 0 ? buffer_reserve(out, (size_t)st.st_size) : err_from_errno(errno);
    while (e == E_OK && out->len < out->cap) {
        ssize_t n = read(fd, out->data + out->len, out->cap - out->len);
        if (n == 0) {
            break;
        }
        if (n < 0 && errno != EINTR) {
            e = err_from_errno(errno);
        }
        out->len += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return e;
}

void rejected_list(struct rejected *r, bool (*fn)(void *ctx, const char *name, struct bytes json), void *ctx)
{
    struct buffer text;
    bool more = true;
    buffer_init(&text, REJECTED_MAX_BYTES);
    for (size_t i = 0; i < r->count && more; i++) {
        char name[NAME_SIZE];
        entry_name(&r->entries[i], name);
        buffer_clear(&text);
        enum err e = read_file(r, name, &text);
        if (e == E_OK) {
            more = fn(ctx, name, buffer_bytes(&text));
        } else {
            log_emit(&log_unreadable, "file=%s error=%s", name, err_name(e));
        }
    }
    buffer_finish(&text);
}

enum err rejected_get(struct rejected *r, const char *name, struct buffer *memory, struct record *out,
                      enum sink_id *sink)
{
    struct entry entry;
    struct buffer text;
    if (!parse_name(name, &entry)) {
        return E_NOT_FOUND;
    }
    buffer_init(&text, REJECTED_MAX_BYTES);
    enum err e = read_file(r, name, &text);
    if (e == E_OK) {
        e = rejected_parse(buffer_bytes(&text), memory, out, sink);
    }
    buffer_finish(&text);
    return e;
}

enum err rejected_drop(struct rejected *r, const char *name)
{
    struct entry entry;
    if (!parse_name(name, &entry)) {
        return E_NOT_FOUND;
    }
    size_t place = place_of(r, &entry);
    if (unlinkat(r->dir_fd, name, 0) != 0) {
        enum err e = err_from_errno(errno);
        if (e != E_NOT_FOUND) {
            return e;
        }
    }
    if (!is_at(r, place, &entry)) {
        return E_NOT_FOUND;
    }
    forget(r, place);
    return E_OK;
}
