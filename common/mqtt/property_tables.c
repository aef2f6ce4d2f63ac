/* Which property stands in which field of which packet. */
#include "mqtt/property.h"

#define NUMBER(id_, field_, struct_, member, skip_, absent_)                                                           \
    {                                                                                                                  \
        .id = (id_), .field = (field_), .offset = offsetof(struct struct_, member), .skip = (skip_),                   \
        .absent = (absent_)                                                                                            \
    }
#define OPTIONAL(id_, field_, struct_, member, has_)                                                                   \
    {                                                                                                                  \
        .id = (id_), .field = (field_), .offset = offsetof(struct struct_, member),                                    \
        .has = offsetof(struct struct_, has_)                                                                          \
    }
#define TEXT(id_, struct_, member)                                                                                     \
    {                                                                                                                  \
        .id = (id_), .field = FIELD_BYTES, .offset = offsetof(struct struct_, member)                                  \
    }
#define LIST(id_, struct_, member)                                                                                     \
    {                                                                                                                  \
        .id = (id_), .field = FIELD_LIST, .offset = offsetof(struct struct_, member)                                   \
    }
#define TABLE(name, ...)                                                                                               \
    static const struct property_row name##_rows[] = {__VA_ARGS__};                                                    \
    const struct property_table name##_properties = {name##_rows, sizeof(name##_rows) / sizeof(name##_rows[0])}

/* clang-format off */
TABLE(connect, /* section 3.1.2.11 */
    NUMBER(0x11, FIELD_U32, mqtt_connect, session_expiry_s, 0, 0),
    NUMBER(0x21, FIELD_U16, mqtt_connect, receive_max, 0, UINT16_MAX),
    NUMBER(0x27, FIELD_U32, mqtt_connect, packet_max, 0, 0),
    NUMBER(0x22, FIELD_U16, mqtt_connect, topic_alias_max, 0, 0),
    NUMBER(0x19, FIELD_FLAG, mqtt_connect, request_response_info, 0, 0),
    NUMBER(0x17, FIELD_NOT, mqtt_connect, no_problem_info, 1, 1),
    TEXT(0x15, mqtt_connect, auth_method),
    TEXT(0x16, mqtt_connect, auth_data),
    LIST(0x26, mqtt_connect, user_properties));

TABLE(will, /* section 3.1.3.2 */
    NUMBER(0x18, FIELD_U32, mqtt_will, delay_s, 0, 0),
    NUMBER(0x01, FIELD_BYTE, mqtt_will, payload_format, 0, 0),
    OPTIONAL(0x02, FIELD_U32, mqtt_will, message_expiry_s, has_message_expiry),
    TEXT(0x03, mqtt_will, content_type),
    TEXT(0x08, mqtt_will, response_topic),
    TEXT(0x09, mqtt_will, correlation_data),
    LIST(0x26, mqtt_will, user_properties));

TABLE(connack, /* section 3.2.2.3 */
    OPTIONAL(0x11, FIELD_U32, mqtt_connack, session_expiry_s, has_session_expiry),
    NUMBER(0x21, FIELD_U16, mqtt_connack, receive_max, 0, UINT16_MAX),
    NUMBER(0x24, FIELD_BYTE, mqtt_connack, qos_max, 2, 2),
    NUMBER(0x25, FIELD_FLAG, mqtt_connack, retain_available, 1, 1),
    NUMBER(0x27, FIELD_U32, mqtt_connack, packet_max, 0, 0),
    TEXT(0x12, mqtt_connack, assigned_client_id),
    NUMBER(0x22, FIELD_U16, mqtt_connack, topic_alias_max, 0, 0),
    TEXT(0x1F, mqtt_connack, reason_string),
    LIST(0x26, mqtt_connack, user_properties),
    NUMBER(0x28, FIELD_FLAG, mqtt_connack, wildcard_available, 1, 1),
    NUMBER(0x29, FIELD_FLAG, mqtt_connack, subscription_ids_available, 1, 1),
    NUMBER(0x2A, FIELD_FLAG, mqtt_connack, shared_available, 1, 1),
    OPTIONAL(0x13, FIELD_U16, mqtt_connack, server_keepalive_s, has_server_keepalive),
    TEXT(0x1A, mqtt_connack, response_info),
    TEXT(0x1C, mqtt_connack, server_reference),
    TEXT(0x15, mqtt_connack, auth_method),
    TEXT(0x16, mqtt_connack, auth_data));

TABLE(publish, /* section 3.3.2.3 */
    NUMBER(0x01, FIELD_BYTE, mqtt_publish, payload_format, 0, 0),
    OPTIONAL(0x02, FIELD_U32, mqtt_publish, message_expiry_s, has_message_expiry),
    NUMBER(0x23, FIELD_U16, mqtt_publish, topic_alias, 0, 0),
    TEXT(0x08, mqtt_publish, response_topic),
    TEXT(0x09, mqtt_publish, correlation_data),
    LIST(0x26, mqtt_publish, user_properties),
    LIST(0x0B, mqtt_publish, subscription_ids),
    TEXT(0x03, mqtt_publish, content_type));

TABLE(ack, /* sections 3.4.2.2, 3.5.2.2, 3.6.2.2, 3.7.2.2 */
    TEXT(0x1F, mqtt_ack, reason_string),
    LIST(0x26, mqtt_ack, user_properties));

TABLE(subscribe, /* section 3.8.2.1 */
    NUMBER(0x0B, FIELD_VARINT, mqtt_subscribe, subscription_id, 0, 0),
    LIST(0x26, mqtt_subscribe, user_properties));

TABLE(suback, /* sections 3.9.2.1, 3.11.2.1 */
    TEXT(0x1F, mqtt_suback, reason_string),
    LIST(0x26, mqtt_suback, user_properties));

TABLE(unsubscribe, /* section 3.10.2.1 */
    LIST(0x26, mqtt_unsubscribe, user_properties));

TABLE(disconnect, /* section 3.14.2.2 */
    OPTIONAL(0x11, FIELD_U32, mqtt_disconnect, session_expiry_s, has_session_expiry),
    TEXT(0x1F, mqtt_disconnect, reason_string),
    LIST(0x26, mqtt_disconnect, user_properties),
    TEXT(0x1C, mqtt_disconnect, server_reference));

TABLE(auth, /* section 3.15.2.2 */
    TEXT(0x15, mqtt_auth, method),
    TEXT(0x16, mqtt_auth, data),
    TEXT(0x1F, mqtt_auth, reason_string),
    LIST(0x26, mqtt_auth, user_properties));
/* clang-format on */
