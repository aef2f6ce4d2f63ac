#include "mqtt/codec.h"

/* Section 2.4, table 2-6, in plain words. */
static const char *const reasons[] = {
    [MQTT_SUCCESS] = "success",
    [0x01] = "granted QoS 1",
    [0x02] = "granted QoS 2",
    [MQTT_DISCONNECT_WITH_WILL] = "disconnect with will message",
    [MQTT_NO_MATCHING_SUBSCRIBERS] = "no matching subscribers",
    [MQTT_NO_SUBSCRIPTION_EXISTED] = "no subscription existed",
    [MQTT_CONTINUE_AUTHENTICATION] = "continue authentication",
    [MQTT_REAUTHENTICATE] = "re-authenticate",
    [MQTT_UNSPECIFIED_ERROR] = "unspecified error",
    [MQTT_MALFORMED_PACKET] = "malformed packet",
    [MQTT_PROTOCOL_ERROR] = "protocol error",
    [MQTT_IMPLEMENTATION_ERROR] = "implementation specific error",
    [MQTT_UNSUPPORTED_VERSION] = "unsupported protocol version",
    [MQTT_CLIENT_ID_NOT_VALID] = "client identifier not valid",
    [MQTT_BAD_CREDENTIALS] = "bad user name or password",
    [MQTT_NOT_AUTHORIZED] = "not authorized",
    [MQTT_SERVER_UNAVAILABLE] = "server unavailable",
    [MQTT_SERVER_BUSY] = "server busy",
    [MQTT_BANNED] = "banned",
    [MQTT_SERVER_SHUTTING_DOWN] = "server shutting down",
    [MQTT_BAD_AUTHENTICATION_METHOD] = "bad authentication method",
    [MQTT_KEEP_ALIVE_TIMEOUT] = "keep-alive timeout",
    [MQTT_SESSION_TAKEN_OVER] = "session taken over by another client with the same id",
    [MQTT_TOPIC_FILTER_INVALID] = "topic filter invalid",
    [MQTT_TOPIC_NAME_INVALID] = "topic name invalid",
    [MQTT_PACKET_ID_IN_USE] = "packet identifier in use",
    [MQTT_PACKET_ID_NOT_FOUND] = "packet identifier not found",
    [MQTT_RECEIVE_MAXIMUM_EXCEEDED] = "receive maximum exceeded",
    [MQTT_TOPIC_ALIAS_INVALID] = "topic alias invalid",
    [MQTT_PACKET_TOO_LARGE] = "packet too large",
    [MQTT_MESSAGE_RATE_TOO_HIGH] = "message rate too high",
    [MQTT_QUOTA_EXCEEDED] = "quota exceeded",
    [MQTT_ADMINISTRATIVE_ACTION] = "administrative action",
    [MQTT_PAYLOAD_FORMAT_INVALID] = "payload format invalid",
    [MQTT_RETAIN_NOT_SUPPORTED] = "retain not supported",
    [MQTT_QOS_NOT_SUPPORTED] = "QoS not supported",
    [MQTT_USE_ANOTHER_SERVER] = "use another server",
    [MQTT_SERVER_MOVED] = "server moved",
    [MQTT_SHARED_NOT_SUPPORTED] = "shared subscriptions not supported",
    [MQTT_CONNECTION_RATE_EXCEEDED] = "connection rate exceeded",
    [MQTT_MAXIMUM_CONNECT_TIME] = "maximum connect time",
    [MQTT_SUBSCRIPTION_IDS_NOT_SUPPORTED] = "subscription identifiers not supported",
    [MQTT_WILDCARDS_NOT_SUPPORTED] = "wildcard subscriptions not supported",
};

/* 3.1.1 section 3.2.2.3, table 3.1. */
static const char *const return_codes[] = {
    "accepted",           "unacceptable protocol version", "client identifier rejected",
    "server unavailable", "bad user name or password",     "not authorized",
};

static const char *const types[] = {
    [MQTT_CONNECT] = "CONNECT",         [MQTT_CONNACK] = "CONNACK",       [MQTT_PUBLISH] = "PUBLISH",
    [MQTT_PUBACK] = "PUBACK",           [MQTT_PUBREC] = "PUBREC",         [MQTT_PUBREL] = "PUBREL",
    [MQTT_PUBCOMP] = "PUBCOMP",         [MQTT_SUBSCRIBE] = "SUBSCRIBE",   [MQTT_SUBACK] = "SUBACK",
    [MQTT_UNSUBSCRIBE] = "UNSUBSCRIBE", [MQTT_UNSUBACK] = "UNSUBACK",     [MQTT_PINGREQ] = "PINGREQ",
    [MQTT_PINGRESP] = "PINGRESP",       [MQTT_DISCONNECT] = "DISCONNECT", [MQTT_AUTH] = "AUTH",
};

static const char *find_text(const char *const *texts, size_t count, uint8_t code, const char *otherwise)
{
    return code < count && texts[code] ? texts[code] : otherwise;
}

const char *mqtt_reason_text(uint8_t reason)
{
    return find_text(reasons, sizeof(reasons) / sizeof(reasons[0]), reason, "unknown reason");
}

const char *mqtt_connack_text(enum mqtt_version version, uint8_t reason)
{
    if (version == MQTT_V5) {
        return mqtt_reason_text(reason);
    }
    return find_text(return_codes, sizeof(return_codes) / sizeof(return_codes[0]), reason, "unlisted return code");
}

const char *mqtt_type_name(uint8_t type)
{
    return find_text(types, sizeof(types) / sizeof(types[0]), type, "unknown");
}
