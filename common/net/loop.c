#define _GNU_SOURCE /* pthread_setname_np */
#include "net/loop_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define DESTROY_DRAIN_MS 2000

static bool take_posts(struct loop *l, bool *stop)
{
    pthread_mutex_lock(&l->lock);
    struct post_queue *full = l->filling;
    l->filling = l->handling;
    l->handling = full;
    *stop = l->stopping;
    pthread_mutex_unlock(&l->lock);
    return full->count > 0;
}

static void on_wake(uv_async_t *wake)
{
    struct loop *l = wake->data;
    bool stop = false;
    if (l->settling) {
        return; /* it comes again when the thread is settled */
    }
    if (take_posts(l, &stop)) {
        for (size_t i = 0; i < l->handling->count; i++) {
            l->handling->posts[i].fn(l->handling->posts[i].arg);
        }
        l->handling->count = 0;
    }
    if (stop) {
        l->ended = true;
        uv_stop(&l->uv);
    }
}

static void loop_free(struct loop *l)
{
    free(l->filling);
    free(l->handling);
    free(l->foreign);
    free(l);
}

enum err loop_check_files(void)
{
    /* libuv's two pipes, epoll and eventfd; as many for lending and for what the loop is there for. */
    int files[12];
    size_t n = 0;
    while (n < sizeof(files) / sizeof(files[0]) && (files[n] = open("/", O_PATH | O_CLOEXEC)) >= 0) {
        n++;
    }
    enum err e = n < sizeof(files) / sizeof(files[0]) ? E_FULL : E_OK;
    while (n > 0) {
        close(files[--n]);
    }
    return e;
}

static enum err create(struct file_list *foreign, struct loop **out)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l) {
        free(foreign);
        return E_NOMEM;
    }
    enum err e = loop_check_files();
    l->foreign = foreign;
    if (e != E_OK) {
        goto fail;
    }
    e = E_NOMEM;
    l->filling = calloc(1, sizeof(*l->filling));
    l->handling = calloc(1, sizeof(*l->handling));
    if (!l->filling || !l->handling) {
        goto fail;
    }
    int rc = uv_loop_init(&l->uv);
    if (rc != 0) {
        e = err_from_errno(-rc);
        goto fail;
    }
    rc = uv_async_init(&l->uv, &l->wake, on_wake);
    if (rc != 0) {
        e = err_from_errno(-rc);
        goto fail_loop;
    }
    l->wake.data = l;
    if (pthread_mutex_init(&l->lock, NULL) != 0) {
        goto fail_wake;
    }
    e = foreign ? loop_lend_init(l) : E_OK;
    if (e != E_OK) {
        goto fail_lock;
    }
    *out = l;
    return E_OK;

fail_lock:
    pthread_mutex_destroy(&l->lock);
fail_wake:
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
fail_loop:
    uv_loop_close(&l->uv);
fail:
    loop_free(l);
    return e;
}

enum err loop_create(struct loop **out)
{
    return create(NULL, out);
}

enum err loop_create_apart(struct loop **out)
{
    struct file_list *foreign = malloc(sizeof(*foreign));
    if (foreign && file_list_read(foreign) != E_OK) {
        free(foreign);
        foreign = NULL;
    }
    return create(foreign, out);
}

static void on_drain_timeout(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* Lets handles that are being closed finish, and worker requests (a DNS query) come back, for a limited time. */
static bool drain(uv_loop_t *uv)
{
    uv_timer_t limit;
    if (uv_timer_init(uv, &limit) != 0) {
        return false;
    }
    uv_update_time(uv);
    uv_timer_start(&limit, on_drain_timeout, DESTROY_DRAIN_MS, 0);
    uv_unref((uv_handle_t *)&limit);
    uv_run(uv, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&limit, NULL);
    uv_run(uv, UV_RUN_NOWAIT);
    return uv_loop_close(uv) == 0;
}

void loop_destroy(struct loop *l)
{
    if (!l) {
        return;
    }
    uv_close((uv_handle_t *)&l->wake, NULL);
    if (!drain(&l->uv)) {
        return; /* still in use by a worker or by a handle: must stay valid */
    }
    pthread_mutex_destroy(&l->lock);
    if (l->foreign) {
        loop_lend_finish(l);
    }
    loop_free(l);
}

uv_loop_t *loop_uv(struct loop *l)
{
    return &l->uv;
}

static void *thread_main(void *arg)
{
    loop_run(arg);
    return NULL;
}

enum err loop_spawn(struct loop *l, void *(*main)(void *), void *arg, const char *name)
{
    sigset_t all, before;
    sigfillset(&all);
    int rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (rc != 0) {
        return err_from_errno(rc);
    }
    rc = pthread_create(&l->thread, NULL, main, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return rc == EAGAIN ? E_NOMEM : err_from_errno(rc);
    }
    l->started = true;
    pthread_setname_np(l->thread, name);
    return E_OK;
}

enum err loop_start(struct loop *l, const char *name)
{
    return l->foreign ? loop_start_apart(l, name, thread_main) : loop_spawn(l, thread_main, l, name);
}

void loop_run(struct loop *l)
{
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);

    if (l->foreign) {
        loop_run_lending(l);
    } else {
        uv_run(&l->uv, UV_RUN_DEFAULT);
    }
}

enum err loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&l->lock);
    struct post_queue *q = l->filling;
    enum err e = l->stopping ? E_CLOSED : q->count == POSTS_MAX ? E_FULL : E_OK;
    bool wake = false;
    if (e == E_OK) {
        wake = q->count == 0;
        q->posts[q->count++] = (struct post){fn, arg};
    }
    pthread_mutex_unlock(&l->lock);
    if (wake) {
        uv_async_send(&l->wake);
    }
    return e;
}

void loop_stop(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_mutex_unlock(&l->lock);
    uv_async_send(&l->wake);
}

void loop_join(struct loop *l)
{
    if (l->started) {
        pthread_join(l->thread, NULL);
        l->started = false;
        loop_unspare(l);
    }
}
