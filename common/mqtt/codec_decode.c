#include "mqtt/property.h"
#include "mqtt/topic.h"

/* Types and flags of the fixed header (sections 2.1.2, 2.1.3): flags are fixed for every type but PUBLISH. */
static bool first_byte_valid(uint8_t first)
{
    uint8_t type = first >> 4;
    uint8_t flags = first & 0x0F;
    switch (type) {
    case 0:
        return false;
    case MQTT_PUBLISH:
        return (flags & 0x06) != 0x06;
    case MQTT_PUBREL:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return flags == 0x02;
    default:
        return flags == 0;
    }
}

enum err mqtt_frame(struct bytes in, size_t max, size_t *length)
{
    *length = 0;
    if (in.len > 0 && !first_byte_valid(in.data[0])) {
        return E_MALFORMED;
    }
    size_t remaining = 0;
    for (size_t i = 1; i <= 4; i++) {
        if (i >= in.len) {
            return E_AGAIN;
        }
        remaining |= (size_t)(in.data[i] & 0x7F) << (7 * (i - 1));
        if ((in.data[i] & 0x80) == 0) {
            *length = 1 + i + remaining;
            if (max != 0 && *length > max) {
                return E_TOO_LARGE;
            }
            return in.len >= *length ? E_OK : E_AGAIN;
        }
    }
    return E_MALFORMED;
}

/* Section 2.2.1: a packet id is never 0 [MQTT-2.2.1-2]. */
static uint16_t get_packet_id(struct wire_reader *r)
{
    uint16_t id = wire_get_u16(r);
    if (id == 0) {
        wire_fail(r, E_PROTOCOL);
    }
    return id;
}

static struct bytes get_topic_name(struct wire_reader *r)
{
    struct bytes topic = wire_get_binary(r);
    if (r->err == E_OK && !topic_name_valid(topic)) {
        wire_fail(r, E_MALFORMED);
    }
    return topic;
}

static struct bytes get_rest(struct wire_reader *r)
{
    return wire_get_bytes(r, wire_left(r));
}

static void read_will(struct wire_reader *r, struct mqtt_connect *c, uint8_t flags)
{
    struct mqtt_will *w = &c->will;
    *w = (struct mqtt_will){.qos = (flags >> 3) & 0x03, .retain = (flags & 0x20) != 0};
    if (c->version == MQTT_V5) {
        properties_read(&will_properties, r, w);
    }
    w->topic = get_topic_name(r);
    w->payload = wire_get_binary(r);
}

/* Sections 3.1.2.1, 3.1.2.2. */
static void read_protocol(struct wire_reader *r, struct mqtt_connect *c)
{
    struct bytes name = wire_get_binary(r);
    uint8_t level = wire_get_byte(r);
    if (r->err != E_OK) {
        return;
    }
    if (!bytes_equal(name, BYTES("MQTT")) || (level != MQTT_V311 && level != MQTT_V5)) {
        wire_fail(r, E_VERSION);
        return;
    }
    c->version = level == MQTT_V5 ? MQTT_V5 : MQTT_V311;
}

/* Section 3.1.2.3 and its parts: [MQTT-3.1.2-3] reserved bit, [MQTT-3.1.2-11] [MQTT-3.1.2-13] no will flags without a will,
 * [MQTT-3.1.2-12] QoS 3; 3.1.1: [MQTT-3.1.2-22] no password without a user name. */
static bool connect_flags_valid(uint8_t flags, enum mqtt_version version)
{
    bool will = (flags & 0x04) != 0;
    if ((flags & 0x01) != 0 || (flags & 0x18) == 0x18 || (!will && (flags & 0x38) != 0)) {
        return false;
    }
    return version == MQTT_V5 || (flags & 0xC0) != 0x40;
}

static void read_connect(struct wire_reader *r, struct mqtt_connect *c)
{
    *c = (struct mqtt_connect){.version = MQTT_V311};
    read_protocol(r, c);
    uint8_t flags = wire_get_byte(r);
    c->clean_start = (flags & 0x02) != 0;
    c->has_will = (flags & 0x04) != 0;
    c->has_password = (flags & 0x40) != 0;
    c->has_username = (flags & 0x80) != 0;
    if (r->err == E_OK && !connect_flags_valid(flags, c->version)) {
        wire_fail(r, E_MALFORMED);
    }
    c->keepalive_s = wire_get_u16(r);
    if (c->version == MQTT_V5) {
        properties_read(&connect_properties, r, c);
        if (c->auth_data.data && !c->auth_method.data) {
            wire_fail(r, E_PROTOCOL); /* section 3.1.2.11.10 */
        }
    }
    c->client_id = wire_get_string(r);
    if (c->has_will) {
        read_will(r, c, flags);
    }
    if (c->has_username) {
        c->username = wire_get_string(r);
    }
    if (c->has_password) {
        c->password = wire_get_binary(r);
    }
}

static void read_connack(struct wire_reader *r, enum mqtt_version version, struct mqtt_connack *c)
{
    mqtt_connack_init(c);
    uint8_t flags = wire_get_byte(r);
    c->session_present = (flags & 0x01) != 0;
    c->reason = wire_get_byte(r);
    if ((flags & 0xFE) != 0) {
        wire_fail(r, E_MALFORMED);
    } else if (c->session_present && c->reason != 0) {
        wire_fail(r, E_PROTOCOL); /* [MQTT-3.2.2-6] */
    }
    if (version == MQTT_V5) {
        properties_read(&connack_properties, r, c);
    }
}

static void read_publish(struct wire_reader *r, enum mqtt_version version, uint8_t first, struct mqtt_publish *p)
{
    *p = (struct mqtt_publish){.dup = (first & 0x08) != 0, .qos = (first >> 1) & 0x03, .retain = (first & 0x01) != 0};
    if (p->dup && p->qos == 0) {
        wire_fail(r, E_PROTOCOL); /* [MQTT-3.3.1-2] */
    }
    p->topic = wire_get_binary(r);
    if (p->qos > 0) {
        p->packet_id = get_packet_id(r);
    }
    if (version == MQTT_V5) {
        properties_read(&publish_properties, r, p);
    }
    if (r->err != E_OK) {
        return;
    }
    if (p->topic.len == 0 && version == MQTT_V5) {
        if (p->topic_alias == 0) {
            wire_fail(r, E_PROTOCOL); /* section 3.3.2.1 */
        }
    } else if (!topic_name_valid(p->topic)) {
        wire_fail(r, E_MALFORMED);
    }
    p->payload = get_rest(r);
}

/* Reason code and properties may be left out from the end (section 3.4.2.1); 3.1.1 has neither. */
static void read_ack(struct wire_reader *r, enum mqtt_version version, enum mqtt_type type, struct mqtt_ack *a)
{
    *a = (struct mqtt_ack){.type = type, .packet_id = get_packet_id(r)};
    if (version != MQTT_V5 || r->at == r->end) {
        return;
    }
    a->reason = wire_get_byte(r);
    if (r->at < r->end) {
        properties_read(&ack_properties, r, a);
    }
}

/* Section 3.8.3.1; [MQTT-3.8.3-5] reserved bits, [MQTT-3.8.3-4] no No Local with a shared subscription. */
static void read_subscription(struct wire_reader *r, enum mqtt_version version, struct mqtt_subscription *s)
{
    struct bytes filter = wire_get_binary(r);
    uint8_t options = wire_get_byte(r);
    *s = (struct mqtt_subscription){.filter = filter, .qos = options & 0x03};
    if (r->err != E_OK) {
        return;
    }
    if (!topic_filter_valid(filter) || s->qos == 3 || (options & (version == MQTT_V5 ? 0xC0 : 0xFC)) != 0) {
        wire_fail(r, E_MALFORMED);
        return;
    }
    s->no_local = (options & 0x04) != 0;
    s->retain_as_published = (options & 0x08) != 0;
    s->retain_handling = (options >> 4) & 0x03;
    if (s->retain_handling == 3 || (s->no_local && bytes_starts_with(filter, BYTES("$share/")))) {
        wire_fail(r, E_PROTOCOL);
    }
}

static void read_subscribe(struct wire_reader *r, enum mqtt_version version, struct mqtt_subscribe *s)
{
    *s = (struct mqtt_subscribe){.packet_id = get_packet_id(r)};
    if (version == MQTT_V5) {
        properties_read(&subscribe_properties, r, s);
    }
    const uint8_t *start = r->at;
    while (r->at < r->end) {
        struct mqtt_subscription one;
        read_subscription(r, version, &one);
        s->count++;
    }
    if (s->count == 0) {
        wire_fail(r, E_PROTOCOL); /* [MQTT-3.8.3-2] */
    }
    s->list = (struct bytes){start, (size_t)(r->end - start)};
}

static struct bytes get_filter(struct wire_reader *r)
{
    struct bytes filter = wire_get_binary(r);
    if (r->err == E_OK && !topic_filter_valid(filter)) {
        wire_fail(r, E_MALFORMED);
    }
    return filter;
}

static void read_unsubscribe(struct wire_reader *r, enum mqtt_version version, struct mqtt_unsubscribe *u)
{
    *u = (struct mqtt_unsubscribe){.packet_id = get_packet_id(r)};
    if (version == MQTT_V5) {
        properties_read(&unsubscribe_properties, r, u);
    }
    const uint8_t *start = r->at;
    while (r->at < r->end) {
        get_filter(r);
        u->count++;
    }
    if (u->count == 0) {
        wire_fail(r, E_PROTOCOL); /* [MQTT-3.10.3-2] */
    }
    u->list = (struct bytes){start, (size_t)(r->end - start)};
}

static void read_suback(struct wire_reader *r, enum mqtt_version version, enum mqtt_type type, struct mqtt_suback *s)
{
    *s = (struct mqtt_suback){.type = type, .packet_id = get_packet_id(r)};
    if (version == MQTT_V5) {
        properties_read(&suback_properties, r, s);
    } else if (type == MQTT_UNSUBACK) {
        return; /* 3.1.1 section 3.11.3: no payload */
    }
    s->codes = get_rest(r);
    if (r->err == E_OK && s->codes.len == 0) {
        wire_fail(r, E_PROTOCOL);
    }
    for (size_t i = 0; version == MQTT_V311 && i < s->codes.len; i++) {
        if (s->codes.data[i] > 2 && s->codes.data[i] != MQTT_FAILURE) {
            wire_fail(r, E_MALFORMED); /* 3.1.1 [MQTT-3.9.3-2] */
        }
    }
}

static void read_disconnect(struct wire_reader *r, enum mqtt_version version, struct mqtt_disconnect *d)
{
    *d = (struct mqtt_disconnect){.reason = MQTT_SUCCESS};
    if (version != MQTT_V5 || r->at == r->end) {
        return;
    }
    d->reason = wire_get_byte(r);
    if (r->at < r->end) {
        properties_read(&disconnect_properties, r, d);
    }
}

static void read_auth(struct wire_reader *r, enum mqtt_version version, struct mqtt_auth *a)
{
    *a = (struct mqtt_auth){.reason = MQTT_SUCCESS};
    if (version != MQTT_V5) {
        wire_fail(r, E_MALFORMED); /* 3.1.1 section 2.2.1: type 15 is forbidden */
        return;
    }
    if (r->at == r->end) {
        return;
    }
    a->reason = wire_get_byte(r);
    properties_read(&auth_properties, r, a);
    if (r->err == E_OK && !a->method.data) {
        wire_fail(r, E_PROTOCOL); /* section 3.15.2.2.2 */
    }
}

static void read_packet(struct wire_reader *r, enum mqtt_version version, uint8_t first, struct mqtt_packet *out)
{
    switch (out->type) {
    case MQTT_CONNECT:
        read_connect(r, &out->connect);
        return;
    case MQTT_CONNACK:
        read_connack(r, version, &out->connack);
        return;
    case MQTT_PUBLISH:
        read_publish(r, version, first, &out->publish);
        return;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        read_ack(r, version, out->type, &out->ack);
        return;
    case MQTT_SUBSCRIBE:
        read_subscribe(r, version, &out->subscribe);
        return;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        read_suback(r, version, out->type, &out->suback);
        return;
    case MQTT_UNSUBSCRIBE:
        read_unsubscribe(r, version, &out->unsubscribe);
        return;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return;
    case MQTT_DISCONNECT:
        read_disconnect(r, version, &out->disconnect);
        return;
    case MQTT_AUTH:
        read_auth(r, version, &out->auth);
        return;
    }
}

enum err mqtt_decode(enum mqtt_version version, struct bytes packet, struct mqtt_packet *out)
{
    size_t length;
    if (mqtt_frame(packet, 0, &length) != E_OK || length != packet.len) {
        return E_MALFORMED;
    }
    struct wire_reader r = wire_reader_make(packet);
    uint8_t first = wire_get_byte(&r);
    (void)wire_get_varint(&r, version == MQTT_V5);
    out->type = (enum mqtt_type)(first >> 4);
    read_packet(&r, version, first, out);
    if (r.err == E_OK && r.at != r.end) {
        return E_MALFORMED;
    }
    return r.err;
}

bool mqtt_subscription_next(enum mqtt_version version, struct bytes *list, struct mqtt_subscription *out)
{
    struct wire_reader r = wire_reader_make(*list);
    if (r.at == r.end) {
        return false;
    }
    read_subscription(&r, version, out);
    *list = (struct bytes){r.at, wire_left(&r)};
    return r.err == E_OK;
}

bool mqtt_unsubscribe_next(struct bytes *list, struct bytes *filter)
{
    struct wire_reader r = wire_reader_make(*list);
    if (r.at == r.end) {
        return false;
    }
    *filter = get_filter(&r);
    *list = (struct bytes){r.at, wire_left(&r)};
    return r.err == E_OK;
}
