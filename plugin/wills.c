#include "plugin/wills.h"

#include "base/backoff.h"
#include "mqtt/topic.h"
#include "mqtt/uplink.h"
#include "plugin/echo.h"
#include "plugin/receipts.h"
#include "plugin/record_codec.h"

#include <stdlib.h>

LOG_POINT(log_watching, "will.watching", LOG_NOTICE, "watching for last wills");
LOG_POINT(log_refused, "will.refused", LOG_ERROR,
          "the broker refuses a subscription of the session that watches for wills: see its ACL for local_username");
LOG_POINT(log_again, "will.again", LOG_WARNING,
          "a will did not get into the spool; the broker is asked to send it again");
LOG_POINT(log_dropped, "will.dropped", LOG_ERROR, "a will cannot be captured and is lost to the sinks");

enum {
    ECHO_SLOTS = 16384,
    RENEW_MS = 1000,
    SESSION_EXPIRY_S = 300,
    KEEPALIVE_S = 60,
    PROPERTIES_MAX = 256 * 1024,
    ESCAPED_SIZE = 300,
};

struct wills {
    const struct plugin_options *options;
    struct outbox *outbox;
    /* The broker's thread. */
    struct capture *capture;
    struct echo passed;
    /* The loop's thread. */
    struct uplink_config broker;
    struct buffer client_id;
    struct uplink *uplink;
    struct receipts *receipts;
    uint64_t generation; /* of the connection, for receipts */
    uv_timer_t renew;    /* runs when something was left unacknowledged */
    struct buffer pairs; /* user properties of the message at hand */
    unsigned stopping;   /* parts that have not stopped yet */
    void (*on_stopped)(void *ctx);
    void *stop_ctx;
};

/* A message on its way to the broker's thread. */
struct parcel {
    struct wills *wills;
    struct receipt *receipt; /* NULL: QoS 0 */
    size_t length;
    _Alignas(RECORD_ALIGN) uint8_t record[];
};

/* --- broker's thread --- */

void wills_attach(struct wills *w, struct capture *capture)
{
    w->capture = capture;
}

static bool is_watched(const struct wills *w, struct bytes topic)
{
    for (size_t i = 0; i < w->options->will_count; i++) {
        if (topic_matches(bytes_str(w->options->wills[i]), topic)) {
            return true;
        }
    }
    return false;
}

void wills_passed(struct wills *w, struct bytes topic, struct bytes payload)
{
    if (payload.len <= WILL_PAYLOAD_MAX && is_watched(w, topic)) {
        echo_sent(&w->passed, 0, topic, payload, mono_now());
    }
}

/* E_OK also for what is no will, or is wanted by no route. */
static enum err take_record(struct wills *w, struct record *r)
{
    struct route_match match;
    bool same_link;
    if (echo_came_back(&w->passed, 0, r->topic, r->payload, ECHO_WINDOW_MS, mono_now(), &same_link) ||
        !capture_wants(w->capture, r->topic, &match)) {
        return E_OK;
    }
    return capture_take(w->capture, &match, r);
}

static void take_parcel(void *ctx)
{
    struct parcel *p = ctx;
    struct record r;
    enum err e = record_decode(bytes_make(p->record, p->length), &r);
    e = e ? e : take_record(p->wills, &r);
    if (p->receipt) {
        receipt_done(p->receipt, e);
    } else if (e) {
        log_emit(&log_dropped, "error=%s qos=0", err_name(e));
    }
    free(p);
}

static void cancel_parcel(void *ctx)
{
    struct parcel *p = ctx;
    if (p->receipt) {
        receipt_done(p->receipt, E_CANCELLED);
    }
    free(p);
}

/* --- loop's thread: messages --- */

static void acknowledge(struct wills *w, uint16_t packet_id)
{
    if (uplink_ack(w->uplink, packet_id, MQTT_SUCCESS) != E_OK) {
        uplink_renew(w->uplink);
    }
}

static void on_renew(uv_timer_t *timer)
{
    const struct wills *w = timer->data;
    uplink_renew(w->uplink);
}

/* Something stays unacknowledged: after a while the broker shall send it again. */
static void ask_again(struct wills *w, enum err why)
{
    log_emit(&log_again, "error=%s", err_name(why));
    uv_timer_start(&w->renew, on_renew, RENEW_MS, 0);
}

/* A message has been dealt with, or could not be. */
static void settle(struct wills *w, uint8_t qos, uint16_t packet_id, enum err e)
{
    bool never = e == E_TOO_LARGE || e == E_INVALID || (e && qos == 0);
    if (never) {
        log_emit(&log_dropped, "error=%s qos=%u", err_name(e), qos);
    }
    if (qos == 0) {
        return;
    }
    if (never || e == E_OK) {
        acknowledge(w, packet_id);
    } else {
        ask_again(w, e);
    }
}

static void on_receipt(void *ctx, const struct receipt *r)
{
    struct wills *w = ctx;
    if (r->generation == w->generation && r->result != E_CANCELLED) {
        settle(w, 1, r->packet_id, r->result);
    }
}

static enum err make_record(struct wills *w, const struct mqtt_publish *m, struct record *r)
{
    buffer_clear(&w->pairs);
    enum err e = mqtt_user_properties_to_pairs(m->user_properties, &w->pairs);
    record_init(r);
    r->topic = m->topic;
    r->payload = m->payload;
    r->qos = m->qos;
    r->retain = m->retain;
    r->payload_format = m->payload_format;
    r->content_type = m->content_type;
    r->response_topic = m->response_topic;
    r->correlation_data = m->correlation_data;
    r->user_properties = buffer_bytes(&w->pairs);
    return e;
}

static enum err new_parcel(struct wills *w, const struct mqtt_publish *m, struct parcel **out)
{
    struct record r;
    size_t length;
    enum err e = make_record(w, m, &r);
    e = e ? e : record_length(&r, &length);
    if (e) {
        return e;
    }
    struct parcel *p = malloc(sizeof(*p) + record_room(length));
    struct receipt *receipt = p && m->qos > 0 ? receipt_new(w->receipts) : NULL;
    if (!p || (m->qos > 0 && !receipt)) {
        free(p);
        return E_NOMEM;
    }
    if (receipt) {
        receipt->generation = w->generation;
        receipt->packet_id = m->packet_id;
    }
    *p = (struct parcel){.wills = w, .receipt = receipt, .length = length};
    record_encode(&r, length, p->record);
    record_commit(p->record, length);
    *out = p;
    return E_OK;
}

static enum err hand_over(struct wills *w, const struct mqtt_publish *m)
{
    struct parcel *p;
    enum err e = new_parcel(w, m, &p);
    if (e) {
        return e;
    }
    e = outbox_call(w->outbox, take_parcel, cancel_parcel, p);
    if (e) {
        if (p->receipt) {
            receipt_cancel(p->receipt);
        }
        free(p);
    }
    return e;
}

static void on_message(void *ctx, const struct mqtt_publish *m)
{
    struct wills *w = ctx;
    bool no_will = m->payload.len > WILL_PAYLOAD_MAX;
    enum err e = no_will ? E_OK : hand_over(w, m);
    if (no_will || e) {
        settle(w, m->qos, m->packet_id, e);
    }
}

/* --- loop's thread: the session --- */

static void on_up(void *ctx, const struct mqtt_connack *connack)
{
    struct wills *w = ctx;
    (void)connack;
    w->generation++;
    struct mqtt_subscription items[MQTT_FILTERS_MAX];
    size_t count = w->options->will_count;
    for (size_t i = 0; i < count; i++) {
        items[i] = (struct mqtt_subscription){
            .filter = bytes_str(w->options->wills[i]), .qos = 1, .retain_as_published = true, .retain_handling = 2};
    }
    enum err e = uplink_subscribe(w->uplink, items, count, 0);
    if (e) {
        ask_again(w, e);
    }
}

static void on_subscribed(void *ctx, uint64_t token, const uint8_t *codes, size_t count)
{
    struct wills *w = ctx;
    (void)token;
    size_t granted = 0;
    for (size_t i = 0; i < count && i < w->options->will_count; i++) {
        if (codes[i] < MQTT_FAILURE) {
            granted++;
            continue;
        }
        char filter[ESCAPED_SIZE];
        log_emit(&log_refused, "filter=\"%s\" code=0x%02x reason=\"%s\"",
                 log_escape(bytes_str(w->options->wills[i]), filter, sizeof(filter)), codes[i],
                 mqtt_reason_text(codes[i]));
    }
    if (granted > 0) {
        log_emit(&log_watching, "filters=%zu", granted);
    }
}

static const struct uplink_events session_events = {
    .on_up = on_up,
    .on_message = on_message,
    .on_subscribed = on_subscribed,
};

static enum err open_session(struct wills *w, uv_loop_t *loop)
{
    const struct plugin_options *o = w->options;
    enum err e = buffer_appendf(&w->client_id, "%s-wills", o->iot_client_id);
    if (e) {
        return e;
    }
    w->broker =
        (struct uplink_config){.broker = o->local_broker, .username = o->local_username, .password = o->local_password};
    const struct uplink_options options = {
        .config = &w->broker,
        .session =
            {
                .version = MQTT_V5,
                .client_id = buffer_bytes(&w->client_id),
                .clean_start = true,
                .session_expiry_s = SESSION_EXPIRY_S,
                .keepalive_s = KEEPALIVE_S,
                .overrun_ok = true,
            },
        .resume = true,
    };
    return uplink_create(loop, &options, &session_events, w, &w->uplink);
}

static void free_wills(struct wills *w)
{
    buffer_finish(&w->client_id);
    buffer_finish(&w->pairs);
    echo_finish(&w->passed);
    plugin_options_unref(w->options);
    free(w);
}

enum err wills_create(uv_loop_t *loop, struct outbox *outbox, const struct plugin_options *o, struct wills **out)
{
    struct wills *w = calloc(1, sizeof(*w));
    *out = NULL;
    if (!w) {
        return E_NOMEM;
    }
    w->options = plugin_options_ref(o);
    w->outbox = outbox;
    echo_init(&w->passed, random_seed(), ECHO_SLOTS);
    buffer_init(&w->client_id, 256);
    buffer_init(&w->pairs, PROPERTIES_MAX);
    enum err e = receipts_create(loop, on_receipt, w, &w->receipts);
    if (e) {
        free_wills(w);
        return e;
    }
    uv_timer_init(loop, &w->renew);
    w->renew.data = w;
    *out = w;
    return open_session(w, loop);
}

/* --- the end --- */

static void on_part_stopped(void *ctx)
{
    struct wills *w = ctx;
    if (--w->stopping == 0) {
        void (*on_stopped)(void *) = w->on_stopped;
        void *stop_ctx = w->stop_ctx;
        free_wills(w);
        on_stopped(stop_ctx);
    }
}

static void on_renew_closed(uv_handle_t *handle)
{
    on_part_stopped(handle->data);
}

void wills_stop(struct wills *w, void (*on_stopped)(void *ctx), void *ctx)
{
    if (!w) {
        on_stopped(ctx);
        return;
    }
    w->on_stopped = on_stopped;
    w->stop_ctx = ctx;
    w->stopping = 2u + (w->uplink != NULL);
    uv_close((uv_handle_t *)&w->renew, on_renew_closed);
    receipts_stop(w->receipts, on_part_stopped, w);
    if (w->uplink) {
        uplink_close(w->uplink, on_part_stopped);
    }
}
