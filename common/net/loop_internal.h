/* What loop.c, loop_apart.c and loop_lend.c share. Nobody else includes this. */
#ifndef NET_LOOP_INTERNAL_H
#define NET_LOOP_INTERNAL_H

#include "net/file_table.h"
#include "net/loop.h"

#include <pthread.h>

#define POSTS_MAX 1024

struct post {
    void (*fn)(void *arg);
    void *arg;
};

struct post_queue {
    size_t count;
    struct post posts[POSTS_MAX];
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* guards the next two */
    struct post_queue *filling;
    bool stopping; /* nothing more is taken */

    struct post_queue *handling; /* loop's thread only */

    /* Of a loop apart: what was open before it was created; NULL = it is none. */
    struct file_list *foreign;
    bool settling; /* the thread tries how it can run: posts wait */
    bool spared;   /* the caller's thread cannot be cancelled; it was as the next two say */
    int cancel_state, cancel_type;
    pthread_mutex_t use;   /* held by whoever works on `uv`, and on what belongs to it */
    bool ended;            /* under `use`: the loop's thread is to leave */
    uint64_t asleep_until; /* under `use`: when that thread wakes up by itself, in uv_now's ms; UINT64_MAX = never */
    int handover[2];       /* a pair of sockets that both sides know */
};

/* Starts a thread with all signals blocked, to be joined with loop_join. */
MUST_CHECK enum err loop_spawn(struct loop *l, void *(*main)(void *), void *arg, const char *name);

/* loop_start for a loop apart. `plain` is the thread that shares the table of files. */
MUST_CHECK enum err loop_start_apart(struct loop *l, const char *name, void *(*plain)(void *));
/* Makes a loop apart ready to be lent, before it has a thread. */
MUST_CHECK enum err loop_lend_init(struct loop *l);
void loop_lend_finish(struct loop *l);
/* uv_run for a loop apart, until l->ended. */
void loop_run_lending(struct loop *l);

/* Undoes what loop_start_apart did to the caller's thread. The same thread. */
void loop_unspare(struct loop *l);

#endif
