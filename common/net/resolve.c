#include "net/resolve.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWERS_PER_TURN 256u /* of a loop, then others get their turn */

struct list {
    struct resolve *first, *last;
    unsigned count;
};

/* What wakes a loop. One for all its queries, because libuv looks at each such handle whenever one of them is used. Made with the first
 * query, closed with the last one. */
struct receiver {
    struct receiver *next; /* links all of the process */
    uv_loop_t *loop;
    uv_async_t async;
    unsigned refs;        /* queries of the loop, and whoever is at work on them; loop's thread */
    struct list answered; /* under the lock */
};

enum progress {
    WAITING,  /* in `waiting` -> ASKED, ended by resolve_cancel */
    ASKED,    /* a thread has it -> ANSWERED; left to the thread by resolve_cancel */
    ANSWERED, /* in its receiver's list -> on_done, ended by resolve_cancel */
};

struct resolve {
    struct resolve *next, *prev; /* in one of the lists */
    enum progress progress;
    struct receiver *receiver; /* NULL: nobody waits for it any more */
    resolve_done_fn *on_done;
    void *ctx;
    int code;
    struct addrinfo *list;
    char service[8];
    char host[];
};

/* Everything here and whatever says so above is under the lock. */
static struct {
    pthread_mutex_t lock;
    struct receiver *receivers;
    struct list waiting; /* no thread has taken them yet. A thread that has its answer takes the next one */
    unsigned threads;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void put_last(struct list *l, struct resolve *r)
{
    r->next = NULL;
    r->prev = l->last;
    *(l->last ? &l->last->next : &l->first) = r;
    l->last = r;
    l->count++;
}

static void take_out(struct list *l, struct resolve *r)
{
    *(r->prev ? &r->prev->next : &l->first) = r->next;
    *(r->next ? &r->next->prev : &l->last) = r->prev;
    l->count--;
}

/* NULL: there is none. */
static struct resolve *take_first(struct list *l)
{
    struct resolve *r = l->first;
    if (r) {
        l->first = r->next;
        *(r->next ? &r->next->prev : &l->last) = NULL;
        l->count--;
    }
    return r;
}

static void query_free(struct resolve *r)
{
    if (r->list) {
        freeaddrinfo(r->list);
    }
    free(r);
}

/* --- a thread --- */

static void ask(struct resolve *r)
{
    struct addrinfo *list = NULL;
    /* No AI_ADDRCONFIG: it hides ::1 and 127.0.0.1 on hosts that have no other address of the family. */
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    int code = getaddrinfo(r->host, r->service, &hints, &list);
    r->code = code == 0 && !list ? EAI_NONAME : code;
    r->list = code == 0 ? list : NULL;
    pthread_mutex_lock(&all.lock);
    struct receiver *receiver = r->receiver;
    if (receiver) {
        r->progress = ANSWERED;
        put_last(&receiver->answered, r);
        uv_async_send(&receiver->async); /* under the lock: it is not closed yet */
    }
    pthread_mutex_unlock(&all.lock);
    if (!receiver) {
        query_free(r);
    }
}

/* The next one for a thread, which ends when there is none. */
static struct resolve *next_waiting(void)
{
    pthread_mutex_lock(&all.lock);
    struct resolve *r = take_first(&all.waiting);
    if (r) {
        r->progress = ASKED;
    } else {
        all.threads--;
    }
    pthread_mutex_unlock(&all.lock);
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

static void on_receiver_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void receiver_put(struct receiver *receiver)
{
    if (--receiver->refs > 0) {
        return;
    }
    pthread_mutex_lock(&all.lock);
    struct receiver **link = &all.receivers;
    while (*link != receiver) {
        link = &(*link)->next;
    }
    *link = receiver->next;
    pthread_mutex_unlock(&all.lock);
    uv_close((uv_handle_t *)&receiver->async, on_receiver_closed);
}

static struct resolve *next_answered(struct receiver *receiver)
{
    pthread_mutex_lock(&all.lock);
    struct resolve *r = take_first(&receiver->answered);
    pthread_mutex_unlock(&all.lock);
    return r;
}

static void hand_over(struct resolve *r)
{
    resolve_done_fn *on_done = r->on_done;
    void *ctx = r->ctx;
    int code = r->code;
    struct addrinfo *list = r->list;
    struct receiver *receiver = r->receiver;
    free(r);
    on_done(ctx, code, list);
    receiver_put(receiver);
}

static void on_answers(uv_async_t *async)
{
    struct receiver *receiver = async->data;
    bool more = true;
    receiver->refs++; /* the last query may be among these */
    for (unsigned i = 0; more && i < ANSWERS_PER_TURN; i++) {
        struct resolve *r = next_answered(receiver);
        more = r != NULL;
        if (more) {
            hand_over(r);
        }
    }
    if (more) {
        uv_async_send(async);
    }
    receiver_put(receiver);
}

/* The loop's receiver with one reference more; NULL: no memory. */
static struct receiver *receiver_get(uv_loop_t *loop)
{
    pthread_mutex_lock(&all.lock);
    struct receiver *receiver = all.receivers;
    while (receiver && receiver->loop != loop) {
        receiver = receiver->next;
    }
    pthread_mutex_unlock(&all.lock);
    if (receiver) {
        receiver->refs++;
        return receiver;
    }
    receiver = calloc(1, sizeof(*receiver));
    if (!receiver || uv_async_init(loop, &receiver->async, on_answers) != 0) {
        free(receiver);
        return NULL;
    }
    receiver->loop = loop;
    receiver->async.data = receiver;
    receiver->refs = 1;
    pthread_mutex_lock(&all.lock);
    receiver->next = all.receivers;
    all.receivers = receiver;
    pthread_mutex_unlock(&all.lock);
    return receiver;
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
    pthread_mutex_lock(&all.lock);
    bool room = all.threads < RESOLVE_THREADS;
    r->progress = ASKED;
    if (room && start_thread(r) == E_OK) {
        all.threads++; /* before the thread can look: it needs the lock for that */
    } else if (all.threads == 0) {
        e = E_NOMEM;
    } else if (all.waiting.count == RESOLVE_WAITING_MAX) {
        e = E_BUSY;
    } else {
        r->progress = WAITING;
        put_last(&all.waiting, r);
    }
    pthread_mutex_unlock(&all.lock);
    return e;
}

enum err resolve_start(uv_loop_t *loop, const char *host, uint16_t port, resolve_done_fn *on_done, void *ctx,
                       struct resolve **out)
{
    size_t host_size = strlen(host) + 1;
    struct resolve *r = calloc(1, sizeof(*r) + host_size);
    struct receiver *receiver = r ? receiver_get(loop) : NULL;
    if (!receiver) {
        free(r);
        return E_NOMEM;
    }
    memcpy(r->host, host, host_size);
    snprintf(r->service, sizeof(r->service), "%u", (unsigned)port);
    r->on_done = on_done;
    r->ctx = ctx;
    r->receiver = receiver;
    enum err e = hand_out(r);
    if (e != E_OK) {
        query_free(r);
        receiver_put(receiver);
        return e;
    }
    *out = r;
    return E_OK;
}

void resolve_cancel(struct resolve *r)
{
    struct receiver *receiver = r->receiver;
    pthread_mutex_lock(&all.lock);
    bool ours = r->progress != ASKED;
    if (r->progress == WAITING) {
        take_out(&all.waiting, r);
    } else if (r->progress == ANSWERED) {
        take_out(&receiver->answered, r);
    }
    r->receiver = NULL; /* the thread frees it */
    pthread_mutex_unlock(&all.lock);
    if (ours) {
        query_free(r);
    }
    receiver_put(receiver);
}
