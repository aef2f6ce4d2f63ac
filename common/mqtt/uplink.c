#include "mqtt/uplink.h"

#include "base/backoff.h"
#include "base/log.h"
#include "mqtt/topic.h"
#include "net/tls_dates.h"

#include <stdlib.h>

enum { BACKOFF_BASE_MS = 250, BACKOFF_CAP_MS = 5000, STABLE_MS = 5000, STATUS_MAX = 65536, CONNECT_TIMEOUT_MS = 10000 };
enum { SHORT_LIFE_MS = 15000, SHORT_LIVES = 3 };

#define STATUS_TOKEN UINT64_MAX
#define OFFLINE_STATUS BYTES("{\"state\":\"offline\"}")

LOG_POINT(log_up, "uplink.connected", LOG_NOTICE, "connected to the broker");
LOG_POINT(log_lost, "uplink.lost", LOG_WARNING, "connection to the broker lost");
LOG_POINT(log_failed, "uplink.failed", LOG_WARNING, "the broker cannot be reached");
LOG_POINT(log_unstable, "uplink.unstable", LOG_ERROR,
          "the broker ends connections soon after accepting them: does another program use this client id?");
LOG_POINT(log_refused, "uplink.refused", LOG_ERROR, "the broker refuses the connection");

struct uplink {
    uv_loop_t *loop;
    const struct uplink_config *config;
    struct mqtt_session_options session;
    const struct uplink_events *events;
    void *ctx;
    struct tls_context *tls;
    bool acknowledge_at_once, pull;
    bool gather;
    bool resume;
    struct mqtt_client *client; /* NULL: waiting for the next attempt */
    uv_timer_t timer;           /* down: next attempt; up: next status */
    struct backoff backoff;
    struct mono up_since;
    unsigned short_lives; /* connections in a row that the broker closed soon */
    bool up;
    bool closing;
    void (*on_closed)(void *ctx);
};

enum err uplink_config_check(const struct uplink_config *c, struct option_error *error)
{
    if ((c->certfile != NULL) != (c->keyfile != NULL)) {
        option_error_set(error, "options broker_certfile and broker_keyfile: one needs the other");
        return E_INVALID;
    }
    if (c->password && !c->username) {
        option_error_set(error, "option broker_password: needs broker_username");
        return E_INVALID;
    }
    if (c->status_topic && !topic_name_valid(bytes_str(c->status_topic))) {
        option_error_set(error, "option status_topic: is no topic that can be published to");
        return E_INVALID;
    }
    return E_OK;
}

enum err uplink_config_tls(const struct uplink_config *c, struct tls_context **out, struct option_error *error)
{
    *out = NULL;
    if (!c->cafile && !c->certfile) {
        return E_OK;
    }
    struct tls_options o = {.certfile = c->certfile, .keyfile = c->keyfile, .cafile = c->cafile};
    struct tls_error why = {.text = ""};
    enum err e = tls_client_create(&o, out, &why);
    if (e != E_OK) {
        option_error_set(error, "option broker_%s: %s", tls_error_option(&why), why.text);
    }
    return e;
}

void uplink_config_dates(const struct uplink_config *c, struct wall now)
{
    (void)tls_dates_check("broker_certfile", c->certfile, TLS_DATES_IDENTITY, now);
    (void)tls_dates_check("broker_cafile", c->cafile, TLS_DATES_CA, now);
}

struct stream_options uplink_config_stream(const struct uplink_config *c, struct tls_context *tls)
{
    return (struct stream_options){.host = c->broker.host, .port = c->broker.port, .tls = tls};
}

static void on_timer(uv_timer_t *timer);

static void on_connected(void *ctx, const struct mqtt_connack *connack);
static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text);
static void on_writable(void *ctx);
static void on_message(void *ctx, const struct mqtt_publish *message);
static void on_subscribed(void *ctx, uint64_t token, const uint8_t *codes, size_t count);
static void on_end(void *ctx, enum err why, uint8_t reason, const char *detail);

static const struct mqtt_client_events client_events = {
    .on_connected = on_connected,
    .on_published = on_published,
    .on_writable = on_writable,
    .on_message = on_message,
    .on_subscribed = on_subscribed,
    .on_end = on_end,
};

/* --- status */

static void publish_status(struct uplink *u, struct bytes payload)
{
    struct mqtt_publish p = {.topic = bytes_str(u->config->status_topic), .payload = payload, .qos = 1, .retain = true};
    enum err e = mqtt_client_publish(u->client, &p, STATUS_TOKEN);
    if (e == E_UNSUPPORTED) { /* a broker without QoS 1 or retained messages: as much as it takes */
        p.qos = 0;
        p.retain = false;
        e = mqtt_client_publish(u->client, &p, STATUS_TOKEN);
    }
    (void)e; /* full or gone: the next one comes soon */
}

static void tell_status(struct uplink *u)
{
    struct buffer text;
    buffer_init(&text, STATUS_MAX);
    enum err e = buffer_append_str(&text, "{\"state\":\"online\"");
    if (e == E_OK && u->events->status) {
        e = u->events->status(u->ctx, &text);
    }
    if (e == E_OK) {
        e = buffer_append_byte(&text, '}');
    }
    if (e == E_OK) {
        publish_status(u, buffer_bytes(&text));
    }
    buffer_finish(&text);
}

/* --- life */

static void wait_for_next(struct uplink *u)
{
    uv_timer_start(&u->timer, on_timer, backoff_next_ms(&u->backoff), 0);
}

static void start_connecting(struct uplink *u)
{
    const struct uplink_config *c = u->config;
    struct mqtt_will will = {.topic = bytes_str(c->status_topic), .payload = OFFLINE_STATUS, .qos = 1, .retain = true};
    struct mqtt_client_options o = {.stream = uplink_config_stream(c, u->tls),
                                    .session = u->session,
                                    .acknowledge_at_once = u->acknowledge_at_once,
                                    .pull = u->pull};
    o.stream.gather = u->gather;
    o.stream.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    if (o.session.connack_timeout_ms == 0) {
        o.session.connack_timeout_ms = CONNECT_TIMEOUT_MS;
    }
    o.session.username = bytes_str(c->username);
    o.session.password = bytes_str(c->password);
    o.session.will = c->status_topic ? &will : NULL;
    enum err e = mqtt_client_connect(u->loop, &o, &client_events, u, &u->client);
    if (e != E_OK) {
        u->client = NULL;
        log_emit(&log_failed, "broker=%s:%u error=%s", c->broker.host, c->broker.port, err_name(e));
        wait_for_next(u);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct uplink *u = timer->data;
    if (!u->client) {
        start_connecting(u);
    } else if (u->up) {
        tell_status(u);
    }
}

static void on_connected(void *ctx, const struct mqtt_connack *connack)
{
    struct uplink *u = ctx;
    if (u->closing) {
        return;
    }
    u->up = true;
    u->up_since = mono_now();
    u->session.clean_start = u->session.clean_start && !u->resume;
    log_emit(&log_up, "broker=%s:%u security=%s", u->config->broker.host, u->config->broker.port,
             mqtt_client_security(u->client));
    if (u->config->status_topic) {
        tell_status(u);
        uv_timer_start(&u->timer, on_timer, u->config->status_interval_ms, u->config->status_interval_ms);
    }
    if (u->events->on_up) {
        u->events->on_up(u->ctx, connack);
    }
}

static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text)
{
    struct uplink *u = ctx;
    if (token != STATUS_TOKEN && !u->closing && u->events->on_published) {
        u->events->on_published(u->ctx, token, reason, reason_text);
    }
}

static void on_writable(void *ctx)
{
    struct uplink *u = ctx;
    if (!u->closing && u->events->on_writable) {
        u->events->on_writable(u->ctx);
    }
}

static void on_message(void *ctx, const struct mqtt_publish *message)
{
    struct uplink *u = ctx;
    if (!u->closing && u->events->on_message) {
        u->events->on_message(u->ctx, message);
    }
}

static void on_subscribed(void *ctx, uint64_t token, const uint8_t *codes, size_t count)
{
    struct uplink *u = ctx;
    if (!u->closing && u->events->on_subscribed) {
        u->events->on_subscribed(u->ctx, token, codes, count);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct uplink *u = handle->data;
    if (u->on_closed) {
        u->on_closed(u->ctx);
    }
    tls_unref(u->tls);
    free(u);
}

/* mosquitto 2.0 gives no reason when a client of the same id takes over. */
static void judge_life(struct uplink *u, enum err why)
{
    bool is_short = why == E_CLOSED && mono_ms_until(u->up_since, mono_now()) < SHORT_LIFE_MS;
    u->short_lives = is_short ? u->short_lives + 1 : 0;
    if (u->short_lives > 0 && u->short_lives % SHORT_LIVES == 0) {
        log_emit(&log_unstable, "broker=%s:%u client_id=\"%.*s\"", u->config->broker.host, u->config->broker.port,
                 (int)u->session.client_id.len, (const char *)u->session.client_id.data);
    }
}

static void on_end(void *ctx, enum err why, uint8_t reason, const char *detail)
{
    struct uplink *u = ctx;
    u->client = NULL;
    if (u->closing) {
        uv_close((uv_handle_t *)&u->timer, on_timer_closed);
        return;
    }
    bool refused = why == E_REFUSED;
    log_emit(refused ? &log_refused
             : u->up ? &log_lost
                     : &log_failed,
             "broker=%s:%u error=%s reason=0x%02x detail=\"%s\"", u->config->broker.host, u->config->broker.port,
             err_name(why), reason, detail);
    if (u->up) {
        judge_life(u, why);
    }
    if (u->up && mono_ms_until(u->up_since, mono_now()) >= STABLE_MS) {
        backoff_reset(&u->backoff);
    }
    u->up = false;
    wait_for_next(u);
    if (u->events->on_down) {
        u->events->on_down(u->ctx, refused);
    }
}

enum err uplink_create(uv_loop_t *loop, const struct uplink_options *o, const struct uplink_events *events, void *ctx,
                       struct uplink **out)
{
    struct uplink *u = calloc(1, sizeof(*u));
    if (!u) {
        return E_NOMEM;
    }
    u->loop = loop;
    u->config = o->config;
    u->session = o->session;
    u->acknowledge_at_once = o->acknowledge_at_once;
    u->pull = o->pull;
    u->gather = o->gather;
    u->resume = o->resume;
    u->events = events;
    u->ctx = ctx;
    u->tls = o->tls ? tls_ref(o->tls) : NULL;
    backoff_init(&u->backoff, BACKOFF_BASE_MS, BACKOFF_CAP_MS, random_seed());
    uv_timer_init(loop, &u->timer);
    u->timer.data = u;
    uv_timer_start(&u->timer, on_timer, 0, 0);
    *out = u;
    return E_OK;
}

void uplink_close(struct uplink *u, void (*on_closed)(void *ctx))
{
    if (u->closing) {
        return;
    }
    u->closing = true;
    u->on_closed = on_closed;
    uv_timer_stop(&u->timer);
    if (!u->client) {
        uv_close((uv_handle_t *)&u->timer, on_timer_closed);
        return;
    }
    if (u->up && u->config->status_topic) {
        publish_status(u, OFFLINE_STATUS);
    }
    mqtt_client_close(u->client, true);
}

void uplink_renew(struct uplink *u)
{
    if (uplink_is_up(u)) {
        mqtt_client_close(u->client, true);
    }
}

bool uplink_is_up(const struct uplink *u)
{
    return u->up && !u->closing;
}

bool uplink_is_trying(const struct uplink *u)
{
    return !u->up && !u->closing && (u->client || u->backoff.tries == 0);
}

void uplink_set_tls(struct uplink *u, struct tls_context *tls)
{
    tls_unref(u->tls);
    u->tls = tls ? tls_ref(tls) : NULL;
}

enum err uplink_publish(struct uplink *u, const struct mqtt_publish *p, uint64_t token)
{
    return uplink_is_up(u) ? mqtt_client_publish(u->client, p, token) : E_AGAIN;
}

enum err uplink_subscribe(struct uplink *u, const struct mqtt_subscription *filters, size_t count, uint64_t token)
{
    return uplink_is_up(u) ? mqtt_client_subscribe(u->client, filters, count, token) : E_AGAIN;
}

enum err uplink_unsubscribe(struct uplink *u, const struct bytes *filters, size_t count, uint64_t token)
{
    return uplink_is_up(u) ? mqtt_client_unsubscribe(u->client, filters, count, token) : E_AGAIN;
}

enum err uplink_ack(struct uplink *u, uint16_t packet_id, uint8_t reason)
{
    return uplink_is_up(u) ? mqtt_client_ack(u->client, packet_id, reason) : E_AGAIN;
}
