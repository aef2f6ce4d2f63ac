#include "plugin/sink_iotcore_internal.h"

#include "plugin/iotcore_limits.h"

#include <stdlib.h>

LOG_POINT(log_set_aside, "iotcore.set-aside", LOG_WARNING, "a message that IoT Core does not take is set aside");
LOG_POINT(log_not_set_aside, "iotcore.not-set-aside", LOG_ERROR,
          "a message cannot be set aside and stays in the spool");

enum {
    WORK_PER_TURN = 1000, /* records taken from the spool before the loop turns to others */
    SET_ASIDE_WORK = 20,  /* a file costs as much time as so many records */
    RETRY_MS = 200,       /* memory was full */
    LATENCY_WEIGHT = 16,
    SPARE_MAX = 1024,
    ESCAPED_SIZE = 400,
    NAP_US = 300,
};

static void on_timer(uv_timer_t *timer)
{
    iotcore_sink_pump(timer->data);
}

void iotcore_sink_pump_in(struct sink_iotcore *s, uint64_t ms)
{
    if (!uv_is_closing((uv_handle_t *)&s->timer)) {
        uv_timer_start(&s->timer, on_timer, ms, 0);
    }
}

/* Each turn of the loop then takes a batch from the spool, makes large TLS records and reads many acknowledgements. */
static void nap_if_busy(struct sink_iotcore *s)
{
    if (traffic_is_high(&s->traffic)) {
        turn_nap(s->turn, NAP_US);
    }
}

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
        iotcore_sink_pump_in(s, 0);
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

const struct iotcore_flow_ops iotcore_sink_flow_ops = {
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
        iotcore_sink_pump_in(s, RETRY_MS);
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

void iotcore_sink_pump(struct sink_iotcore *s)
{
    if (s->pumping) {
        return;
    }
    s->pumping = true;
    struct mono now = iotcore_sink_now(s);
    for (unsigned i = 0; i < s->count; i++) {
        flow_send(&s->connections[i].flow, now);
    }
    s->work_left = WORK_PER_TURN;
    while (s->work_left > 0 && s->has_records && !s->window_full && any_wants(s, now) && forward_record(s, now)) {
        s->work_left--;
    }
    if (s->work_left <= 0) {
        iotcore_sink_pump_in(s, 0);
    }
    for (unsigned i = 0; i < s->count; i++) {
        connection_pump(&s->connections[i], now);
    }
    s->pumping = false;
    iotcore_sink_notify(s);
}

bool iotcore_sink_send_alone(struct sink *base, const struct record *r)
{
    struct sink_iotcore *s = (struct sink_iotcore *)base;
    if (!traffic_is_low(&s->traffic, uv_now(s->host->loop)) || s->has_records || s->window_full || r->remote_qos == 0 ||
        !cursor_is_near(s->host->cursor)) {
        return false;
    }
    struct mono now = iotcore_sink_now(s);
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

void iotcore_sink_drop(void *ctx, struct delivery *d)
{
    free_delivery(sink_of(ctx), d); /* unconfirmed: the spool keeps the record */
}

void iotcore_sink_free_spares(struct sink_iotcore *s)
{
    while (s->spare) {
        struct delivery *d = s->spare;
        s->spare = d->next;
        free(d);
    }
}
