/* A bounded queue from any number of threads to one. Letters are detached together under the lock and handled
 * outside it; the reader is woken only when the box goes from empty to non-empty. */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include "base/err.h"

#include <stddef.h>

/* First member of every letter. */
struct letter {
    struct letter *next; /* links letters in one box, oldest first */
    size_t size;         /* bytes that count against the ceiling, set by the sender */
};

struct mailbox;

struct mailbox_options {
    size_t max_letters;
    size_t max_bytes;
    void (*wake)(void *ctx); /* called on the sender's thread, outside the lock, when the box was empty; or NULL */
    void *ctx;
    void (*discard)(struct letter *letter); /* frees letters still inside at destroy */
};

MUST_CHECK enum err mailbox_create(const struct mailbox_options *options, struct mailbox **out);
void mailbox_destroy(struct mailbox *box);

/* Takes ownership of `letter` on success only. E_FULL at a ceiling. Any thread. */
MUST_CHECK enum err mailbox_put(struct mailbox *box, struct letter *letter);

/* All letters, oldest first, or NULL; the caller owns them. `max` > 0 limits how many. The reader's thread. */
struct letter *mailbox_take(struct mailbox *box, size_t max);

#endif
