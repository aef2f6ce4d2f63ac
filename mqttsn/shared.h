/* aggregate: the subscriptions that clients share on one connection, and the publishes that wait for room on it. Internal to the
 * gateway. */
#ifndef MQTTSN_SHARED_H
#define MQTTSN_SHARED_H

#include "mqtt/uplink.h"
#include "mqttsn/gateway_internal.h"

#define SHARED_QUEUE_MAX 10000u
#define SHARED_QUEUE_BYTES_MAX (16u * 1024 * 1024)
#define SHARED_REQUESTS_MAX 65536u
#define SHARED_SUBSCRIBERS_MAX 1000000u /* of one filter */

/* A client, by a number that is not given to another one soon. */
struct shared_ref {
    uint32_t slot;
    uint32_t generation;
};

struct subscriber {
    struct shared_ref client;
    uint8_t qos;
};

/* A filter that at least one client subscribes to. Its id is the Subscription Identifier at the broker, which comes back with
 * each message: nothing has to be matched here, and overlapping filters are no trouble. */
struct filter {
    struct table_node by_text, by_id;
    uint32_t id;
    struct subscriber *subscribers;
    size_t count, cap;
    struct shared_ref fresh; /* retained messages that come now are for this one: it subscribed last */
    size_t len;
    uint8_t text[];
};

/* SUBSCRIBE or UNSUBSCRIBE that the broker has not answered. */
struct shared_request {
    struct shared_ref client;
    uint64_t token; /* the session's */
    uint32_t filter_id;
    bool busy;
};

/* A publish that waits for room. */
struct shared_waiting {
    struct shared_waiting *next; /* links them, oldest first */
    uint64_t token;
    uint32_t topic_len, payload_len;
    uint8_t qos;
    bool retain;
    uint8_t bytes[];
};

/* An answer that the gateway gives itself, at the end of the turn. */
struct shared_answer {
    struct shared_ref client;
    uint64_t token;
};

struct shared_slot {
    struct client *client; /* NULL = free */
    uint32_t generation;
    uint32_t next_free; /* 0 = the last */
};

struct shared {
    struct gateway *gateway;
    struct shared_slot *slots; /* slots[0] is not used */
    uint32_t slot_count, slot_cap;
    uint32_t first_free;

    struct table filters;    /* by text */
    struct table filter_ids; /* by id */
    uint32_t last_filter_id;

    struct shared_request *requests;
    uint32_t request_count, request_hint;

    struct shared_answer *answers;
    size_t answer_count, answer_cap;

    struct shared_waiting *first, *last;
    size_t queued, queued_bytes;
};

/* --- shared_filters.c */
struct filter *shared_filter_find(struct shared *s, struct bytes text);
struct filter *shared_filter_by_id(struct shared *s, uint32_t id);
/* Notes the subscription; *filter is made if there is none. E_NOMEM, E_FULL. */
MUST_CHECK enum err shared_filter_add(struct shared *s, struct bytes text, struct shared_ref client, uint8_t qos,
                                      struct filter **filter);
/* true if the client had subscribed. A filter without subscribers stays until shared_filter_destroy. */
bool shared_filter_leave(struct filter *f, struct shared_ref client);
uint8_t shared_filter_qos(const struct filter *f); /* the highest that is wanted */
void shared_filter_destroy(struct shared *s, struct filter *f);
void shared_filters_finish(struct shared *s);
/* Every filter in turn: start with NULL. */
struct filter *shared_filter_next(struct shared *s, struct filter *f);

/* --- shared_queue.c */
/* Keeps a publish until there is room; `token` is the uplink's. E_FULL at the ceilings, E_NOMEM. */
MUST_CHECK enum err shared_queue_add(struct shared *s, const struct session_message *m, uint64_t token);
/* Publishes the oldest, of which there must be one. E_FULL: it waits still. */
MUST_CHECK enum err shared_queue_publish(struct shared *s);
void shared_queue_drop(struct shared *s);

static inline bool shared_ref_equal(struct shared_ref a, struct shared_ref b)
{
    return a.slot == b.slot && a.generation == b.generation;
}

#endif
