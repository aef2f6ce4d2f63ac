/* From the device to the broker: REGISTER, PUBLISH, SUBSCRIBE, UNSUBSCRIBE and the broker's answers. */
#include "mqttsn/session_internal.h"

#include "mqtt/topic.h"
#include "mqttsn/predefined.h"

#include <stdlib.h>

/* A token is the turn, which tells requests apart, and the message id. */
static uint64_t token_of(const struct request *r)
{
    return (uint64_t)r->turn << 16 | r->msg_id;
}

static bool is_publish(const struct request *r)
{
    return r->kind == REQUEST_PUBLISH1 || r->kind == REQUEST_PUBLISH2;
}

static void count_awaited(struct session *s, int n)
{
    metric_add(&s->env->metrics->awaited, (uint64_t)(int64_t)n);
}

static void remove_request(struct session *s, struct request *r)
{
    if (is_publish(r)) {
        count_awaited(s, -1);
    }
    s->requests_count--;
    memmove(r, r + 1, (size_t)(&s->requests[s->requests_count] - r) * sizeof(*r));
}

/* NULL at the ceiling; then the oldest message that waits for a PUBREL that never came is given up. */
static struct request *add_request(struct session *s, enum request_kind kind, uint16_t msg_id)
{
    if (s->requests_count == s->requests_cap && s->requests_cap < REQUESTS_MAX) {
        uint8_t cap = (uint8_t)(s->requests_cap ? s->requests_cap * 2 : 2);
        struct request *requests = realloc(s->requests, cap * sizeof(*requests));
        if (requests) {
            s->requests = requests;
            s->requests_cap = cap;
        }
    }
    for (uint8_t i = 0; s->requests_count >= REQUESTS_MAX && i < s->requests_count; i++) {
        if (s->requests[i].kind == REQUEST_RELEASE) {
            remove_request(s, &s->requests[i]);
        }
    }
    if (s->requests_count >= s->requests_cap) {
        return NULL;
    }
    s->turn = (uint16_t)(s->turn == UINT16_MAX ? 1 : s->turn + 1);
    struct request *r = &s->requests[s->requests_count++];
    *r = (struct request){.msg_id = msg_id, .turn = s->turn, .kind = (uint8_t)kind};
    if (is_publish(r)) {
        count_awaited(s, 1);
    }
    return r;
}

static struct request *find_request(struct session *s, enum request_kind kind, uint16_t msg_id)
{
    for (uint8_t i = 0; i < s->requests_count; i++) {
        if (s->requests[i].kind == kind && s->requests[i].msg_id == msg_id) {
            return &s->requests[i];
        }
    }
    return NULL;
}

static struct request *find_token(struct session *s, uint64_t token)
{
    for (uint8_t i = 0; i < s->requests_count; i++) {
        if (token_of(&s->requests[i]) == token) {
            return &s->requests[i];
        }
    }
    return NULL;
}

bool session_up_busy(const struct session *s)
{
    for (uint8_t i = 0; i < s->requests_count; i++) {
        if (s->requests[i].kind != REQUEST_RELEASE) {
            return true;
        }
    }
    return false;
}

void session_up_forget_requests(struct session *s, bool all)
{
    for (uint8_t i = s->requests_count; i > 0; i--) {
        if (all || s->requests[i - 1].kind != REQUEST_RELEASE) {
            remove_request(s, &s->requests[i - 1]);
        }
    }
}

/* What the broker's refusal (MQTT 5 reason code) means to the device. */
static uint8_t return_code(uint8_t reason)
{
    switch (reason) {
    case 0x90: /* topic name invalid */
        return MQTTSN_INVALID_TOPIC_ID;
    case 0x89: /* server busy */
    case 0x93: /* receive maximum exceeded */
    case 0x96: /* message rate too high */
    case 0x97: /* quota exceeded */
        return MQTTSN_CONGESTION;
    default:
        return reason < 0x80 ? MQTTSN_ACCEPTED : MQTTSN_NOT_SUPPORTED;
    }
}

static void count_code(struct session *s, uint8_t code)
{
    if (code != MQTTSN_ACCEPTED) {
        metric_add(&s->env->metrics->rejected, 1);
    }
}

static void send_puback(struct session *s, uint16_t topic_id, uint16_t msg_id, uint8_t code)
{
    struct mqttsn_packet p = {.type = MQTTSN_PUBACK, .puback = {topic_id, msg_id, code}};
    count_code(s, code);
    session_send(s, &p);
}

static void send_msg_id(struct session *s, enum mqttsn_type type, uint16_t msg_id)
{
    struct mqttsn_packet p = {.type = type, .pubrec = {msg_id}};
    session_send(s, &p);
}

static uint8_t code_of_err(enum err e)
{
    return e == E_OK                                     ? MQTTSN_ACCEPTED
           : e == E_FULL || e == E_AGAIN || e == E_NOMEM ? MQTTSN_CONGESTION
                                                         : MQTTSN_NOT_SUPPORTED;
}

bool session_topic_allowed(struct bytes topic)
{
    return topic_safe(topic) && !bytes_starts_with(topic, BYTES("$CONTROL"));
}

void session_up_register(struct session *s, const struct mqttsn_packet *p)
{
    struct topics_entry *e = NULL;
    uint8_t code = MQTTSN_NOT_SUPPORTED;
    if (topic_name_valid(p->register_.topic) && session_topic_allowed(p->register_.topic)) {
        code = code_of_err(topics_add(&s->topics, p->register_.topic, &e));
    }
    if (e) {
        e->known = e->asked = true;
        e->refused = false;
    }
    struct mqttsn_packet ack = {.type = MQTTSN_REGACK, .regack = {e ? e->id : 0, p->register_.msg_id, code}};
    count_code(s, code);
    session_send(s, &ack);
}

/* The two characters of a short topic name; `room` holds them. */
static struct bytes short_name(uint16_t id, uint8_t room[2])
{
    room[0] = (uint8_t)(id >> 8);
    room[1] = (uint8_t)id;
    return bytes_make(room, 2);
}

/* Empty: the device means no topic that we know. */
static struct bytes publish_topic(struct session *s, const struct mqttsn_topic *t, uint8_t room[2])
{
    struct bytes name = {0};
    if (t->type == MQTTSN_TOPIC_SHORT) {
        name = short_name(t->id, room);
        return topic_name_valid(name) && session_topic_allowed(name) ? name : (struct bytes){0};
    }
    if (mqttsn_topic_id_reserved(t->id)) {
        return name;
    }
    if (t->type == MQTTSN_TOPIC_PREDEFINED) {
        return predefined_topic(s->env->predefined, session_client_id(s), t->id);
    }
    const struct topics_entry *e = topics_by_id(&s->topics, t->id);
    return e ? topics_name(e) : name;
}

/* QoS 1 and 2: what came before with the same message id. true: this PUBLISH is dealt with. */
static bool seen_before(struct session *s, const struct mqttsn_packet *p)
{
    uint16_t msg_id = p->publish.msg_id;
    if (find_request(s, REQUEST_RELEASE, msg_id) && p->publish.qos == 2) {
        send_msg_id(s, MQTTSN_PUBREC, msg_id);
        return true;
    }
    struct request *r = find_request(s, p->publish.qos == 2 ? REQUEST_PUBLISH2 : REQUEST_PUBLISH1, msg_id);
    if (r && (p->publish.dup || p->publish.qos == 2)) {
        return true; /* sent again while the broker's answer is awaited */
    }
    if (r) {
        remove_request(s, r); /* the device gave the old one up and uses its id for another message */
    }
    return false;
}

void session_up_publish(struct session *s, const struct mqttsn_packet *p)
{
    uint8_t room[2];
    uint8_t qos = p->publish.qos == MQTTSN_QOS_MINUS_ONE ? 0 : p->publish.qos;
    if (qos > 0 && seen_before(s, p)) {
        return;
    }
    struct session_message m = {.topic = publish_topic(s, &p->publish.topic, room),
                                .payload = p->publish.payload,
                                .qos = qos,
                                .retain = p->publish.retain};
    if (m.topic.len == 0) {
        if (p->publish.qos != MQTTSN_QOS_MINUS_ONE) {
            send_puback(s, p->publish.topic.id, p->publish.msg_id, MQTTSN_INVALID_TOPIC_ID);
        }
        return;
    }
    struct request *r = NULL;
    enum err e = E_OK;
    if (qos > 0) {
        if (s->link == LINK_OPENING) {
            return; /* known soon: the device sends again */
        }
        r = add_request(s, qos == 1 ? REQUEST_PUBLISH1 : REQUEST_PUBLISH2, p->publish.msg_id);
        e = r ? E_OK : E_FULL;
    }
    if (r) {
        r->topic_id = p->publish.topic.id;
    }
    if (e == E_OK && s->link == LINK_NONE) { /* asleep, and the broker away */
        e = E_AGAIN;
    }
    if (e == E_OK) {
        e = s->env->ops->publish(s->owner, &m, r ? token_of(r) : 0);
    }
    if (e == E_OK) {
        metric_add(&s->env->metrics->received, 1);
        return;
    }
    if (r) {
        remove_request(s, r);
    }
    if (p->publish.qos != MQTTSN_QOS_MINUS_ONE) {
        send_puback(s, p->publish.topic.id, p->publish.msg_id, code_of_err(e));
    }
}

void session_up_pubrel(struct session *s, uint16_t msg_id)
{
    struct request *r = find_request(s, REQUEST_RELEASE, msg_id);
    if (r) {
        remove_request(s, r);
    }
    send_msg_id(s, MQTTSN_PUBCOMP, msg_id); /* also for one that is unknown: the PUBCOMP was lost */
}

void session_on_published(struct session *s, uint64_t token, uint8_t reason, struct mono now)
{
    struct request *r = find_token(s, token);
    if (!r || !is_publish(r)) {
        return; /* the will, or given up by the device */
    }
    uint8_t code = return_code(reason);
    if (r->kind == REQUEST_PUBLISH2 && code == MQTTSN_ACCEPTED) {
        r->kind = REQUEST_RELEASE;
        count_awaited(s, -1);
        send_msg_id(s, MQTTSN_PUBREC, r->msg_id);
    } else {
        struct request copy = *r;
        remove_request(s, r);
        send_puback(s, copy.topic_id, copy.msg_id, code);
    }
    session_down_pump(s, now);
}

/* --- subscriptions */

static struct subscription *find_subscription(const struct session *s, struct bytes filter)
{
    for (uint16_t i = 0; i < s->subs_count; i++) {
        if (bytes_equal(bytes_make(s->subs[i].filter, s->subs[i].len), filter)) {
            return &s->subs[i];
        }
    }
    return NULL;
}

bool session_subscribed_predefined(const struct session *s, struct bytes topic)
{
    const struct subscription *sub = find_subscription(s, topic);
    return sub && sub->predefined;
}

/* `turn`: of the request that asks for it. */
static enum err note_subscription(struct session *s, struct bytes filter, uint8_t qos, bool is_predefined,
                                  uint16_t turn)
{
    struct subscription *sub = find_subscription(s, filter);
    if (sub) {
        sub->qos = qos;
        sub->turn = turn;
        sub->predefined = sub->predefined || is_predefined;
        return E_OK;
    }
    if (s->subs_count >= SUBSCRIPTIONS_MAX || filter.len > SUBSCRIPTION_BYTES_MAX - s->subs_bytes) {
        return E_FULL;
    }
    struct subscription *subs = realloc(s->subs, (s->subs_count + 1u) * sizeof(*subs));
    if (!subs) {
        return E_NOMEM;
    }
    s->subs = subs;
    uint8_t *copy = malloc(filter.len);
    if (!copy) {
        return E_NOMEM;
    }
    memcpy(copy, filter.data, filter.len);
    subs[s->subs_count++] = (struct subscription){
        .filter = copy, .len = (uint16_t)filter.len, .qos = qos, .turn = turn, .predefined = is_predefined};
    s->subs_bytes = (uint16_t)(s->subs_bytes + filter.len);
    return E_OK;
}

static void drop_subscription(struct session *s, struct subscription *sub)
{
    s->subs_bytes = (uint16_t)(s->subs_bytes - sub->len);
    free(sub->filter);
    *sub = s->subs[--s->subs_count];
}

/* The broker's answer to the request `turn`: what it did not grant is not asked for again. */
static void settle_subscription(struct session *s, uint16_t turn, bool granted)
{
    for (uint16_t i = 0; i < s->subs_count; i++) {
        struct subscription *sub = &s->subs[i];
        if (sub->turn == turn) {
            sub->turn = 0;
            sub->granted = sub->granted || granted;
            if (!sub->granted) {
                drop_subscription(s, sub);
            }
            return;
        }
    }
}

void session_up_forget_subscriptions(struct session *s)
{
    for (uint16_t i = 0; i < s->subs_count; i++) {
        free(s->subs[i].filter);
    }
    free(s->subs);
    s->subs = NULL;
    s->subs_count = 0;
    s->subs_bytes = 0;
}

void session_up_resubscribe(struct session *s)
{
    for (uint16_t i = 0; i < s->subs_count; i++) {
        struct bytes filter = bytes_make(s->subs[i].filter, s->subs[i].len);
        /* At the ceiling of the link's output (E_FULL) the rest is lost: too many to resume. */
        if (s->env->ops->subscribe(s->owner, filter, s->subs[i].qos, 0) != E_OK) {
            metric_add(&s->env->metrics->rejected, 1);
        }
    }
}

/* The filter that (UN)SUBSCRIBE means; empty: none. */
static struct bytes subscribe_filter(struct session *s, const struct mqttsn_topic *t, uint8_t room[2])
{
    struct bytes filter;
    switch (t->type) {
    case MQTTSN_TOPIC_NORMAL:
        filter = t->name;
        break;
    case MQTTSN_TOPIC_SHORT:
        filter = short_name(t->id, room);
        break;
    default:
        return mqttsn_topic_id_reserved(t->id) ? (struct bytes){0}
                                               : predefined_topic(s->env->predefined, session_client_id(s), t->id);
    }
    return topic_filter_valid(filter) && session_topic_allowed(filter) ? filter : (struct bytes){0};
}

static void send_suback(struct session *s, uint8_t qos, uint16_t topic_id, uint16_t msg_id, uint8_t code)
{
    struct mqttsn_packet p = {.type = MQTTSN_SUBACK, .suback = {qos, topic_id, msg_id, code}};
    count_code(s, code);
    session_send(s, &p);
}

/* The topic id to be told in SUBACK: 0 with wildcards (6.10) and for short names. */
static enum err subscribe_topic_id(struct session *s, const struct mqttsn_topic *t, uint16_t *id)
{
    *id = t->type == MQTTSN_TOPIC_PREDEFINED ? t->id : 0;
    if (t->type != MQTTSN_TOPIC_NORMAL || !topic_name_valid(t->name)) {
        return E_OK;
    }
    struct topics_entry *entry;
    enum err e = topics_add(&s->topics, t->name, &entry);
    if (e == E_OK) {
        *id = entry->id;
    }
    return e;
}

void session_up_subscribe(struct session *s, const struct mqttsn_packet *p)
{
    uint8_t room[2];
    const struct mqttsn_topic *t = &p->subscribe.topic;
    uint16_t msg_id = p->subscribe.msg_id, topic_id = 0;
    if (s->link == LINK_OPENING || find_request(s, REQUEST_SUBSCRIBE, msg_id)) {
        return; /* sent again, or to be sent again */
    }
    struct bytes filter = subscribe_filter(s, t, room);
    if (filter.len == 0) {
        bool bad_id = t->type == MQTTSN_TOPIC_PREDEFINED;
        send_suback(s, 0, t->id, msg_id, bad_id ? MQTTSN_INVALID_TOPIC_ID : MQTTSN_NOT_SUPPORTED);
        return;
    }
    struct request *r = NULL;
    enum err e = s->link == LINK_UP ? subscribe_topic_id(s, t, &topic_id) : E_AGAIN;
    if (e == E_OK) {
        r = add_request(s, REQUEST_SUBSCRIBE, msg_id);
        e = r ? note_subscription(s, filter, p->subscribe.qos, t->type == MQTTSN_TOPIC_PREDEFINED, r->turn) : E_FULL;
    }
    if (r) {
        r->topic_id = topic_id;
        r->known = t->type == MQTTSN_TOPIC_NORMAL && topic_id != 0;
    }
    if (e == E_OK) {
        e = s->env->ops->subscribe(s->owner, filter, p->subscribe.qos, token_of(r));
    }
    if (e != E_OK) {
        if (r) {
            settle_subscription(s, r->turn, false);
            remove_request(s, r);
        }
        send_suback(s, 0, topic_id, msg_id, code_of_err(e));
    }
}

void session_up_unsubscribe(struct session *s, const struct mqttsn_packet *p)
{
    uint8_t room[2];
    uint16_t msg_id = p->unsubscribe.msg_id;
    if (s->link != LINK_UP || find_request(s, REQUEST_UNSUBSCRIBE, msg_id)) {
        return; /* sent again, or to be sent again */
    }
    struct bytes filter = subscribe_filter(s, &p->unsubscribe.topic, room);
    if (filter.len == 0) {
        send_msg_id(s, MQTTSN_UNSUBACK, msg_id); /* never subscribed to: nothing to do */
        return;
    }
    struct request *r = add_request(s, REQUEST_UNSUBSCRIBE, msg_id);
    if (r && s->env->ops->unsubscribe(s->owner, filter, token_of(r)) == E_OK) {
        struct subscription *sub = find_subscription(s, filter);
        if (sub) {
            drop_subscription(s, sub);
        }
    } else if (r) {
        remove_request(s, r); /* UNSUBACK has no return code: the device will try again */
    }
}

void session_on_subscribed(struct session *s, uint64_t token, uint8_t reason, struct mono now)
{
    struct request *found = find_token(s, token);
    if (!found || (found->kind != REQUEST_SUBSCRIBE && found->kind != REQUEST_UNSUBSCRIBE)) {
        return; /* a subscription that was resumed */
    }
    struct request r = *found;
    remove_request(s, found);
    if (r.kind == REQUEST_UNSUBSCRIBE) {
        send_msg_id(s, MQTTSN_UNSUBACK, r.msg_id);
        return;
    }
    uint8_t code = return_code(reason);
    settle_subscription(s, r.turn, code == MQTTSN_ACCEPTED);
    struct topics_entry *e = r.known ? topics_by_id(&s->topics, r.topic_id) : NULL;
    if (code == MQTTSN_ACCEPTED && e) {
        e->known = e->asked = true;
        e->refused = false;
    }
    send_suback(s, reason <= 2 ? reason : 0, r.topic_id, r.msg_id, code);
    session_down_pump(s, now);
}
