#include "net/turn.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define PASSES_MAX 8           /* over the list, before the loop gets to poll again */
#define SPARES_MAX 8           /* buffers kept for lending */
#define SPARE_SIZE_MAX 131072u /* larger ones are freed */

struct turn {
    struct turn *next; /* links all turns of the process */
    uv_loop_t *loop;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_idle_t
        not_done; /* active while the list is not empty, before a nap, and until awake_until: the loop must not sleep */
    unsigned nap_us;      /* before polling; 0 = none */
    bool just_awake;      /* the next poll is the first since turn_stay_awake */
    uint64_t awake_until; /* of uv_hrtime; 0 = not asked for */
    unsigned refs;
    unsigned handles; /* not yet closed */

    /* Both link through turn_item.next, oldest first. */
    struct turn_item *first, **last;
    struct turn_item *later, **later_last; /* after the poll they go to the end of the list */

    struct {
        uint8_t *data;
        size_t cap;
    } spares[SPARES_MAX];
    unsigned spare_count;
    struct buffer wire;
    uint8_t read_space[TURN_READ_SIZE];
    uint8_t plain_space[TURN_READ_SIZE];
};

/* Found by loop, and not by the loop's data pointer, which is its owner's. */
static struct turn *turns; /* links through turn.next */
static pthread_mutex_t turns_lock = PTHREAD_MUTEX_INITIALIZER;

static struct turn *find(const uv_loop_t *loop)
{
    pthread_mutex_lock(&turns_lock);
    struct turn *t = turns;
    while (t && t->loop != loop) {
        t = t->next;
    }
    pthread_mutex_unlock(&turns_lock);
    return t;
}

static void enlist(struct turn *t)
{
    pthread_mutex_lock(&turns_lock);
    t->next = turns;
    turns = t;
    pthread_mutex_unlock(&turns_lock);
}

static void delist(struct turn *t)
{
    pthread_mutex_lock(&turns_lock);
    struct turn **link = &turns;
    while (*link != t) {
        link = &(*link)->next;
    }
    *link = t->next;
    pthread_mutex_unlock(&turns_lock);
}

static void stop_if_done(struct turn *t)
{
    if (!t->first && !t->later && !t->nap_us && !t->awake_until) {
        uv_idle_stop(&t->not_done);
    }
}

static void run_items(struct turn *t)
{
    for (unsigned pass = 0; t->first && pass < PASSES_MAX; pass++) {
        struct turn_item *item = t->first;
        t->first = NULL;
        t->last = &t->first;
        while (item) {
            struct turn_item *next = item->next;
            item->next = NULL;
            item->waiting = false;
            item->run(item);
            item = next;
        }
    }
    stop_if_done(t);
}

/* Nothing is to be done: is it time to sleep? */
static void rest(struct turn *t)
{
    if (uv_hrtime() >= t->awake_until) {
        t->awake_until = 0;
        uv_idle_stop(&t->not_done);
    } else if (!t->just_awake) {
        sched_yield();
    }
    t->just_awake = false;
}

static void on_before_poll(uv_prepare_t *handle)
{
    struct turn *t = handle->data;
    run_items(t);
    if (t->nap_us > 0 && !t->first && !t->later) {
        const struct timespec time = {.tv_nsec = (long)t->nap_us * 1000};
        nanosleep(&time, NULL);
        t->nap_us = 0;
        stop_if_done(t);
    }
    if (t->awake_until && !t->first && !t->later) {
        rest(t);
    }
}

static void on_after_poll(uv_check_t *handle)
{
    struct turn *t = handle->data;
    if (t->later) {
        *t->last = t->later;
        t->last = t->later_last;
        t->later = NULL;
        t->later_last = &t->later;
    }
    run_items(t);
}

static void on_not_done(uv_idle_t *handle)
{
    (void)handle;
}

enum err turn_get(uv_loop_t *loop, struct turn **out)
{
    struct turn *t = find(loop);
    if (!t) {
        t = calloc(1, sizeof(*t));
        if (!t) {
            return E_NOMEM;
        }
        t->loop = loop;
        t->last = &t->first;
        t->later_last = &t->later;
        buffer_init(&t->wire, TURN_WIRE_MAX);
        /* None of these can fail (libuv: they return 0 always). */
        uv_prepare_init(loop, &t->before_poll);
        uv_check_init(loop, &t->after_poll);
        uv_idle_init(loop, &t->not_done);
        t->handles = 3;
        t->before_poll.data = t->after_poll.data = t->not_done.data = t;
        uv_prepare_start(&t->before_poll, on_before_poll);
        uv_check_start(&t->after_poll, on_after_poll);
        uv_unref((uv_handle_t *)&t->before_poll);
        uv_unref((uv_handle_t *)&t->after_poll);
        enlist(t);
    }
    t->refs++;
    *out = t;
    return E_OK;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct turn *t = handle->data;
    if (--t->handles > 0) {
        return;
    }
    for (unsigned i = 0; i < t->spare_count; i++) {
        free(t->spares[i].data);
    }
    buffer_finish(&t->wire);
    free(t);
}

void turn_put(struct turn *t)
{
    if (--t->refs > 0) {
        return;
    }
    delist(t);
    uv_close((uv_handle_t *)&t->before_poll, on_handle_closed);
    uv_close((uv_handle_t *)&t->after_poll, on_handle_closed);
    uv_close((uv_handle_t *)&t->not_done, on_handle_closed);
}

uv_loop_t *turn_loop(struct turn *t)
{
    return t->loop;
}

void turn_add(struct turn *t, struct turn_item *item)
{
    if (item->waiting) {
        return;
    }
    if (!t->first) {
        uv_idle_start(&t->not_done, on_not_done);
    }
    item->waiting = true;
    item->next = NULL;
    *t->last = item;
    t->last = &item->next;
}

void turn_add_after_poll(struct turn *t, struct turn_item *item)
{
    if (item->waiting) {
        return;
    }
    uv_idle_start(&t->not_done, on_not_done);
    item->waiting = true;
    item->next = NULL;
    *t->later_last = item;
    t->later_last = &item->next;
}

/* From one of the two lists; true if it was there. */
static bool unlink_item(struct turn_item **first, struct turn_item ***last, struct turn_item *item)
{
    struct turn_item **link = first;
    while (*link && *link != item) {
        link = &(*link)->next;
    }
    if (!*link) {
        return false;
    }
    *link = item->next;
    if (*last == &item->next) {
        *last = link;
    }
    return true;
}

void turn_remove(struct turn *t, struct turn_item *item)
{
    if (!item->waiting) {
        return;
    }
    if (!unlink_item(&t->first, &t->last, item)) {
        (void)unlink_item(&t->later, &t->later_last, item);
    }
    item->waiting = false;
    item->next = NULL;
    stop_if_done(t);
}

void turn_nap(struct turn *t, unsigned us)
{
    uv_idle_start(&t->not_done, on_not_done);
    t->nap_us = us > t->nap_us ? us : t->nap_us;
}

void turn_stay_awake(struct turn *t)
{
    uv_idle_start(&t->not_done, on_not_done);
    t->just_awake = true;
    t->awake_until = uv_hrtime() + (uint64_t)TURN_AWAKE_US * 1000;
}

uint8_t *turn_read_space(struct turn *t)
{
    return t->read_space;
}

uint8_t *turn_plain_space(struct turn *t)
{
    return t->plain_space;
}

struct buffer *turn_wire(struct turn *t)
{
    return &t->wire;
}

void turn_lend(struct turn *t, struct buffer *b)
{
    if (!b->data && t->spare_count > 0) {
        t->spare_count--;
        b->data = t->spares[t->spare_count].data;
        size_t cap = t->spares[t->spare_count].cap;
        b->cap = cap < b->max ? cap : b->max;
    }
}

void turn_take_back(struct turn *t, struct buffer *b)
{
    if (b->data && t->spare_count < SPARES_MAX && b->cap <= SPARE_SIZE_MAX) {
        t->spares[t->spare_count].data = b->data;
        t->spares[t->spare_count].cap = b->cap;
        t->spare_count++;
        b->data = NULL;
        b->len = b->cap = 0;
        return;
    }
    buffer_finish(b);
}
