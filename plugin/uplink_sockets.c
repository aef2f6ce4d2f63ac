#include "plugin/uplink_sockets.h"

#include "base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* The low byte of a tag is the connection's index, the rest its number: 1 for the first that was opened, and so on. */
#define INDEX_BITS 8u
#define RETRY_MS 1000u /* between attempts at lost descriptors */

struct copy {
    uint64_t number; /* of the connection that `fd` belongs to; 0 = none */
    int fd;
};

struct uplink_sockets {
    struct loop *loop;
    atomic_bool news; /* something was opened or closed since the broker's thread has looked */
    /* Number of the open connection; 0 = none. Stored by the loop's thread. */
    _Atomic uint64_t current[IOT_CONNECTIONS_MAX];
    atomic_bool wanted[IOT_CONNECTIONS_MAX]; /* its descriptor has to be handed over again */
    /* Loop's thread. */
    uint64_t opened; /* connections so far */
    /* Broker's thread. */
    struct copy copies[IOT_CONNECTIONS_MAX];
    bool lost;            /* a descriptor could not be taken */
    struct mono retry_at; /* when to ask for it again */
};

enum err uplink_sockets_create(struct loop *l, struct uplink_sockets **out)
{
    struct uplink_sockets *u = calloc(1, sizeof(*u));
    if (!u) {
        return E_NOMEM;
    }
    u->loop = l;
    *out = u;
    return E_OK;
}

static void close_copy(struct copy *c)
{
    if (c->number != 0) {
        close(c->fd);
        *c = (struct copy){0};
    }
}

/* Takes what was handed over, and drops what nobody uses any more. */
static void look(struct uplink_sockets *u)
{
    int fd;
    uint64_t tag;
    atomic_store(&u->news, false);
    for (enum err e; (e = loop_take_over(u->loop, &fd, &tag)) != E_NOT_FOUND;) {
        if (e != E_OK) {
            u->lost = true;
            continue;
        }
        struct copy *c = &u->copies[(tag & ((1u << INDEX_BITS) - 1)) % IOT_CONNECTIONS_MAX];
        close_copy(c);
        *c = (struct copy){.number = tag >> INDEX_BITS, .fd = fd};
    }
    for (unsigned i = 0; i < IOT_CONNECTIONS_MAX; i++) {
        if (u->copies[i].number != atomic_load(&u->current[i])) {
            close_copy(&u->copies[i]);
        }
    }
}

void uplink_sockets_destroy(struct uplink_sockets *u)
{
    if (u) {
        look(u);
        for (unsigned i = 0; i < IOT_CONNECTIONS_MAX; i++) {
            close_copy(&u->copies[i]);
        }
        free(u);
    }
}

void uplink_sockets_opened(struct uplink_sockets *u, unsigned index, int fd)
{
    uint64_t number = ++u->opened;
    atomic_store(&u->wanted[index], false);
    /* Before it is handed over: what look() takes and does not find here, it closes. */
    atomic_store(&u->current[index], number);
    if (loop_hand_over(u->loop, fd, number << INDEX_BITS | index) != E_OK) {
        atomic_store(&u->current[index], 0); /* everything goes the way through the loop's thread */
    }
    atomic_store(&u->news, true);
}

void uplink_sockets_closed(struct uplink_sockets *u, unsigned index)
{
    atomic_store(&u->current[index], 0);
    atomic_store(&u->news, true);
}

bool uplink_sockets_wanted(const struct uplink_sockets *u, unsigned index)
{
    return atomic_load_explicit(&u->wanted[index], memory_order_relaxed);
}

static void look_for_news(struct uplink_sockets *u)
{
    if (atomic_load_explicit(&u->news, memory_order_relaxed)) {
        look(u);
    }
}

int uplink_sockets_get(struct uplink_sockets *u, unsigned index)
{
    look_for_news(u);
    const struct copy *c = &u->copies[index];
    return c->number != 0 ? c->fd : -1;
}

static void ask_again(struct uplink_sockets *u)
{
    struct mono now = mono_now();
    if (!mono_reached(now, u->retry_at)) {
        return;
    }
    u->lost = false;
    u->retry_at = mono_add_ms(now, RETRY_MS);
    for (unsigned i = 0; i < IOT_CONNECTIONS_MAX; i++) {
        if (u->copies[i].number != atomic_load(&u->current[i])) {
            atomic_store(&u->wanted[i], true);
        }
    }
}

void uplink_sockets_tidy(struct uplink_sockets *u)
{
    look_for_news(u);
    if (u->lost) {
        ask_again(u);
    }
}
