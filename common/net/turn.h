/* What the streams of one uv loop share: the buffers that they read into, and the list of streams that have work to do at the
 * end of this turn of the loop (before it polls, and after it has handled what the poll brought). For net/ itself, and
 * turn_get, turn_put and turn_add for others with such work. All on the loop's thread. */
#ifndef NET_TURN_H
#define NET_TURN_H

#include "base/buffer.h"

#include <uv.h>

struct turn;

#define TURN_READ_SIZE 65536u /* most that one stream reads in one turn */
#define TURN_WIRE_MAX (1024u * 1024u)

/* A place in the list. Embedded in what has work to do; zeroed at first. */
struct turn_item {
    struct turn_item *next; /* links the items that wait */
    bool waiting;
    void (*run)(struct turn_item *item);
};

/* The turn of this loop, made at first use; one reference for the caller. */
MUST_CHECK enum err turn_get(uv_loop_t *loop, struct turn **out);
/* Gives the reference back. The last one closes the turn's handles. */
void turn_put(struct turn *t);

uv_loop_t *turn_loop(struct turn *t);

/* Calls item->run(item) at the end of this turn; once, however often it is asked for. */
void turn_add(struct turn *t, struct turn_item *item);

/* Calls item->run(item) after the loop has polled once more, which does not wait then: together with what that poll brings. Not
 * called when it is in the list already. */
void turn_add_after_poll(struct turn *t, struct turn_item *item);

/* Takes the item out of the list again, if it is there. */
void turn_remove(struct turn *t, struct turn_item *item);

/* The loop's thread sleeps for `us` (less than a second; the longest that is asked for in this turn) before it polls next, after all
 * work of this turn. For a loop under load, in which each turn would find a message or two: what arrives meanwhile is handled in one
 * go, for the price of one. Everything on the loop waits that long, and as long as the kernel's timer slack of 50 us besides. */
void turn_nap(struct turn *t, unsigned us);

/* The loop polls without sleeping for TURN_AWAKE_US from now, and lets others have the CPU between two polls. For a loop under load
 * whose next event is some microseconds away: to sleep would cost it, and those who wake it, more than that. */
#define TURN_AWAKE_US 30u
void turn_stay_awake(struct turn *t);

/* Scratch space, valid within one callback: received bytes, decrypted bytes (TURN_READ_SIZE each), and bytes for the wire. */
uint8_t *turn_read_space(struct turn *t);
uint8_t *turn_plain_space(struct turn *t);
struct buffer *turn_wire(struct turn *t);

/* Gives an empty buffer memory that another stream has left, if there is some. */
void turn_lend(struct turn *t, struct buffer *b);
/* Takes the memory of an empty buffer, for others or to be freed. */
void turn_take_back(struct turn *t, struct buffer *b);

#endif
