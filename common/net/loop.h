/* The loop thread: a uv loop on a thread of its own with all signals blocked. Programs that have no other work
 * run the same loop on their main thread (loop_run). */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/err.h"

#include <uv.h>

struct loop;

/* A loop that is not yet running. */
MUST_CHECK enum err loop_create(struct loop **out);
/* Frees a loop that does not run; every handle must have been closed (their callbacks may be due: they come now). Waits up
 * to 2 s for libuv's pool to give back what it works on, a DNS query for example; after that the memory is left to it.
 * NULL is allowed. */
void loop_destroy(struct loop *l);

uv_loop_t *loop_uv(struct loop *l);

/* Starts the thread (`name` as shown by ps, at most 15 bytes). */
MUST_CHECK enum err loop_start(struct loop *l, const char *name);
/* Runs on the calling thread until loop_stop; blocks SIGPIPE on it for good. */
void loop_run(struct loop *l);

/* Runs fn(arg) on the loop's thread soon, in order of posting. Any thread. E_FULL when 1024 wait, E_CLOSED after
 * loop_stop. */
MUST_CHECK enum err loop_post(struct loop *l, void (*fn)(void *arg), void *arg);
/* Ends the loop after what has been posted. Any thread. */
void loop_stop(struct loop *l);
/* Waits for the thread's end. Not on the loop's thread. */
void loop_join(struct loop *l);

#endif
