/* Messages of requests on their way to the broker: each request's messages go out in order, and its owner is told once, when all
 * are settled. What cannot be settled (the broker goes away, takes too long) is told at once: nothing waits for a reconnect,
 * because the HTTP client can send again and we keep nothing on disk. All on the loop's thread.
 *
 *   waiting --published--> in flight --PUBACK of the last--> done
 *      \-- broker lost, deadline, refused --------------------^
 */
#ifndef WEBSENSOR_DELIVERY_H
#define WEBSENSOR_DELIVERY_H

#include "mqtt/uplink.h"
#include "websensor/ingest.h"

struct delivery;

#define DELIVERY_BYTES_MAX (32u << 20) /* of all requests that wait */
#define DELIVERY_DEADLINE_MS 10000u

enum delivery_result {
    DELIVERY_OK,
    DELIVERY_AWAY,      /* the broker went away, or did not answer in time */
    DELIVERY_FORBIDDEN, /* the broker's access rules say no */
    DELIVERY_REFUSED,   /* the broker says no for another reason */
    DELIVERY_TOO_LARGE, /* over the broker's Maximum Packet Size */
};

/* One request's messages; embedded in the request. Fields are delivery.c's own. */
struct delivery_job {
    struct delivery_job *next, *previous; /* links jobs that are not done, oldest first */
    const struct ingest *in;              /* must stay until done */
    size_t sent;
    size_t settled;
    size_t bytes;
    struct mono deadline;
    enum delivery_result result;
    bool active;
    void (*on_done)(struct delivery_job *job); /* not called when it is done within delivery_submit */
};

MUST_CHECK enum err delivery_create(struct delivery **out);
/* No job may be active. NULL is allowed. */
void delivery_destroy(struct delivery *d);

/* The uplink to publish to; before anything is submitted. */
void delivery_set_uplink(struct delivery *d, struct uplink *u);
/* To be called from the uplink's events. */
void delivery_on_published(struct delivery *d, uint64_t token, uint8_t reason);
void delivery_on_writable(struct delivery *d);
void delivery_on_down(struct delivery *d);
/* About once a second. */
void delivery_tick(struct delivery *d, struct mono now);

/* E_OK: accepted; look at job->active: true: on_done follows; false: it is done already (QoS 0). E_AGAIN: the broker is away;
 * E_FULL: too much waits. */
MUST_CHECK enum err delivery_submit(struct delivery *d, struct delivery_job *job, const struct ingest *in,
                                    struct mono now);
/* The owner goes away: on_done does not follow. What is in flight stays so. */
void delivery_forget(struct delivery *d, struct delivery_job *job);

size_t delivery_waiting(const struct delivery *d);

#endif
