/* From the broker to the device: the queue, one message under way at a time, REGISTER before it where needed. */
#include "mqttsn/session_internal.h"

#include "base/log.h"
#include "mqttsn/predefined.h"

#include <stdlib.h>

LOG_POINT(log_dropped, "mqttsn.dropped", LOG_WARNING, "message for a client dropped");

static void add_bytes(struct session *s, size_t n)
{
    s->queue_bytes += (uint32_t)n;
    metric_add(&s->env->metrics->queued_bytes, n);
}

static void free_message(struct session *s, struct queued *m)
{
    s->queue_count--;
    s->queue_bytes -= m->len;
    metric_add(&s->env->metrics->queued_bytes, (uint64_t)0 - m->len);
    free(m);
}

/* Takes the message behind `before` (NULL: the head) out. */
static struct queued *unlink_after(struct session *s, struct queued *before)
{
    struct queued *m = before ? before->next : s->head;
    if (before) {
        before->next = m->next;
    } else {
        s->head = m->next;
    }
    if (s->tail == m) {
        s->tail = before;
    }
    return m;
}

static void acknowledge(struct session *s, uint16_t packet_id)
{
    if (packet_id != 0 && s->link == LINK_UP) {
        s->env->ops->ack(s->owner, packet_id);
    }
}

static void count_dropped(struct session *s, const char *why)
{
    char id[SESSION_CLIENT_ID_MAX + 8];
    metric_add(&s->env->metrics->dropped, 1);
    log_emit(&log_dropped, "client=%s reason=%s", log_escape(session_client_id(s), id, sizeof(id)), why);
}

static void drop_after(struct session *s, struct queued *before, const char *why)
{
    struct queued *m = unlink_after(s, before);
    count_dropped(s, why);
    acknowledge(s, m->packet_id);
    free_message(s, m);
}

/* The message under way is settled. */
static void finish_head(struct session *s, const char *dropped)
{
    struct queued *m = unlink_after(s, NULL);
    if (dropped) {
        count_dropped(s, dropped);
    } else {
        metric_add(&s->env->metrics->delivered, 1);
    }
    acknowledge(s, m->packet_id);
    free_message(s, m);
    s->out = OUT_NONE;
    s->waiting = false;
    s->retry = MONO_NEVER;
    if (s->state == SESSION_AWAKE && s->awake_left > 0) {
        s->awake_left--;
    }
}

/* --- sending */

static void send_register(struct session *s)
{
    const struct topics_entry *e = topics_by_id(&s->topics, s->head->topic_id);
    struct mqttsn_packet p = {.type = MQTTSN_REGISTER,
                              .register_ = {s->head->topic_id, s->out_msg_id, e ? topics_name(e) : BYTES("?")}};
    session_send(s, &p);
}

static void send_publish(struct session *s, const struct queued *m, bool dup)
{
    struct mqttsn_packet p = {.type = MQTTSN_PUBLISH,
                              .publish = {.dup = dup && !s->no_dup,
                                          .qos = m->qos,
                                          .retain = m->retain,
                                          .topic = {.type = m->topic_type, .id = m->topic_id},
                                          .msg_id = m->qos > 0 ? s->out_msg_id : 0,
                                          .payload = bytes_make(m->payload, m->len)}};
    session_send(s, &p);
}

/* Sends what is under way, first or again. */
static void transmit(struct session *s, bool again, struct mono now)
{
    struct mqttsn_packet pubrel = {.type = MQTTSN_PUBREL, .pubrel = {s->out_msg_id}};
    s->retry = mono_add_ms(now, s->env->retry_interval_ms);
    if (again) {
        metric_add(&s->env->metrics->retransmitted, 1);
    }
    switch (s->out) {
    case OUT_REGISTER:
        send_register(s);
        break;
    case OUT_PUBLISH:
        send_publish(s, s->head, again);
        break;
    case OUT_PUBREL:
        session_send(s, &pubrel);
        break;
    default:
        s->retry = MONO_NEVER;
        break;
    }
}

static void start(struct session *s, enum out_stage stage, struct mono now)
{
    s->next_msg_id = (uint16_t)(s->next_msg_id == UINT16_MAX ? 1 : s->next_msg_id + 1);
    s->out = (uint8_t)stage;
    s->out_msg_id = s->next_msg_id;
    s->out_tries = 0;
    s->heard = false;
    s->waiting = false;
    transmit(s, false, now);
}

/* All is delivered that was taken: time for what was left with the broker, which brings it on a new link. */
static void fetch_overflow(struct session *s)
{
    if (s->overflow && !s->head && s->link == LINK_UP && !session_up_busy(s)) {
        session_link_close(s, false);
        session_link_open(s, false);
    }
}

static bool may_send(const struct session *s)
{
    return s->state == SESSION_ACTIVE || s->state == SESSION_AWAKE;
}

void session_down_pump(struct session *s, struct mono now)
{
    while (may_send(s) && s->out == OUT_NONE) {
        if (s->state == SESSION_AWAKE && (!s->head || s->awake_left == 0)) {
            s->state = SESSION_ASLEEP;
            session_supervise(s, now);
            session_send_plain(s, MQTTSN_PINGRESP);
            fetch_overflow(s);
            return;
        }
        if (!s->head) {
            fetch_overflow(s);
            return;
        }
        const struct queued *m = s->head;
        const struct topics_entry *e =
            m->topic_type == MQTTSN_TOPIC_NORMAL ? topics_by_id(&s->topics, m->topic_id) : NULL;
        if (m->topic_type == MQTTSN_TOPIC_NORMAL && (!e || e->refused)) {
            finish_head(s, "topic-refused");
        } else if (e && !e->known) {
            start(s, OUT_REGISTER, now);
        } else if (m->qos == 0) {
            send_publish(s, m, false);
            finish_head(s, NULL);
        } else {
            start(s, OUT_PUBLISH, now);
        }
    }
}

void session_down_resume(struct session *s, struct mono now)
{
    if (s->out != OUT_NONE && may_send(s)) {
        s->out_tries = 0;
        s->heard = false;
        s->waiting = false;
        transmit(s, true, now);
    } else {
        session_down_pump(s, now);
    }
}

void session_down_unblock(struct session *s, struct mono now)
{
    if (s->waiting && s->state == SESSION_ACTIVE) {
        session_down_resume(s, now);
    }
}

void session_down_timeout(struct session *s, struct mono now)
{
    if (s->out == OUT_NONE || !may_send(s)) {
        s->retry = MONO_NEVER;
        return;
    }
    if (s->out_tries < s->env->retry_count) {
        s->out_tries++;
        transmit(s, true, now);
        return;
    }
    if (s->heard) { /* it is there, and does not take this */
        struct topics_entry *e = s->out == OUT_REGISTER ? topics_by_id(&s->topics, s->head->topic_id) : NULL;
        if (e) {
            e->refused = true;
        }
        finish_head(s, "unanswered");
        session_down_pump(s, now);
        return;
    }
    s->waiting = true;
    s->retry = MONO_NEVER;
    if (s->state == SESSION_AWAKE) {
        s->state = SESSION_ASLEEP; /* gone to sleep again, or out of reach: without PINGRESP */
    }
}

/* --- the device's answers */

void session_down_regack(struct session *s, const struct mqttsn_packet *p, struct mono now)
{
    if (s->out != OUT_REGISTER || p->regack.msg_id != s->out_msg_id) {
        return;
    }
    struct topics_entry *e = topics_by_id(&s->topics, s->head->topic_id);
    if (p->regack.code == MQTTSN_CONGESTION) {
        return; /* asked again at the next retry */
    }
    if (e) {
        e->known = p->regack.code == MQTTSN_ACCEPTED;
        e->refused = !e->known;
    }
    s->out = OUT_NONE;
    s->retry = MONO_NEVER;
    session_down_pump(s, now);
}

/* The device does not know the topic id of the message under way: once more with REGISTER. */
static void register_again(struct session *s)
{
    struct queued *m = s->head;
    struct topics_entry *e = NULL;
    if (m->topic_type == MQTTSN_TOPIC_NORMAL) {
        e = topics_by_id(&s->topics, m->topic_id);
    } else {
        uint8_t room[2] = {(uint8_t)(m->topic_id >> 8), (uint8_t)m->topic_id};
        struct bytes name = m->topic_type == MQTTSN_TOPIC_SHORT
                                ? bytes_make(room, 2)
                                : predefined_topic(s->env->predefined, session_client_id(s), m->topic_id);
        if (name.len > 0 && topics_add(&s->topics, name, &e) != E_OK) {
            e = NULL;
        }
    }
    if (!e || m->reregistered) {
        finish_head(s, "invalid-topic-id");
        return;
    }
    m->reregistered = true;
    m->topic_type = MQTTSN_TOPIC_NORMAL;
    m->topic_id = e->id;
    e->known = false;
    s->out = OUT_NONE;
    s->retry = MONO_NEVER;
}

void session_down_puback(struct session *s, const struct mqttsn_packet *p, struct mono now)
{
    bool under_way = s->out == OUT_PUBLISH && p->puback.msg_id == s->out_msg_id;
    if (!under_way) {
        /* A PUBLISH of QoS 0 that the device could not place: REGISTER goes before the next one. */
        struct topics_entry *e = topics_by_id(&s->topics, p->puback.topic_id);
        if (e && p->puback.code == MQTTSN_INVALID_TOPIC_ID) {
            e->known = false;
        }
        return;
    }
    switch (p->puback.code) {
    case MQTTSN_ACCEPTED:
        if (s->head->qos == 2) {
            return; /* not an answer to QoS 2 */
        }
        finish_head(s, NULL);
        break;
    case MQTTSN_CONGESTION:
        return; /* sent again at the next retry */
    case MQTTSN_INVALID_TOPIC_ID:
        register_again(s);
        break;
    default:
        if (s->out_tries > 0 && !s->no_dup) {
            s->no_dup = true;
            transmit(s, true, now);
            return;
        }
        finish_head(s, "not-supported");
        break;
    }
    session_down_pump(s, now);
}

void session_down_pubrec(struct session *s, uint16_t msg_id, struct mono now)
{
    if (s->out == OUT_PUBLISH && s->head->qos == 2 && msg_id == s->out_msg_id) {
        s->out = OUT_PUBREL;
        s->out_tries = 0;
        s->heard = false;
        transmit(s, false, now);
        return;
    }
    /* Sent again, or of a message that we have forgotten: let the device finish. */
    struct mqttsn_packet p = {.type = MQTTSN_PUBREL, .pubrel = {msg_id}};
    session_send(s, &p);
}

void session_down_pubcomp(struct session *s, uint16_t msg_id, struct mono now)
{
    if (s->out == OUT_PUBREL && msg_id == s->out_msg_id) {
        finish_head(s, NULL);
        session_down_pump(s, now);
    }
}

/* --- the queue */

/* How the topic will be named to the device. E_FULL: its table of ids is full. */
static enum err resolve(struct session *s, struct bytes topic, uint8_t *type, uint16_t *id)
{
    struct topics_entry *e = topics_by_name(&s->topics, topic);
    struct bytes client = session_client_id(s);
    uint16_t predefined = e && e->known ? 0 : predefined_id(s->env->predefined, client, topic);
    if (predefined != 0 && (!e || session_subscribed_predefined(s, topic))) {
        *type = MQTTSN_TOPIC_PREDEFINED;
        *id = predefined;
        return E_OK;
    }
    if (!e && topic.len == 2) {
        *type = MQTTSN_TOPIC_SHORT;
        *id = (uint16_t)(topic.data[0] << 8 | topic.data[1]);
        return E_OK;
    }
    enum err err = e ? E_OK : topics_add(&s->topics, topic, &e);
    if (err == E_OK) {
        *type = MQTTSN_TOPIC_NORMAL;
        *id = e->id;
    }
    return err;
}

/* Nothing before it, the device is there, and no answer is awaited: no need to keep a copy. */
static bool send_at_once(struct session *s, const struct session_message *m, uint8_t type, uint16_t id)
{
    const struct topics_entry *e = type == MQTTSN_TOPIC_NORMAL ? topics_by_id(&s->topics, id) : NULL;
    if (m->qos > 0 || m->payload.len > SESSION_PAYLOAD_MAX || s->head || s->state != SESSION_ACTIVE ||
        (e && (!e->known || e->refused))) {
        return false;
    }
    struct mqttsn_packet p = {
        .type = MQTTSN_PUBLISH,
        .publish = {.retain = m->retain, .topic = {.type = type, .id = id}, .payload = m->payload}};
    session_send(s, &p);
    metric_add(&s->env->metrics->delivered, 1);
    return true;
}

static bool has_room(const struct session *s, size_t len)
{
    return s->queue_count < s->env->queue_max && s->queue_count < UINT16_MAX &&
           len <= SESSION_QUEUE_BYTES_MAX - s->queue_bytes &&
           metric_get(&s->env->metrics->queued_bytes) + len <= SESSION_QUEUE_TOTAL_MAX;
}

/* Drops messages of QoS 0, oldest first, until `len` bytes fit; not the one under way. */
static bool make_room(struct session *s, size_t len)
{
    struct queued *before = s->out != OUT_NONE ? s->head : NULL;
    while (!has_room(s, len)) {
        struct queued *m = before ? before->next : s->head;
        if (!m) {
            return false;
        }
        if (m->qos == 0) {
            drop_after(s, before, "queue-full");
        } else {
            before = m;
        }
    }
    return true;
}

void session_on_message(struct session *s, const struct session_message *m, struct mono now)
{
    uint8_t type;
    uint16_t id;
    enum err e = resolve(s, m->topic, &type, &id);
    if (e == E_OK && send_at_once(s, m, type, id)) {
        return;
    }
    struct queued *q = NULL;
    bool too_large = m->payload.len > SESSION_PAYLOAD_MAX;
    if (e == E_OK && !too_large && !(s->overflow && m->packet_id != 0) && make_room(s, m->payload.len)) {
        q = malloc(sizeof(*q) + m->payload.len);
    }
    if (!q && e == E_OK && !too_large && m->packet_id != 0) {
        s->overflow = true; /* not acknowledged: the broker keeps it, and what comes behind it */
        return;
    }
    if (!q) {
        count_dropped(s, too_large ? "too-large" : e == E_OK ? "queue-full" : "topics-full");
        acknowledge(s, m->packet_id);
        return;
    }
    *q = (struct queued){.len = (uint32_t)m->payload.len,
                         .topic_id = id,
                         .packet_id = m->packet_id,
                         .topic_type = type,
                         .qos = m->qos,
                         .retain = m->retain};
    if (m->payload.len > 0) {
        memcpy(q->payload, m->payload.data, m->payload.len);
    }
    if (s->tail) {
        s->tail->next = q;
    } else {
        s->head = q;
    }
    s->tail = q;
    s->queue_count++;
    add_bytes(s, q->len);
    if (s->state == SESSION_ACTIVE) { /* AWAKE: what comes now waits for the next PINGREQ */
        session_down_pump(s, now);
    }
}

void session_down_mark_stale(struct session *s)
{
    s->overflow = false;
    for (struct queued *m = s->head; m; m = m->next) {
        m->stale = m->stale || m->packet_id != 0;
        m->packet_id = 0;
    }
}

/* Drops the messages that `drop` chooses, in silence: somebody else keeps them. */
static void filter_queue(struct session *s, bool (*drop)(const struct queued *m), bool spare_head)
{
    struct queued *before = spare_head ? s->head : NULL;
    for (struct queued *m = before ? before->next : s->head; m;) {
        struct queued *next = m->next;
        if (drop(m)) {
            free_message(s, unlink_after(s, before));
        } else {
            before = m;
        }
        m = next;
    }
}

static bool is_stale(const struct queued *m)
{
    return m->stale;
}

static bool is_not_qos2(const struct queued *m)
{
    return m->qos != 2;
}

static bool is_any(const struct queued *m)
{
    (void)m;
    return true;
}

void session_down_drop_stale(struct session *s)
{
    filter_queue(s, is_stale, s->out != OUT_NONE);
}

void session_down_clear(struct session *s, bool keep_qos2)
{
    bool keep_out = keep_qos2 && s->head && s->head->qos == 2; /* so that the device does not get it twice */
    filter_queue(s, keep_qos2 ? is_not_qos2 : is_any, false);
    if (!keep_out) {
        s->out = OUT_NONE;
    }
    s->waiting = false;
    s->retry = MONO_NEVER;
}
