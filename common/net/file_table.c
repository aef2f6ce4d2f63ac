#define _GNU_SOURCE /* close_range */
#include "net/file_table.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2u /* linux/close_range.h */
#endif

#if defined(__SANITIZE_THREAD__)
#define SPLITS false
#elif defined(__has_feature)
#define SPLITS (!__has_feature(thread_sanitizer))
#else
#define SPLITS true
#endif

enum err file_list_read(struct file_list *out)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) {
        return E_NOT_FOUND;
    }
    enum err e = E_OK;
    out->count = 0;
    for (const struct dirent *d = readdir(dir); d && e == E_OK; d = readdir(dir)) {
        char *end;
        long fd = strtol(d->d_name, &end, 10);
        if (end == d->d_name || *end != '\0' || fd <= STDERR_FILENO || fd == dirfd(dir)) {
            continue;
        }
        if (out->count == FILE_LIST_MAX) {
            e = E_FULL;
        } else {
            out->fds[out->count++] = (int)fd;
        }
    }
    closedir(dir);
    return e;
}

/* unshare(2) would do, but containers forbid it more often than close_range(2), which unshares on request. The range is empty of
 * files. */
static bool unshare_table(void)
{
    return SPLITS && close_range(INT_MAX, INT_MAX, CLOSE_RANGE_UNSHARE) == 0;
}

bool file_table_split(const struct file_list *close_these, int keep)
{
    if (!unshare_table()) {
        return false;
    }
    for (size_t i = 0; i < close_these->count; i++) {
        if (close_these->fds[i] != keep) {
            close(close_these->fds[i]);
        }
    }
    return true;
}
