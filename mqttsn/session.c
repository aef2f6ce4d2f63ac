#include "mqttsn/session_internal.h"

#include "base/backoff.h"
#include "base/log.h"

#include <stdlib.h>

enum { RELINK_BASE_MS = 1000, RELINK_CAP_MS = 60000 };

LOG_POINT(log_lost, "mqttsn.lost", LOG_NOTICE, "client fell silent");

struct session *session_create(struct session_env *env, void *owner, struct bytes client_id)
{
    if (client_id.len == 0 || client_id.len > SESSION_CLIENT_ID_MAX) {
        return NULL;
    }
    struct session *s = calloc(1, sizeof(*s) + client_id.len);
    if (!s) {
        return NULL;
    }
    s->env = env;
    s->owner = owner;
    s->clean = true;
    s->supervise = s->retry = s->relink = MONO_NEVER;
    s->client_id_len = (uint8_t)client_id.len;
    memcpy(s->client_id, client_id.data, client_id.len);
    return s;
}

void session_destroy(struct session *s)
{
    if (!s) {
        return;
    }
    session_down_clear(s, false);
    session_up_forget_requests(s, true);
    session_up_forget_subscriptions(s);
    topics_clear(&s->topics);
    free(s->requests);
    free(s->will);
    free(s->staged);
    free(s);
}

struct bytes session_client_id(const struct session *s)
{
    return bytes_make(s->client_id, s->client_id_len);
}

enum session_state session_state(const struct session *s)
{
    return (enum session_state)s->state;
}

bool session_over(const struct session *s)
{
    return s->state == SESSION_OFFLINE && !s->kept;
}

struct mono session_deadline(const struct session *s)
{
    return mono_min(s->supervise, mono_min(s->retry, s->relink));
}

void session_send(struct session *s, const struct mqttsn_packet *p)
{
    s->env->ops->send(s->owner, p);
}

void session_send_plain(struct session *s, enum mqttsn_type type)
{
    struct mqttsn_packet p = {.type = type};
    session_send(s, &p);
}

void session_supervise(struct session *s, struct mono now)
{
    uint64_t seconds = s->state == SESSION_ASLEEP || s->state == SESSION_AWAKE ? s->sleep_s : s->keepalive_s;
    uint64_t ms = seconds * (seconds <= 60 ? 1500u : 1100u);
    s->supervise = ms > 0 ? mono_add_ms(now, ms) : MONO_NEVER;
}

void session_link_options(const struct session *s, struct session_link *out)
{
    *out = (struct session_link){
        .clean_start = s->clean_start, .persistent = !s->clean, .has_will = s->will && !s->env->gateway_wills};
    if (out->has_will) {
        out->will = session_will_view(s->will);
    }
}

void session_link_open(struct session *s, bool clean_start)
{
    s->clean_start = clean_start;
    s->link = LINK_OPENING;
    s->relink = MONO_NEVER;
    s->env->ops->link_open(s->owner);
}

/* Where the broker does not do it. */
static void publish_will(struct session *s)
{
    if (!s->will || !s->env->gateway_wills || s->link != LINK_UP) {
        return;
    }
    struct session_will w = session_will_view(s->will);
    struct session_message m = {.topic = w.topic, .payload = w.payload, .qos = w.qos, .retain = w.retain};
    if (s->env->ops->publish(s->owner, &m, 0) != E_OK) {
        metric_add(&s->env->metrics->dropped, 1);
    }
}

void session_link_close(struct session *s, bool with_will)
{
    s->relink = MONO_NEVER;
    if (s->link == LINK_NONE) {
        return;
    }
    if (with_will) {
        publish_will(s);
    }
    s->env->ops->link_close(s->owner, with_will);
    s->link = LINK_NONE;
    session_down_mark_stale(s);
    session_up_forget_requests(s, false);
}

/* Nothing is kept: the next CONNECT meets a new session. */
static void forget_all(struct session *s)
{
    session_down_clear(s, false);
    session_up_forget_requests(s, true);
    session_up_forget_subscriptions(s);
    topics_clear(&s->topics);
    free(s->will);
    s->will = NULL;
    s->clean = true;
    s->no_dup = false;
}

void session_go_offline(struct session *s, bool with_will, bool tell)
{
    if (tell) {
        session_send_plain(s, MQTTSN_DISCONNECT);
    }
    bool goes_on = s->kept && s->env->keep_link; /* with the link, or until it is there again */
    if (!goes_on || s->link != LINK_UP) {
        session_link_close(s, with_will);
    } else if (with_will) {
        publish_will(s);
    }
    session_up_forget_requests(s, !s->kept);
    if (!goes_on) {
        session_down_clear(s, s->kept);
    }
    s->state = SESSION_OFFLINE;
    s->waiting = false;
    s->will_reply = 0;
    s->waking = false;
    s->supervise = s->retry = s->relink = MONO_NEVER;
    free(s->staged);
    s->staged = NULL;
    if (!s->kept) {
        forget_all(s);
    }
}

void session_end(struct session *s, struct mono now)
{
    (void)now;
    if (s->state != SESSION_OFFLINE) {
        session_go_offline(s, false, true);
    }
    session_link_close(s, false);
}

void session_forget(struct session *s)
{
    s->kept = false;
    session_link_close(s, false);
    forget_all(s);
}

/* The device gave no sign for longer than it said it would. */
static void give_up(struct session *s)
{
    bool connected = s->state >= SESSION_ACTIVE || s->link == LINK_UP;
    char id[SESSION_CLIENT_ID_MAX + 8];
    if (connected) {
        metric_add(&s->env->metrics->lost, 1);
        log_emit(&log_lost, "client=%s", log_escape(session_client_id(s), id, sizeof(id)));
    }
    session_go_offline(s, connected, s->state == SESSION_ACTIVE);
}

void session_on_displaced(struct session *s)
{
    if (s->state != SESSION_OFFLINE && s->state < SESSION_ASLEEP && s->keepalive_s == 0) {
        give_up(s);
    }
}

void session_on_time(struct session *s, struct mono now)
{
    if (mono_reached(now, s->supervise)) {
        give_up(s);
        return;
    }
    if (mono_reached(now, s->retry)) {
        session_down_timeout(s, now);
    }
    if (mono_reached(now, s->relink)) {
        session_link_open(s, false);
    }
}

/* To the will update that made the link anew. */
static void answer_will_update(struct session *s, uint8_t code)
{
    struct mqttsn_packet p = {.type = s->will_reply, .willtopicresp = {.code = code}};
    s->will_reply = 0;
    session_send(s, &p);
}

void session_on_link_up(struct session *s, bool session_present, struct mono now)
{
    s->link = LINK_UP;
    s->link_tries = 0;
    if (session_present) {
        session_down_drop_stale(s);
    } else {
        session_up_resubscribe(s);
    }
    if (s->state == SESSION_LINKING) {
        session_accept(s, now);
    } else if (s->will_reply) {
        answer_will_update(s, MQTTSN_ACCEPTED);
    }
}

static void relink_later(struct session *s, struct mono now)
{
    struct backoff b = {RELINK_BASE_MS, RELINK_CAP_MS, s->link_tries, s->env->rng};
    s->relink = mono_add_ms(now, backoff_next_ms(&b));
    s->env->rng = b.rng;
    s->link_tries = (uint8_t)(s->link_tries < 10 ? s->link_tries + 1 : 10);
}

void session_on_link_down(struct session *s, bool refused, struct mono now)
{
    s->link = LINK_NONE;
    session_down_mark_stale(s);
    session_up_forget_requests(s, false);
    switch (s->state) {
    case SESSION_LINKING:
        session_refuse(s, refused ? MQTTSN_NOT_SUPPORTED : MQTTSN_CONGESTION);
        session_go_offline(s, false, false);
        break;
    case SESSION_ASLEEP:
    case SESSION_AWAKE:
        if (refused) {
            session_go_offline(s, false, false);
        } else {
            relink_later(s, now);
        }
        break;
    case SESSION_OFFLINE:
    case SESSION_WILL_TOPIC: /* the link is made when the will is told */
    case SESSION_WILL_MSG:
        break;
    case SESSION_ACTIVE:
        if (s->will_reply && refused) {
            answer_will_update(s, MQTTSN_NOT_SUPPORTED);
        }
        session_go_offline(s, false, true);
        break;
    }
    if (s->state == SESSION_OFFLINE && s->kept && s->env->keep_link) {
        relink_later(s, now);
    }
}

void session_on_broker_back(struct session *s)
{
    if (s->relink.ns != MONO_NEVER.ns) {
        session_link_open(s, false);
    }
}

/* Packets that need a connection. */
static void on_connected_packet(struct session *s, const struct mqttsn_packet *p, struct mono now)
{
    switch (p->type) {
    case MQTTSN_REGISTER:
        session_up_register(s, p);
        break;
    case MQTTSN_PUBLISH:
        session_up_publish(s, p);
        break;
    case MQTTSN_PUBREL:
        session_up_pubrel(s, p->pubrel.msg_id);
        break;
    case MQTTSN_SUBSCRIBE:
        session_up_subscribe(s, p);
        break;
    case MQTTSN_UNSUBSCRIBE:
        session_up_unsubscribe(s, p);
        break;
    case MQTTSN_REGACK:
        session_down_regack(s, p, now);
        break;
    case MQTTSN_PUBACK:
        session_down_puback(s, p, now);
        break;
    case MQTTSN_PUBREC:
        session_down_pubrec(s, p->pubrec.msg_id, now);
        break;
    case MQTTSN_PUBCOMP:
        session_down_pubcomp(s, p->pubcomp.msg_id, now);
        break;
    case MQTTSN_WILLTOPICUPD:
    case MQTTSN_WILLMSGUPD:
        session_will_update(s, p);
        break;
    default: /* PINGRESP, and what only gateways send */
        break;
    }
}

void session_on_packet(struct session *s, const struct mqttsn_packet *p, struct mono now)
{
    bool connected = s->state >= SESSION_ACTIVE;
    if (connected) {
        session_supervise(s, now);
    }
    switch (p->type) {
    case MQTTSN_CONNECT:
        session_connect(s, p, now);
        return;
    case MQTTSN_WILLTOPIC:
        session_will_topic(s, p, now);
        return;
    case MQTTSN_WILLMSG:
        session_will_msg(s, p, now);
        return;
    case MQTTSN_DISCONNECT:
        session_disconnect(s, p, now);
        return;
    case MQTTSN_PINGREQ:
        session_pingreq(s, now);
        return;
    default:
        break;
    }
    if (connected) {
        s->fresh = false;
        s->heard = true;
        on_connected_packet(s, p, now);
        session_down_unblock(s, now);
    } else if (s->state == SESSION_OFFLINE) {
        session_send_plain(s, MQTTSN_DISCONNECT);
    }
}
