#include "net/resolve.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Those that no thread has taken yet. A thread that has its answer takes the next one. */
static struct {
    pthread_mutex_t lock;
    struct resolve *first, *last;
    unsigned waiting;
    unsigned threads;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct resolve {
    struct resolve *next, *prev; /* in the queue, under its lock */
    bool waiting;                /* it is there */
    uv_async_t async;
    resolve_done_fn *on_done;
    void *ctx;
    pthread_mutex_t lock;
    /* Under the lock. The last of the three owners frees: the thread, the receiver, and libuv's handle. */
    unsigned owners;
    bool abandoned; /* the handle is being closed */
    int code;
    struct addrinfo *list; /* NULL once handed over */
    char service[8];
    char host[];
};

static void release(struct resolve *r)
{
    pthread_mutex_lock(&r->lock);
    bool last = --r->owners == 0;
    pthread_mutex_unlock(&r->lock);
    if (last) {
        if (r->list) {
            freeaddrinfo(r->list);
        }
        pthread_mutex_destroy(&r->lock);
        free(r);
    }
}

/* --- the queue; under its lock --- */

static void enqueue(struct resolve *r)
{
    r->waiting = true;
    r->prev = queue.last;
    *(queue.last ? &queue.last->next : &queue.first) = r;
    queue.last = r;
    queue.waiting++;
}

static void take_out(struct resolve *r)
{
    *(r->prev ? &r->prev->next : &queue.first) = r->next;
    *(r->next ? &r->next->prev : &queue.last) = r->prev;
    r->next = r->prev = NULL;
    r->waiting = false;
    queue.waiting--;
}

/* --- a thread --- */

static void ask(struct resolve *r)
{
    struct addrinfo *list = NULL;
    /* No AI_ADDRCONFIG: it hides ::1 and 127.0.0.1 on hosts that have no other address of the family. */
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    int code = getaddrinfo(r->host, r->service, &hints, &list);
    pthread_mutex_lock(&r->lock);
    r->code = code == 0 && !list ? EAI_NONAME : code;
    r->list = code == 0 ? list : NULL;
    if (!r->abandoned) {
        uv_async_send(&r->async);
    }
    pthread_mutex_unlock(&r->lock);
    release(r);
}

/* The next one for a thread, which ends when there is none. */
static struct resolve *next_waiting(void)
{
    pthread_mutex_lock(&queue.lock);
    struct resolve *r = queue.first;
    if (r) {
        take_out(r);
    } else {
        queue.threads--;
    }
    pthread_mutex_unlock(&queue.lock);
    return r;
}

static void *thread_main(void *arg)
{
    for (struct resolve *r = arg; r; r = next_waiting()) {
        ask(r);
    }
    return NULL;
}

/* --- the receiver --- */

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void end(struct resolve *r)
{
    pthread_mutex_lock(&r->lock);
    r->abandoned = true;
    pthread_mutex_unlock(&r->lock);
    uv_close((uv_handle_t *)&r->async, on_closed);
    release(r);
}

static void on_answer(uv_async_t *async)
{
    struct resolve *r = async->data;
    resolve_done_fn *on_done = r->on_done;
    void *ctx = r->ctx;
    pthread_mutex_lock(&r->lock);
    int code = r->code;
    struct addrinfo *list = r->list;
    r->list = NULL;
    pthread_mutex_unlock(&r->lock);
    end(r);
    on_done(ctx, code, list);
}

/* The thread takes over the caller's signal mask (all are blocked on a loop's thread) and its table of open files. */
static enum err start_thread(struct resolve *r)
{
    pthread_t thread;
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0) {
        return E_NOMEM;
    }
    bool started = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0 &&
                   pthread_create(&thread, &attr, thread_main, r) == 0;
    pthread_attr_destroy(&attr);
    return started ? E_OK : E_NOMEM;
}

/* To a new thread, or to those that are at work. */
static enum err hand_out(struct resolve *r)
{
    enum err e = E_OK;
    pthread_mutex_lock(&queue.lock);
    bool room = queue.threads < RESOLVE_THREADS;
    if (room && start_thread(r) == E_OK) {
        queue.threads++; /* before the thread can look: it needs the lock for that */
    } else if (queue.threads == 0) {
        e = E_NOMEM;
    } else if (queue.waiting == RESOLVE_WAITING_MAX) {
        e = E_BUSY;
    } else {
        enqueue(r);
    }
    pthread_mutex_unlock(&queue.lock);
    return e;
}

enum err resolve_start(uv_loop_t *loop, const char *host, uint16_t port, resolve_done_fn *on_done, void *ctx,
                       struct resolve **out)
{
    size_t host_size = strlen(host) + 1;
    struct resolve *r = calloc(1, sizeof(*r) + host_size);
    if (!r || pthread_mutex_init(&r->lock, NULL) != 0) {
        free(r);
        return E_NOMEM;
    }
    memcpy(r->host, host, host_size);
    snprintf(r->service, sizeof(r->service), "%u", (unsigned)port);
    r->on_done = on_done;
    r->ctx = ctx;
    if (uv_async_init(loop, &r->async, on_answer) != 0) {
        pthread_mutex_destroy(&r->lock);
        free(r);
        return E_NOMEM;
    }
    r->async.data = r;
    r->owners = 3;
    enum err e = hand_out(r);
    if (e != E_OK) {
        r->owners--; /* no thread has it */
        end(r);
        return e;
    }
    *out = r;
    return E_OK;
}

void resolve_cancel(struct resolve *r)
{
    pthread_mutex_lock(&queue.lock);
    bool waited = r->waiting;
    if (waited) {
        take_out(r);
    }
    pthread_mutex_unlock(&queue.lock);
    if (waited) {
        r->owners--; /* no thread will have it */
    }
    end(r);
}
