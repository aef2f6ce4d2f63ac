/* A script of packets, broker events and time against one session with a fake broker that checks what the session may do:
 * one link at a time, no request without a link, no acknowledgement that the broker does not wait for, every PUBLISH of QoS 1
 * acknowledged only after the broker's answer, a deadline that moves on, queues within their ceilings, no byte left.
 *
 * Input: steps of one opcode byte and what it takes. */
#include "mqttsn/predefined.h"
#include "mqttsn/session.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

enum { PENDING_MAX = 64, QUEUE_MAX = 8 };

struct world {
    struct bytes input;
    struct session_env env;
    struct session_metrics metrics;
    struct session *session;
    struct mono now;
    enum { NONE, OPENING, UP } link;
    struct {
        uint64_t token;
        bool publish;
    } pending[PENDING_MAX];
    size_t pending_count;
    bool unacked[256]; /* packet ids given to the session on this link */
    bool answering;    /* inside session_on_published: a PUBACK may be an acceptance */
    enum err answer;
    uint8_t next_packet_id;
};

static uint8_t take(struct world *w)
{
    if (w->input.len == 0) {
        return 0;
    }
    uint8_t b = w->input.data[0];
    w->input = bytes_sub(w->input, 1, SIZE_MAX);
    return b;
}

static void on_send(void *owner, const struct mqttsn_packet *p)
{
    struct world *w = owner;
    static uint8_t wire[65535];
    require(mqttsn_encode(p, wire, sizeof(wire)) >= 2);
    struct mqttsn_packet back;
    require(mqttsn_decode(bytes_make(wire, mqttsn_encoded_size(p)), &back) == E_OK);
    require(p->type != MQTTSN_PUBACK || p->puback.code != MQTTSN_ACCEPTED || w->answering);
    require(p->type != MQTTSN_PUBLISH || p->publish.topic.type != MQTTSN_TOPIC_NORMAL ||
            !mqttsn_topic_id_reserved(p->publish.topic.id));
}

static void on_link_open(void *owner)
{
    struct world *w = owner;
    struct session_link o;
    require(w->link == NONE);
    session_link_options(w->session, &o);
    require(!o.has_will || o.will.topic.len > 0);
    w->link = OPENING;
}

static void unlink_world(struct world *w)
{
    w->link = NONE;
    w->pending_count = 0;
    memset(w->unacked, 0, sizeof(w->unacked));
}

static void on_link_close(void *owner, bool with_will)
{
    struct world *w = owner;
    (void)with_will;
    require(w->link != NONE);
    unlink_world(w);
}

static enum err request(struct world *w, uint64_t token, bool publish)
{
    if (w->link != UP) {
        return E_AGAIN;
    }
    if (w->answer != E_OK || (token != 0 && w->pending_count == PENDING_MAX)) {
        return w->answer != E_OK ? w->answer : E_FULL;
    }
    if (token != 0) {
        w->pending[w->pending_count].token = token;
        w->pending[w->pending_count++].publish = publish;
    }
    return E_OK;
}

static enum err on_publish(void *owner, const struct session_message *m, uint64_t token)
{
    require(m->topic.len > 0 && m->qos <= 2);
    return request(owner, token, true);
}

static enum err on_subscribe(void *owner, struct bytes filter, uint8_t qos, uint64_t token)
{
    require(filter.len > 0 && qos <= 2);
    return request(owner, token, false);
}

static enum err on_unsubscribe(void *owner, struct bytes filter, uint64_t token)
{
    require(filter.len > 0);
    return request(owner, token, false);
}

static void on_ack(void *owner, uint16_t packet_id)
{
    struct world *w = owner;
    require(w->link == UP && packet_id < 256 && w->unacked[packet_id]);
    w->unacked[packet_id] = false;
}

static const struct session_ops ops = {.send = on_send,
                                       .link_open = on_link_open,
                                       .link_close = on_link_close,
                                       .publish = on_publish,
                                       .subscribe = on_subscribe,
                                       .unsubscribe = on_unsubscribe,
                                       .ack = on_ack};

static void step_packet(struct world *w)
{
    size_t len = take(w);
    struct bytes datagram = bytes_sub(w->input, 0, len);
    w->input = bytes_sub(w->input, datagram.len, SIZE_MAX);
    struct mqttsn_packet p;
    if (mqttsn_decode(datagram, &p) == E_OK) {
        session_on_packet(w->session, &p, w->now);
    }
}

static void step_answer(struct world *w)
{
    if (w->pending_count == 0) {
        return;
    }
    size_t i = take(w) % w->pending_count;
    uint64_t token = w->pending[i].token;
    bool publish = w->pending[i].publish;
    w->pending[i] = w->pending[--w->pending_count];
    uint8_t reason = take(w);
    if (publish) {
        w->answering = true;
        session_on_published(w->session, token, reason, w->now);
        w->answering = false;
    } else {
        session_on_subscribed(w->session, token, reason, w->now);
    }
}

static void step_message(struct world *w)
{
    static const char *const topics[] = {"a/b", "ab", "all/five", "w/1", "w/2", "w/3", "x", "a"};
    static uint8_t payload[70000];
    uint8_t how = take(w);
    struct session_message m = {.topic = bytes_str(topics[how & 7]), .qos = how >> 3 & 3, .retain = how & 32};
    m.payload = bytes_make(payload, how & 64 ? how & 128 ? 65001 : 40000 : how & 7);
    if (m.qos == 3 || w->link != UP) {
        return;
    }
    if (m.qos == 1) {
        uint8_t id = w->next_packet_id == 255 ? 1 : (uint8_t)(w->next_packet_id + 1);
        if (w->unacked[id]) {
            return;
        }
        w->next_packet_id = id;
        w->unacked[id] = true;
        m.packet_id = id;
    }
    session_on_message(w->session, &m, w->now);
}

static void step_link(struct world *w, uint8_t how)
{
    if (w->link == OPENING && how & 1) {
        w->link = UP;
        session_on_link_up(w->session, how & 2, w->now);
    } else if (w->link != NONE) {
        unlink_world(w);
        session_on_link_down(w->session, how & 4, w->now);
    }
}

static void step_time(struct world *w)
{
    w->now = mono_add_ms(w->now, (uint64_t)take(w) * 500);
    for (int i = 0; mono_reached(w->now, session_deadline(w->session)); i++) {
        require(i < 100);
        session_on_time(w->session, w->now);
    }
}

static void step(struct world *w)
{
    uint8_t op = take(w);
    switch (op & 7) {
    case 0:
    case 1:
        step_packet(w);
        break;
    case 2:
        step_answer(w);
        break;
    case 3:
        step_message(w);
        break;
    case 4:
        step_link(w, take(w));
        break;
    case 5:
        step_time(w);
        break;
    case 6:
        w->answer = op & 8 ? E_FULL : E_OK;
        break;
    default:
        if (op & 16) {
            session_on_broker_back(w->session);
        } else if (op & 32) {
            session_on_displaced(w->session);
        } else if (op & 8) {
            session_end(w->session, w->now);
        } else if (session_state(w->session) == SESSION_OFFLINE) {
            session_forget(w->session);
        }
        break;
    }
    require(metric_get(&w->metrics.queued_bytes) <= SESSION_QUEUE_BYTES_MAX);
    if (session_over(w->session)) { /* as the owner does: the next client is a new one */
        require(w->link == NONE);
        session_destroy(w->session);
        w->session = session_create(&w->env, w, BYTES("dev"));
        require(w->session != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct predefined *predefined;
    static struct world w;
    if (!predefined) {
        struct option_error error;
        require(predefined_read(BYTES("* 5 all/five\ndev 6 dev/six\n"), "f", &predefined, &error) == E_OK);
    }
    w = (struct world){.input = bytes_make(data, size), .now = {1}};
    uint8_t settings = take(&w);
    w.env = (struct session_env){.ops = &ops,
                                 .predefined = predefined,
                                 .retry_interval_ms = 10000,
                                 .retry_count = settings >> 2 & 3,
                                 .queue_max = QUEUE_MAX,
                                 .gateway_wills = settings & 1,
                                 .keep_link = settings & 2,
                                 .metrics = &w.metrics,
                                 .rng = 1};
    w.session = session_create(&w.env, &w, BYTES("dev"));
    require(w.session != NULL);
    while (w.input.len > 0) {
        step(&w);
    }
    session_end(w.session, w.now);
    require(w.link == NONE);
    session_destroy(w.session);
    require(metric_get(&w.metrics.queued_bytes) == 0);
    return 0;
}
