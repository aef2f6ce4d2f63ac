/* MQTT 3.1.1 and 5.0 packets: bytes to structs and back, without I/O, for clients and servers.
 *
 * Decoding is strict (lengths, reserved bits, UTF-8, properties, packet ids) and copies nothing: every struct bytes in a
 * decoded packet points into the packet. Reason codes are taken as they come, because servers use unlisted ones (AWS IoT
 * Core answers an unauthorised 3.1.1 CONNECT with return code 7); only their place is checked. What an encoder accepts, the
 * decoder accepts. Encoders compute the size first, then write into the buffer in one piece; on an error the buffer is unchanged.
 *
 * A zeroed struct is a packet with nothing optional in it; see mqtt_connack_init for the one exception. Strings and binary
 * data: data NULL = absent. Decoding fills every field: absent properties get the value that the specification
 * gives to their absence. Fields marked "v5" are neither read nor written in 3.1.1 (decoding leaves them absent).
 *
 * Errors: E_MALFORMED and E_PROTOCOL (from outside: reason codes 0x81 and 0x82), E_INVALID (to the encoder: the struct breaks
 * a rule of the specification), E_TOO_LARGE, E_FULL, E_NOMEM (struct buffer). Any thread.
 *
 * Specifications: MQTT Version 5.0 and MQTT Version 3.1.1 (OASIS Standards). Section numbers are 5.0's unless noted.
 */
#ifndef MQTT_CODEC_H
#define MQTT_CODEC_H

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/err.h"

/* Protocol level as in CONNECT (section 3.1.2.2). */
enum mqtt_version { MQTT_V311 = 4, MQTT_V5 = 5 };

/* Section 2.1.2. */
enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH, /* v5 */
};

/* Section 1.5.5. */
#define MQTT_REMAINING_MAX 268435455u
#define MQTT_STRING_MAX 65535u
#define MQTT_NO_EXPIRY UINT32_MAX /* session expiry: never (section 3.1.2.11.2) */

/* Section 2.4. */
enum mqtt_reason {
    MQTT_SUCCESS = 0x00,
    MQTT_DISCONNECT_WITH_WILL = 0x04,
    MQTT_NO_MATCHING_SUBSCRIBERS = 0x10,
    MQTT_NO_SUBSCRIPTION_EXISTED = 0x11,
    MQTT_CONTINUE_AUTHENTICATION = 0x18,
    MQTT_REAUTHENTICATE = 0x19,
    MQTT_UNSPECIFIED_ERROR = 0x80,
    MQTT_MALFORMED_PACKET = 0x81,
    MQTT_PROTOCOL_ERROR = 0x82,
    MQTT_IMPLEMENTATION_ERROR = 0x83,
    MQTT_UNSUPPORTED_VERSION = 0x84,
    MQTT_CLIENT_ID_NOT_VALID = 0x85,
    MQTT_BAD_CREDENTIALS = 0x86,
    MQTT_NOT_AUTHORIZED = 0x87,
    MQTT_SERVER_UNAVAILABLE = 0x88,
    MQTT_SERVER_BUSY = 0x89,
    MQTT_BANNED = 0x8A,
    MQTT_SERVER_SHUTTING_DOWN = 0x8B,
    MQTT_BAD_AUTHENTICATION_METHOD = 0x8C,
    MQTT_KEEP_ALIVE_TIMEOUT = 0x8D,
    MQTT_SESSION_TAKEN_OVER = 0x8E,
    MQTT_TOPIC_FILTER_INVALID = 0x8F,
    MQTT_TOPIC_NAME_INVALID = 0x90,
    MQTT_PACKET_ID_IN_USE = 0x91,
    MQTT_PACKET_ID_NOT_FOUND = 0x92,
    MQTT_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
    MQTT_TOPIC_ALIAS_INVALID = 0x94,
    MQTT_PACKET_TOO_LARGE = 0x95,
    MQTT_MESSAGE_RATE_TOO_HIGH = 0x96,
    MQTT_QUOTA_EXCEEDED = 0x97,
    MQTT_ADMINISTRATIVE_ACTION = 0x98,
    MQTT_PAYLOAD_FORMAT_INVALID = 0x99,
    MQTT_RETAIN_NOT_SUPPORTED = 0x9A,
    MQTT_QOS_NOT_SUPPORTED = 0x9B,
    MQTT_USE_ANOTHER_SERVER = 0x9C,
    MQTT_SERVER_MOVED = 0x9D,
    MQTT_SHARED_NOT_SUPPORTED = 0x9E,
    MQTT_CONNECTION_RATE_EXCEEDED = 0x9F,
    MQTT_MAXIMUM_CONNECT_TIME = 0xA0,
    MQTT_SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1,
    MQTT_WILDCARDS_NOT_SUPPORTED = 0xA2,
};
/* From here on a reason code means failure (section 2.4). */
#define MQTT_FAILURE 0x80u

/* A reason code of 5.0 in plain words ("not authorized"); "unknown reason" for an unlisted one. Never NULL. */
const char *mqtt_reason_text(uint8_t reason);
/* The return code of a CONNACK, which means something else in 3.1.1 (3.1.1 section 3.2.2.3). Never NULL. */
const char *mqtt_connack_text(enum mqtt_version version, uint8_t reason);
/* "PUBLISH"; "unknown" for what is no type. */
const char *mqtt_type_name(uint8_t type);

/* User Properties (section 2.2.2.2) stand in every struct as on the wire: properties with identifier 0x26, of which each is a
 * pair of strings. A decoded field may hold other properties in between: walk it with mqtt_user_property_next. */
#define MQTT_USER_PROPERTY 0x26u

/* Takes the next pair off *properties; false at the end, and where the bytes are no properties. */
bool mqtt_user_property_next(struct bytes *properties, struct bytes *name, struct bytes *value);
/* Appends one pair in this form. E_INVALID: not UTF-8, or over 65535 bytes. */
MUST_CHECK enum err mqtt_user_property_append(struct buffer *properties, struct bytes name, struct bytes value);
/* From and to the form without identifiers (2-byte length and text, twice, for each pair), appended to `out`. */
MUST_CHECK enum err mqtt_user_properties_from_pairs(struct bytes pairs, struct buffer *out);
MUST_CHECK enum err mqtt_user_properties_to_pairs(struct bytes properties, struct buffer *out);
/* Takes the next value off mqtt_publish.subscription_ids; false at the end. */
bool mqtt_subscription_id_next(struct bytes *properties, uint32_t *id);

/* Section 3.1.3.2 and 3.1.2.5. */
struct mqtt_will {
    struct bytes topic;
    struct bytes payload;
    uint8_t qos;
    bool retain;
    uint8_t payload_format;        /* v5, 0 or 1 */
    bool has_message_expiry;       /* v5 */
    uint32_t message_expiry_s;     /* v5 */
    uint32_t delay_s;              /* v5 */
    struct bytes content_type;     /* v5 */
    struct bytes response_topic;   /* v5 */
    struct bytes correlation_data; /* v5 */
    struct bytes user_properties;  /* v5 */
};

/* Section 3.1. */
struct mqtt_connect {
    enum mqtt_version version;
    struct bytes client_id; /* may be empty: the server assigns one (3.1.1: with clean_start only) */
    bool clean_start;       /* 3.1.1: clean session */
    uint16_t keepalive_s;   /* 0 = none */
    bool has_username;
    bool has_password; /* 3.1.1: only with a user name */
    struct bytes username;
    struct bytes password;
    bool has_will;
    struct mqtt_will will;
    uint32_t session_expiry_s;    /* v5 */
    uint16_t receive_max;         /* v5; 0 = absent, which decodes as 65535 */
    uint32_t packet_max;          /* v5; 0 = absent: no limit */
    uint16_t topic_alias_max;     /* v5 */
    bool request_response_info;   /* v5 */
    bool no_problem_info;         /* v5; inverse of Request Problem Information, which is 1 when absent */
    struct bytes auth_method;     /* v5 */
    struct bytes auth_data;       /* v5; only with a method */
    struct bytes user_properties; /* v5 */
};

/* Section 3.2. */
struct mqtt_connack {
    bool session_present;            /* only with reason 0 */
    uint8_t reason;                  /* 3.1.1: return code */
    bool has_session_expiry;         /* v5 */
    uint32_t session_expiry_s;       /* v5; absent: what the client asked for */
    uint16_t receive_max;            /* v5; 0 = absent, which decodes as 65535 */
    uint8_t qos_max;                 /* v5; 0, 1, or 2 = absent */
    bool retain_available;           /* v5 */
    uint32_t packet_max;             /* v5; 0 = absent: no limit */
    struct bytes assigned_client_id; /* v5 */
    uint16_t topic_alias_max;        /* v5 */
    struct bytes reason_string;      /* v5 */
    struct bytes user_properties;    /* v5 */
    bool wildcard_available;         /* v5 */
    bool subscription_ids_available; /* v5 */
    bool shared_available;           /* v5 */
    bool has_server_keepalive;       /* v5 */
    uint16_t server_keepalive_s;     /* v5 */
    struct bytes response_info;      /* v5 */
    struct bytes server_reference;   /* v5 */
    struct bytes auth_method;        /* v5 */
    struct bytes auth_data;          /* v5 */
};

/* A CONNACK that announces no limits (QoS 2, retain, wildcards ... available). */
void mqtt_connack_init(struct mqtt_connack *c);

/* Section 3.3. */
struct mqtt_publish {
    struct bytes topic; /* v5: empty with a topic alias */
    struct bytes payload;
    uint8_t qos;
    bool retain;
    bool dup;
    uint16_t packet_id;            /* QoS 1 and 2; 0 with QoS 0 */
    uint8_t payload_format;        /* v5, 0 or 1 */
    bool has_message_expiry;       /* v5 */
    uint32_t message_expiry_s;     /* v5 */
    uint16_t topic_alias;          /* v5; 0 = absent */
    struct bytes content_type;     /* v5 */
    struct bytes response_topic;   /* v5 */
    struct bytes correlation_data; /* v5 */
    struct bytes user_properties;  /* v5 */
    struct bytes subscription_ids; /* v5; as on the wire, server to client only: mqtt_subscription_id_next */
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7). */
struct mqtt_ack {
    enum mqtt_type type;
    uint16_t packet_id;
    uint8_t reason;               /* v5 */
    struct bytes reason_string;   /* v5 */
    struct bytes user_properties; /* v5 */
};

/* One filter of a SUBSCRIBE (section 3.8.3.1). */
struct mqtt_subscription {
    struct bytes filter;
    uint8_t qos;
    bool no_local;            /* v5; not with a shared subscription */
    bool retain_as_published; /* v5 */
    uint8_t retain_handling;  /* v5: 0 send retained, 1 only if new, 2 none */
    uint32_t
        subscription_id; /* v5; for mqtt_session_subscribe, which takes it from the first filter of a packet; 0 = none */
};

/* Section 3.8. Encoding reads items[0..count); decoding sets `list` for mqtt_subscription_next, count, and items NULL. */
struct mqtt_subscribe {
    uint16_t packet_id;
    uint32_t subscription_id;     /* v5; 0 = absent */
    struct bytes user_properties; /* v5 */
    const struct mqtt_subscription *items;
    size_t count; /* 1 at least */
    struct bytes list;
};

/* Takes the next filter off a decoded list; false at the end. */
bool mqtt_subscription_next(enum mqtt_version version, struct bytes *list, struct mqtt_subscription *out);

/* Section 3.10. Encoding reads filters[0..count); decoding sets `list`, count, and filters NULL. */
struct mqtt_unsubscribe {
    uint16_t packet_id;
    struct bytes user_properties; /* v5 */
    const struct bytes *filters;
    size_t count; /* 1 at least */
    struct bytes list;
};

/* Takes the next filter off a decoded list; false at the end. */
bool mqtt_unsubscribe_next(struct bytes *list, struct bytes *filter);

/* SUBACK and UNSUBACK (sections 3.9, 3.11). */
struct mqtt_suback {
    enum mqtt_type type;
    uint16_t packet_id;
    struct bytes codes;           /* one byte per filter; 3.1.1: none in UNSUBACK */
    struct bytes reason_string;   /* v5 */
    struct bytes user_properties; /* v5 */
};

/* Section 3.14. */
struct mqtt_disconnect {
    uint8_t reason;                /* v5 */
    bool has_session_expiry;       /* v5 */
    uint32_t session_expiry_s;     /* v5 */
    struct bytes reason_string;    /* v5 */
    struct bytes user_properties;  /* v5 */
    struct bytes server_reference; /* v5 */
};

/* Section 3.15; v5 only. */
struct mqtt_auth {
    uint8_t reason;
    struct bytes method; /* required unless the packet is just success */
    struct bytes data;
    struct bytes reason_string;
    struct bytes user_properties;
};

struct mqtt_packet {
    enum mqtt_type type;
    union {
        struct mqtt_connect connect;
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_subscribe subscribe;
        struct mqtt_unsubscribe unsubscribe;
        struct mqtt_suback suback;
        struct mqtt_disconnect disconnect;
        struct mqtt_auth auth;
    };
};

/* Looks for one whole packet at the start of `in`. E_OK: the packet is the first *length bytes. E_AGAIN: more input is
 * needed; *length is the packet's length if it can be told, else 0. E_TOO_LARGE: it is longer than `max` bytes (0: no
 * limit but the format's); *length is set. E_MALFORMED: no packet begins like this. */
MUST_CHECK enum err mqtt_frame(struct bytes in, size_t max, size_t *length);

/* Decodes one whole packet (see mqtt_frame). CONNECT brings its own version and ignores the argument: E_VERSION for a protocol
 * name or level that is neither. *out is undefined on an error. */
MUST_CHECK enum err mqtt_decode(enum mqtt_version version, struct bytes packet, struct mqtt_packet *out);

/* Append one packet to `out`. */
MUST_CHECK enum err mqtt_encode(struct buffer *out, enum mqtt_version version, const struct mqtt_packet *p);
MUST_CHECK enum err mqtt_encode_connect(struct buffer *out, const struct mqtt_connect *p);
MUST_CHECK enum err mqtt_encode_connack(struct buffer *out, enum mqtt_version version, const struct mqtt_connack *p);
MUST_CHECK enum err mqtt_encode_publish(struct buffer *out, enum mqtt_version version, const struct mqtt_publish *p);
MUST_CHECK enum err mqtt_encode_ack(struct buffer *out, enum mqtt_version version, const struct mqtt_ack *p);
MUST_CHECK enum err mqtt_encode_subscribe(struct buffer *out, enum mqtt_version version,
                                          const struct mqtt_subscribe *p);
MUST_CHECK enum err mqtt_encode_suback(struct buffer *out, enum mqtt_version version, const struct mqtt_suback *p);
MUST_CHECK enum err mqtt_encode_unsubscribe(struct buffer *out, enum mqtt_version version,
                                            const struct mqtt_unsubscribe *p);
/* PINGREQ or PINGRESP. */
MUST_CHECK enum err mqtt_encode_ping(struct buffer *out, enum mqtt_type type);
MUST_CHECK enum err mqtt_encode_disconnect(struct buffer *out, enum mqtt_version version,
                                           const struct mqtt_disconnect *p);
MUST_CHECK enum err mqtt_encode_auth(struct buffer *out, const struct mqtt_auth *p);

/* The length that mqtt_encode_publish would append, to be compared with the peer's Maximum Packet Size (section 3.1.2.11.4).
 * 0 when the packet cannot be encoded for its length. */
size_t mqtt_publish_length(enum mqtt_version version, const struct mqtt_publish *p);

#endif
