/* Random valid MQTT-SN packets from a seed, for round-trip tests. */
#ifndef TEST_MQTTSN_GENERATE_H
#define TEST_MQTTSN_GENERATE_H

#include "mqttsn/codec.h"

static const uint8_t generate_types[] = {
    MQTTSN_ADVERTISE,    MQTTSN_SEARCHGW,    MQTTSN_GWINFO,     MQTTSN_CONNECT,      MQTTSN_CONNACK,
    MQTTSN_WILLTOPICREQ, MQTTSN_WILLTOPIC,   MQTTSN_WILLMSGREQ, MQTTSN_WILLMSG,      MQTTSN_REGISTER,
    MQTTSN_REGACK,       MQTTSN_PUBLISH,     MQTTSN_PUBACK,     MQTTSN_PUBCOMP,      MQTTSN_PUBREC,
    MQTTSN_PUBREL,       MQTTSN_SUBSCRIBE,   MQTTSN_SUBACK,     MQTTSN_UNSUBSCRIBE,  MQTTSN_UNSUBACK,
    MQTTSN_PINGREQ,      MQTTSN_PINGRESP,    MQTTSN_DISCONNECT, MQTTSN_WILLTOPICUPD, MQTTSN_WILLTOPICRESP,
    MQTTSN_WILLMSGUPD,   MQTTSN_WILLMSGRESP,
};
#define GENERATE_TYPES (sizeof(generate_types) / sizeof(generate_types[0]))
#define GENERATE_TEXT_MAX 600

static uint64_t generate_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Printable text of min..max bytes; short ones are likelier, so that both forms of Length come up. */
static struct bytes generate_text(uint64_t *rng, uint8_t *room, size_t min, size_t max)
{
    size_t len = min + (size_t)(generate_next(rng) % (generate_next(rng) % 4 ? 20 : max - min + 1));
    for (size_t i = 0; i < len; i++) {
        room[i] = (uint8_t)('a' + generate_next(rng) % 26);
    }
    return bytes_make(room, len);
}

static void generate_topic(uint64_t *rng, struct mqttsn_topic *t, bool subscribe, uint8_t *room)
{
    t->type = (enum mqttsn_topic_type)(generate_next(rng) % 3);
    t->name = (struct bytes){0};
    t->id = (uint16_t)generate_next(rng);
    if (t->type == MQTTSN_TOPIC_SHORT) {
        t->id = (uint16_t)(('a' + generate_next(rng) % 26) << 8 | ('a' + generate_next(rng) % 26));
    } else if (t->type == MQTTSN_TOPIC_NORMAL && subscribe) {
        t->id = 0;
        t->name = generate_text(rng, room, 1, GENERATE_TEXT_MAX);
    }
}

/* `room` holds GENERATE_TEXT_MAX bytes that the packet borrows from. */
static void generate_packet(uint64_t *rng, uint8_t type, struct mqttsn_packet *p, uint8_t *room)
{
    uint16_t a = (uint16_t)generate_next(rng), b = (uint16_t)generate_next(rng);
    uint8_t small = (uint8_t)(generate_next(rng) % 3), code = (uint8_t)(generate_next(rng) % 4);
    memset(p, 0, sizeof(*p));
    p->type = type;
    switch (type) {
    case MQTTSN_ADVERTISE:
        p->advertise.gateway_id = (uint8_t)a;
        p->advertise.duration_s = b;
        break;
    case MQTTSN_SEARCHGW:
        p->searchgw.radius = (uint8_t)a;
        break;
    case MQTTSN_GWINFO:
        p->gwinfo.gateway_id = (uint8_t)a;
        p->gwinfo.address = generate_text(rng, room, 0, 16);
        break;
    case MQTTSN_CONNECT:
        p->connect.will = a & 1;
        p->connect.clean_session = a & 2;
        p->connect.protocol_id = MQTTSN_PROTOCOL_ID;
        p->connect.duration_s = b;
        p->connect.client_id = generate_text(rng, room, 1, 23);
        break;
    case MQTTSN_CONNACK:
    case MQTTSN_WILLTOPICRESP:
    case MQTTSN_WILLMSGRESP:
        p->connack.code = code;
        break;
    case MQTTSN_WILLTOPIC:
    case MQTTSN_WILLTOPICUPD:
        p->willtopic.topic = generate_text(rng, room, 0, GENERATE_TEXT_MAX);
        if (p->willtopic.topic.len > 0) {
            p->willtopic.qos = small;
            p->willtopic.retain = a & 1;
        }
        break;
    case MQTTSN_WILLMSG:
    case MQTTSN_WILLMSGUPD:
        p->willmsg.message = generate_text(rng, room, 1, GENERATE_TEXT_MAX);
        break;
    case MQTTSN_REGISTER:
        p->register_.topic_id = a;
        p->register_.msg_id = b;
        p->register_.topic = generate_text(rng, room, 1, GENERATE_TEXT_MAX);
        break;
    case MQTTSN_REGACK:
    case MQTTSN_PUBACK:
        p->puback.topic_id = a;
        p->puback.msg_id = b;
        p->puback.code = code;
        break;
    case MQTTSN_PUBLISH:
        p->publish.dup = a & 1;
        p->publish.qos = (uint8_t)(b & 3);
        p->publish.retain = a & 2;
        p->publish.msg_id = b;
        generate_topic(rng, &p->publish.topic, false, room);
        p->publish.payload = generate_text(rng, room, 1, GENERATE_TEXT_MAX);
        break;
    case MQTTSN_PUBCOMP:
    case MQTTSN_PUBREC:
    case MQTTSN_PUBREL:
    case MQTTSN_UNSUBACK:
        p->pubrec.msg_id = a;
        break;
    case MQTTSN_SUBSCRIBE:
    case MQTTSN_UNSUBSCRIBE:
        p->subscribe.dup = a & 1;
        p->subscribe.qos = type == MQTTSN_SUBSCRIBE ? small : 0;
        p->subscribe.msg_id = b;
        generate_topic(rng, &p->subscribe.topic, true, room);
        break;
    case MQTTSN_SUBACK:
        p->suback.qos = small;
        p->suback.topic_id = a;
        p->suback.msg_id = b;
        p->suback.code = code;
        break;
    case MQTTSN_PINGREQ:
        p->pingreq.client_id = generate_text(rng, room, 0, 23);
        break;
    case MQTTSN_DISCONNECT:
        p->disconnect.has_duration = a & 1;
        p->disconnect.duration_s = p->disconnect.has_duration ? b : 0;
        break;
    default:
        break;
    }
}

#endif
