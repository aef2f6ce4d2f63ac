#include "net/resolve.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static atomic_uint under_way;

struct resolve {
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

static void *thread_main(void *arg)
{
    struct resolve *r = arg;
    struct addrinfo *list = NULL;
    /* No AI_ADDRCONFIG: it hides ::1 and 127.0.0.1 on hosts that have no other address of the family. */
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    int code = getaddrinfo(r->host, r->service, &hints, &list);
    atomic_fetch_sub(&under_way, 1);
    pthread_mutex_lock(&r->lock);
    r->code = code == 0 && !list ? EAI_NONAME : code;
    r->list = code == 0 ? list : NULL;
    if (!r->abandoned) {
        uv_async_send(&r->async);
    }
    pthread_mutex_unlock(&r->lock);
    release(r);
    return NULL;
}

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

enum err resolve_start(uv_loop_t *loop, const char *host, uint16_t port, resolve_done_fn *on_done, void *ctx,
                       struct resolve **out)
{
    if (atomic_fetch_add(&under_way, 1) >= RESOLVE_MAX) {
        atomic_fetch_sub(&under_way, 1);
        return E_BUSY;
    }
    size_t host_size = strlen(host) + 1;
    struct resolve *r = calloc(1, sizeof(*r) + host_size);
    if (!r || pthread_mutex_init(&r->lock, NULL) != 0) {
        goto fail;
    }
    memcpy(r->host, host, host_size);
    snprintf(r->service, sizeof(r->service), "%u", (unsigned)port);
    r->on_done = on_done;
    r->ctx = ctx;
    if (uv_async_init(loop, &r->async, on_answer) != 0) {
        pthread_mutex_destroy(&r->lock);
        goto fail;
    }
    r->async.data = r;
    r->owners = 3;
    if (start_thread(r) != E_OK) {
        atomic_fetch_sub(&under_way, 1);
        r->owners--;
        end(r);
        return E_NOMEM;
    }
    *out = r;
    return E_OK;

fail:
    atomic_fetch_sub(&under_way, 1);
    free(r);
    return E_NOMEM;
}

void resolve_cancel(struct resolve *r)
{
    end(r);
}
