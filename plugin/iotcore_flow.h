/* The messages of one connection to IoT Core, from the spool to their acknowledgement, without I/O:
 *
 *   push -> waiting -> (pace, window) -> sent -> PUBACK -> confirmed
 *              ^                          |
 *              |        connection lost --+-- PUBACK with an error: delayed, later waiting again, or set aside
 *              +--------------------------+
 *
 * A message that IoT Core would refuse is set aside before it is sent. One that costs the connection again and again is found by
 * sending the oldest unacknowledged message alone, and set aside when that ends the connection too. What cannot be set aside now
 * (disk) is kept and tried again; nothing of this holds back other messages. All on one thread.
 */
#ifndef PLUGIN_IOTCORE_FLOW_H
#define PLUGIN_IOTCORE_FLOW_H

#include "base/buffer.h"
#include "mqtt/codec.h"
#include "plugin/iotcore_pace.h"
#include "plugin/record.h"

/* A publish that is the oldest unacknowledged one for so long is taken as lost. Counted from when it became the oldest, so that a
 * slow link is not taken for a loss. */
#define IOTCORE_PUBACK_TIMEOUT_MS 10000u
/* Before that, the server is asked for a sign of life: with one the message was too much for it, without one the link is dead, which
 * says nothing about the rate. */
#define IOTCORE_PROBE_MS 5000u

/* A record on its way. */
struct delivery {
    struct delivery *next, *prev; /* link one of the lists below, oldest first */
    struct record record;         /* borrows from the spool until it is confirmed */
    struct mono not_before;       /* delayed: when to try again */
    const char *reason;           /* to be set aside: why */
    uint32_t sent;                /* how often it was sent */
    uint8_t blamed;               /* connections that the server ended while it was the oldest unacknowledged */
    uint8_t alone;                /* those that it ended while it was the only one */
    uint8_t refused;              /* PUBACKs with an error of its own */
};

struct delivery_list {
    struct delivery *first, *last;
    size_t count;
};

/* What the flow asks of its surroundings. */
struct iotcore_flow_ops {
    /* mqtt_client_publish: E_FULL until flow_unblocked, E_AGAIN not connected, E_TOO_LARGE, E_UNSUPPORTED, E_INVALID. */
    enum err (*publish)(void *ctx, const struct mqtt_publish *p, uint64_t token);
    /* Settled: the record may leave the spool. `d` is gone after this. */
    void (*confirm)(void *ctx, struct delivery *d);
    /* rejected_put; the flow confirms after E_OK. E_AGAIN: not here, but with the next flow_service, at once. */
    enum err (*set_aside)(void *ctx, const struct delivery *d, const char *reason);
    /* Asks the server for a sign of life. */
    void (*probe)(void *ctx);
};

struct iotcore_flow {
    const struct iotcore_flow_ops *ops;
    void *ctx;
    uint64_t payload_max;
    struct iotcore_pace pace;
    struct delivery_list waiting; /* to be sent, in order */
    struct delivery_list sent;    /* unacknowledged, in the order of sending */
    struct delivery_list delayed; /* refused, to be tried again later */
    struct delivery_list doomed;  /* to be set aside, when the disk takes it */
    struct mono oldest_since;     /* when the first of `sent` became the first */
    bool probed;                  /* since then */
    struct mono doomed_retry;
    struct mono hold_until;   /* nothing is sent before: the server has said "too much", or memory is short */
    uint32_t holds;           /* how often in a row */
    struct buffer properties; /* user properties of the message at hand */
    bool open;
    bool blocked; /* publish said E_FULL */
    bool paused;
    bool retain; /* the server takes retained messages */
    uint8_t qos_max;
};

void flow_init(struct iotcore_flow *f, const struct iotcore_flow_ops *ops, void *ctx);
/* Hands every record that is left to `drop`. */
void flow_finish(struct iotcore_flow *f, void (*drop)(void *ctx, struct delivery *d));

/* Is there nothing to send, and could something be sent right now? */
bool flow_wants(const struct iotcore_flow *f, struct mono now);
/* Takes a new record: it waits, or is set aside at once when IoT Core would refuse it. */
void flow_push(struct iotcore_flow *f, struct delivery *d, struct mono now);
/* Sends what can be sent. */
void flow_send(struct iotcore_flow *f, struct mono now);

/* CONNACK has come. */
void flow_opened(struct iotcore_flow *f, const struct mqtt_connack *connack, struct mono now);

/* Why a connection is gone, for what was unacknowledged on it. */
enum flow_loss {
    FLOW_LOST_LINK,   /* network, timeout, our own decision: says nothing about a message */
    FLOW_LOST_SERVER, /* the server ended it without a word */
    FLOW_LOST_REFUSED /* the server ended it with a reason that points at a message */
};
void flow_lost(struct iotcore_flow *f, enum flow_loss why, struct mono now);

/* Room again after E_FULL. */
void flow_unblocked(struct iotcore_flow *f);

/* PUBACK. FLOW_SLOW_DOWN: the server refused for quantity: the flow holds and has slowed down. FLOW_RETRY: refused, and tried again
 * later. FLOW_SET_ASIDE: refused for good. */
enum flow_answer { FLOW_OK, FLOW_RETRY, FLOW_SLOW_DOWN, FLOW_SET_ASIDE };
enum flow_answer flow_published(struct iotcore_flow *f, uint64_t token, uint8_t reason, struct mono now);

/* Does what is due. `heard`: when the server was last heard. The oldest publish has had no PUBACK in time, and the connection must be
 * replaced: E_TIMEOUT, the server is alive, so the flow has slowed down; E_RESET, nothing was heard since the probe. */
MUST_CHECK enum err flow_service(struct iotcore_flow *f, struct mono heard, struct mono now);
/* When flow_service or flow_send has something to do; MONO_NEVER: nothing but events. */
struct mono flow_deadline(const struct iotcore_flow *f, struct mono now);

#endif
