/* The start of a loop thread that has a table of open files of its own. The table lives as long as libuv's pool: until the process
 * ends. What loop_destroy closes on the caller's side (epoll, eventfd) stays open on this one. */
#define _GNU_SOURCE /* pipe2 */
#include "net/loop_internal.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

/* libuv's pool belongs to the process and stays with the table in which it was started. */
static atomic_bool pool_is_apart;

enum outcome {
    SHARED,   /* no split: goes on with the table that everybody uses */
    APART,    /* split, and the pool is on this side */
    DESERTED, /* split, but the pool is on the other side: the thread has ended */
};

struct start {
    struct loop *loop;
    uv_sem_t settled;
    enum outcome outcome;
};

/* --- on which side is the pool? --- */

struct probe {
    uv_work_t work;
    int fd; /* opened on this side, so that it is unknown on the other */
    struct stat here;
    bool same;
    bool done;
};

/* In the pool. */
static void look(uv_work_t *work)
{
    struct probe *p = work->data;
    struct stat there;
    p->same = fstat(p->fd, &there) == 0 && there.st_dev == p->here.st_dev && there.st_ino == p->here.st_ino;
}

static void on_looked(uv_work_t *work, int status)
{
    struct probe *p = work->data;
    p->same = p->same && status == 0;
    p->done = true;
}

/* Starts the pool if nobody has. True if it uses this thread's table. */
static bool pool_is_here(struct loop *l)
{
    int ends[2]; /* a pipe, because each has an inode number of its own */
    struct probe p = {.work.data = &p};
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    p.fd = ends[0];
    if (fstat(p.fd, &p.here) == 0 && uv_queue_work(&l->uv, &p.work, look, on_looked) == 0) {
        while (!p.done) {
            uv_run(&l->uv, UV_RUN_ONCE);
        }
    }
    close(ends[0]);
    close(ends[1]);
    return p.same;
}

/* --- the thread --- */

static enum outcome settle(struct loop *l)
{
    if (!file_table_split(l->foreign, uv_backend_fd(&l->uv))) {
        return SHARED;
    }
    l->settling = true;
    bool here = pool_is_here(l);
    l->settling = false;
    uv_async_send(&l->wake); /* for what was posted meanwhile */
    return here ? APART : DESERTED;
}

static void *thread_main(void *arg)
{
    struct start *start = arg;
    struct loop *l = start->loop;
    enum outcome outcome = settle(l);
    start->outcome = outcome;
    uv_sem_post(&start->settled); /* `start` is gone */
    if (outcome != DESERTED) {
        loop_run(l);
    }
    return NULL;
}

/* Once a process has two threads, glibc (until 2.40) marks the beginning and the end of each call that is a cancellation point with two
 * atomic operations, unless the thread can be cancelled at any time. The caller's thread is told so, and that it cannot be cancelled
 * at all. */
static void spare_marks(struct loop *l)
{
    l->spared = pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &l->cancel_state) == 0 &&
                pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &l->cancel_type) == 0;
}

void loop_unspare(struct loop *l)
{
    if (l->spared) {
        pthread_setcanceltype(l->cancel_type, &l->cancel_type);
        pthread_setcancelstate(l->cancel_state, &l->cancel_state);
        l->spared = false;
    }
}

/* --- enough threads? --- */

#define THREADS 5u /* the loop's and those of libuv's pool, unless UV_THREADPOOL_SIZE says otherwise */

static void wait_for_go(void *arg)
{
    uv_sem_wait(arg);
}

/* libuv ends the process, without a word, where it cannot start the threads of its pool: so it is tried here. */
static enum err try_threads(void)
{
    uv_thread_t threads[THREADS];
    uv_sem_t go;
    unsigned started = 0;
    if (uv_sem_init(&go, 0) != 0) {
        return E_NOMEM;
    }
    while (started < THREADS && uv_thread_create(&threads[started], wait_for_go, &go) == 0) {
        started++;
    }
    for (unsigned i = 0; i < started; i++) {
        uv_sem_post(&go);
    }
    for (unsigned i = 0; i < started; i++) {
        uv_thread_join(&threads[i]);
    }
    uv_sem_destroy(&go);
    return started == THREADS ? E_OK : E_NOMEM;
}

enum err loop_start_apart(struct loop *l, const char *name, void *(*plain)(void *))
{
    struct start start = {.loop = l};
    if (atomic_load(&pool_is_apart)) {
        return E_BUSY;
    }
    enum err e = try_threads();
    if (e != E_OK) {
        return e;
    }
    if (uv_sem_init(&start.settled, 0) != 0) {
        return E_NOMEM;
    }
    e = loop_spawn(l, thread_main, &start, name);
    if (e == E_OK) {
        uv_sem_wait(&start.settled);
        if (start.outcome == DESERTED) {
            loop_join(l);
            e = loop_spawn(l, plain, l, name);
        }
        atomic_store(&pool_is_apart, start.outcome == APART);
    }
    uv_sem_destroy(&start.settled);
    if (e == E_OK) {
        spare_marks(l);
    }
    return e;
}
