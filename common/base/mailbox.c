#include "base/mailbox.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct mailbox {
    struct mailbox_options options;
    pthread_mutex_t lock; /* guards all below */
    struct letter *first;
    struct letter **end; /* where the next letter is linked */
    size_t letters;
    size_t bytes;
};

enum err mailbox_create(const struct mailbox_options *options, struct mailbox **out)
{
    if (options->max_letters == 0 || options->max_bytes == 0) {
        return E_INVALID;
    }
    struct mailbox *box = calloc(1, sizeof(*box));
    if (!box) {
        return E_NOMEM;
    }
    int failed = pthread_mutex_init(&box->lock, NULL);
    if (failed) {
        free(box);
        return err_from_errno(failed);
    }
    box->options = *options;
    box->end = &box->first;
    *out = box;
    return E_OK;
}

void mailbox_destroy(struct mailbox *box)
{
    if (!box) {
        return;
    }
    for (struct letter *letter = box->first, *next; letter; letter = next) {
        next = letter->next;
        if (box->options.discard) {
            box->options.discard(letter);
        }
    }
    pthread_mutex_destroy(&box->lock);
    free(box);
}

enum err mailbox_put(struct mailbox *box, struct letter *letter)
{
    const struct mailbox_options *o = &box->options;
    if (letter->size > o->max_bytes) {
        return E_TOO_LARGE;
    }
    pthread_mutex_lock(&box->lock);
    bool was_empty = !box->first;
    bool full = box->letters >= o->max_letters || letter->size > o->max_bytes - box->bytes;
    if (!full) {
        letter->next = NULL;
        *box->end = letter;
        box->end = &letter->next;
        box->letters++;
        box->bytes += letter->size;
    }
    pthread_mutex_unlock(&box->lock);
    if (full) {
        return E_FULL;
    }
    if (was_empty && o->wake) {
        o->wake(o->ctx);
    }
    return E_OK;
}

/* The first letter behind `max` of them, all taken off the counts. */
static struct letter **skip(struct mailbox *box, size_t max)
{
    struct letter **link = &box->first;
    for (size_t n = 0; n < max && *link; n++) {
        box->letters--;
        box->bytes -= (*link)->size;
        link = &(*link)->next;
    }
    return link;
}

struct letter *mailbox_take(struct mailbox *box, size_t max)
{
    pthread_mutex_lock(&box->lock);
    struct letter *taken = box->first;
    struct letter **link = max > 0 ? skip(box, max) : NULL;
    if (taken && link && *link) {
        box->first = *link;
        *link = NULL;
    } else {
        box->first = NULL;
        box->end = &box->first;
        box->letters = 0;
        box->bytes = 0;
    }
    pthread_mutex_unlock(&box->lock);
    return taken;
}
