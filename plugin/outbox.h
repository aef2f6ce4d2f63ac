/* What other threads want from the broker: log lines, publishes and calls wait here until the broker's thread takes them (at TICK
 * and MESSAGE), because its API may be called from that thread only. Bounded: lines beyond OUTBOX_LINES are counted
 * and told; publishes beyond OUTBOX_PUBLISHES or OUTBOX_BYTES are refused. */
#ifndef PLUGIN_OUTBOX_H
#define PLUGIN_OUTBOX_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"

#define OUTBOX_LINES 1000u
#define OUTBOX_PUBLISHES 1000u
#define OUTBOX_BYTES (8u << 20)

struct outbox;

struct outbox_message {
    struct bytes topic; /* no NUL inside */
    struct bytes payload;
    uint8_t qos;
    bool retain;
    /* MQTT 5 properties; empty = absent. user_properties as on the wire (struct record). */
    struct bytes content_type;
    struct bytes response_topic;
    struct bytes correlation_data;
    struct bytes user_properties;
};

MUST_CHECK enum err outbox_create(struct outbox **out);
void outbox_destroy(struct outbox *o);

/* Copies a line. Never fails: a line that does not fit is counted. Any thread. Fits log_init(). */
void outbox_log(void *outbox, enum log_level level, const char *line);

/* Copies a message for the local broker. `done` (may be NULL) is called on the broker's thread when the broker has taken it
 * (E_OK) or refused it, or with E_CANCELLED when the outbox goes away (after the loop has ended). E_FULL: nothing was taken. Any thread. */
MUST_CHECK enum err outbox_publish(struct outbox *o, const struct outbox_message *m, void (*done)(void *ctx, enum err),
                                   void *ctx);

/* Has fn(ctx) called on the broker's thread. E_FULL: it will not be. When the outbox goes away first, `cancelled` (may be NULL)
 * is called instead, so that ctx can be freed. Any thread. */
MUST_CHECK enum err outbox_call(struct outbox *o, void (*fn)(void *ctx), void (*cancelled)(void *ctx), void *ctx);

struct outbox_broker {
    void (*log)(void *ctx, enum log_level level, const char *line);
    enum err (*publish)(void *ctx, const struct outbox_message *m);
    void *ctx;
};

/* Hands over what waits: every line, and up to `max` publishes and calls in the order they came. Broker's thread. Cheap when empty (one atomic read). */
void outbox_drain(struct outbox *o, const struct outbox_broker *broker, size_t max);

#endif
