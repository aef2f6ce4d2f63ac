/* The way back from the broker's thread: which messages it has taken, so that the loop's thread can acknowledge them where they came
 * from (IoT Core, a session at the local broker). Outlives its owner while the outbox still holds messages. */
#ifndef PLUGIN_RECEIPTS_H
#define PLUGIN_RECEIPTS_H

#include "base/err.h"
#include "base/mailbox.h"

#include <stdint.h>
#include <uv.h>

struct receipts;

struct receipt {
    struct letter letter;
    struct receipts *home;
    uint64_t generation; /* of the link's connection */
    unsigned link;
    uint16_t packet_id;
    enum err result; /* of the broker's thread; E_CANCELLED: it was not asked */
};

/* `on_receipt(ctx, r)` is called on the loop's thread for each; r is freed after it. Before the loop runs. */
MUST_CHECK enum err receipts_create(uv_loop_t *loop, void (*on_receipt)(void *ctx, const struct receipt *r), void *ctx,
                                    struct receipts **out);
/* No more calls; on_stopped(ctx) once nothing is left on the loop. Loop's thread, while the broker's thread waits. */
void receipts_stop(struct receipts *home, void (*on_stopped)(void *ctx), void *ctx);

/* A receipt to be given to the outbox with receipt_done; NULL without memory. Loop's thread. */
struct receipt *receipt_new(struct receipts *home);
/* Gives back one that the outbox did not take. Loop's thread. */
void receipt_cancel(struct receipt *r);
/* Sends it home; for outbox_publish, too. `r` is a struct receipt. Broker's thread. */
void receipt_done(void *r, enum err result);

#endif
