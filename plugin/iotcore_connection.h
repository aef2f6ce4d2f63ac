/* One connection to IoT Core: connects, works, ends, and comes back after a while.
 *
 *   waiting --retry time--> connecting --CONNACK--> open --end of any kind--> waiting
 *      any --stop--> stopped (never back)
 *
 * The wait grows with full jitter and is reset once a connection has proved stable. Messages are the flow's
 * (plugin/iotcore_flow.h), what comes down is the downlink's. All on the loop's thread.
 */
#ifndef PLUGIN_IOTCORE_CONNECTION_H
#define PLUGIN_IOTCORE_CONNECTION_H

#include "mqtt/client.h"
#include "plugin/downlink.h"
#include "plugin/iotcore_flow.h"
#include "plugin/iotcore_limits.h"
#include "plugin/iotcore_traffic.h"
#include "plugin/uplink_sockets.h"

enum iotcore_state { IOTCORE_WAITING, IOTCORE_CONNECTING, IOTCORE_OPEN, IOTCORE_STOPPED };

struct iotcore_connection;

/* What the connections of a sink share; the sink changes it. */
struct iotcore_shared {
    uv_loop_t *loop;
    const struct plugin_options *start;   /* of the start: endpoint, protocol, client id, number of connections */
    const struct plugin_options *options; /* of now: the rest */
    struct tls_context *tls;
    struct downlink *downlink;
    const struct iotcore_flow_ops *flow_ops; /* ctx: the connection */
    struct uplink_sockets *sockets;
    void (*on_change)(void *ctx);  /* a state has changed */
    void (*on_pump)(void *ctx);    /* there is room: send and take more */
    void (*on_stopped)(void *ctx); /* after connection_stop: nothing is left on the loop */
    void *ctx;
};

struct iotcore_connection {
    struct iotcore_shared *shared;
    unsigned index;
    char client_id[IOTCORE_CLIENT_ID_MAX + 1];
    enum iotcore_state state;
    struct mqtt_client *client; /* NULL when waiting or stopped */
    struct iotcore_flow flow;
    uv_timer_t timer;
    struct mono timer_at; /* MONO_NEVER: not running */
    struct mono retry_at;
    struct mono opened_at;
    struct mono stable_at;    /* open: when it counts as stable, MONO_NEVER = it does */
    struct backoff backoff;   /* between attempts */
    struct backoff takeovers; /* after another client has taken our id */
    unsigned early_ends;      /* connections in a row that the server ended soon after accepting them */
    struct iotcore_acks acks;
    bool alone; /* the last message was sent by the broker's thread */
    bool stopping;
    bool closing; /* mqtt_client_close was called */
};

/* Before the loop runs. `c` stays where it is; connection_stop ends it. */
void connection_init(struct iotcore_connection *c, struct iotcore_shared *shared, unsigned index);
/* Connects now. */
void connection_start(struct iotcore_connection *c);
/* Sends what it can and sets the timer. */
void connection_pump(struct iotcore_connection *c, struct mono now);
/* After a record was pushed into the flow by the broker's thread, which has borrowed the loop: sends it through the broker's descriptor of
 * the socket, see connection_ready. */
void connection_send_alone(struct iotcore_connection *c, struct mono now);
/* Could it send a message right now, and has the broker's thread a descriptor of its socket? Broker's thread, which has borrowed the
 * loop. */
bool connection_ready(const struct iotcore_connection *c, struct mono now);
/* Closes the connection in good order, to connect again. */
void connection_renew(struct iotcore_connection *c, const char *why);
/* No new attempts; closes once nothing is in flight, or with `now_at_once` at once. on_stopped follows (once). May be called
 * again. */
void connection_stop(struct iotcore_connection *c, bool now_at_once);
/* Takes over rates and limits of shared->options. */
void connection_configure(struct iotcore_connection *c);

/* The loop's time. */
struct mono connection_now(const struct iotcore_connection *c);

#endif
