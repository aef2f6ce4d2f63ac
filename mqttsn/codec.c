#include "mqttsn/codec.h"

enum {
    FLAG_DUP = 0x80,
    FLAG_QOS_SHIFT = 5,
    FLAG_RETAIN = 0x10,
    FLAG_WILL = 0x08,
    FLAG_CLEAN = 0x04,
    FLAG_TOPIC_TYPE = 0x03,
    LENGTH_MAX = 65535,
};

/* What follows the message type: a fixed part, then a part of free length or nothing. The empty forms of WILLTOPIC,
 * WILLTOPICUPD and DISCONNECT have no fixed part at all. */
struct shape {
    const char *name;
    uint8_t fixed;
    uint8_t tail_min;
    bool tail;
    bool may_be_empty;
};

static const struct shape shapes[] = {
    [MQTTSN_ADVERTISE] = {"ADVERTISE", .fixed = 3},
    [MQTTSN_SEARCHGW] = {"SEARCHGW", .fixed = 1},
    [MQTTSN_GWINFO] = {"GWINFO", .fixed = 1, .tail = true},
    [MQTTSN_CONNECT] = {"CONNECT", .fixed = 4, .tail = true},
    [MQTTSN_CONNACK] = {"CONNACK", .fixed = 1},
    [MQTTSN_WILLTOPICREQ] = {"WILLTOPICREQ", .fixed = 0},
    [MQTTSN_WILLTOPIC] = {"WILLTOPIC", .fixed = 1, .tail = true, .may_be_empty = true},
    [MQTTSN_WILLMSGREQ] = {"WILLMSGREQ", .fixed = 0},
    [MQTTSN_WILLMSG] = {"WILLMSG", .fixed = 0, .tail = true},
    [MQTTSN_REGISTER] = {"REGISTER", .fixed = 4, .tail = true, .tail_min = 1},
    [MQTTSN_REGACK] = {"REGACK", .fixed = 5},
    [MQTTSN_PUBLISH] = {"PUBLISH", .fixed = 5, .tail = true},
    [MQTTSN_PUBACK] = {"PUBACK", .fixed = 5},
    [MQTTSN_PUBCOMP] = {"PUBCOMP", .fixed = 2},
    [MQTTSN_PUBREC] = {"PUBREC", .fixed = 2},
    [MQTTSN_PUBREL] = {"PUBREL", .fixed = 2},
    [MQTTSN_SUBSCRIBE] = {"SUBSCRIBE", .fixed = 3, .tail = true, .tail_min = 1},
    [MQTTSN_SUBACK] = {"SUBACK", .fixed = 6},
    [MQTTSN_UNSUBSCRIBE] = {"UNSUBSCRIBE", .fixed = 3, .tail = true, .tail_min = 1},
    [MQTTSN_UNSUBACK] = {"UNSUBACK", .fixed = 2},
    [MQTTSN_PINGREQ] = {"PINGREQ", .fixed = 0, .tail = true},
    [MQTTSN_PINGRESP] = {"PINGRESP", .fixed = 0},
    [MQTTSN_DISCONNECT] = {"DISCONNECT", .fixed = 2, .may_be_empty = true},
    [MQTTSN_WILLTOPICUPD] = {"WILLTOPICUPD", .fixed = 1, .tail = true, .may_be_empty = true},
    [MQTTSN_WILLTOPICRESP] = {"WILLTOPICRESP", .fixed = 1},
    [MQTTSN_WILLMSGUPD] = {"WILLMSGUPD", .fixed = 0, .tail = true},
    [MQTTSN_WILLMSGRESP] = {"WILLMSGRESP", .fixed = 1},
};

static const struct shape *shape_of(unsigned type)
{
    return type < sizeof(shapes) / sizeof(shapes[0]) && shapes[type].name ? &shapes[type] : NULL;
}

const char *mqttsn_type_name(uint8_t type)
{
    const struct shape *shape = shape_of(type);
    return shape ? shape->name : type == MQTTSN_FORWARDER ? "FORWARDER" : "?";
}

static uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint8_t *put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static uint8_t *put_bytes(uint8_t *p, struct bytes b)
{
    if (b.len > 0) {
        memcpy(p, b.data, b.len);
    }
    return p + b.len;
}

/* Reads Length and type. `header`: bytes up to and including the type. */
static enum err decode_header(struct bytes in, size_t *length, size_t *header)
{
    if (in.len < 2) {
        return E_MALFORMED;
    }
    if (in.data[0] != 0x01) {
        *length = in.data[0];
        *header = 2;
    } else {
        if (in.len < 4) {
            return E_MALFORMED;
        }
        *length = get_u16(in.data + 1);
        *header = 4;
    }
    return *length < *header || *length > in.len ? E_MALFORMED : E_OK;
}

static uint8_t flags_qos(uint8_t flags)
{
    return flags >> FLAG_QOS_SHIFT & 3;
}

static enum err decode_publish(struct bytes body, struct mqttsn_packet *out)
{
    uint8_t flags = body.data[0];
    out->publish.dup = flags & FLAG_DUP;
    out->publish.qos = flags_qos(flags);
    out->publish.retain = flags & FLAG_RETAIN;
    out->publish.topic.type = flags & FLAG_TOPIC_TYPE;
    out->publish.topic.id = get_u16(body.data + 1);
    out->publish.topic.name = (struct bytes){0};
    out->publish.msg_id = get_u16(body.data + 3);
    out->publish.payload = bytes_sub(body, 5, SIZE_MAX);
    return (flags & FLAG_TOPIC_TYPE) > MQTTSN_TOPIC_SHORT ? E_MALFORMED : E_OK;
}

/* SUBSCRIBE and UNSUBSCRIBE, whose members lie alike. */
static enum err decode_subscribe(struct bytes body, struct mqttsn_packet *out)
{
    uint8_t flags = body.data[0];
    struct bytes topic = bytes_sub(body, 3, SIZE_MAX);
    out->subscribe.dup = flags & FLAG_DUP;
    out->subscribe.qos = out->type == MQTTSN_SUBSCRIBE ? flags_qos(flags) : 0;
    out->subscribe.msg_id = get_u16(body.data + 1);
    out->subscribe.topic.type = flags & FLAG_TOPIC_TYPE;
    if (out->subscribe.qos > 2) {
        return E_MALFORMED;
    }
    switch (flags & FLAG_TOPIC_TYPE) {
    case MQTTSN_TOPIC_NORMAL:
        out->subscribe.topic.id = 0;
        out->subscribe.topic.name = topic;
        return E_OK;
    case MQTTSN_TOPIC_PREDEFINED:
    case MQTTSN_TOPIC_SHORT:
        if (topic.len != 2) {
            return E_MALFORMED;
        }
        out->subscribe.topic.id = get_u16(topic.data);
        out->subscribe.topic.name = (struct bytes){0};
        return E_OK;
    default:
        return E_MALFORMED;
    }
}

/* WILLTOPIC and WILLTOPICUPD, whose members lie alike. */
static enum err decode_will_topic(struct bytes body, struct mqttsn_packet *out)
{
    uint8_t flags = body.len > 0 ? body.data[0] : 0;
    out->willtopic.qos = flags_qos(flags);
    out->willtopic.retain = flags & FLAG_RETAIN;
    out->willtopic.topic = bytes_sub(body, 1, SIZE_MAX);
    return out->willtopic.qos > 2 ? E_MALFORMED : E_OK;
}

static enum err decode_connection(struct bytes body, struct mqttsn_packet *out)
{
    const uint8_t *p = body.data;
    switch (out->type) {
    case MQTTSN_ADVERTISE:
        out->advertise.gateway_id = p[0];
        out->advertise.duration_s = get_u16(p + 1);
        return E_OK;
    case MQTTSN_SEARCHGW:
        out->searchgw.radius = p[0];
        return E_OK;
    case MQTTSN_GWINFO:
        out->gwinfo.gateway_id = p[0];
        out->gwinfo.address = bytes_sub(body, 1, SIZE_MAX);
        return E_OK;
    case MQTTSN_CONNECT:
        out->connect.will = p[0] & FLAG_WILL;
        out->connect.clean_session = p[0] & FLAG_CLEAN;
        out->connect.protocol_id = p[1];
        out->connect.duration_s = get_u16(p + 2);
        out->connect.client_id = bytes_sub(body, 4, SIZE_MAX);
        return E_OK;
    case MQTTSN_CONNACK:
    case MQTTSN_WILLTOPICRESP:
    case MQTTSN_WILLMSGRESP:
        out->connack.code = p[0];
        return E_OK;
    case MQTTSN_WILLTOPIC:
    case MQTTSN_WILLTOPICUPD:
        return decode_will_topic(body, out);
    case MQTTSN_WILLMSG:
    case MQTTSN_WILLMSGUPD:
        out->willmsg.message = body;
        return E_OK;
    case MQTTSN_PINGREQ:
        out->pingreq.client_id = body;
        return E_OK;
    case MQTTSN_DISCONNECT:
        out->disconnect.has_duration = body.len > 0;
        out->disconnect.duration_s = body.len > 0 ? get_u16(p) : 0;
        return E_OK;
    default: /* WILLTOPICREQ, WILLMSGREQ, PINGRESP: nothing inside */
        return E_OK;
    }
}

static enum err decode_body(struct bytes body, struct mqttsn_packet *out)
{
    const uint8_t *p = body.data;
    switch (out->type) {
    case MQTTSN_REGISTER:
        out->register_.topic_id = get_u16(p);
        out->register_.msg_id = get_u16(p + 2);
        out->register_.topic = bytes_sub(body, 4, SIZE_MAX);
        return E_OK;
    case MQTTSN_REGACK:
    case MQTTSN_PUBACK:
        out->puback.topic_id = get_u16(p);
        out->puback.msg_id = get_u16(p + 2);
        out->puback.code = p[4];
        return E_OK;
    case MQTTSN_PUBLISH:
        return decode_publish(body, out);
    case MQTTSN_PUBCOMP:
    case MQTTSN_PUBREC:
    case MQTTSN_PUBREL:
    case MQTTSN_UNSUBACK:
        out->pubrec.msg_id = get_u16(p);
        return E_OK;
    case MQTTSN_SUBSCRIBE:
    case MQTTSN_UNSUBSCRIBE:
        return decode_subscribe(body, out);
    case MQTTSN_SUBACK:
        out->suback.qos = flags_qos(p[0]);
        out->suback.topic_id = get_u16(p + 1);
        out->suback.msg_id = get_u16(p + 3);
        out->suback.code = p[5];
        return out->suback.qos > 2 ? E_MALFORMED : E_OK;
    default:
        return decode_connection(body, out);
    }
}

enum err mqttsn_decode(struct bytes datagram, struct mqttsn_packet *out)
{
    size_t length, header;
    enum err e = decode_header(datagram, &length, &header);
    if (e != E_OK) {
        return e;
    }
    uint8_t type = datagram.data[header - 1];
    if (type == MQTTSN_FORWARDER) {
        return E_UNSUPPORTED;
    }
    const struct shape *shape = shape_of(type);
    if (!shape || length != datagram.len) {
        return E_MALFORMED;
    }
    struct bytes body = bytes_sub(datagram, header, SIZE_MAX);
    bool fits = body.len >= (size_t)(shape->fixed + shape->tail_min) && (shape->tail || body.len == shape->fixed);
    if (!fits && !(shape->may_be_empty && body.len == 0)) {
        return E_MALFORMED;
    }
    out->type = type;
    return decode_body(body, out);
}

/* The part of free length. */
static struct bytes tail_of(const struct mqttsn_packet *p)
{
    switch (p->type) {
    case MQTTSN_GWINFO:
        return p->gwinfo.address;
    case MQTTSN_CONNECT:
        return p->connect.client_id;
    case MQTTSN_WILLTOPIC:
    case MQTTSN_WILLTOPICUPD:
        return p->willtopic.topic;
    case MQTTSN_WILLMSG:
    case MQTTSN_WILLMSGUPD:
        return p->willmsg.message;
    case MQTTSN_REGISTER:
        return p->register_.topic;
    case MQTTSN_PUBLISH:
        return p->publish.payload;
    case MQTTSN_SUBSCRIBE:
    case MQTTSN_UNSUBSCRIBE:
        return p->subscribe.topic.type == MQTTSN_TOPIC_NORMAL ? p->subscribe.topic.name : (struct bytes){0};
    case MQTTSN_PINGREQ:
        return p->pingreq.client_id;
    default:
        return (struct bytes){0};
    }
}

static bool has_topic_id_tail(const struct mqttsn_packet *p)
{
    return (p->type == MQTTSN_SUBSCRIBE || p->type == MQTTSN_UNSUBSCRIBE) &&
           p->subscribe.topic.type != MQTTSN_TOPIC_NORMAL;
}

static bool is_empty_form(const struct mqttsn_packet *p)
{
    switch (p->type) {
    case MQTTSN_WILLTOPIC:
    case MQTTSN_WILLTOPICUPD:
        return p->willtopic.topic.len == 0;
    case MQTTSN_DISCONNECT:
        return !p->disconnect.has_duration;
    default:
        return false;
    }
}

/* QoS and topic id type within what their bits can carry and the packet allows. */
static bool fields_in_range(const struct mqttsn_packet *p)
{
    switch (p->type) {
    case MQTTSN_WILLTOPIC:
    case MQTTSN_WILLTOPICUPD:
        return p->willtopic.qos <= 2;
    case MQTTSN_PUBLISH:
        return p->publish.qos <= 3 && p->publish.topic.type <= MQTTSN_TOPIC_SHORT;
    case MQTTSN_SUBSCRIBE:
    case MQTTSN_UNSUBSCRIBE:
        return p->subscribe.qos <= 2 && p->subscribe.topic.type <= MQTTSN_TOPIC_SHORT;
    case MQTTSN_SUBACK:
        return p->suback.qos <= 2;
    default:
        return true;
    }
}

size_t mqttsn_encoded_size(const struct mqttsn_packet *p)
{
    const struct shape *shape = shape_of(p->type);
    if (!shape || !fields_in_range(p)) {
        return 0;
    }
    size_t body = 0;
    if (!is_empty_form(p)) {
        size_t tail = has_topic_id_tail(p) ? 2 : tail_of(p).len;
        if (tail < shape->tail_min || tail > LENGTH_MAX) {
            return 0;
        }
        body = shape->fixed + tail;
    }
    size_t size = body + 2 <= 255 ? body + 2 : body + 4;
    return size <= LENGTH_MAX ? size : 0;
}

static uint8_t make_flags(bool dup, uint8_t qos, bool retain, enum mqttsn_topic_type type)
{
    return (uint8_t)((dup ? FLAG_DUP : 0) | qos << FLAG_QOS_SHIFT | (retain ? FLAG_RETAIN : 0) | (int)type);
}

static uint8_t *encode_connection(const struct mqttsn_packet *p, uint8_t *out)
{
    switch (p->type) {
    case MQTTSN_ADVERTISE:
        *out++ = p->advertise.gateway_id;
        return put_u16(out, p->advertise.duration_s);
    case MQTTSN_SEARCHGW:
        *out++ = p->searchgw.radius;
        return out;
    case MQTTSN_GWINFO:
        *out++ = p->gwinfo.gateway_id;
        return out;
    case MQTTSN_CONNECT:
        *out++ = (uint8_t)((p->connect.will ? FLAG_WILL : 0) | (p->connect.clean_session ? FLAG_CLEAN : 0));
        *out++ = p->connect.protocol_id;
        return put_u16(out, p->connect.duration_s);
    case MQTTSN_CONNACK:
    case MQTTSN_WILLTOPICRESP:
    case MQTTSN_WILLMSGRESP:
        *out++ = p->connack.code;
        return out;
    case MQTTSN_WILLTOPIC:
    case MQTTSN_WILLTOPICUPD:
        *out++ = make_flags(false, p->willtopic.qos, p->willtopic.retain, MQTTSN_TOPIC_NORMAL);
        return out;
    case MQTTSN_DISCONNECT:
        return put_u16(out, p->disconnect.duration_s);
    default:
        return out;
    }
}

/* The fixed part. */
static uint8_t *encode_fixed(const struct mqttsn_packet *p, uint8_t *out)
{
    switch (p->type) {
    case MQTTSN_REGISTER:
        return put_u16(put_u16(out, p->register_.topic_id), p->register_.msg_id);
    case MQTTSN_REGACK:
    case MQTTSN_PUBACK:
        out = put_u16(put_u16(out, p->puback.topic_id), p->puback.msg_id);
        *out++ = p->puback.code;
        return out;
    case MQTTSN_PUBLISH:
        *out++ = make_flags(p->publish.dup, p->publish.qos, p->publish.retain, p->publish.topic.type);
        return put_u16(put_u16(out, p->publish.topic.id), p->publish.msg_id);
    case MQTTSN_PUBCOMP:
    case MQTTSN_PUBREC:
    case MQTTSN_PUBREL:
    case MQTTSN_UNSUBACK:
        return put_u16(out, p->pubrec.msg_id);
    case MQTTSN_SUBSCRIBE:
    case MQTTSN_UNSUBSCRIBE:
        *out++ = make_flags(p->subscribe.dup, p->subscribe.qos, false, p->subscribe.topic.type);
        return put_u16(out, p->subscribe.msg_id);
    case MQTTSN_SUBACK:
        *out++ = make_flags(false, p->suback.qos, false, MQTTSN_TOPIC_NORMAL);
        out = put_u16(put_u16(out, p->suback.topic_id), p->suback.msg_id);
        *out++ = p->suback.code;
        return out;
    default:
        return encode_connection(p, out);
    }
}

static uint8_t *put_header(uint8_t *out, size_t length, uint8_t type)
{
    if (length <= 255) {
        *out++ = (uint8_t)length;
    } else {
        *out++ = 0x01;
        out = put_u16(out, (uint16_t)length);
    }
    *out++ = type;
    return out;
}

size_t mqttsn_encode(const struct mqttsn_packet *p, uint8_t *out, size_t cap)
{
    size_t size = mqttsn_encoded_size(p);
    if (size == 0 || size > cap) {
        return 0;
    }
    out = put_header(out, size, (uint8_t)p->type);
    if (!is_empty_form(p)) {
        out = encode_fixed(p, out);
        if (has_topic_id_tail(p)) {
            put_u16(out, p->subscribe.topic.id);
        } else {
            put_bytes(out, tail_of(p));
        }
    }
    return size;
}

bool mqttsn_is_forwarded(struct bytes datagram)
{
    return (datagram.len >= 2 && datagram.data[0] != 0x01 && datagram.data[1] == MQTTSN_FORWARDER) ||
           (datagram.len >= 4 && datagram.data[0] == 0x01 && datagram.data[3] == MQTTSN_FORWARDER);
}

enum err mqttsn_decode_forward(struct bytes datagram, struct mqttsn_forward *out, struct bytes *inner)
{
    size_t length, header;
    enum err e = decode_header(datagram, &length, &header);
    if (e != E_OK) {
        return e;
    }
    if (datagram.data[header - 1] != MQTTSN_FORWARDER || length < header + 2 || length == datagram.len ||
        length - header - 1 > MQTTSN_NODE_ID_MAX) {
        return E_MALFORMED;
    }
    out->radius = datagram.data[header] & 3;
    out->node_id = bytes_sub(datagram, header + 1, length - header - 1);
    *inner = bytes_sub(datagram, length, SIZE_MAX);
    return E_OK;
}

size_t mqttsn_encode_forward(const struct mqttsn_forward *f, uint8_t *out, size_t cap)
{
    size_t size = 3 + f->node_id.len;
    if (f->node_id.len == 0 || f->node_id.len > MQTTSN_NODE_ID_MAX || size > cap) {
        return 0;
    }
    out = put_header(out, size, MQTTSN_FORWARDER);
    *out++ = f->radius & 3;
    put_bytes(out, f->node_id);
    return size;
}
