#include "plugin/iotcore_connection.h"

#include <inttypes.h>
#include <stdio.h>

LOG_POINT(log_connected, "iotcore.connected", LOG_NOTICE, "connected to IoT Core");
LOG_POINT(log_failed, "iotcore.failed", LOG_WARNING, "cannot connect to IoT Core");
LOG_POINT(log_refused, "iotcore.refused", LOG_ERROR, "IoT Core does not accept the connection");
LOG_POINT(log_lost, "iotcore.lost", LOG_WARNING, "connection to IoT Core lost");
LOG_POINT(log_taken_over, "iotcore.taken-over", LOG_ERROR,
          "another client with the same client id has taken over; every gateway needs its own iot_client_id");
LOG_POINT(log_unstable, "iotcore.unstable", LOG_ERROR,
          "IoT Core ends each connection soon after accepting it: another client with the same client id, or a policy "
          "that does not allow a topic");
LOG_POINT(log_renew, "iotcore.renew", LOG_WARNING, "connection to IoT Core is replaced");
LOG_POINT(log_slow, "iotcore.slow", LOG_WARNING, "publishing more slowly, because IoT Core did not take the rate");
LOG_POINT(log_answer, "iotcore.puback", LOG_WARNING, "IoT Core refused a message");

enum {
    BACKOFF_BASE_MS = 1000,
    BACKOFF_CAP_MS = 60000,
    TAKEOVER_BASE_MS = 20000,
    TAKEOVER_CAP_MS = 300000,
    TAKEOVER_LEAST_MS = 5000,
    STABLE_MS = 30000,
    EARLY_MS = 10000, /* an end by the server within this after CONNACK is "soon" */
    EARLY_ENDS = 3,
    PACKET_MAX = 256 * 1024,
    ESCAPED_SIZE = 400,
};

struct mono connection_now(const struct iotcore_connection *c)
{
    return (struct mono){uv_now(c->shared->loop) * 1000000u};
}

/* --- time --- */

static void on_timer(uv_timer_t *timer);

static struct mono deadline(const struct iotcore_connection *c, struct mono now)
{
    struct mono at = flow_deadline(&c->flow, now);
    if (c->state == IOTCORE_WAITING) {
        at = mono_min(at, c->retry_at);
    } else if (c->state == IOTCORE_OPEN) {
        at = mono_min(at, c->stable_at);
        at = mono_min(at, downlink_deadline(c->shared->downlink, c->index));
    }
    return at;
}

/* Later deadlines wait for the timer to fire, so that traffic does not move it with each message. */
static void arm(struct iotcore_connection *c, struct mono now)
{
    struct mono at = c->state == IOTCORE_STOPPED ? MONO_NEVER : deadline(c, now);
    if (at.ns < c->timer_at.ns) {
        c->timer_at = at;
        uv_timer_start(&c->timer, on_timer, mono_ms_until(now, at), 0);
    }
}

static void change(struct iotcore_connection *c, enum iotcore_state state)
{
    c->state = state;
    c->shared->on_change(c->shared->ctx);
}

/* --- the end --- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct iotcore_connection *c = handle->data;
    c->shared->on_stopped(c->shared->ctx);
}

static void enter_stopped(struct iotcore_connection *c)
{
    change(c, IOTCORE_STOPPED);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

static void enter_waiting(struct iotcore_connection *c, uint32_t ms, struct mono now)
{
    if (c->stopping) {
        enter_stopped(c);
        return;
    }
    c->retry_at = mono_add_ms(now, ms);
    change(c, IOTCORE_WAITING);
    arm(c, now);
}

/* Reasons of a server's DISCONNECT that point at something we sent (MQTT 5.0 section 3.14.2.1). */
static bool points_at_message(uint8_t reason)
{
    switch (reason) {
    case MQTT_MALFORMED_PACKET:
    case MQTT_PROTOCOL_ERROR:
    case MQTT_IMPLEMENTATION_ERROR:
    case MQTT_NOT_AUTHORIZED:
    case MQTT_TOPIC_NAME_INVALID:
    case MQTT_PACKET_TOO_LARGE:
    case MQTT_PAYLOAD_FORMAT_INVALID:
    case MQTT_RETAIN_NOT_SUPPORTED:
    case MQTT_QOS_NOT_SUPPORTED:
        return true;
    default:
        return false;
    }
}

static bool is_overload(uint8_t reason)
{
    return reason == MQTT_QUOTA_EXCEEDED || reason == MQTT_MESSAGE_RATE_TOO_HIGH ||
           reason == MQTT_RECEIVE_MAXIMUM_EXCEEDED;
}

/* What the end says about the message that was in flight. With a SUBSCRIBE in flight too, that may be what the server minds. */
static enum flow_loss blame(const struct iotcore_connection *c, enum err why, uint8_t reason)
{
    bool by_server = why == E_CLOSED || why == E_RESET;
    if (!by_server || c->closing || downlink_subscribing(c->shared->downlink, c->index)) {
        return FLOW_LOST_LINK;
    }
    if (reason == 0) {
        return FLOW_LOST_SERVER;
    }
    return points_at_message(reason) ? FLOW_LOST_REFUSED : FLOW_LOST_LINK;
}

static void tell_end(const struct iotcore_connection *c, enum err why, uint8_t reason, const char *detail)
{
    char words[ESCAPED_SIZE];
    log_escape(bytes_str(detail), words, sizeof(words));
    if (why == E_CANCELLED) {
        return;
    }
    if (c->state == IOTCORE_OPEN) {
        log_emit(&log_lost, "connection=%u error=%s reason=\"%s\"", c->index + 1, err_name(why), words);
    } else if (why == E_REFUSED && reason != 0) {
        /* IoT Core refuses a 3.1.1 client that it does not know with a code of its own. */
        bool unlisted = c->shared->start->iot_protocol == IOT_MQTT_V311 && reason > 5;
        log_emit(&log_refused, "connection=%u client_id=%s reason=\"%s%s\"", c->index + 1, c->client_id, words,
                 unlisted ? " (not authorized)" : "");
    } else {
        log_emit(&log_failed, "connection=%u host=%s port=%u error=%s reason=\"%s\"", c->index + 1,
                 c->shared->start->iot_endpoint.host, c->shared->start->iot_endpoint.port, err_name(why), words);
    }
}

/* How long to wait before the next attempt. */
static uint32_t pause_after(struct iotcore_connection *c, enum err why, uint8_t reason, struct mono now)
{
    if (c->state == IOTCORE_OPEN && why == E_CLOSED && reason == MQTT_SESSION_TAKEN_OVER) {
        uint32_t ms = TAKEOVER_LEAST_MS + backoff_next_ms(&c->takeovers);
        log_emit(&log_taken_over, "connection=%u client_id=%s retry_ms=%" PRIu32, c->index + 1, c->client_id, ms);
        return ms;
    }
    bool by_server = c->state == IOTCORE_OPEN && !c->closing && (why == E_CLOSED || why == E_RESET);
    if (by_server && !mono_reached(now, mono_add_ms(c->opened_at, EARLY_MS))) {
        c->early_ends++;
        if (c->early_ends >= EARLY_ENDS) {
            log_emit(&log_unstable, "connection=%u client_id=%s times=%u", c->index + 1, c->client_id, c->early_ends);
        }
    }
    return backoff_next_ms(&c->backoff);
}

static void on_end(void *ctx, enum err why, uint8_t reason, const char *detail)
{
    struct iotcore_connection *c = ctx;
    struct mono now = connection_now(c);
    tell_end(c, why, reason, detail);
    if (c->state == IOTCORE_OPEN && is_overload(reason)) {
        log_emit(&log_slow, "connection=%u publishes_per_second=%.1f", c->index + 1,
                 iotcore_pace_slow(&c->flow.pace, now));
    }
    flow_lost(&c->flow, blame(c, why, reason), now);
    downlink_lost(c->shared->downlink, c->index);
    uplink_sockets_closed(c->shared->sockets, c->index);
    c->client = NULL;
    uint32_t ms = pause_after(c, why, reason, now);
    c->closing = false;
    enter_waiting(c, ms, now);
}

/* --- open --- */

/* Gives the broker's thread a descriptor of its own for the socket. */
static void share(struct iotcore_connection *c)
{
    uplink_sockets_opened(c->shared->sockets, c->index, mqtt_client_share(c->client));
}

static void on_connected(void *ctx, const struct mqtt_connack *connack)
{
    struct iotcore_connection *c = ctx;
    struct mono now = connection_now(c);
    c->opened_at = now;
    c->stable_at = mono_add_ms(now, STABLE_MS);
    log_emit(&log_connected, "connection=%u client_id=%s security=\"%s\" session=%s", c->index + 1, c->client_id,
             mqtt_client_security(c->client), connack->session_present ? "resumed" : "new");
    flow_opened(&c->flow, connack, now);
    share(c);
    change(c, IOTCORE_OPEN);
    downlink_opened(c->shared->downlink, c->index, c->client, now);
    if (c->stopping) {
        connection_stop(c, false);
        return;
    }
    c->shared->on_pump(c->shared->ctx);
}

static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text)
{
    struct iotcore_connection *c = ctx;
    if (reason >= MQTT_FAILURE) {
        const struct delivery *d = (const struct delivery *)(uintptr_t)token;
        char topic[ESCAPED_SIZE];
        char text[ESCAPED_SIZE];
        log_emit(&log_answer, "topic=\"%s\" reason=\"%s\" code=0x%02x text=\"%s\"",
                 log_escape(iotcore_topic(&d->record), topic, sizeof(topic)), mqtt_reason_text(reason), reason,
                 log_escape(reason_text, text, sizeof(text)));
    }
    struct mono now = connection_now(c);
    if (c->alone && acks_come_often(&c->acks, uv_now(c->shared->loop))) {
        mqtt_client_read_later(c->client, ACKS_LATER_MS); /* each would wake the loop's thread */
    }
    if (flow_published(&c->flow, token, reason, now) != FLOW_OK) {
        arm(c, now);
    }
    if (c->stopping && !c->flow.sent.first) {
        connection_stop(c, false);
    }
}

static void on_writable(void *ctx)
{
    struct iotcore_connection *c = ctx;
    flow_unblocked(&c->flow);
    c->shared->on_pump(c->shared->ctx);
}

static void on_message(void *ctx, const struct mqtt_publish *message)
{
    struct iotcore_connection *c = ctx;
    struct mono now = connection_now(c);
    downlink_message(c->shared->downlink, c->index, message, now);
    arm(c, now);
}

static void on_subscribed(void *ctx, uint64_t token, const uint8_t *codes, size_t count)
{
    struct iotcore_connection *c = ctx;
    downlink_subscribed(c->shared->downlink, c->index, token, codes, count);
}

static const struct mqtt_client_events client_events = {
    .on_connected = on_connected,
    .on_published = on_published,
    .on_writable = on_writable,
    .on_message = on_message,
    .on_subscribed = on_subscribed,
    .on_end = on_end,
};

/* --- connecting --- */

static uint16_t keepalive_s(const struct plugin_options *o)
{
    uint64_t s = (o->iot_keepalive + 999) / 1000;
    return (uint16_t)(s < UINT16_MAX ? s : UINT16_MAX);
}

static void enter_connecting(struct iotcore_connection *c, struct mono now)
{
    const struct plugin_options *start = c->shared->start;
    const struct plugin_options *o = c->shared->options;
    bool persistent = downlink_wanted(c->shared->downlink);
    const struct mqtt_client_options options = {
        .stream = {.host = start->iot_endpoint.host, .port = start->iot_endpoint.port, .tls = c->shared->tls},
        .session = {.version = start->iot_protocol == IOT_MQTT_V5 ? MQTT_V5 : MQTT_V311,
                    .client_id = bytes_str(c->client_id),
                    .clean_start = !persistent,
                    .session_expiry_s = persistent ? IOTCORE_SESSION_EXPIRY_S : 0,
                    .keepalive_s = keepalive_s(o),
                    .max_inflight = (uint16_t)(o->iot_max_inflight < UINT16_MAX ? o->iot_max_inflight : UINT16_MAX),
                    .receive_max = downlink_receive_max(c->shared->downlink),
                    .packet_max = PACKET_MAX,
                    .first_packet_id = (uint16_t)random_seed()},
    };
    enum err err = mqtt_client_connect(c->shared->loop, &options, &client_events, c, &c->client);
    if (err != E_OK) {
        tell_end(c, err, 0, "");
        enter_waiting(c, backoff_next_ms(&c->backoff), now);
        return;
    }
    change(c, IOTCORE_CONNECTING);
}

static void on_timer(uv_timer_t *timer)
{
    struct iotcore_connection *c = timer->data;
    struct mono now = connection_now(c);
    c->timer_at = MONO_NEVER;
    enum err err = flow_service(&c->flow, c->client ? mqtt_client_heard(c->client) : now, now);
    if (err == E_TIMEOUT) {
        log_emit(&log_slow, "connection=%u publishes_per_second=%.1f", c->index + 1, c->flow.pace.rate);
    }
    if (err != E_OK) {
        connection_renew(c, err == E_TIMEOUT ? "no PUBACK in time" : "no sign of life from the server");
    }
    if (c->state == IOTCORE_WAITING && mono_reached(now, c->retry_at)) {
        enter_connecting(c, now);
    } else if (c->state == IOTCORE_OPEN) {
        if (mono_reached(now, c->stable_at)) {
            c->stable_at = MONO_NEVER;
            c->early_ends = 0;
            backoff_reset(&c->backoff);
            backoff_reset(&c->takeovers);
        }
        downlink_service(c->shared->downlink, c->index, now);
        c->shared->on_pump(c->shared->ctx);
    }
    arm(c, now);
}

/* --- for the sink --- */

void connection_init(struct iotcore_connection *c, struct iotcore_shared *shared, unsigned index)
{
    const struct plugin_options *o = shared->start;
    *c = (struct iotcore_connection){
        .shared = shared, .index = index, .timer_at = MONO_NEVER, .retry_at = MONO_NEVER, .stable_at = MONO_NEVER};
    char suffix[16] = "";
    if (o->iot_connections > 1) {
        snprintf(suffix, sizeof(suffix), "-%u", index + 1);
    }
    snprintf(c->client_id, sizeof(c->client_id), "%s%s", o->iot_client_id, suffix);
    flow_init(&c->flow, shared->flow_ops, c);
    backoff_init(&c->backoff, BACKOFF_BASE_MS, BACKOFF_CAP_MS, random_seed());
    backoff_init(&c->takeovers, TAKEOVER_BASE_MS, TAKEOVER_CAP_MS, random_seed());
    iotcore_pace_init(&c->flow.pace, o->iot_publish_rate, o->iot_byte_rate, connection_now(c));
    c->flow.payload_max = o->iot_max_payload;
    uv_timer_init(shared->loop, &c->timer);
    c->timer.data = c;
}

void connection_start(struct iotcore_connection *c)
{
    struct mono now = connection_now(c);
    c->retry_at = now;
    arm(c, now);
}

void connection_pump(struct iotcore_connection *c, struct mono now)
{
    c->alone = false;
    if (c->state == IOTCORE_OPEN && uplink_sockets_wanted(c->shared->sockets, c->index)) {
        share(c);
    }
    flow_send(&c->flow, now);
    arm(c, now);
}

bool connection_ready(const struct iotcore_connection *c, struct mono now)
{
    return c->state == IOTCORE_OPEN && !c->closing && c->flow.qos_max > 0 && flow_wants(&c->flow, now) &&
           uplink_sockets_get(c->shared->sockets, c->index) >= 0;
}

void connection_send_alone(struct iotcore_connection *c, struct mono now)
{
    c->alone = true;
    flow_send(&c->flow, now);
    mqtt_client_send_through(c->client, uplink_sockets_get(c->shared->sockets, c->index));
    arm(c, now);
}

void connection_renew(struct iotcore_connection *c, const char *why)
{
    if (!c->client || c->closing) {
        return;
    }
    log_emit(&log_renew, "connection=%u reason=\"%s\"", c->index + 1, why);
    c->closing = true;
    c->flow.open = false;
    mqtt_client_close(c->client, true);
}

void connection_stop(struct iotcore_connection *c, bool now_at_once)
{
    c->stopping = true;
    if (c->state == IOTCORE_STOPPED) {
        return;
    }
    if (!c->client) {
        enter_stopped(c);
        return;
    }
    c->flow.paused = true; /* nothing new */
    bool idle = c->state == IOTCORE_OPEN && !c->flow.sent.first;
    if (now_at_once || idle || c->state == IOTCORE_CONNECTING) {
        c->closing = true;
        mqtt_client_close(c->client, !now_at_once);
    }
}

void connection_configure(struct iotcore_connection *c)
{
    const struct plugin_options *o = c->shared->options;
    iotcore_pace_configure(&c->flow.pace, o->iot_publish_rate, o->iot_byte_rate, connection_now(c));
    c->flow.payload_max = o->iot_max_payload;
}
