/* The segments of the folder at opening. */
#include "plugin/spool_internal.h"

#include <stdlib.h>

#define NAMES_MAX 1000000u /* segments in one folder */

struct name_list {
    uint64_t *first; /* sequences in the names of segments */
    size_t count;
    size_t cap;
};

static enum err add_name(void *ctx, const char *name)
{
    struct name_list *list = ctx;
    uint64_t first;
    if (!segment_parse_name(name, &first)) {
        return E_OK;
    }
    if (list->count == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 64;
        uint64_t *grown = cap <= NAMES_MAX ? realloc(list->first, cap * sizeof(*grown)) : NULL;
        if (!grown) {
            return E_NOMEM;
        }
        list->first = grown;
        list->cap = cap;
    }
    list->first[list->count++] = first;
    return E_OK;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void unload(struct spool *s)
{
    while (s->oldest) {
        struct segment *seg = s->oldest;
        spool_unlink_live(s, seg);
        segment_destroy(seg);
    }
}

/* Loads every segment in order of age; those without a sound header are marked damaged. Not mapped. */
static enum err load_segments(struct spool *s, struct spool_error *error)
{
    struct name_list list = {0};
    enum err e = spool_each_name(s->dir_fd, add_name, &list);
    if (e != E_OK) {
        spool_error_set(error, "%s: cannot be read: %s", s->dir, err_name(e));
    }
    if (list.count > 0) {
        qsort(list.first, list.count, sizeof(list.first[0]), by_value);
    }
    for (size_t i = 0; e == E_OK && i < list.count; i++) {
        char name[SEGMENT_NAME_SIZE];
        struct segment *seg = NULL;
        segment_name(list.first[i], name);
        e = segment_load(s->dir_fd, name, &seg);
        if (e == E_OK || e == E_CORRUPT) {
            atomic_store(&seg->damaged, e == E_CORRUPT);
            segment_unmap(seg);
            spool_link_newest(s, seg);
            e = E_OK;
        } else {
            spool_error_set(error, "%s: %s: %s", s->dir, name,
                            e == E_VERSION ? "written by another version of this program" : err_name(e));
        }
    }
    free(list.first);
    return e;
}

enum err spool_load(struct spool *s, struct spool_error *error)
{
    bool again = true;
    enum err e = E_OK;
    while (e == E_OK && again) {
        unload(s);
        e = load_segments(s, error);
        if (e == E_OK) {
            e = spool_clean_folder(s->dir_fd, &again);
            if (e != E_OK) {
                spool_error_set(error, "%s: cannot be cleaned up: %s", s->dir, err_name(e));
            }
        }
    }
    return e;
}
