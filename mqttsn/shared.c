/* The broker's side with one connection for all clients (option `aggregate`). */
#include "mqttsn/shared.h"

#include "base/log.h"
#include "mqtt/topic.h"

#include <stdlib.h>

LOG_POINT(
    log_window, "mqttsn.window", LOG_NOTICE,
    "the broker takes few unacknowledged messages of all devices together; in mosquitto: max_inflight_messages 1000");

/* A broker's window that slows down many devices at once. */
#define SMALL_WINDOW 100u

/* Tokens at the uplink: a publish carries its client and the session's token, a request its place in the table. */
#define REQUEST_TAG ((uint64_t)1 << 62)
#define SLOT_BITS 21
#define GENERATION_BITS 9
#define GENERATION_MASK ((1u << GENERATION_BITS) - 1)

_Static_assert(1u << SLOT_BITS > 1000000 * 2, "clients that are there and clients that are away have slots");

static struct shared *shared_of(const struct client *c)
{
    return c->gateway->shared;
}

static struct shared_ref ref_of(const struct client *c)
{
    return (struct shared_ref){c->slot, c->generation};
}

static struct client *client_of(const struct shared *s, struct shared_ref ref)
{
    bool valid = ref.slot > 0 && ref.slot < s->slot_count && s->slots[ref.slot].generation == ref.generation;
    return valid ? s->slots[ref.slot].client : NULL;
}

static uint64_t publish_token(const struct client *c, uint64_t token)
{
    return (uint64_t)c->slot << (32 + GENERATION_BITS) | (uint64_t)c->generation << 32 | (token & 0xffffffffu);
}

/* --- slots */

static enum err grow_slots(struct shared *s)
{
    if (s->slot_count < s->slot_cap) {
        return E_OK;
    }
    uint32_t cap = s->slot_cap ? s->slot_cap * 2 : 64;
    struct shared_slot *slots = cap <= 1u << SLOT_BITS ? realloc(s->slots, cap * sizeof(*slots)) : NULL;
    if (!slots) {
        return E_NOMEM;
    }
    s->slots = slots;
    s->slot_cap = cap;
    /* cppcheck-suppress memleak ; all three are in s */
    return E_OK;
}

/* Gives the client a slot if it has none. */
static enum err take_slot(struct client *c)
{
    struct shared *s = shared_of(c);
    uint32_t slot = s->first_free;
    if (c->slot != 0) {
        return E_OK;
    }
    if (slot != 0) {
        s->first_free = s->slots[slot].next_free;
    } else {
        enum err e = grow_slots(s);
        if (e != E_OK) {
            return e;
        }
        slot = s->slot_count++;
        s->slots[slot].generation = 0;
    }
    s->slots[slot].client = c;
    s->slots[slot].generation = (s->slots[slot].generation + 1) & GENERATION_MASK;
    c->slot = slot;
    c->generation = s->slots[slot].generation;
    return E_OK;
}

/* --- what the client has subscribed to */

static enum err note_filter(struct client *c, uint32_t id)
{
    for (uint16_t i = 0; i < c->filter_count; i++) {
        if (c->filters[i] == id) {
            return E_OK;
        }
    }
    uint32_t *grown = realloc(c->filters, (c->filter_count + 1u) * sizeof(*grown));
    if (!grown) {
        return E_NOMEM;
    }
    grown[c->filter_count++] = id; /* the session has a ceiling of subscriptions */
    c->filters = grown;
    return E_OK;
}

static void forget_filter(struct client *c, uint32_t id)
{
    for (uint16_t i = 0; i < c->filter_count; i++) {
        if (c->filters[i] == id) {
            c->filters[i] = c->filters[--c->filter_count];
            return;
        }
    }
}

/* The client does not want it any more. true: nobody does. */
static bool leave(struct client *c, struct filter *f)
{
    forget_filter(c, f->id);
    shared_filter_leave(f, ref_of(c));
    return f->count == 0;
}

static void give_up_subscriptions(struct client *c)
{
    struct shared *s = shared_of(c);
    while (c->filter_count > 0) {
        struct filter *f = shared_filter_by_id(s, c->filters[c->filter_count - 1]);
        if (!f) {
            c->filter_count--;
        } else if (leave(c, f)) {
            struct bytes text = bytes_make(f->text, f->len);
            /* Refused only when the link is going, and the subscription with it. */
            enum err e = uplink_unsubscribe(s->gateway->uplink, &text, 1, REQUEST_TAG | SHARED_REQUESTS_MAX);
            (void)e;
            shared_filter_destroy(s, f);
        }
    }
    free(c->filters);
    c->filters = NULL;
}

void shared_forget(struct client *c)
{
    struct shared *s = shared_of(c);
    if (c->slot == 0) {
        return;
    }
    give_up_subscriptions(c);
    s->slots[c->slot].client = NULL;
    s->slots[c->slot].next_free = s->first_free;
    s->first_free = c->slot;
    c->slot = 0;
}

/* --- requests */

static enum err take_request(struct shared *s, const struct client *c, uint64_t token, uint32_t filter_id,
                             uint64_t *uplink_token)
{
    uint32_t limit = s->request_count < SHARED_REQUESTS_MAX ? s->request_count : SHARED_REQUESTS_MAX;
    uint32_t at = 0;
    for (uint32_t i = 0; i < limit && s->requests[at = (s->request_hint + i) % limit].busy; i++) {
    }
    if (limit == 0 || s->requests[at].busy) {
        if (limit == SHARED_REQUESTS_MAX) {
            return E_FULL;
        }
        uint32_t count = limit ? limit * 2 : 64;
        struct shared_request *grown = realloc(s->requests, count * sizeof(*grown));
        if (!grown) {
            return E_NOMEM;
        }
        memset(grown + limit, 0, (count - limit) * sizeof(*grown));
        s->requests = grown;
        s->request_count = count;
        at = limit;
    }
    s->request_hint = at + 1;
    s->requests[at] = (struct shared_request){ref_of(c), token, filter_id, true};
    *uplink_token = REQUEST_TAG | at;
    return E_OK;
}

static void release_request(struct shared *s, uint64_t uplink_token)
{
    s->requests[uplink_token & ~REQUEST_TAG].busy = false;
}

static enum err answer_later(struct client *c, uint64_t token)
{
    struct shared *s = shared_of(c);
    if (s->answer_count == s->answer_cap) {
        size_t cap = s->answer_cap ? s->answer_cap * 2 : 64;
        struct shared_answer *grown = cap <= SHARED_REQUESTS_MAX ? realloc(s->answers, cap * sizeof(*grown)) : NULL;
        if (!grown) {
            return E_FULL;
        }
        s->answers = grown;
        s->answer_cap = cap;
    }
    s->answers[s->answer_count++] = (struct shared_answer){ref_of(c), token};
    turn_add(c->gateway->turn, &c->gateway->links_item);
    return E_OK;
}

bool shared_is_full(const struct shared *s)
{
    return s->first != NULL;
}

/* --- for the session */

static void ops_send(void *owner, const struct mqttsn_packet *p)
{
    struct client *c = owner;
    if (c->placed) {
        gateway_send(c->gateway, &c->place, p);
    }
}

static void ops_link_open(void *owner)
{
    client_wait(owner);
}

static void ops_link_close(void *owner, bool with_will)
{
    struct client *c = owner;
    (void)with_will; /* the session has published it */
    client_wait_no_longer(c);
    c->shared_up = false;
    if (c->slot != 0) {
        give_up_subscriptions(c);
    }
}

static enum err ops_publish(void *owner, const struct session_message *m, uint64_t token)
{
    struct client *c = owner;
    struct shared *s = shared_of(c);
    if (!c->shared_up) {
        return E_AGAIN;
    }
    uint64_t uplink_token = publish_token(c, token);
    if (s->first) {
        return shared_queue_add(s, m, uplink_token);
    }
    struct mqtt_publish p = {.topic = m->topic, .payload = m->payload, .qos = m->qos, .retain = m->retain};
    enum err e = uplink_publish(c->gateway->uplink, &p, uplink_token);
    return e == E_FULL ? shared_queue_add(s, m, uplink_token) : e;
}

static enum err ops_subscribe(void *owner, struct bytes text, uint8_t qos, uint64_t token)
{
    struct client *c = owner;
    struct shared *s = shared_of(c);
    struct filter *f;
    uint64_t uplink_token;
    if (!c->shared_up) {
        return E_AGAIN;
    }
    enum err e = shared_filter_add(s, text, ref_of(c), qos, &f);
    if (e != E_OK) {
        return e;
    }
    /* Also for a filter that others have: this client wants the retained messages. */
    e = note_filter(c, f->id);
    if (e == E_OK) {
        e = take_request(s, c, token, f->id, &uplink_token);
    }
    if (e == E_OK) {
        struct mqtt_subscription wanted = {.filter = text, .qos = shared_filter_qos(f), .subscription_id = f->id};
        e = uplink_subscribe(c->gateway->uplink, &wanted, 1, uplink_token);
        if (e != E_OK) {
            release_request(s, uplink_token);
        }
    }
    if (e != E_OK && leave(c, f)) {
        shared_filter_destroy(s, f);
    }
    return e;
}

static enum err ops_unsubscribe(void *owner, struct bytes text, uint64_t token)
{
    struct client *c = owner;
    struct shared *s = shared_of(c);
    struct filter *f = shared_filter_find(s, text);
    uint64_t uplink_token;
    if (!c->shared_up) {
        return E_AGAIN;
    }
    if (!f || !leave(c, f)) {
        return answer_later(c, token);
    }
    enum err e = take_request(s, c, token, 0, &uplink_token);
    if (e == E_OK) {
        e = uplink_unsubscribe(c->gateway->uplink, &text, 1, uplink_token);
        if (e != E_OK) {
            release_request(s, uplink_token);
        }
    }
    shared_filter_destroy(s, f);
    return e;
}

static void ops_ack(void *owner, uint16_t packet_id)
{
    (void)owner; /* messages come without: the gateway has taken charge of them */
    (void)packet_id;
}

const struct session_ops shared_session_ops = {.send = ops_send,
                                               .link_open = ops_link_open,
                                               .link_close = ops_link_close,
                                               .publish = ops_publish,
                                               .subscribe = ops_subscribe,
                                               .unsubscribe = ops_unsubscribe,
                                               .ack = ops_ack};

/* --- the link of each client, as far as there is one */

static void give_answers(struct shared *s)
{
    struct shared_answer *answers = s->answers;
    size_t count = s->answer_count;
    s->answers = NULL;
    s->answer_count = s->answer_cap = 0;
    for (size_t i = 0; i < count; i++) {
        struct client *c = client_of(s, answers[i].client);
        if (c) {
            session_on_subscribed(c->session, answers[i].token, 0, gateway_now(s->gateway));
            client_settle(c);
        }
    }
    free(answers);
}

void shared_turn_end(struct turn_item *item)
{
    struct gateway *g = (struct gateway *)(void *)((char *)item - offsetof(struct gateway, links_item));
    give_answers(g->shared);
    if (g->uplink && uplink_is_trying(g->uplink)) {
        return; /* known soon */
    }
    while (g->first_waiting) {
        struct client *c = g->first_waiting;
        client_wait_no_longer(c);
        bool up = !g->stopping && g->uplink && uplink_is_up(g->uplink) && take_slot(c) == E_OK;
        if (up) {
            c->shared_up = true;
            session_on_link_up(c->session, false, gateway_now(g));
        } else {
            metric_add(&g->metrics.refused, session_state(c->session) == SESSION_LINKING);
            session_on_link_down(c->session, false, gateway_now(g));
        }
        client_settle(c);
    }
}

static void lose_link(struct client *c)
{
    if (c->shared_up) {
        c->shared_up = false;
        c->filter_count = 0;
        session_on_link_down(c->session, false, gateway_now(c->gateway));
    }
}

static void on_down(void *ctx, bool refused)
{
    struct gateway *g = ctx;
    struct shared *s = g->shared;
    (void)refused;
    shared_queue_drop(s);
    shared_filters_finish(s);
    for (uint32_t i = 0; i < s->request_count; i++) {
        s->requests[i].busy = false;
    }
    clients_each(g, lose_link);
    clients_each(g, client_settle);
    turn_add(g->turn, &g->links_item);
}

static void drain_queue(struct gateway *g)
{
    enum err e = E_OK;
    while (g->shared->first && e != E_FULL) {
        e = shared_queue_publish(g->shared);
        if (e != E_OK && e != E_FULL) { /* the broker would not take it: the device hears nothing, and asks again */
            metric_add(&g->metrics.session.rejected, 1);
        }
    }
}

static void on_writable(void *ctx)
{
    drain_queue(ctx);
}

static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text)
{
    struct gateway *g = ctx;
    struct shared_ref ref = {(uint32_t)(token >> (32 + GENERATION_BITS)), (uint32_t)(token >> 32) & GENERATION_MASK};
    struct client *c = client_of(g->shared, ref);
    (void)reason_text;
    if (c) {
        session_on_published(c->session, token & 0xffffffffu, reason, gateway_now(g));
        client_settle(c);
    }
    /* Not only when on_writable says so, which waits for more of them: mosquitto without set_tcp_nodelay holds the next
     * acknowledgements back until we send something, or for 40 ms. */
    drain_queue(g);
}

static void on_subscribed(void *ctx, uint64_t token, const uint8_t *codes, size_t count)
{
    struct gateway *g = ctx;
    struct shared *s = g->shared;
    uint64_t at = token & ~REQUEST_TAG;
    if (at >= s->request_count || !s->requests[at].busy || count == 0) {
        return; /* nobody asks */
    }
    struct shared_request r = s->requests[at];
    s->requests[at].busy = false;
    struct client *c = client_of(s, r.client);
    struct filter *f = shared_filter_by_id(s, r.filter_id);
    if (f) {
        f->fresh = r.client;
    }
    if (f && c && codes[0] >= MQTT_FAILURE && leave(c, f)) {
        shared_filter_destroy(s, f);
    }
    if (c) {
        session_on_subscribed(c->session, r.token, codes[0], gateway_now(g));
        client_settle(c);
    }
}

/* --- messages */

static void deliver(struct gateway *g, const struct filter *f, const struct mqtt_publish *message)
{
    struct session_message m = {.topic = message->topic, .payload = message->payload, .retain = message->retain};
    for (size_t i = 0; i < f->count; i++) {
        const struct subscriber *to = &f->subscribers[i];
        struct client *c = client_of(g->shared, to->client);
        if (c && c->shared_up && (!message->retain || shared_ref_equal(f->fresh, to->client))) {
            m.qos = message->qos < to->qos ? message->qos : to->qos;
            session_on_message(c->session, &m, gateway_now(g));
            client_settle(c); /* destroys nobody here: a client with a link is never over */
        }
    }
}

static void on_message(void *ctx, const struct mqtt_publish *message)
{
    struct gateway *g = ctx;
    struct shared *s = g->shared;
    struct bytes ids = message->subscription_ids;
    uint32_t id;
    bool identified = false;
    while (mqtt_subscription_id_next(&ids, &id)) {
        struct filter *f = shared_filter_by_id(s, id);
        identified = true;
        if (f) {
            deliver(g, f, message);
        }
    }
    /* A broker without Subscription Identifiers: by the topic. Overlapping filters may then bring a message twice. */
    for (struct filter *f = NULL; !identified && (f = shared_filter_next(s, f));) {
        if (topic_matches(bytes_make(f->text, f->len), message->topic)) {
            deliver(g, f, message);
        }
    }
    if (message->qos == 1) {
        enum err e = uplink_ack(g->uplink, message->packet_id, MQTT_SUCCESS);
        (void)e; /* the link is ending */
    }
}

static void link_again(struct client *c)
{
    session_on_broker_back(c->session);
    client_settle(c);
}

static void on_up(void *ctx, const struct mqtt_connack *connack)
{
    struct gateway *g = ctx;
    uint16_t window = connack->receive_max;
    if (window < SMALL_WINDOW && window < g->config->max_clients) {
        log_emit(&log_window, "window=%u", window);
    }
    clients_each(g, link_again); /* what is published from now on is for those that sleep or are away, too */
    turn_add(g->turn, &g->links_item);
}

const struct uplink_events shared_uplink_events = {
    .on_up = on_up,
    .on_down = on_down,
    .on_published = on_published,
    .on_writable = on_writable,
    .on_message = on_message,
    .on_subscribed = on_subscribed,
    .status = gateway_status,
};

enum err shared_create(struct gateway *g, struct shared **out)
{
    struct shared *s = calloc(1, sizeof(*s));
    if (!s) {
        return E_NOMEM;
    }
    s->gateway = g;
    enum err e = grow_slots(s);
    if (e != E_OK) {
        shared_destroy(s);
        return e;
    }
    s->slot_count = 1; /* slot 0 means none */
    *out = s;
    return E_OK;
}

void shared_destroy(struct shared *s)
{
    if (!s) {
        return;
    }
    shared_queue_drop(s);
    shared_filters_finish(s);
    free(s->slots);
    free(s->requests);
    free(s->answers);
    free(s);
}
