/* What every sink is: it takes records from its cursor, hands them over, and confirms them.
 *
 * The forwarder creates each configured sink, and calls wake when records arrived after cursor_next said E_AGAIN. A sink
 * pulls: it calls cursor_next while it has room, confirms in any order, calls cursor_rewind when its peer is lost. What it can
 * never deliver goes to rejected_put, then is confirmed. A sink does not block the loop: SQL goes to libuv's pool; of files only the small
 * ones of rejected/ are written on the loop, a limited number in each turn. All on the loop's thread, except where stated.
 */
#ifndef PLUGIN_SINK_H
#define PLUGIN_SINK_H

#include "base/metrics.h"
#include "net/loop.h"
#include "plugin/options.h"
#include "plugin/outbox.h"
#include "plugin/rejected.h"
#include "plugin/spool.h"
#include "plugin/uplink_sockets.h"

#include <uv.h>

enum sink_state {
    SINK_STOPPED,
    SINK_CONNECTING,
    SINK_RUNNING,
    SINK_WAITING /* backing off */,
    SINK_PAUSED,
    SINK_FAILED
};

/* "running" and the like. Any thread. */
const char *sink_state_name(enum sink_state state);

/* Published under $SYS/broker/aws/<sink>/. */
struct sink_stats {
    metric_value state; /* enum sink_state */
    metric_value sent;  /* records handed to the peer, repeats included */
    metric_value confirmed;
    metric_value retried; /* records sent again */
    metric_value rejected;
    metric_value latency_ms; /* capture to confirmation, moving average */
};

/* What the forwarder gives a sink; outlives it. */
struct sink_host {
    uv_loop_t *loop;
    struct outbox *outbox; /* the way to the local broker */
    struct cursor *cursor;
    struct rejected *rejected;
    struct sink_stats *stats;
    struct uplink_sockets *sockets; /* for send_alone */
};

struct sink; /* each sink's own struct begins with `struct sink` */

struct sink_type {
    const char *name; /* "iotcore", "dynamodb", "sqlite" */
    enum sink_id id;
    bool (*wanted)(const struct plugin_options *o);
    /* Creates and starts. Must not fail because a peer is away; E_INVALID etc. for what the configuration got wrong, with a
     * text that names the option. The broker waits for it: it may read files, but waits for no peer. `o` lives as long as the
     * caller's reference: take one (plugin_options_ref) to keep it. */
    enum err (*create)(const struct sink_host *host, const struct plugin_options *o, struct sink **out,
                       char error[static 256]);
};

struct sink {
    const struct sink_type *type;
    const struct sink_ops {
        void (*wake)(struct sink *s);
        /* Record `r` has come, alone: sends it at once if that takes nothing but memory and a send(2). False: not this one or not now;
         * wake comes as usual. May be NULL. Broker's thread, which has borrowed the loop from its sleeping thread. */
        bool (*send_alone)(struct sink *s, const struct record *r);
        /* New options (SIGHUP): certificate files are read again, rates and limits taken over. On a mistake the old stay. */
        void (*reload)(struct sink *s, const struct plugin_options *o);
        void (*pause)(struct sink *s, bool paused);
        /* Finishes what is in flight for up to drain_ms, lets go of everything on the loop, frees itself, then calls
         * on_stopped(ctx). */
        void (*stop)(struct sink *s, uint32_t drain_ms, void (*on_stopped)(void *ctx), void *ctx);
    } * ops;
};

extern const struct sink_type sink_iotcore_type;
extern const struct sink_type sink_dynamodb_type;
extern const struct sink_type sink_sqlite_type;

#endif
