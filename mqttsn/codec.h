/* MQTT-SN v1.2 packets to and from bytes. No I/O, no state, no allocation. Any thread.
 *
 * Implements every packet of "MQTT For Sensor Networks (MQTT-SN) Protocol Specification Version 1.2", section 5, both
 * forms of the Length field (5.2.1) and the forwarder encapsulation (5.5). Strict: a datagram holds exactly one packet,
 * fixed fields must be there in full, packets of fixed size have that size, a reserved topic id type is an error. Flag bits
 * that a packet does not use are ignored and written as 0.
 *
 * Left to the session, because they deserve an answer and not silence: reserved topic ids, client id length, protocol id.
 */
#ifndef MQTTSN_CODEC_H
#define MQTTSN_CODEC_H

#include "base/bytes.h"
#include "base/err.h"

enum mqttsn_type { /* 5.2.2 */
                   MQTTSN_ADVERTISE = 0x00,
                   MQTTSN_SEARCHGW = 0x01,
                   MQTTSN_GWINFO = 0x02,
                   MQTTSN_CONNECT = 0x04,
                   MQTTSN_CONNACK = 0x05,
                   MQTTSN_WILLTOPICREQ = 0x06,
                   MQTTSN_WILLTOPIC = 0x07,
                   MQTTSN_WILLMSGREQ = 0x08,
                   MQTTSN_WILLMSG = 0x09,
                   MQTTSN_REGISTER = 0x0a,
                   MQTTSN_REGACK = 0x0b,
                   MQTTSN_PUBLISH = 0x0c,
                   MQTTSN_PUBACK = 0x0d,
                   MQTTSN_PUBCOMP = 0x0e,
                   MQTTSN_PUBREC = 0x0f,
                   MQTTSN_PUBREL = 0x10,
                   MQTTSN_SUBSCRIBE = 0x12,
                   MQTTSN_SUBACK = 0x13,
                   MQTTSN_UNSUBSCRIBE = 0x14,
                   MQTTSN_UNSUBACK = 0x15,
                   MQTTSN_PINGREQ = 0x16,
                   MQTTSN_PINGRESP = 0x17,
                   MQTTSN_DISCONNECT = 0x18,
                   MQTTSN_WILLTOPICUPD = 0x1a,
                   MQTTSN_WILLTOPICRESP = 0x1b,
                   MQTTSN_WILLMSGUPD = 0x1c,
                   MQTTSN_WILLMSGRESP = 0x1d,
                   MQTTSN_FORWARDER = 0xfe,
};

enum mqttsn_return_code { /* 5.3.10 */
                          MQTTSN_ACCEPTED = 0x00,
                          MQTTSN_CONGESTION = 0x01,
                          MQTTSN_INVALID_TOPIC_ID = 0x02,
                          MQTTSN_NOT_SUPPORTED = 0x03,
};

enum mqttsn_topic_type { /* TopicIdType, 5.3.4 */
                         MQTTSN_TOPIC_NORMAL =
                             0, /* an id from REGISTER or SUBSCRIBE; in (UN)SUBSCRIBE: the name itself */
                         MQTTSN_TOPIC_PREDEFINED = 1,
                         MQTTSN_TOPIC_SHORT = 2, /* two characters */
};

#define MQTTSN_PROTOCOL_ID 0x01
#define MQTTSN_QOS_MINUS_ONE 3 /* QoS field 0b11: publish without a connection (6.8) */

/* 5.3.11: never assigned. */
static inline bool mqttsn_topic_id_reserved(uint16_t id)
{
    return id == 0x0000 || id == 0xffff;
}

struct mqttsn_topic {
    enum mqttsn_topic_type type;
    uint16_t id;       /* NORMAL in PUBLISH, PREDEFINED; SHORT: the two characters, first one high */
    struct bytes name; /* NORMAL in SUBSCRIBE and UNSUBSCRIBE, at least one byte */
};

/* One packet. Slices borrow from the datagram. Only the member of `type` is meaningful. */
struct mqttsn_packet {
    enum mqttsn_type type;
    union {
        struct {
            uint8_t gateway_id;
            uint16_t duration_s; /* until the next ADVERTISE */
        } advertise;
        struct {
            uint8_t radius;
        } searchgw;
        struct {
            uint8_t gateway_id;
            struct bytes address; /* only when a client answers for the gateway */
        } gwinfo;
        struct {
            bool will;
            bool clean_session;
            uint8_t protocol_id;
            uint16_t duration_s; /* keep-alive; 0 = none */
            struct bytes client_id;
        } connect;
        struct {
            uint8_t code;
        } connack, willtopicresp, willmsgresp;
        struct {
            uint8_t qos; /* 0..2 */
            bool retain;
            struct bytes topic; /* empty: deletes the will (written without flags, as 5.4.7 has it) */
        } willtopic, willtopicupd;
        struct {
            struct bytes message;
        } willmsg, willmsgupd;
        struct {
            uint16_t topic_id; /* 0 from clients */
            uint16_t msg_id;
            struct bytes topic;
        } register_;
        struct {
            uint16_t topic_id;
            uint16_t msg_id;
            uint8_t code;
        } regack, puback;
        struct {
            bool dup;
            uint8_t qos; /* 0..2 or MQTTSN_QOS_MINUS_ONE */
            bool retain;
            struct mqttsn_topic topic;
            uint16_t msg_id;
            struct bytes payload;
        } publish;
        struct {
            uint16_t msg_id;
        } pubrec, pubrel, pubcomp, unsuback;
        struct {
            bool dup;
            uint8_t qos; /* 0..2; 0 in UNSUBSCRIBE */
            uint16_t msg_id;
            struct mqttsn_topic topic;
        } subscribe, unsubscribe;
        struct {
            uint8_t qos; /* granted */
            uint16_t topic_id;
            uint16_t msg_id;
            uint8_t code;
        } suback;
        struct {
            struct bytes client_id; /* from a sleeping client that fetches its messages; else empty */
        } pingreq;
        struct {
            bool has_duration;
            uint16_t duration_s; /* going to sleep for this long */
        } disconnect;
    };
};

/* E_MALFORMED otherwise; `out` is then undefined. A forwarder encapsulation is E_UNSUPPORTED here. */
MUST_CHECK enum err mqttsn_decode(struct bytes datagram, struct mqttsn_packet *out);

/* Bytes that mqttsn_encode will write: 2..65535, or 0 when the packet cannot be written (too long, a field out of range). */
size_t mqttsn_encoded_size(const struct mqttsn_packet *p);
/* Writes the packet, with the one-byte Length where it fits. Returns the bytes written; 0 if it does not fit `cap` or
 * cannot be written. */
size_t mqttsn_encode(const struct mqttsn_packet *p, uint8_t *out, size_t cap);

/* Forwarder encapsulation (5.5): Length covers the header alone, the packet follows. */
struct mqttsn_forward {
    uint8_t radius; /* 0..3 */
    struct bytes node_id;
};

#define MQTTSN_NODE_ID_MAX 16 /* longer node ids are refused: no network that is forwarded has them */

/* true if the datagram is meant as an encapsulation (its type says so); it may still be malformed. */
bool mqttsn_is_forwarded(struct bytes datagram);
/* `inner` is what follows the header; it is not looked into. E_MALFORMED when node id or inner packet are missing. */
MUST_CHECK enum err mqttsn_decode_forward(struct bytes datagram, struct mqttsn_forward *out, struct bytes *inner);
/* Writes the header to stand before a packet; returns its size, 0 if it does not fit. */
size_t mqttsn_encode_forward(const struct mqttsn_forward *f, uint8_t *out, size_t cap);
#define MQTTSN_FORWARD_MAX (3 + MQTTSN_NODE_ID_MAX)

/* "CONNECT"; "?" for what is no type. Static storage. */
const char *mqttsn_type_name(uint8_t type);

#endif
