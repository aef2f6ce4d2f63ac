/* The DynamoDB sink, as its files share it. Loop thread.
 *
 *   cursor -> fill -> window (tables with queues) -> dispatch -> slots (requests) -> on_answer -> window or confirmed
 *
 * sink_dynamodb.c         the sink's life: create, reload, pause, stop; when to do what (one timer)
 * sink_dynamodb_fill.c    records to items; what can never be stored goes to rejected/
 * sink_dynamodb_send.c    items to requests
 * sink_dynamodb_outcome.c what answers mean for the items that were sent, and what is told about it
 * sink_dynamodb_window.c  what has been taken and not yet confirmed
 * sink_dynamodb_pace.c    how fast a table is written to
 */
#ifndef PLUGIN_SINK_DYNAMODB_INTERNAL_H
#define PLUGIN_SINK_DYNAMODB_INTERNAL_H

#include "aws/dynamodb.h"
#include "aws/options.h"
#include "plugin/sink.h"
#include "plugin/sink_dynamodb_window.h"

#define DDB_LINGER_MS 10u          /* how long an item waits for others to fill its batch */
#define DDB_BATCH_BYTES (4u << 20) /* of items; a single one may be larger */
#define DDB_READY_MAX 100u         /* items made ready ahead, per connection */

/* A request under way, or free. */
struct ddb_slot {
    struct ddb_sink *sink;
    struct dynamodb_request *request; /* NULL = free */
    struct table *table;
    struct entry *entries;
    size_t count;
    struct mono sent_at;
    struct buffer body;
};

#define DDB_TOLD_MAX 8u

/* Requests that fail are told when that begins, once for each kind of failure, and when it is over. */
struct ddb_episode {
    bool active;
    struct mono since, last;
    uint64_t failures;
    size_t told_count;
    char told[DDB_TOLD_MAX][64];
};

struct ddb_sink {
    struct sink base;
    struct sink_host host;
    const struct plugin_options *options;       /* reference */
    struct dynamodb_layout layout;              /* borrows from `start_options` */
    const struct plugin_options *start_options; /* reference: keys, endpoint and region stay as at the start */
    struct credentials *credentials;
    struct dynamodb *dynamodb;
    uv_timer_t timer;

    struct window window;
    struct mono fill_at; /* no record is taken before */
    bool drained;        /* the cursor has no more; wake() will say */
    bool stuck;          /* the cursor gives no more before its oldest record is confirmed */
    struct attribute_encoder encoder;
    struct buffer message; /* JSON of a measurement */
    struct buffer item;

    struct ddb_slot slots[DYNAMODB_CONNECTIONS_MAX];
    size_t connections; /* of slots that may be used */
    size_t in_flight;

    bool paused;
    bool no_credentials; /* on_ready will come */
    bool ever_stored;
    struct mono hold;        /* nothing is sent or taken before */
    struct backoff failing;  /* of `hold` */
    struct backoff refusing; /* source of jitter for items that come back */
    uint32_t failures;       /* rounds in a row in which requests failed on the way or on their side */
    struct mono failed_at;
    uint32_t poison_row; /* items set aside in a row without one being stored */
    struct ddb_episode trouble;

    bool stopping;
    struct mono stop_at;
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
};

/* Does everything that can be done now, and sets the timer for the rest. */
void ddb_work(struct ddb_sink *s);

/* Takes records from the cursor and makes them ready while there is room. */
void ddb_fill(struct ddb_sink *s, struct mono now);
/* Sets a record aside. False: that was not possible now; the record is still this sink's. */
bool ddb_reject(struct ddb_sink *s, const struct record *record, const char *reason);
/* The record is stored: confirms and counts. */
void ddb_confirm(struct ddb_sink *s, const struct record *record);

/* May a request be sent now, as far as connections and credentials go? */
bool ddb_can_send(const struct ddb_sink *s);
/* Sends what is ready and allowed to go; true if anything was. */
bool ddb_dispatch(struct ddb_sink *s, struct mono now);
/* When dispatching will be able to do more without any other event; MONO_NEVER. */
struct mono ddb_next_dispatch(const struct ddb_sink *s, struct mono now);
/* Says what is over; returns when to look again, MONO_NEVER. */
struct mono ddb_end_episodes(struct ddb_sink *s, struct mono now);
/* Ends the requests under way; their entries are forgotten with the window. */
void ddb_cancel_all(struct ddb_sink *s);

/* A request has its answer: gives every item back to the window, or confirms it. The slot is free then. */
void ddb_finish(struct ddb_slot *slot, const struct dynamodb_answer *a, struct mono now);
/* What the slot holds was not sent. */
void ddb_give_back(struct ddb_slot *slot, struct mono now);
void ddb_note_trouble(struct ddb_sink *s, const struct dynamodb_answer *a, struct mono now);

/* Nothing is sent or taken for a while (full jitter); returns how long. */
uint32_t ddb_hold(struct ddb_sink *s, struct mono now);

#endif
