/* Messages that have been taken lately, so that a client that sends again after a lost answer is not published twice. A
 * fixed number is remembered; the oldest is forgotten. One thread. */
#ifndef WEBSENSOR_SEEN_H
#define WEBSENSOR_SEEN_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct seen;

enum seen_state {
    SEEN_NEVER,
    SEEN_UNDER_WAY, /* being published */
    SEEN_FAILED,    /* taken, but not published: to be published now */
    SEEN_DONE,
};

MUST_CHECK enum err seen_create(size_t count, struct seen **out);
void seen_destroy(struct seen *s);

/* The state of this key (not 0); SEEN_NEVER and SEEN_FAILED become SEEN_UNDER_WAY. */
enum seen_state seen_begin(struct seen *s, uint64_t key);
/* How it ended. */
void seen_end(struct seen *s, uint64_t key, enum seen_state state);

#endif
