/* The IoT Core sink, as its files share it. Loop's thread, or the broker's, which has borrowed the loop.
 *
 *   cursor -> pump -> flow of a connection (iotcore_flow.h) -> PUBACK -> confirmed
 *
 * sink_iotcore.c          the sink's life: create, reload, pause, stop; state and notifications
 * sink_iotcore_records.c  records on their way from the cursor to the connections and back
 */
#ifndef PLUGIN_SINK_IOTCORE_INTERNAL_H
#define PLUGIN_SINK_IOTCORE_INTERNAL_H

#include "net/turn.h"
#include "plugin/iotcore_connection.h"
#include "plugin/iotcore_traffic.h"

enum notified { NOTIFIED_NOTHING, NOTIFIED_DOWN, NOTIFIED_UP };

struct sink_iotcore {
    struct sink base;
    const struct sink_host *host;
    struct iotcore_shared shared;
    struct iotcore_connection *connections; /* owned */
    unsigned count;
    struct delivery *spare; /* linked by next, at most SPARE_MAX */
    size_t spare_count;
    bool has_records; /* cursor_next has not said E_AGAIN since the last wake */
    bool window_full; /* cursor_next said E_FULL */
    bool pumping;
    int work_left; /* of this turn */
    struct turn *turn;
    struct iotcore_traffic traffic;
    bool borrowed; /* the broker's thread is at work: no files */
    bool paused;
    unsigned wanting;  /* a connection that wanted records, looked at first */
    uv_timer_t timer;  /* pump again soon */
    uv_timer_t drain;  /* stop: until the deadline */
    uint64_t identity; /* hash of the certificate files in use */
    enum notified notified;
    unsigned running; /* connections that have not stopped */
    unsigned handles; /* of our own, to be closed */
    void (*on_stopped)(void *ctx);
    void *stop_ctx;
};

static inline struct mono iotcore_sink_now(const struct sink_iotcore *s)
{
    return (struct mono){uv_now(s->host->loop) * 1000000u};
}

/* --- sink_iotcore.c --- */

/* Retained 1 on the local broker while every connection is open, else 0; again later where the outbox is full. */
void iotcore_sink_notify(struct sink_iotcore *s);

/* --- sink_iotcore_records.c --- */

/* Sends what waits; then takes records while some connection could send at once. Those for a connection that cannot are kept for
 * it, as many as the cursor's window takes, so that it does not hold back the others. */
void iotcore_sink_pump(struct sink_iotcore *s);
/* The same in a while. */
void iotcore_sink_pump_in(struct sink_iotcore *s, uint64_t ms);
/* sink_ops.send_alone */
bool iotcore_sink_send_alone(struct sink *base, const struct record *r);

/* What the connections' flows ask for; ctx is the connection. */
extern const struct iotcore_flow_ops iotcore_sink_flow_ops;
/* At the end: a record that is not confirmed stays in the spool. For flow_finish. */
void iotcore_sink_drop(void *ctx, struct delivery *d);
void iotcore_sink_free_spares(struct sink_iotcore *s);

#endif
