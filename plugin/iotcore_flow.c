#include "plugin/iotcore_flow.h"

#include "plugin/iotcore_limits.h"

enum {
    BLAMED_BEFORE_ALONE = 2, /* losses as the oldest before it is sent alone */
    ALONE_MAX = 2,           /* losses alone before it is set aside */
    REFUSED_MAX = 5,         /* PUBACKs with an error that may pass, before it is set aside */
    RETRY_BASE_MS = 1000,    /* doubled with each such PUBACK */
    RETRY_CAP_MS = 60000,
    NOMEM_HOLD_MS = 100,
    DOOMED_RETRY_MS = 5000,
    PROPERTIES_MAX = 256 * 1024,
};

/* --- lists --- */

static void put_last(struct delivery_list *l, struct delivery *d)
{
    d->next = NULL;
    d->prev = l->last;
    *(l->last ? &l->last->next : &l->first) = d;
    l->last = d;
    l->count++;
}

static void put_first(struct delivery_list *l, struct delivery *d)
{
    d->prev = NULL;
    d->next = l->first;
    *(l->first ? &l->first->prev : &l->last) = d;
    l->first = d;
    l->count++;
}

static void take_out(struct delivery_list *l, struct delivery *d)
{
    *(d->prev ? &d->prev->next : &l->first) = d->next;
    *(d->next ? &d->next->prev : &l->last) = d->prev;
    d->next = d->prev = NULL;
    l->count--;
}

/* Before the first that was captured later: what comes back finds its old place. */
static void put_in_order(struct delivery_list *l, struct delivery *d)
{
    struct delivery *after = l->first;
    while (after && after->record.sequence < d->record.sequence) {
        after = after->next;
    }
    if (!after) {
        put_last(l, d);
    } else if (!after->prev) {
        put_first(l, d);
    } else {
        d->prev = after->prev;
        d->next = after;
        after->prev->next = d;
        after->prev = d;
        l->count++;
    }
}

/* --- setting aside --- */

static enum err set_aside_now(struct iotcore_flow *f, struct delivery *d)
{
    enum err e = f->ops->set_aside(f->ctx, d, d->reason);
    if (e == E_OK) {
        f->ops->confirm(f->ctx, d);
    }
    return e;
}

/* `d` is in no list. */
static void set_aside(struct iotcore_flow *f, struct delivery *d, const char *reason, struct mono now)
{
    d->reason = reason;
    enum err e = set_aside_now(f, d);
    if (e != E_OK) {
        put_last(&f->doomed, d);
        f->doomed_retry = e == E_AGAIN ? now : mono_add_ms(now, DOOMED_RETRY_MS);
    }
}

static void retry_doomed(struct iotcore_flow *f, struct mono now)
{
    while (f->doomed.first && mono_reached(now, f->doomed_retry)) {
        struct delivery *d = f->doomed.first;
        take_out(&f->doomed, d);
        if (set_aside_now(f, d) != E_OK) {
            put_first(&f->doomed, d);
            f->doomed_retry = mono_add_ms(now, DOOMED_RETRY_MS);
        }
    }
}

/* --- life --- */

void flow_init(struct iotcore_flow *f, const struct iotcore_flow_ops *ops, void *ctx)
{
    *f = (struct iotcore_flow){.ops = ops, .ctx = ctx, .oldest_since = MONO_NEVER, .retain = true, .qos_max = 1};
    buffer_init(&f->properties, PROPERTIES_MAX);
}

static void drop_list(struct iotcore_flow *f, struct delivery_list *l, void (*drop)(void *ctx, struct delivery *d))
{
    while (l->first) {
        struct delivery *d = l->first;
        take_out(l, d);
        drop(f->ctx, d);
    }
}

void flow_finish(struct iotcore_flow *f, void (*drop)(void *ctx, struct delivery *d))
{
    drop_list(f, &f->waiting, drop);
    drop_list(f, &f->sent, drop);
    drop_list(f, &f->delayed, drop);
    drop_list(f, &f->doomed, drop);
    buffer_finish(&f->properties);
}

/* --- sending --- */

/* The suspect, when the oldest message has to be tried alone. */
static struct delivery *suspect(const struct iotcore_flow *f)
{
    struct delivery *oldest = f->sent.first ? f->sent.first : f->waiting.first;
    return oldest && oldest->blamed >= BLAMED_BEFORE_ALONE ? oldest : NULL;
}

static bool may_send(const struct iotcore_flow *f)
{
    return f->open && !f->blocked && !f->paused && !(f->sent.first && suspect(f));
}

static bool can_send(const struct iotcore_flow *f, struct mono now)
{
    return may_send(f) && mono_reached(now, f->hold_until);
}

bool flow_wants(const struct iotcore_flow *f, struct mono now)
{
    return can_send(f, now) && !f->waiting.first && iotcore_pace_ready(&f->pace, 0, now).ns <= now.ns;
}

void flow_push(struct iotcore_flow *f, struct delivery *d, struct mono now)
{
    const char *refusal = iotcore_refusal(&d->record, f->payload_max);
    if (refusal) {
        set_aside(f, d, refusal, now);
    } else {
        put_last(&f->waiting, d);
    }
}

static enum err publish(struct iotcore_flow *f, const struct delivery *d)
{
    const struct record *r = &d->record;
    struct mqtt_publish p = {
        .topic = iotcore_topic(r),
        .payload = r->payload,
        .qos = r->remote_qos > f->qos_max ? f->qos_max : r->remote_qos,
        .retain = r->retain && f->retain && iotcore_may_retain(iotcore_topic(r)),
        .payload_format = r->payload_format,
    };
    /* In a record empty stands for absent. */
    p.content_type = r->content_type.len > 0 ? r->content_type : p.content_type;
    p.response_topic = r->response_topic.len > 0 ? r->response_topic : p.response_topic;
    p.correlation_data = r->correlation_data.len > 0 ? r->correlation_data : p.correlation_data;
    if (r->user_properties.len > 0) {
        buffer_clear(&f->properties);
        enum err err = mqtt_user_properties_from_pairs(r->user_properties, &f->properties);
        if (err != E_OK) {
            return E_INVALID;
        }
        p.user_properties = buffer_bytes(&f->properties);
    }
    return f->ops->publish(f->ctx, &p, (uint64_t)(uintptr_t)d);
}

static const char *publish_refusal(enum err err)
{
    switch (err) {
    case E_TOO_LARGE:
        return "larger than the server's Maximum Packet Size";
    case E_UNSUPPORTED:
        return "QoS or retain flag that the server does not support";
    default:
        return "not a valid MQTT message";
    }
}

/* From now on the first of `sent` is the first. */
static void set_oldest(struct iotcore_flow *f, struct mono now)
{
    f->oldest_since = now;
    f->probed = false;
}

static void note_sent(struct iotcore_flow *f, struct delivery *d, struct mono now)
{
    d->sent++;
    if (d->record.remote_qos == 0 || f->qos_max == 0) {
        f->ops->confirm(f->ctx, d); /* nobody will acknowledge it */
        return;
    }
    if (!f->sent.first) {
        set_oldest(f, now);
    }
    put_last(&f->sent, d);
}

/* Sends the first that waits; false when it has to wait on. */
static bool send_first(struct iotcore_flow *f, struct mono now)
{
    struct delivery *d = f->waiting.first;
    size_t size = d->record.payload.len;
    if (iotcore_pace_ready(&f->pace, size, now).ns > now.ns) {
        return false;
    }
    enum err err = publish(f, d);
    if (err == E_FULL) {
        f->blocked = true;
        return false;
    }
    if (err == E_NOMEM || err == E_AGAIN) {
        f->hold_until = mono_add_ms(now, NOMEM_HOLD_MS);
        return false;
    }
    take_out(&f->waiting, d);
    if (err != E_OK) {
        set_aside(f, d, publish_refusal(err), now);
        return true;
    }
    (void)iotcore_pace_take(&f->pace, size, now); /* it was ready */
    note_sent(f, d, now);
    return true;
}

void flow_send(struct iotcore_flow *f, struct mono now)
{
    while (f->waiting.first && can_send(f, now)) {
        if (!send_first(f, now)) {
            return;
        }
    }
}

/* --- the connection --- */

void flow_opened(struct iotcore_flow *f, const struct mqtt_connack *connack, struct mono now)
{
    (void)now;
    f->open = true;
    f->blocked = false;
    f->retain = connack->retain_available;
    f->qos_max = connack->qos_max < 1 ? connack->qos_max : 1;
}

void flow_unblocked(struct iotcore_flow *f)
{
    f->blocked = false;
}

/* The oldest unacknowledged message may be what the server cannot stand: after a few losses it is sent alone, and when that costs
 * the connection too, it is the one. */
static void blame_oldest(struct iotcore_flow *f, enum flow_loss why, struct mono now)
{
    struct delivery *d = f->sent.first;
    if (why == FLOW_LOST_LINK || !d) {
        return;
    }
    bool alone = f->sent.count == 1 && d->blamed >= BLAMED_BEFORE_ALONE;
    d->alone = (uint8_t)(d->alone + alone);
    d->blamed =
        why == FLOW_LOST_REFUSED || d->blamed >= BLAMED_BEFORE_ALONE ? BLAMED_BEFORE_ALONE : (uint8_t)(d->blamed + 1);
    if (d->alone >= ALONE_MAX) {
        take_out(&f->sent, d);
        set_aside(
            f, d,
            "IoT Core ends the connection whenever this message is sent (not allowed by the policy, or malformed)",
            now);
    }
}

void flow_lost(struct iotcore_flow *f, enum flow_loss why, struct mono now)
{
    f->open = false;
    f->blocked = false;
    blame_oldest(f, why, now);
    while (f->sent.last) {
        struct delivery *d = f->sent.last;
        take_out(&f->sent, d);
        put_first(&f->waiting, d);
    }
    f->oldest_since = MONO_NEVER;
}

/* --- acknowledgements --- */

static void take_sent(struct iotcore_flow *f, struct delivery *d, struct mono now)
{
    if (f->sent.first == d) {
        set_oldest(f, now);
    }
    take_out(&f->sent, d);
    if (!f->sent.first) {
        f->oldest_since = MONO_NEVER;
    }
}

static uint64_t retry_ms(uint32_t before)
{
    uint32_t ms = RETRY_BASE_MS << (before < 6 ? before : 6);
    return ms < RETRY_CAP_MS ? ms : RETRY_CAP_MS;
}

/* Too much at once: the same for every message, so all of them wait. */
static enum flow_answer slow_down(struct iotcore_flow *f, struct delivery *d, struct mono now)
{
    put_in_order(&f->waiting, d);
    if (mono_reached(now, f->hold_until)) {
        iotcore_pace_slow(&f->pace, now);
        f->hold_until = mono_add_ms(now, retry_ms(f->holds));
        f->holds++;
    }
    return FLOW_SLOW_DOWN;
}

/* A policy, or a fault of the server, may pass. */
static enum flow_answer retry_some_times(struct iotcore_flow *f, struct delivery *d, uint8_t reason, struct mono now)
{
    if (d->refused + 1 < REFUSED_MAX) {
        d->not_before = mono_add_ms(now, retry_ms(d->refused));
        d->refused++;
        put_last(&f->delayed, d);
        return FLOW_RETRY;
    }
    set_aside(f, d,
              reason == MQTT_NOT_AUTHORIZED ? "IoT Core refused it each time: not authorized by the policy"
                                            : "IoT Core refused it each time",
              now);
    return FLOW_SET_ASIDE;
}

enum flow_answer flow_published(struct iotcore_flow *f, uint64_t token, uint8_t reason, struct mono now)
{
    struct delivery *d = (struct delivery *)(uintptr_t)token;
    take_sent(f, d, now);
    if (reason < MQTT_FAILURE) {
        f->holds = 0;
        f->ops->confirm(f->ctx, d);
        return FLOW_OK;
    }
    switch (reason) {
    case MQTT_QUOTA_EXCEEDED:
    case MQTT_MESSAGE_RATE_TOO_HIGH:
    case MQTT_SERVER_BUSY:
        return slow_down(f, d, now);
    case MQTT_TOPIC_NAME_INVALID:
        set_aside(f, d, "IoT Core refused it: topic name invalid", now);
        return FLOW_SET_ASIDE;
    case MQTT_PAYLOAD_FORMAT_INVALID:
        set_aside(f, d, "IoT Core refused it: payload format invalid", now);
        return FLOW_SET_ASIDE;
    default:
        return retry_some_times(f, d, reason, now);
    }
}

/* --- time --- */

static void wake_delayed(struct iotcore_flow *f, struct mono now)
{
    struct delivery *next;
    for (struct delivery *d = f->delayed.first; d; d = next) {
        next = d->next;
        if (mono_reached(now, d->not_before)) {
            take_out(&f->delayed, d);
            put_in_order(&f->waiting, d);
        }
    }
}

static struct mono probe_at(const struct iotcore_flow *f)
{
    return mono_add_ms(f->oldest_since, IOTCORE_PROBE_MS);
}

static struct mono puback_at(const struct iotcore_flow *f)
{
    return mono_add_ms(f->oldest_since, IOTCORE_PUBACK_TIMEOUT_MS);
}

enum err flow_service(struct iotcore_flow *f, struct mono heard, struct mono now)
{
    retry_doomed(f, now);
    wake_delayed(f, now);
    if (!f->sent.first) {
        return E_OK;
    }
    if (mono_reached(now, puback_at(f))) {
        bool alive = heard.ns > f->oldest_since.ns;
        set_oldest(f, now);
        if (alive) {
            iotcore_pace_slow(&f->pace, now);
        }
        return alive ? E_TIMEOUT : E_RESET;
    }
    if (!f->probed && mono_reached(now, probe_at(f))) {
        f->probed = true;
        f->ops->probe(f->ctx);
    }
    return E_OK;
}

struct mono flow_deadline(const struct iotcore_flow *f, struct mono now)
{
    struct mono at = f->doomed.first ? f->doomed_retry : MONO_NEVER;
    for (const struct delivery *d = f->delayed.first; d; d = d->next) {
        at = mono_min(at, d->not_before);
    }
    if (f->sent.first) {
        at = mono_min(at, f->probed ? puback_at(f) : probe_at(f));
    }
    if (may_send(f)) {
        size_t size = f->waiting.first ? f->waiting.first->record.payload.len : 0;
        struct mono ready = iotcore_pace_ready(&f->pace, size, now);
        ready = ready.ns > f->hold_until.ns ? ready : f->hold_until;
        /* When it is ready with nothing waiting, wake() comes. */
        at = f->waiting.first || ready.ns > now.ns ? mono_min(at, ready) : at;
    }
    return at;
}
