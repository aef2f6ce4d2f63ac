#include "unit.h"

#include "mqttsn/session_rig.h"

__attribute__((format(printf, 2, 3))) static void note(struct rig *r, const char *format, ...)
{
    if (r->quiet) {
        return;
    }
    va_list args;
    va_start(args, format);
    int n = vsnprintf(r->log + r->log_len, sizeof(r->log) - r->log_len, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof(r->log) - r->log_len);
    r->log_len += (size_t)n;
}

static void note_topic(struct rig *r, enum mqttsn_topic_type type, uint16_t id)
{
    if (r->quiet) {
        return;
    }
    if (type == MQTTSN_TOPIC_PREDEFINED) {
        note(r, " P%u", id);
    } else if (type == MQTTSN_TOPIC_SHORT) {
        note(r, " S\"%c%c\"", id >> 8, id & 0xff);
    } else if (id == 0) {
        note(r, " 0");
    } else {
        size_t i = 0;
        while (i < r->id_count && r->ids[i] != id) {
            i++;
        }
        if (i == r->id_count) {
            assert_true(i < 64);
            r->ids[r->id_count++] = id;
        }
        note(r, " N%zu", i + 1);
    }
}

uint16_t rig_id(const struct rig *r, size_t number)
{
    assert_in_range(number, 1, r->id_count);
    return r->ids[number - 1];
}

static void on_send(void *owner, const struct mqttsn_packet *p)
{
    struct rig *r = owner;
    uint8_t wire[65535];
    assert_true(mqttsn_encode(p, wire, sizeof(wire)) > 0);
    note(r, "> %s", mqttsn_type_name((uint8_t)p->type));
    switch (p->type) {
    case MQTTSN_CONNACK:
    case MQTTSN_WILLTOPICRESP:
    case MQTTSN_WILLMSGRESP:
        note(r, " %u", p->connack.code);
        break;
    case MQTTSN_REGISTER:
        note_topic(r, MQTTSN_TOPIC_NORMAL, p->register_.topic_id);
        note(r, " m%u %.*s", p->register_.msg_id, (int)p->register_.topic.len, (const char *)p->register_.topic.data);
        break;
    case MQTTSN_REGACK:
    case MQTTSN_PUBACK:
        note_topic(r, MQTTSN_TOPIC_NORMAL, p->puback.topic_id);
        note(r, " m%u %u", p->puback.msg_id, p->puback.code);
        break;
    case MQTTSN_SUBACK:
        note_topic(r, MQTTSN_TOPIC_NORMAL, p->suback.topic_id);
        note(r, " q%u m%u %u", p->suback.qos, p->suback.msg_id, p->suback.code);
        break;
    case MQTTSN_PUBLISH:
        note_topic(r, p->publish.topic.type, p->publish.topic.id);
        note(r, " q%u m%u%s%s \"%.*s\"", p->publish.qos, p->publish.msg_id, p->publish.dup ? " dup" : "",
             p->publish.retain ? " retain" : "", (int)p->publish.payload.len, (const char *)p->publish.payload.data);
        break;
    case MQTTSN_PUBREC:
    case MQTTSN_PUBREL:
    case MQTTSN_PUBCOMP:
    case MQTTSN_UNSUBACK:
        note(r, " m%u", p->pubrec.msg_id);
        break;
    default:
        break;
    }
    note(r, "\n");
}

static void on_link_open(void *owner)
{
    struct rig *r = owner;
    struct session_link o;
    session_link_options(r->session, &o);
    note(r, "open%s%s", o.clean_start ? " clean" : "", o.persistent ? " keep" : "");
    if (o.has_will) {
        note(r, " will=%.*s/%.*s q%u%s", (int)o.will.topic.len, (const char *)o.will.topic.data,
             (int)o.will.payload.len, (const char *)o.will.payload.data, o.will.qos, o.will.retain ? " r" : "");
    }
    note(r, "\n");
}

static void on_link_close(void *owner, bool with_will)
{
    note(owner, "close%s\n", with_will ? "+will" : "");
}

static void note_token(struct rig *r, uint64_t token)
{
    if (token != 0) {
        memmove(r->tokens + 1, r->tokens, sizeof(r->tokens) - sizeof(r->tokens[0]));
        r->tokens[0] = r->token = token;
    }
}

static enum err on_publish(void *owner, const struct session_message *m, uint64_t token)
{
    struct rig *r = owner;
    if (r->answer == E_OK) {
        note_token(r, token);
        note(r, "pub %.*s q%u%s \"%.*s\"\n", (int)m->topic.len, (const char *)m->topic.data, m->qos,
             m->retain ? " r" : "", (int)m->payload.len, (const char *)m->payload.data);
    }
    return r->answer;
}

static enum err on_subscribe(void *owner, struct bytes filter, uint8_t qos, uint64_t token)
{
    struct rig *r = owner;
    if (r->answer == E_OK) {
        note_token(r, token);
        note(r, "sub %.*s q%u\n", (int)filter.len, (const char *)filter.data, qos);
    }
    return r->answer;
}

static enum err on_unsubscribe(void *owner, struct bytes filter, uint64_t token)
{
    struct rig *r = owner;
    if (r->answer == E_OK) {
        note_token(r, token);
        note(r, "unsub %.*s\n", (int)filter.len, (const char *)filter.data);
    }
    return r->answer;
}

static void on_ack(void *owner, uint16_t packet_id)
{
    note(owner, "ack %u\n", packet_id);
}

static const struct session_ops ops = {.send = on_send,
                                       .link_open = on_link_open,
                                       .link_close = on_link_close,
                                       .publish = on_publish,
                                       .subscribe = on_subscribe,
                                       .unsubscribe = on_unsubscribe,
                                       .ack = on_ack};

void rig_start(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->env = (struct session_env){
        .ops = &ops, .retry_interval_ms = 10000, .retry_count = 3, .queue_max = 5, .metrics = &r->metrics, .rng = 1};
    r->now = (struct mono){1000000000};
    rig_client(r, "dev");
}

void rig_client(struct rig *r, const char *client_id)
{
    session_destroy(r->session);
    r->session = session_create(&r->env, r, bytes_str(client_id));
    assert_non_null(r->session);
}

void rig_finish(struct rig *r)
{
    session_destroy(r->session);
    r->session = NULL;
    assert_int_equal(metric_get(&r->metrics.queued_bytes), 0);
    assert_int_equal(metric_get(&r->metrics.awaited), 0);
}

void rig_packet(struct rig *r, const struct mqttsn_packet *p)
{
    session_on_packet(r->session, p, r->now);
}

void rig_connect(struct rig *r, bool clean, bool will, uint16_t keepalive_s)
{
    struct mqttsn_packet p = {.type = MQTTSN_CONNECT,
                              .connect = {.will = will,
                                          .clean_session = clean,
                                          .protocol_id = MQTTSN_PROTOCOL_ID,
                                          .duration_s = keepalive_s,
                                          .client_id = session_client_id(r->session)}};
    rig_packet(r, &p);
}

void rig_online(struct rig *r, bool clean, uint16_t keepalive_s)
{
    rig_connect(r, clean, false, keepalive_s);
    rig_link_up(r, false);
    assert_int_equal(session_state(r->session), SESSION_ACTIVE);
    rig_clear(r);
}

void rig_plain(struct rig *r, enum mqttsn_type type)
{
    struct mqttsn_packet p = {.type = type};
    rig_packet(r, &p);
}

void rig_sleep(struct rig *r, uint16_t duration_s)
{
    struct mqttsn_packet p = {.type = MQTTSN_DISCONNECT, .disconnect = {true, duration_s}};
    rig_packet(r, &p);
}

void rig_register(struct rig *r, uint16_t msg_id, const char *topic)
{
    struct mqttsn_packet p = {.type = MQTTSN_REGISTER, .register_ = {0, msg_id, bytes_str(topic)}};
    rig_packet(r, &p);
}

void rig_publish(struct rig *r, uint8_t qos, uint16_t topic_id, uint16_t msg_id, const char *payload, bool dup)
{
    struct mqttsn_packet p = {
        .type = MQTTSN_PUBLISH,
        .publish = {
            .qos = qos, .dup = dup, .msg_id = msg_id, .topic = {.id = topic_id}, .payload = bytes_str(payload)}};
    rig_packet(r, &p);
}

void rig_subscribe(struct rig *r, uint8_t qos, uint16_t msg_id, const char *filter)
{
    struct mqttsn_packet p = {.type = MQTTSN_SUBSCRIBE,
                              .subscribe = {.qos = qos, .msg_id = msg_id, .topic = {.name = bytes_str(filter)}}};
    rig_packet(r, &p);
}

void rig_unsubscribe(struct rig *r, uint16_t msg_id, const char *filter)
{
    struct mqttsn_packet p = {.type = MQTTSN_UNSUBSCRIBE,
                              .unsubscribe = {.msg_id = msg_id, .topic = {.name = bytes_str(filter)}}};
    rig_packet(r, &p);
}

void rig_ack(struct rig *r, enum mqttsn_type type, uint16_t topic_id, uint16_t msg_id, uint8_t code)
{
    struct mqttsn_packet p = {.type = type, .puback = {topic_id, msg_id, code}};
    rig_packet(r, &p);
}

void rig_msg_id(struct rig *r, enum mqttsn_type type, uint16_t msg_id)
{
    struct mqttsn_packet p = {.type = type, .pubrec = {msg_id}};
    rig_packet(r, &p);
}

void rig_message(struct rig *r, const char *topic, uint8_t qos, uint16_t packet_id, const char *payload)
{
    struct session_message m = {
        .topic = bytes_str(topic), .payload = bytes_str(payload), .qos = qos, .packet_id = packet_id};
    session_on_message(r->session, &m, r->now);
}

void rig_link_up(struct rig *r, bool present)
{
    session_on_link_up(r->session, present, r->now);
}

void rig_link_down(struct rig *r, bool refused)
{
    session_on_link_down(r->session, refused, r->now);
}

void rig_wait(struct rig *r, uint64_t ms)
{
    struct mono end = mono_add_ms(r->now, ms);
    for (;;) {
        struct mono next = session_deadline(r->session);
        if (next.ns > end.ns) {
            break;
        }
        r->now = next.ns > r->now.ns ? next : r->now;
        session_on_time(r->session, r->now);
        assert_false(mono_reached(r->now, session_deadline(r->session))); /* no busy loop */
    }
    r->now = end;
}

void rig_clear(struct rig *r)
{
    r->log_len = 0;
    r->log[0] = '\0';
}

void rig_expect_at(struct rig *r, const char *text, const char *file, int line)
{
    if (strcmp(r->log, text) != 0) {
        fprintf(stderr, "%s:%d: expected\n%sgot\n%s", file, line, text, r->log);
        _fail(file, line);
    }
    rig_clear(r);
}
