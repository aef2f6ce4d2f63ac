/* The loop thread: a uv loop on a thread of its own with all signals blocked. Programs that have no other work
 * run the same loop on their main thread (loop_run).
 *
 * A loop that is created "apart" gets, with its thread and libuv's pool, a table of open files of its own (net/file_table.h says why
 * and what follows). uv_async_send and loop_post work across the two, because the loop's descriptors were opened before the split;
 * everything else must be opened, used and closed on one side. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/err.h"

#include <stdbool.h>
#include <uv.h>

struct loop;

/* E_FULL: the process may open no more files, or so few that libuv would abort() instead of failing. */
MUST_CHECK enum err loop_check_files(void);
#define LOOP_FULL_TEXT "too few open files are allowed for the event loop (ulimit -n, LimitNOFILE= of the unit)"

/* A loop that is not yet running. E_FULL as above. */
MUST_CHECK enum err loop_create(struct loop **out);
/* The same for a loop whose thread shall have its own table of files. No other thread may open or close files until loop_start has
 * returned. */
MUST_CHECK enum err loop_create_apart(struct loop **out);
/* Frees a loop that does not run; every handle must have been closed (their callbacks may be due: they come now). Waits up
 * to 2 s for libuv's pool to give back what it works on, a DNS query for example; after that the memory is left to it.
 * NULL is allowed. */
void loop_destroy(struct loop *l);

uv_loop_t *loop_uv(struct loop *l);

/* Starts the thread (`name` as shown by ps, at most 15 bytes). A loop that is created apart is apart when this returns, or shares the
 * table of files after all: the system does not allow a split, or somebody else has started libuv's pool before. E_BUSY: the process
 * had such a loop already (libuv's pool has stayed with the table of that one). Until loop_join the caller's thread, which is the same,
 * cannot be cancelled (pthread_cancel). E_NOMEM: the system does not allow as many threads as the loop and the pool need. */
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

/* Lending, by a loop apart. To wake a thread takes longer than a small piece of work; while the loop's thread sleeps, another one may do
 * that piece in its place. */

/* Takes the loop from its sleeping thread. Until loop_return the caller is "the loop's thread" for timers, streams and all that belongs
 * to them, with one exception: descriptors. Those of the loop are other files' numbers here, so nothing may be called that opens, uses
 * or closes one, nor a callback be led to do so. The loop stands still meanwhile: only for some microseconds. False: the thread is at
 * work or has ended, or the loop is not one apart. The thread that has created the loop. */
bool loop_borrow(struct loop *l);
/* Gives it back. Its thread wakes up now if there is something to do that it does not know of. */
void loop_return(struct loop *l);

/* Hands a copy of a descriptor over to the thread that borrows; `tag` says which it is. E_AGAIN: too many wait there; E_UNSUPPORTED: the
 * loop is not one apart. Loop's thread. */
MUST_CHECK enum err loop_hand_over(struct loop *l, int fd, uint64_t tag);
/* The next one, to be closed by the caller. E_NOT_FOUND: there is none. E_FULL: it is lost, because this side may open no more files;
 * others may follow. The thread that borrows. */
MUST_CHECK enum err loop_take_over(struct loop *l, int *fd, uint64_t *tag);

#endif
