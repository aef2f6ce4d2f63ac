#include "plugin/receipts.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { RECEIPTS_MAX = 8192 };

struct receipts {
    struct mailbox *box;
    uv_async_t async;
    atomic_uint references; /* owner and receipts */
    atomic_bool open;       /* false: the owner is gone, the loop may be too */
    void (*on_receipt)(void *ctx, const struct receipt *r);
    void (*on_stopped)(void *ctx);
    void *ctx;
};

static void unref(struct receipts *home)
{
    if (atomic_fetch_sub(&home->references, 1) == 1) {
        mailbox_destroy(home->box);
        free(home);
    }
}

static void free_receipt(struct receipt *r)
{
    struct receipts *home = r->home;
    free(r);
    unref(home);
}

static void free_letter(struct letter *letter)
{
    free(letter); /* the box goes with the last reference: none is held by what is inside */
}

/* On the broker's thread. */
static void wake(void *ctx)
{
    struct receipts *home = ctx;
    uv_async_send(&home->async);
}

/* On the loop's thread. */
static void on_async(uv_async_t *async)
{
    struct receipts *home = async->data;
    struct letter *letter = mailbox_take(home->box, 0);
    while (letter) {
        struct receipt *r = (struct receipt *)letter;
        letter = letter->next;
        if (atomic_load(&home->open)) {
            home->on_receipt(home->ctx, r);
        }
        free_receipt(r);
    }
}

enum err receipts_create(uv_loop_t *loop, void (*on_receipt)(void *ctx, const struct receipt *r), void *ctx,
                         struct receipts **out)
{
    struct receipts *home = calloc(1, sizeof(*home));
    if (!home) {
        return E_NOMEM;
    }
    const struct mailbox_options options = {.max_letters = RECEIPTS_MAX,
                                            .max_bytes = RECEIPTS_MAX * sizeof(struct receipt),
                                            .wake = wake,
                                            .ctx = home,
                                            .discard = free_letter};
    enum err err = mailbox_create(&options, &home->box);
    if (err == E_OK && uv_async_init(loop, &home->async, on_async) != 0) {
        err = E_IO;
    }
    if (err != E_OK) {
        mailbox_destroy(home->box);
        free(home);
        return err;
    }
    home->async.data = home;
    atomic_init(&home->references, 1);
    atomic_init(&home->open, true);
    home->on_receipt = on_receipt;
    home->ctx = ctx;
    *out = home;
    return E_OK;
}

static void on_async_closed(uv_handle_t *handle)
{
    struct receipts *home = handle->data;
    void (*on_stopped)(void *) = home->on_stopped;
    void *ctx = home->ctx;
    unref(home);
    on_stopped(ctx);
}

void receipts_stop(struct receipts *home, void (*on_stopped)(void *ctx), void *ctx)
{
    atomic_store(&home->open, false);
    on_async(&home->async); /* frees what has come */
    home->on_stopped = on_stopped;
    home->ctx = ctx;
    uv_close((uv_handle_t *)&home->async, on_async_closed);
}

struct receipt *receipt_new(struct receipts *home)
{
    struct receipt *r = calloc(1, sizeof(*r));
    if (r) {
        r->letter.size = sizeof(*r);
        r->home = home;
        atomic_fetch_add(&home->references, 1);
    }
    return r;
}

void receipt_cancel(struct receipt *r)
{
    free_receipt(r);
}

void receipt_done(void *receipt, enum err result)
{
    struct receipt *r = receipt;
    r->result = result;
    if (!atomic_load(&r->home->open) || mailbox_put(r->home->box, &r->letter) != E_OK) {
        free_receipt(r);
    }
}
