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
    void (*discard)(struct letter *letter); /* frees a letter still inside at destroy; NULL: they need no freeing */
};

/* E_INVALID when a ceiling is 0. */
MUST_CHECK enum err mailbox_create(const struct mailbox_options *options, struct mailbox **out);
/* After the last put has returned. NULL is allowed. */
void mailbox_destroy(struct mailbox *box);

/* Takes ownership of `letter` on success only. E_FULL at a ceiling, E_TOO_LARGE when it is over max_bytes by itself. Any
 * thread. */
MUST_CHECK enum err mailbox_put(struct mailbox *box, struct letter *letter);

/* All letters, oldest first, or NULL; the caller owns them. `max` > 0 limits how many: what stays behind wakes nobody, so the
 * reader comes again by itself. The reader's thread. */
struct letter *mailbox_take(struct mailbox *box, size_t max);

#endif
