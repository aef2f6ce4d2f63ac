#include "plugin/downlink.h"

#include "base/backoff.h"
#include "mqtt/topic.h"
#include "plugin/downlink_filters.h"
#include "plugin/echo.h"
#include "plugin/iotcore_limits.h"
#include "plugin/receipts.h"

#include <inttypes.h>
#include <stdlib.h>

LOG_POINT(log_subscribed, "downlink.subscribed", LOG_INFO, "subscribed at IoT Core");
LOG_POINT(log_refused, "downlink.refused", LOG_ERROR,
          "IoT Core refuses a subscription: see the policy of the certificate");
LOG_POINT(log_no_suback, "downlink.no-suback", LOG_WARNING, "no answer to SUBSCRIBE, trying again");
LOG_POINT(log_full, "downlink.full", LOG_WARNING,
          "the local broker does not keep up: a message stays unacknowledged and comes again");
LOG_POINT(log_dropped, "downlink.dropped", LOG_ERROR, "a message from IoT Core was not given to the local broker");
LOG_POINT(log_unmatched, "downlink.unmatched", LOG_DEBUG, "a message from IoT Core that no topic line wants");
LOG_POINT(log_kept, "downlink.kept", LOG_ERROR, "topic lines not taken over, the old subscriptions stay");

enum {
    SUBACK_TIMEOUT_MS = 10000,
    SUBSCRIBE_TRIES = 3,
    OWED_RENEW_MS = 5000,
    RECEIVE_MAX = 100,
    PAYLOAD_MAX = 128 * 1024,
    TOPIC_MAX = 65535,
    PROPERTIES_MAX = 256 * 1024,
    ESCAPED_SIZE = 300,
    ECHO_SLOTS = 1024,
};

struct downlink_link {
    struct mqtt_client *client; /* NULL: not open */
    uint64_t generation;        /* of the connection, for receipts */
    uint64_t next_token;
    struct mono suback_deadline; /* MONO_NEVER: nothing is asked */
    unsigned tries;              /* SUBSCRIBEs without answer in a row */
    size_t outstanding;          /* receipts not back yet */
    struct mono owed_until;      /* something was left unacknowledged: renew then, MONO_NEVER = nothing was */
    bool echoes;                 /* the server does not honour No Local */
};

struct downlink {
    const struct downlink_events *events;
    void *ctx;
    struct outbox *outbox;
    bool v5;
    struct downlink_filters filters;
    struct downlink_link *links; /* owned */
    unsigned link_count;
    struct receipts *receipts;
    struct echo echo;
    struct buffer topic;      /* local topic of the message at hand */
    struct buffer properties; /* its user properties */
    void (*on_stopped)(void *ctx);
    void *stop_ctx;
};

static void owe(struct downlink_link *l, struct mono now)
{
    l->owed_until = mono_min(l->owed_until, mono_add_ms(now, OWED_RENEW_MS));
}

static void acknowledge(struct downlink_link *l, uint16_t packet_id, struct mono now)
{
    if (mqtt_client_ack(l->client, packet_id, MQTT_SUCCESS) != E_OK) {
        owe(l, now);
    }
}

static void renew_owed(struct downlink *d, unsigned link)
{
    d->links[link].owed_until = MONO_NEVER;
    d->events->on_renew(d->ctx, link, "messages from IoT Core were left unacknowledged");
}

/* --- receipts --- */

static void on_receipt(void *ctx, const struct receipt *r)
{
    struct downlink *d = ctx;
    struct downlink_link *l = &d->links[r->link];
    if (!l->client || l->generation != r->generation) {
        return; /* of an earlier connection: IoT Core sends it again */
    }
    l->outstanding--;
    if (r->result != E_OK && r->result != E_CANCELLED) {
        log_emit(&log_dropped, "error=%s", err_name(r->result)); /* nor would it be taken the next time */
    }
    if (r->result != E_CANCELLED) {
        acknowledge(l, r->packet_id, mono_now());
    }
    if (l->owed_until.ns != MONO_NEVER.ns && l->outstanding == 0) {
        renew_owed(d, r->link); /* the broker has caught up */
    }
}

/* --- life --- */

enum err downlink_create(const struct sink_host *host, const struct plugin_options *o,
                         const struct downlink_events *events, void *ctx, struct downlink **out, char error[static 256])
{
    struct downlink *d = calloc(1, sizeof(*d));
    if (!d) {
        return E_NOMEM;
    }
    d->events = events;
    d->ctx = ctx;
    d->outbox = host->outbox;
    d->v5 = o->iot_protocol == IOT_MQTT_V5;
    d->link_count = (unsigned)o->iot_connections;
    d->links = calloc(d->link_count, sizeof(*d->links));
    enum err err = d->links ? downlink_filters_make(o, d->link_count, &d->filters, error) : E_NOMEM;
    if (err == E_OK) {
        err = receipts_create(host->loop, on_receipt, d, &d->receipts);
    }
    if (err != E_OK) {
        downlink_filters_finish(&d->filters);
        free(d->links);
        free(d);
        return err;
    }
    for (unsigned i = 0; i < d->link_count; i++) {
        d->links[i].suback_deadline = MONO_NEVER;
        d->links[i].owed_until = MONO_NEVER;
    }
    echo_init(&d->echo, random_seed(), ECHO_SLOTS);
    buffer_init(&d->topic, TOPIC_MAX);
    buffer_init(&d->properties, PROPERTIES_MAX);
    *out = d;
    return E_OK;
}

static void on_receipts_stopped(void *ctx)
{
    struct downlink *d = ctx;
    void (*on_stopped)(void *) = d->on_stopped;
    void *stop_ctx = d->stop_ctx;
    downlink_filters_finish(&d->filters);
    echo_finish(&d->echo);
    buffer_finish(&d->topic);
    buffer_finish(&d->properties);
    free(d->links);
    free(d);
    on_stopped(stop_ctx);
}

void downlink_stop(struct downlink *d, void (*on_stopped)(void *ctx), void *ctx)
{
    if (!d) {
        on_stopped(ctx);
        return;
    }
    d->on_stopped = on_stopped;
    d->stop_ctx = ctx;
    receipts_stop(d->receipts, on_receipts_stopped, d);
}

bool downlink_wanted(const struct downlink *d)
{
    return d->filters.count > 0;
}

uint16_t downlink_receive_max(const struct downlink *d)
{
    size_t used = d->filters.count / IOTCORE_SUBSCRIPTIONS_MAX + 1;
    size_t each = OUTBOX_BYTES / PAYLOAD_MAX / used;
    return (uint16_t)(each < 1 ? 1 : each > RECEIVE_MAX ? RECEIVE_MAX : each);
}

/* --- subscribing --- */

/* The next filters of this link that are not asked for yet, at most as many as one SUBSCRIBE takes. */
static size_t next_group(struct downlink *d, unsigned link, struct downlink_filter *group[])
{
    size_t n = 0;
    for (size_t i = 0; i < d->filters.count && n < IOTCORE_FILTERS_PER_SUBSCRIBE; i++) {
        struct downlink_filter *f = &d->filters.items[i];
        if (f->link == link && f->state == FILTER_NEW) {
            group[n++] = f;
        }
    }
    return n;
}

static enum err subscribe_group(struct downlink *d, struct downlink_link *l, struct downlink_filter *group[], size_t n)
{
    struct mqtt_subscription items[IOTCORE_FILTERS_PER_SUBSCRIBE];
    for (size_t i = 0; i < n; i++) {
        bool shared = bytes_starts_with(bytes_str(group[i]->remote), BYTES("$share/"));
        items[i] = (struct mqtt_subscription){.filter = bytes_str(group[i]->remote), .qos = group[i]->qos};
        if (d->v5) {
            items[i].no_local = !shared;
            items[i].retain_as_published = true;
            items[i].retain_handling = 1; /* retained messages once, not with each reconnect */
        }
    }
    enum err err = mqtt_client_subscribe(l->client, items, n, l->next_token);
    for (size_t i = 0; i < n && err == E_OK; i++) {
        group[i]->state = FILTER_ASKED;
        group[i]->token = l->next_token;
    }
    l->next_token++;
    return err;
}

static void subscribe_new(struct downlink *d, unsigned link, struct mono now)
{
    struct downlink_link *l = &d->links[link];
    struct downlink_filter *group[IOTCORE_FILTERS_PER_SUBSCRIBE];
    for (size_t n = next_group(d, link, group); n > 0; n = next_group(d, link, group)) {
        l->suback_deadline = mono_add_ms(now, SUBACK_TIMEOUT_MS);
        if (subscribe_group(d, l, group, n) != E_OK) {
            return; /* the deadline tries again */
        }
    }
}

void downlink_opened(struct downlink *d, unsigned link, struct mqtt_client *client, struct mono now)
{
    struct downlink_link *l = &d->links[link];
    l->client = client;
    l->generation++;
    l->outstanding = 0;
    l->owed_until = MONO_NEVER;
    l->echoes = false;
    l->tries = 0;
    for (size_t i = 0; i < d->filters.count; i++) {
        struct downlink_filter *f = &d->filters.items[i];
        f->state = f->link == link ? FILTER_NEW : f->state;
    }
    subscribe_new(d, link, now);
}

void downlink_lost(struct downlink *d, unsigned link)
{
    d->links[link].client = NULL;
    d->links[link].suback_deadline = MONO_NEVER;
    d->links[link].owed_until = MONO_NEVER;
}

bool downlink_subscribing(const struct downlink *d, unsigned link)
{
    return d->links[link].suback_deadline.ns != MONO_NEVER.ns;
}

static void take_answer(const struct downlink *d, struct downlink_filter *f, uint8_t code)
{
    char filter[ESCAPED_SIZE];
    log_escape(bytes_str(f->remote), filter, sizeof(filter));
    if (code < MQTT_FAILURE) {
        f->state = FILTER_GRANTED;
        log_emit(&log_subscribed, "filter=\"%s\" qos=%u", filter, code);
        return;
    }
    f->state = FILTER_REFUSED;
    log_emit(&log_refused, "filter=\"%s\" code=0x%02x reason=\"%s\"", filter, code,
             d->v5 ? mqtt_reason_text(code) : "refused");
}

void downlink_subscribed(struct downlink *d, unsigned link, uint64_t token, const uint8_t *codes, size_t count)
{
    size_t answered = 0;
    bool asked = false;
    for (size_t i = 0; i < d->filters.count; i++) {
        struct downlink_filter *f = &d->filters.items[i];
        if (f->link != link || f->state != FILTER_ASKED) {
            continue;
        }
        if (f->token == token && answered < count) {
            take_answer(d, f, codes[answered++]);
        } else {
            asked = true;
        }
    }
    if (answered > 0) {
        d->links[link].tries = 0;
    }
    if (!asked) {
        d->links[link].suback_deadline = MONO_NEVER;
    }
}

static void ask_again(struct downlink *d, unsigned link, struct mono now)
{
    struct downlink_link *l = &d->links[link];
    l->suback_deadline = MONO_NEVER;
    log_emit(&log_no_suback, "connection=%u", link + 1);
    if (++l->tries >= SUBSCRIBE_TRIES) {
        d->events->on_renew(d->ctx, link, "no answer to SUBSCRIBE");
        return;
    }
    for (size_t i = 0; i < d->filters.count; i++) {
        struct downlink_filter *f = &d->filters.items[i];
        if (f->link == link && f->state == FILTER_ASKED) {
            f->state = FILTER_NEW;
        }
    }
    subscribe_new(d, link, now);
}

void downlink_service(struct downlink *d, unsigned link, struct mono now)
{
    struct downlink_link *l = &d->links[link];
    if (l->client && mono_reached(now, l->suback_deadline)) {
        ask_again(d, link, now);
    }
    if (l->client && mono_reached(now, l->owed_until)) {
        renew_owed(d, link);
    }
}

struct mono downlink_deadline(const struct downlink *d, unsigned link)
{
    const struct downlink_link *l = &d->links[link];
    return l->client ? mono_min(l->suback_deadline, l->owed_until) : MONO_NEVER;
}

/* --- new lines --- */

static void unsubscribe_gone(struct downlink *d, const struct downlink_filters *old)
{
    for (size_t i = 0; i < old->count; i++) {
        const struct downlink_filter *f = &old->items[i];
        struct downlink_link *l = &d->links[f->link];
        if (!l->client || downlink_filters_find(&d->filters, f)) {
            continue;
        }
        struct bytes filter = bytes_str(f->remote);
        if (mqtt_client_unsubscribe(l->client, &filter, 1, l->next_token++) != E_OK) {
            log_emit(&log_unmatched, "error=unsubscribe"); /* what still comes is acknowledged and dropped */
        }
    }
}

void downlink_reload(struct downlink *d, const struct plugin_options *o, struct mono now)
{
    struct downlink_filters fresh;
    char error[256] = "no memory";
    if (downlink_filters_make(o, d->link_count, &fresh, error) != E_OK) {
        log_emit(&log_kept, "reason=\"%s\"", error);
        return;
    }
    struct downlink_filters old = d->filters;
    d->filters = fresh;
    for (size_t i = 0; i < fresh.count; i++) {
        const struct downlink_filter *same = downlink_filters_find(&old, &fresh.items[i]);
        if (same && same->state != FILTER_REFUSED) {
            fresh.items[i].state = same->state;
            fresh.items[i].token = same->token;
        }
    }
    unsubscribe_gone(d, &old);
    downlink_filters_finish(&old);
    for (unsigned link = 0; link < d->link_count; link++) {
        if (d->links[link].client) {
            subscribe_new(d, link, now);
        }
    }
}

/* --- messages --- */

void downlink_sent(struct downlink *d, unsigned link, struct bytes topic, struct bytes payload, struct mono now)
{
    if (downlink_filters_match(&d->filters, topic)) {
        echo_sent(&d->echo, link, topic, payload, now);
    }
}

static bool is_echo(struct downlink *d, unsigned link, const struct mqtt_publish *m, struct mono now)
{
    struct downlink_link *l = &d->links[link];
    bool asked_not_to = d->v5 && !l->echoes;
    bool same_link;
    if (!echo_came_back(&d->echo, link, m->topic, m->payload, asked_not_to ? ECHO_WINDOW_NO_LOCAL_MS : ECHO_WINDOW_MS,
                        now, &same_link)) {
        return false;
    }
    l->echoes = l->echoes || same_link;
    return true;
}

/* Nothing more is to be done with it. */
static void settle(struct downlink_link *l, const struct mqtt_publish *m, struct mono now)
{
    if (m->qos == 1) {
        acknowledge(l, m->packet_id, now);
    }
}

static void drop(struct downlink_link *l, const struct mqtt_publish *m, enum err err, struct mono now)
{
    char topic[ESCAPED_SIZE];
    log_emit(&log_dropped, "topic=\"%s\" error=%s", log_escape(m->topic, topic, sizeof(topic)), err_name(err));
    settle(l, m, now);
}

/* The cloud must not speak for the broker ($SYS, $CONTROL) unless the line says so, nor cut off those that are given the topic. The
 * broker does not judge what a plugin publishes. */
static enum err check_topic(const struct downlink_filter *f, struct bytes topic)
{
    if (!topic_name_valid(topic) || !topic_safe(topic)) {
        return E_INVALID;
    }
    return topic.data[0] == '$' && !f->dollar ? E_ACCESS : E_OK;
}

/* Translates to what the local broker is given. Borrows from m and from d's buffers. */
static enum err translate(struct downlink *d, const struct downlink_filter *f, const struct mqtt_publish *m,
                          struct outbox_message *out)
{
    enum err err = topic_rewrite(m->topic, bytes_str(f->strip), bytes_str(f->add), &d->topic);
    err = err ? err : check_topic(f, buffer_bytes(&d->topic));
    if (err != E_OK) {
        return err;
    }
    buffer_clear(&d->properties);
    err = mqtt_user_properties_to_pairs(m->user_properties, &d->properties);
    *out = (struct outbox_message){
        .topic = buffer_bytes(&d->topic),
        .payload = m->payload,
        .qos = m->qos,
        .retain = m->retain,
        .content_type = m->content_type,
        .response_topic = m->response_topic,
        .correlation_data = m->correlation_data,
        .user_properties = buffer_bytes(&d->properties),
    };
    return err;
}

/* E_FULL, E_NOMEM: it must stay unacknowledged. */
static enum err deliver(struct downlink *d, unsigned link, const struct mqtt_publish *m,
                        const struct outbox_message *message)
{
    struct downlink_link *l = &d->links[link];
    if (m->qos != 1) {
        return outbox_publish(d->outbox, message, NULL, NULL);
    }
    struct receipt *r = receipt_new(d->receipts);
    if (!r) {
        return E_NOMEM;
    }
    r->link = link;
    r->generation = l->generation;
    r->packet_id = m->packet_id;
    enum err err = outbox_publish(d->outbox, message, receipt_done, r);
    if (err != E_OK) {
        receipt_cancel(r);
        return err;
    }
    l->outstanding++;
    return E_OK;
}

void downlink_message(struct downlink *d, unsigned link, const struct mqtt_publish *m, struct mono now)
{
    struct downlink_link *l = &d->links[link];
    const struct downlink_filter *f = downlink_filters_match(&d->filters, m->topic);
    if (!f) {
        char topic[ESCAPED_SIZE];
        log_emit(&log_unmatched, "topic=\"%s\"", log_escape(m->topic, topic, sizeof(topic)));
        settle(l, m, now);
        return;
    }
    if (is_echo(d, link, m, now)) {
        settle(l, m, now);
        return;
    }
    struct outbox_message message;
    enum err err = translate(d, f, m, &message);
    if (err == E_OK) {
        err = deliver(d, link, m, &message);
    }
    if ((err == E_FULL || err == E_NOMEM) && m->qos == 1) {
        owe(l, now);
        log_emit(&log_full, "connection=%u outstanding=%zu", link + 1, l->outstanding);
    } else if (err != E_OK) {
        drop(l, m, err, now);
    }
}
