/* The client's side of one MQTT connection as a state machine without I/O: bytes and a clock in, bytes and a deadline out.
 *
 *   idle --start--> connecting --CONNACK--> open --disconnect, error, DISCONNECT--> over
 *
 * Covers CONNECT/CONNACK, keep-alive, publishing with QoS 0, 1, 2 within the server's limits (Receive Maximum, Maximum Packet
 * Size, Maximum QoS, Retain Available), receiving with QoS 0, 1, 2, SUBSCRIBE and UNSUBSCRIBE. Not covered: enhanced
 * authentication, topic aliases (Topic Alias Maximum stays 0). State does not outlive the connection: what is not settled
 * at its end is the owner's to send again, so that QoS 2 is exactly once within a connection and at least once beyond.
 *
 * Everything to be sent is appended to a buffer of the caller's. Idle it needs no memory but the struct. One thread at a time.
 */
#ifndef MQTT_SESSION_H
#define MQTT_SESSION_H

#include "base/clock.h"
#include "mqtt/codec.h"
#include "mqtt/flights.h"

struct mqtt_session_options {
    enum mqtt_version version;
    struct bytes client_id; /* empty: the server assigns one */
    struct bytes username;  /* data NULL = none */
    struct bytes password;  /* data NULL = none */
    bool clean_start;
    uint32_t session_expiry_s;   /* v5 */
    uint16_t keepalive_s;        /* 0 = none; the server's Server Keep Alive wins */
    uint32_t ping_timeout_ms;    /* no PINGRESP within this ends the connection; 0 = 10 s */
    uint32_t connack_timeout_ms; /* 0 = 30 s */
    uint16_t max_inflight; /* ceiling of unsettled QoS 1/2 publishes, the server's Receive Maximum lowers it; 0 = 100 */
    uint16_t receive_max;  /* how many unacknowledged QoS 1/2 publishes we take (v5: told to the server); 0 = 100 */
    bool overrun_ok;       /* take more than receive_max: mosquitto 2.0.11 does not keep to what it was told */
    uint32_t packet_max;   /* largest packet that we take (v5: told to the server); 0 = 1 MiB */
    uint16_t
        first_packet_id; /* 0 = 1; a random one keeps a persistent session from meeting an id that it still knows */
    const struct mqtt_will *will; /* NULL = none */
};

/* Bytes of the output that publishes leave free for acknowledgements and pings. */
#define MQTT_SESSION_RESERVE 16384u

/* Filters in one SUBSCRIBE or UNSUBSCRIBE. */
#define MQTT_FILTERS_MAX 256u

enum mqtt_session_state { MQTT_SESSION_IDLE, MQTT_SESSION_CONNECTING, MQTT_SESSION_OPEN, MQTT_SESSION_OVER };

/* Fields are the session's own; read `state`, `end_reason` and `end_detail`. */
struct mqtt_session {
    enum mqtt_session_state state;
    enum mqtt_version version;
    struct buffer connect; /* CONNECT, encoded; until start */
    struct buffer input;   /* start of a packet that is not whole yet */
    bool input_done;       /* input holds the packet of the last event */
    struct flights flights;
    uint32_t publishes;         /* flights that are publishes */
    uint32_t window;            /* ceiling of `publishes` */
    uint32_t server_packet_max; /* 0 = none */
    uint8_t server_qos_max;
    bool server_retain;
    uint32_t packet_max;
    uint32_t receive_max; /* UINT32_MAX: not enforced */
    uint32_t receiving;   /* QoS 1/2 publishes that we have not settled */
    uint64_t *received;   /* bitmap of QoS 2 packet ids up to their PUBREL; NULL while there are none */
    uint32_t received_count;
    uint32_t keepalive_ms;
    uint32_t ping_timeout_ms;
    struct mono last_in;
    struct mono last_out;
    struct mono ping_sent; /* MONO_NEVER: no PINGRESP is awaited */
    struct mono connack_deadline;
    uint32_t connack_timeout_ms;
    uint8_t end_reason;   /* why it is over: reason code (3.1.1: CONNACK return code), 0 = none */
    char end_detail[160]; /* the same in plain words */
};

enum mqtt_event_type {
    MQTT_EVENT_CONNECTED,  /* connack */
    MQTT_EVENT_PUBLISHED,  /* published: PUBACK, PUBCOMP, or PUBREC that refuses */
    MQTT_EVENT_MESSAGE,    /* message; QoS 1: mqtt_session_ack() is owed; QoS 2: given once, at PUBLISH */
    MQTT_EVENT_SUBSCRIBED, /* subscribed: SUBACK or UNSUBACK */
};

struct mqtt_event {
    enum mqtt_event_type type;
    union {
        struct mqtt_connack connack;
        struct mqtt_publish message;
        struct {
            uint64_t token;
            uint8_t reason; /* >= MQTT_FAILURE: refused by the server */
            struct bytes reason_text;
        } published;
        struct {
            uint64_t token;
            struct bytes codes; /* one per filter; 3.1.1 UNSUBACK: zeros */
        } subscribed;
    };
};

/* Encodes CONNECT; nothing of `o` is kept. E_INVALID: an option breaks the protocol; E_NOMEM. */
MUST_CHECK enum err mqtt_session_init(struct mqtt_session *s, const struct mqtt_session_options *o);
void mqtt_session_finish(struct mqtt_session *s);

/* The transport is open: CONNECT goes out. */
MUST_CHECK enum err mqtt_session_start(struct mqtt_session *s, struct mono now, struct buffer *out);

/* Takes bytes off the front of *in. E_OK: there is an event; handle it, then call again, also when *in is empty. Its bytes are
 * valid until the next call. E_AGAIN: *in is used up. Anything else: the connection is over (E_REFUSED: CONNACK says no;
 * E_CLOSED: server's DISCONNECT; E_PROTOCOL, E_MALFORMED, E_TOO_LARGE: the server broke the protocol; E_FULL, E_NOMEM: here),
 * end_reason and end_detail say why, and `out` may hold a DISCONNECT to be sent. */
MUST_CHECK enum err mqtt_session_input(struct mqtt_session *s, struct mono now, struct bytes *in, struct buffer *out,
                                       struct mqtt_event *event);

/* Sends a publish; its packet_id and dup are ignored. QoS 1/2: `token` comes back in MQTT_EVENT_PUBLISHED.
 * E_AGAIN: not open. E_FULL: the window or `out` is full: later. E_TOO_LARGE: over the server's Maximum Packet Size. E_UNSUPPORTED: the server announced that it takes no such QoS or no retained messages.
 * E_INVALID: breaks the protocol (see codec.h). */
MUST_CHECK enum err mqtt_session_publish(struct mqtt_session *s, struct mono now, struct buffer *out,
                                         const struct mqtt_publish *p, uint64_t token);
/* Does the window have room? */
bool mqtt_session_has_room(const struct mqtt_session *s);

/* All filters of one call have the Subscription Identifier of the first. E_AGAIN: not open; E_INVALID: a filter is not valid; E_TOO_LARGE: over MQTT_FILTERS_MAX or the server's packet size. */
MUST_CHECK enum err mqtt_session_subscribe(struct mqtt_session *s, struct mono now, struct buffer *out,
                                           const struct mqtt_subscription *items, size_t count, uint64_t token);
MUST_CHECK enum err mqtt_session_unsubscribe(struct mqtt_session *s, struct mono now, struct buffer *out,
                                             const struct bytes *filters, size_t count, uint64_t token);
/* PUBACK for a QoS 1 message. reason: 0, or v5 >= MQTT_FAILURE (as success in 3.1.1). E_AGAIN: not open. */
MUST_CHECK enum err mqtt_session_ack(struct mqtt_session *s, struct mono now, struct buffer *out, uint16_t packet_id,
                                     uint8_t reason);
/* DISCONNECT; the session is over. */
void mqtt_session_disconnect(struct mqtt_session *s, struct buffer *out);

/* Sends a PINGREQ although it is not time, to see whether the server is there; the time for its answer runs. Nothing if one is under way or
 * there is no room. */
void mqtt_session_probe(struct mqtt_session *s, struct mono now, struct buffer *out);

/* When mqtt_session_service wants to be called; MONO_NEVER: no need. */
struct mono mqtt_session_deadline(const struct mqtt_session *s);
/* Sends PINGREQ when it is time. E_TIMEOUT: no CONNACK or PINGRESP came; the connection is over. */
MUST_CHECK enum err mqtt_session_service(struct mqtt_session *s, struct mono now, struct buffer *out);

#endif
