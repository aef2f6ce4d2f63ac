#include "plugin/sink_iotcore_internal.h"

#include "plugin/iotcore_identity.h"

#include <stdio.h>
#include <stdlib.h>

LOG_POINT(log_identity, "iotcore.identity", LOG_NOTICE, "certificate files have changed and are used from now on");
LOG_POINT(log_identity_kept, "iotcore.identity-kept", LOG_ERROR,
          "certificate files cannot be used, the old ones stay in force");

enum { RETRY_MS = 200 }; /* the outbox was full */

/* --- state --- */

static enum sink_state overall_state(const struct sink_iotcore *s)
{
    bool all_open = true;
    bool connecting = false;
    bool stopped = true;
    for (unsigned i = 0; i < s->count; i++) {
        enum iotcore_state state = s->connections[i].state;
        all_open = all_open && state == IOTCORE_OPEN;
        connecting = connecting || state == IOTCORE_CONNECTING;
        stopped = stopped && state == IOTCORE_STOPPED;
    }
    if (stopped) {
        return SINK_STOPPED;
    }
    if (s->paused) {
        return SINK_PAUSED;
    }
    return all_open ? SINK_RUNNING : connecting ? SINK_CONNECTING : SINK_WAITING;
}

void iotcore_sink_notify(struct sink_iotcore *s)
{
    bool up = s->count > 0;
    for (unsigned i = 0; i < s->count; i++) {
        up = up && s->connections[i].state == IOTCORE_OPEN;
    }
    enum notified wanted = up ? NOTIFIED_UP : NOTIFIED_DOWN;
    const char *topic = s->shared.start->iot_notifications;
    if (!topic || s->notified == wanted) {
        return;
    }
    const struct outbox_message message = {
        .topic = bytes_str(topic), .payload = up ? BYTES("1") : BYTES("0"), .qos = 1, .retain = true};
    if (outbox_publish(s->host->outbox, &message, NULL, NULL) == E_OK) {
        s->notified = wanted;
    } else {
        iotcore_sink_pump_in(s, RETRY_MS);
    }
}

static void on_change(void *ctx)
{
    struct sink_iotcore *s = ctx;
    metric_set(&s->host->stats->state, overall_state(s));
    iotcore_sink_notify(s);
}

static void on_pump(void *ctx)
{
    iotcore_sink_pump(ctx);
}

static void on_renew(void *ctx, unsigned link, const char *why)
{
    struct sink_iotcore *s = ctx;
    connection_renew(&s->connections[link], why);
}

static const struct downlink_events downlink_events = {.on_renew = on_renew};

/* --- operations --- */

static void wake(struct sink *base)
{
    struct sink_iotcore *s = (struct sink_iotcore *)base;
    s->has_records = true;
    iotcore_sink_pump(s);
}

static void reload_identity(struct sink_iotcore *s, const struct plugin_options *o)
{
    struct tls_context *tls;
    char error[256] = "";
    if (iotcore_tls_create(o, s->shared.start->iot_endpoint.port, &tls, error) != E_OK) {
        log_emit(&log_identity_kept, "reason=\"%s\"", error);
        return;
    }
    tls_unref(s->shared.tls);
    s->shared.tls = tls;
    uint64_t identity = iotcore_identity_hash(o);
    if (identity == s->identity) {
        return;
    }
    s->identity = identity;
    log_emit(&log_identity, "certfile=%s", o->iot_certfile ? o->iot_certfile : "");
    for (unsigned i = 0; i < s->count; i++) {
        connection_renew(&s->connections[i], "the certificate files have changed");
    }
}

static void reload(struct sink *base, const struct plugin_options *o)
{
    struct sink_iotcore *s = (struct sink_iotcore *)base;
    plugin_options_unref(s->shared.options);
    s->shared.options = plugin_options_ref(o);
    reload_identity(s, o);
    downlink_reload(s->shared.downlink, o, iotcore_sink_now(s));
    for (unsigned i = 0; i < s->count; i++) {
        connection_configure(&s->connections[i]);
    }
    iotcore_sink_pump(s);
}

static void pause_sink(struct sink *base, bool paused)
{
    struct sink_iotcore *s = (struct sink_iotcore *)base;
    s->paused = paused;
    for (unsigned i = 0; i < s->count; i++) {
        s->connections[i].flow.paused = paused;
    }
    on_change(s);
    iotcore_sink_pump(s);
}

/* --- stop --- */

static void free_sink(struct sink_iotcore *s)
{
    iotcore_sink_free_spares(s);
    if (s->turn) {
        turn_put(s->turn);
    }
    tls_unref(s->shared.tls);
    plugin_options_unref(s->shared.options);
    plugin_options_unref(s->shared.start);
    free(s->connections);
    free(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct sink_iotcore *s = handle->data;
    if (--s->handles == 0) {
        void (*on_stopped)(void *) = s->on_stopped;
        void *ctx = s->stop_ctx;
        free_sink(s);
        on_stopped(ctx);
    }
}

static void close_handles(void *ctx)
{
    struct sink_iotcore *s = ctx;
    s->handles = 2;
    uv_close((uv_handle_t *)&s->timer, on_handle_closed);
    uv_close((uv_handle_t *)&s->drain, on_handle_closed);
}

static void on_connection_stopped(void *ctx)
{
    struct sink_iotcore *s = ctx;
    if (--s->running > 0) {
        return;
    }
    for (unsigned i = 0; i < s->count; i++) {
        flow_finish(&s->connections[i].flow, iotcore_sink_drop);
    }
    downlink_stop(s->shared.downlink, close_handles, s);
}

static void on_drain_deadline(uv_timer_t *timer)
{
    struct sink_iotcore *s = timer->data;
    for (unsigned i = 0; i < s->count; i++) {
        connection_stop(&s->connections[i], true);
    }
}

static void stop(struct sink *base, uint32_t drain_ms, void (*on_stopped)(void *ctx), void *ctx)
{
    struct sink_iotcore *s = (struct sink_iotcore *)base;
    s->on_stopped = on_stopped;
    s->stop_ctx = ctx;
    s->has_records = false;
    uv_timer_start(&s->drain, on_drain_deadline, drain_ms, 0);
    for (unsigned i = 0; i < s->count; i++) {
        connection_stop(&s->connections[i], drain_ms == 0);
    }
}

static const struct sink_ops ops = {
    .wake = wake, .send_alone = iotcore_sink_send_alone, .reload = reload, .pause = pause_sink, .stop = stop};

/* --- creation --- */

static bool wanted(const struct plugin_options *o)
{
    return o->iot_endpoint.host != NULL;
}

static void start(struct sink_iotcore *s)
{
    uv_timer_init(s->host->loop, &s->timer);
    uv_timer_init(s->host->loop, &s->drain);
    s->timer.data = s;
    s->drain.data = s;
    s->running = s->count;
    for (unsigned i = 0; i < s->count; i++) {
        connection_init(&s->connections[i], &s->shared, i);
    }
    for (unsigned i = 0; i < s->count; i++) {
        connection_start(&s->connections[i]);
    }
    on_change(s);
}

static enum err create(const struct sink_host *host, const struct plugin_options *o, struct sink **out,
                       char error[static 256])
{
    struct sink_iotcore *s = calloc(1, sizeof(*s));
    if (!s) {
        return E_NOMEM;
    }
    s->base = (struct sink){&sink_iotcore_type, &ops};
    s->host = host;
    s->count = (unsigned)o->iot_connections;
    s->connections = calloc(s->count, sizeof(*s->connections));
    s->shared = (struct iotcore_shared){
        .loop = host->loop,
        .start = plugin_options_ref(o),
        .options = plugin_options_ref(o),
        .flow_ops = &iotcore_sink_flow_ops,
        .sockets = host->sockets,
        .on_change = on_change,
        .on_pump = on_pump,
        .on_stopped = on_connection_stopped,
        .ctx = s,
    };
    s->identity = iotcore_identity_hash(o);
    enum err err = s->connections ? turn_get(host->loop, &s->turn) : E_NOMEM;
    err = err == E_OK ? iotcore_tls_create(o, o->iot_endpoint.port, &s->shared.tls, error) : err;
    if (err == E_OK) {
        err = downlink_create(host, o, &downlink_events, s, &s->shared.downlink, error);
    }
    if (err != E_OK) {
        free_sink(s);
        return err;
    }
    start(s);
    *out = &s->base;
    return E_OK;
}

const struct sink_type sink_iotcore_type = {
    .name = "iotcore",
    .id = SINK_IOTCORE,
    .wanted = wanted,
    .create = create,
};
