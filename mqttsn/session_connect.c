/* CONNECT and the will handshake, DISCONNECT, sleep and wake. */
#include "mqttsn/session_internal.h"

#include "mqtt/topic.h"

#include <stdlib.h>

#define WILL_PAYLOAD_MAX 65000u

struct session_will session_will_view(const struct stored_will *w)
{
    return (struct session_will){.topic = bytes_make(w->bytes, w->topic_len),
                                 .payload = bytes_make(w->bytes + w->topic_len, w->payload_len),
                                 .qos = w->qos,
                                 .retain = w->retain};
}

static struct stored_will *make_will(const struct session_will *v)
{
    if (!topic_name_valid(v->topic) || !session_topic_allowed(v->topic) || v->payload.len > WILL_PAYLOAD_MAX) {
        return NULL;
    }
    struct stored_will *w = malloc(sizeof(*w) + v->topic.len + v->payload.len);
    if (w) {
        *w = (struct stored_will){.topic_len = (uint16_t)v->topic.len,
                                  .payload_len = (uint32_t)v->payload.len,
                                  .qos = v->qos,
                                  .retain = v->retain};
        /* A valid topic name is not empty. NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
        memcpy(w->bytes, v->topic.data, v->topic.len);
        if (v->payload.len > 0) {
            memcpy(w->bytes + v->topic.len, v->payload.data, v->payload.len);
        }
    }
    return w;
}

static bool same_will(const struct stored_will *a, const struct stored_will *b)
{
    if (!a || !b) {
        return a == b;
    }
    return a->qos == b->qos && a->retain == b->retain && a->topic_len == b->topic_len &&
           a->payload_len == b->payload_len && memcmp(a->bytes, b->bytes, a->topic_len + a->payload_len) == 0;
}

void session_refuse(struct session *s, uint8_t code)
{
    struct mqttsn_packet p = {.type = MQTTSN_CONNACK, .connack = {.code = code}};
    metric_add(code == MQTTSN_ACCEPTED ? &s->env->metrics->accepted : &s->env->metrics->rejected, 1);
    session_send(s, &p);
}

void session_accept(struct session *s, struct mono now)
{
    s->state = SESSION_ACTIVE;
    s->kept = !s->clean;
    s->waking = false;
    s->fresh = true;
    session_supervise(s, now);
    session_refuse(s, MQTTSN_ACCEPTED);
    session_down_resume(s, now);
}

/* The device has told all that CONNECT needs. `will` is taken over; NULL with `will_told` deletes the will. */
static void establish(struct session *s, bool will_told, struct stored_will *will, struct mono now)
{
    bool will_changes = will_told ? !same_will(s->will, will) : s->connect_clean && !s->waking && s->will;
    if (will_told || will_changes) {
        free(s->will);
        s->will = will;
    }
    bool was_clean = s->clean;
    if (!s->waking) {
        s->clean = s->connect_clean;
        if (s->clean) {
            s->kept = false;
            session_down_clear(s, false);
            session_up_forget_requests(s, true);
            session_up_forget_subscriptions(s);
            topics_clear(&s->topics);
        } else {
            topics_reconnected(&s->topics);
        }
    }
    bool keeps_link =
        s->link == LINK_UP && (s->waking || (!s->clean && !was_clean)) && (!will_changes || s->env->gateway_wills);
    if (keeps_link) {
        session_accept(s, now);
        return;
    }
    session_link_close(s, false);
    s->state = SESSION_LINKING;
    s->supervise = MONO_NEVER; /* the attempt has a time limit of its own */
    session_link_open(s, s->clean && !s->waking);
}

static void enter_handshake(struct session *s, enum session_state state, struct mono now)
{
    s->state = (uint8_t)state;
    s->supervise = mono_add_ms(now, (uint64_t)s->env->retry_interval_ms * (s->env->retry_count + 1));
    session_send_plain(s, state == SESSION_WILL_TOPIC ? MQTTSN_WILLTOPICREQ : MQTTSN_WILLMSGREQ);
}

void session_connect(struct session *s, const struct mqttsn_packet *p, struct mono now)
{
    if (p->connect.protocol_id != MQTTSN_PROTOCOL_ID) {
        session_refuse(s, MQTTSN_NOT_SUPPORTED);
        return;
    }
    if (s->state == SESSION_LINKING) {
        return; /* sent again: CONNACK is on its way */
    }
    if (s->state == SESSION_ACTIVE && s->fresh && !p->connect.will && p->connect.clean_session == s->clean &&
        p->connect.duration_s == s->keepalive_s) {
        session_refuse(s, MQTTSN_ACCEPTED); /* sent again: CONNACK was lost */
        return;
    }
    if (s->state != SESSION_WILL_TOPIC && s->state != SESSION_WILL_MSG) {
        s->waking = s->state == SESSION_ASLEEP || s->state == SESSION_AWAKE;
    }
    s->connect_clean = p->connect.clean_session;
    s->keepalive_s = p->connect.duration_s;
    s->retry = MONO_NEVER;
    free(s->staged);
    s->staged = NULL;
    if (p->connect.will) {
        enter_handshake(s, SESSION_WILL_TOPIC, now);
    } else {
        establish(s, false, NULL, now);
    }
}

/* The will cannot be: the connection is refused, and what was before it ends. */
static void refuse_will(struct session *s)
{
    session_refuse(s, MQTTSN_NOT_SUPPORTED);
    session_go_offline(s, false, false);
}

void session_will_topic(struct session *s, const struct mqttsn_packet *p, struct mono now)
{
    if (s->state != SESSION_WILL_TOPIC && s->state != SESSION_WILL_MSG) {
        return;
    }
    free(s->staged);
    s->staged = NULL;
    if (p->willtopic.topic.len == 0) {
        establish(s, true, NULL, now);
        return;
    }
    struct session_will w = {.topic = p->willtopic.topic, .qos = p->willtopic.qos, .retain = p->willtopic.retain};
    s->staged = make_will(&w);
    if (s->staged) {
        enter_handshake(s, SESSION_WILL_MSG, now);
    } else {
        refuse_will(s);
    }
}

void session_will_msg(struct session *s, const struct mqttsn_packet *p, struct mono now)
{
    if (s->state == SESSION_ACTIVE && s->fresh) {
        session_refuse(s, MQTTSN_ACCEPTED); /* sent again: CONNACK was lost */
        return;
    }
    if (s->state != SESSION_WILL_MSG) {
        return;
    }
    struct session_will w = session_will_view(s->staged);
    w.payload = p->willmsg.message;
    struct stored_will *will = make_will(&w);
    free(s->staged);
    s->staged = NULL;
    if (will) {
        establish(s, true, will, now);
    } else {
        refuse_will(s);
    }
}

static void will_reply(struct session *s, enum mqttsn_type type, uint8_t code)
{
    struct mqttsn_packet p = {.type = type, .willtopicresp = {.code = code}};
    session_send(s, &p);
}

void session_will_update(struct session *s, const struct mqttsn_packet *p)
{
    bool topic = p->type == MQTTSN_WILLTOPICUPD;
    enum mqttsn_type reply = topic ? MQTTSN_WILLTOPICRESP : MQTTSN_WILLMSGRESP;
    if (s->will_reply) {
        return; /* sent again, or too soon: the answer to the first comes when the link is made */
    }
    struct session_will w = s->will ? session_will_view(s->will) : (struct session_will){0};
    struct stored_will *will = NULL;
    if (topic) {
        w.topic = p->willtopicupd.topic;
        w.qos = p->willtopicupd.qos;
        w.retain = p->willtopicupd.retain;
    } else {
        w.payload = p->willmsgupd.message;
    }
    if (w.topic.len > 0 || !topic) {
        will = make_will(&w); /* fails for a message without a topic, too */
        if (!will) {
            will_reply(s, reply, MQTTSN_NOT_SUPPORTED);
            return;
        }
    }
    bool same = same_will(s->will, will);
    free(s->will);
    s->will = will;
    if (same || s->env->gateway_wills) {
        will_reply(s, reply, MQTTSN_ACCEPTED);
        return;
    }
    s->will_reply = (uint8_t)reply;
    session_link_close(s, false);
    session_link_open(s, false);
}

void session_disconnect(struct session *s, const struct mqttsn_packet *p, struct mono now)
{
    bool sleeps = p->disconnect.has_duration && p->disconnect.duration_s > 0;
    if (sleeps && s->state >= SESSION_ACTIVE) {
        s->state = SESSION_ASLEEP;
        s->sleep_s = p->disconnect.duration_s;
        s->retry = MONO_NEVER;
        s->fresh = false;
        session_supervise(s, now);
        session_send_plain(s, MQTTSN_DISCONNECT);
        return;
    }
    if (s->state == SESSION_OFFLINE) {
        session_send_plain(s, MQTTSN_DISCONNECT);
    } else {
        session_go_offline(s, false, true);
    }
}

void session_pingreq(struct session *s, struct mono now)
{
    switch (s->state) {
    case SESSION_ACTIVE:
        s->fresh = false;
        s->heard = true;
        session_send_plain(s, MQTTSN_PINGRESP);
        session_down_unblock(s, now);
        break;
    case SESSION_ASLEEP:
        s->state = SESSION_AWAKE;
        s->awake_left = s->queue_count;
        session_supervise(s, now);
        session_down_resume(s, now);
        break;
    case SESSION_AWAKE: /* sent again: what is under way may have been lost */
        session_down_resume(s, now);
        break;
    case SESSION_OFFLINE:
        session_send_plain(s, MQTTSN_DISCONNECT);
        break;
    default: /* CONNECT is under way */
        break;
    }
}
