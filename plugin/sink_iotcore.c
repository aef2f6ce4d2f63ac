#include "net/turn.h"
#include "plugin/iotcore_connection.h"
#include "plugin/iotcore_identity.h"
#include "plugin/iotcore_limits.h"
#include "plugin/iotcore_traffic.h"

#include <stdio.h>
#include <stdlib.h>

LOG_POINT(log_set_aside, "iotcore.set-aside", LOG_WARNING, "a message that IoT Core does not take is set aside");
LOG_POINT(log_not_set_aside, "iotcore.not-set-aside", LOG_ERROR,
          "a message cannot be set aside and stays in the spool");
LOG_POINT(log_identity, "iotcore.identity", LOG_NOTICE, "certificate files have changed and are used from now on");
LOG_POINT(log_identity_kept, "iotcore.identity-kept", LOG_ERROR,
          "certificate files cannot be used, the old ones stay in force");

enum {
    WORK_PER_TURN = 1000, /* records taken from the spool before the loop turns to others */
    SET_ASIDE_WORK = 20,  /* a file costs as much time as so many records */
    RETRY_MS = 200,       /* memory or the outbox was full */
    LATENCY_WEIGHT = 16,
    SPARE_MAX = 1024,
    ESCAPED_SIZE = 400,
    NAP_US = 300,
};

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

static struct mono now_of(const struct sink_iotcore *s)
{
    return (struct mono){uv_now(s->host->loop) * 1000000u};
}

static void pump(struct sink_iotcore *s);

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

static void pump_in(struct sink_iotcore *s, uint64_t ms)
{
    if (!uv_is_closing((uv_handle_t *)&s->timer)) {
        uv_timer_start(&s->timer, on_timer, ms, 0);
    }
}

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

/* Retained 1 on the local broker while every connection is open, else 0. */
static void notify(struct sink_iotcore *s)
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
        pump_in(s, RETRY_MS);
    }
}

static void on_change(void *ctx)
{
    struct sink_iotcore *s = ctx;
    metric_set(&s->host->stats->state, overall_state(s));
    notify(s);
}

/* Each turn of the loop then takes a batch from the spool, makes large TLS records and reads many acknowledgements. */
static void nap_if_busy(struct sink_iotcore *s)
{
    if (traffic_is_high(&s->traffic)) {
        turn_nap(s->turn, NAP_US);
    }
}

/* --- records --- */

static struct delivery *new_delivery(struct sink_iotcore *s)
{
    struct delivery *d = s->spare;
    if (!d) {
        return calloc(1, sizeof(*d));
    }
    s->spare = d->next;
    s->spare_count--;
    *d = (struct delivery){.next = NULL};
    return d;
}

static void free_delivery(struct sink_iotcore *s, struct delivery *d)
{
    if (s->spare_count >= SPARE_MAX) {
        free(d);
        return;
    }
    d->next = s->spare;
    s->spare = d;
    s->spare_count++;
}

static void note_latency(struct sink_iotcore *s, const struct record *r)
{
    int64_t ms = wall_now_coarse().ms - r->capture_ms;
    uint64_t value = ms > 0 ? (uint64_t)ms : 0;
    uint64_t old = metric_get(&s->host->stats->latency_ms);
    metric_set(&s->host->stats->latency_ms, (old * (LATENCY_WEIGHT - 1) + value) / LATENCY_WEIGHT);
}

static struct sink_iotcore *sink_of(const struct iotcore_connection *c)
{
    return c->shared->ctx;
}

static enum err flow_publish(void *ctx, const struct mqtt_publish *p, uint64_t token)
{
    struct iotcore_connection *c = ctx;
    if (!c->client) {
        return E_AGAIN;
    }
    enum err err = mqtt_client_publish(c->client, p, token);
    if (err == E_OK) {
        const struct delivery *d = (const struct delivery *)(uintptr_t)token;
        struct sink_stats *stats = sink_of(c)->host->stats;
        traffic_sent(&sink_of(c)->traffic, uv_now(sink_of(c)->host->loop));
        nap_if_busy(sink_of(c));
        metric_add(&stats->sent, 1);
        metric_add(&stats->retried, d->sent > 0);
        downlink_sent(c->shared->downlink, c->index, p->topic, p->payload, connection_now(c));
    }
    return err;
}

static void flow_confirm(void *ctx, struct delivery *d)
{
    struct sink_iotcore *s = sink_of(ctx);
    if (!d->reason) {
        nap_if_busy(s);
        metric_add(&s->host->stats->confirmed, 1);
        note_latency(s, &d->record);
    }
    cursor_confirm(s->host->cursor, d->record.sequence);
    free_delivery(s, d);
    if (s->window_full) {
        s->window_full = false;
        pump_in(s, 0);
    }
}

static enum err flow_set_aside(void *ctx, const struct delivery *d, const char *reason)
{
    struct sink_iotcore *s = sink_of(ctx);
    if (s->borrowed) {
        return E_AGAIN;
    }
    s->work_left -= SET_ASIDE_WORK;
    char topic[ESCAPED_SIZE];
    log_escape(d->record.topic, topic, sizeof(topic));
    enum err err = rejected_put(s->host->rejected, SINK_IOTCORE, &d->record, reason);
    if (err != E_OK) {
        log_emit(&log_not_set_aside, "topic=\"%s\" error=%s", topic, err_name(err));
        return err;
    }
    metric_add(&s->host->stats->rejected, 1);
    log_emit(&log_set_aside, "topic=\"%s\" bytes=%zu reason=\"%s\"", topic, d->record.payload.len, reason);
    return E_OK;
}

static void flow_probe(void *ctx)
{
    struct iotcore_connection *c = ctx;
    if (c->client) {
        mqtt_client_probe(c->client);
    }
}

static const struct iotcore_flow_ops flow_ops = {
    .publish = flow_publish,
    .confirm = flow_confirm,
    .set_aside = flow_set_aside,
    .probe = flow_probe,
};

/* A topic always uses the same connection, so that its order is kept. */
static struct iotcore_connection *connection_for(struct sink_iotcore *s, const struct record *r)
{
    return s->count == 1 ? &s->connections[0] : &s->connections[bytes_hash(iotcore_topic(r), 0) % s->count];
}

static bool any_wants(struct sink_iotcore *s, struct mono now)
{
    for (unsigned i = 0; i < s->count; i++) {
        unsigned at = (s->wanting + i) % s->count;
        if (flow_wants(&s->connections[at].flow, now)) {
            s->wanting = at;
            return true;
        }
    }
    return false;
}

/* Takes one record for a connection; NULL when there is none to be had now. */
static struct iotcore_connection *take_record(struct sink_iotcore *s, struct mono now)
{
    struct record r;
    enum err err = cursor_next(s->host->cursor, &r);
    if (err == E_FULL) {
        s->window_full = true;
        return NULL;
    }
    if (err != E_OK) {
        s->has_records = false;
        return NULL;
    }
    struct delivery *d = new_delivery(s);
    if (!d) {
        cursor_return(s->host->cursor, r.sequence);
        pump_in(s, RETRY_MS);
        return NULL;
    }
    d->record = r;
    struct iotcore_connection *c = connection_for(s, &r);
    flow_push(&c->flow, d, now);
    return c;
}

/* The same, and sends what can be sent. */
static bool forward_record(struct sink_iotcore *s, struct mono now)
{
    struct iotcore_connection *c = take_record(s, now);
    if (c) {
        flow_send(&c->flow, now);
    }
    return c != NULL;
}

/* Sends what waits; then takes records while some connection could send at once. Those for a connection that cannot are kept for
 * it, as many as the cursor's window takes, so that it does not hold back the others. */
static void pump(struct sink_iotcore *s)
{
    if (s->pumping) {
        return;
    }
    s->pumping = true;
    struct mono now = now_of(s);
    for (unsigned i = 0; i < s->count; i++) {
        flow_send(&s->connections[i].flow, now);
    }
    s->work_left = WORK_PER_TURN;
    while (s->work_left > 0 && s->has_records && !s->window_full && any_wants(s, now) && forward_record(s, now)) {
        s->work_left--;
    }
    if (s->work_left <= 0) {
        pump_in(s, 0);
    }
    for (unsigned i = 0; i < s->count; i++) {
        connection_pump(&s->connections[i], now);
    }
    s->pumping = false;
    notify(s);
}

static void on_pump(void *ctx)
{
    pump(ctx);
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
    pump(s);
}

static bool send_alone(struct sink *base, const struct record *r)
{
    struct sink_iotcore *s = (struct sink_iotcore *)base;
    if (!traffic_is_low(&s->traffic, uv_now(s->host->loop)) || s->has_records || s->window_full || r->remote_qos == 0 ||
        !cursor_is_near(s->host->cursor)) {
        return false;
    }
    struct mono now = now_of(s);
    struct iotcore_connection *c = connection_for(s, r);
    if (!connection_ready(c, now)) {
        return false;
    }
    s->borrowed = true;
    s->has_records = true;
    if (take_record(s, now) == c) {
        connection_send_alone(c, now);
    }
    while (take_record(s, now)) { /* there is none: the cursor has us woken for the next one */
    }
    s->borrowed = false;
    return true;
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
    downlink_reload(s->shared.downlink, o, now_of(s));
    for (unsigned i = 0; i < s->count; i++) {
        connection_configure(&s->connections[i]);
    }
    pump(s);
}

static void pause_sink(struct sink *base, bool paused)
{
    struct sink_iotcore *s = (struct sink_iotcore *)base;
    s->paused = paused;
    for (unsigned i = 0; i < s->count; i++) {
        s->connections[i].flow.paused = paused;
    }
    on_change(s);
    pump(s);
}

/* --- stop --- */

static void free_sink(struct sink_iotcore *s)
{
    while (s->spare) {
        struct delivery *d = s->spare;
        s->spare = d->next;
        free(d);
    }
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

static void drop_delivery(void *ctx, struct delivery *d)
{
    free_delivery(sink_of(ctx), d); /* unconfirmed: the spool keeps the record */
}

static void on_connection_stopped(void *ctx)
{
    struct sink_iotcore *s = ctx;
    if (--s->running > 0) {
        return;
    }
    for (unsigned i = 0; i < s->count; i++) {
        flow_finish(&s->connections[i].flow, drop_delivery);
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
    .wake = wake, .send_alone = send_alone, .reload = reload, .pause = pause_sink, .stop = stop};

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
        .flow_ops = &flow_ops,
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
