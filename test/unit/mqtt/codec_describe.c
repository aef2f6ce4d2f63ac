#include "codec_tool.h"

#include <stdio.h>
#include <stdlib.h>

static void add_number(cJSON *o, const char *name, uint32_t value, bool present)
{
    if (present) {
        cJSON_AddNumberToObject(o, name, value);
    }
}

static void add_flag(cJSON *o, const char *name, bool value, bool absent)
{
    if (value != absent) {
        cJSON_AddBoolToObject(o, name, value);
    }
}

static cJSON *text_of(struct bytes b)
{
    char *s = bytes_dup_str(b);
    cJSON *json = cJSON_CreateString(s ? s : "");
    free(s);
    return json;
}

static void add_text(cJSON *o, const char *name, struct bytes b)
{
    if (b.data) {
        cJSON_AddItemToObject(o, name, text_of(b));
    }
}

static void add_binary(cJSON *o, const char *name, struct bytes b)
{
    if (!b.data) {
        return;
    }
    char *hex = malloc(2 * b.len + 1);
    if (hex) {
        for (size_t i = 0; i < b.len; i++) {
            snprintf(hex + 2 * i, 3, "%02x", b.data[i]);
        }
        hex[2 * b.len] = '\0';
        cJSON_AddStringToObject(o, name, hex);
    }
    free(hex);
}

static void add_user_properties(cJSON *o, struct bytes list)
{
    struct bytes name;
    struct bytes value;
    cJSON *pairs = NULL;
    while (mqtt_user_property_next(&list, &name, &value)) {
        pairs = pairs ? pairs : cJSON_AddArrayToObject(o, "userProperties");
        cJSON *pair = cJSON_CreateArray();
        cJSON_AddItemToArray(pair, text_of(name));
        cJSON_AddItemToArray(pair, text_of(value));
        cJSON_AddItemToArray(pairs, pair);
    }
}

static void add_codes(cJSON *o, const char *name, struct bytes codes)
{
    cJSON *list = cJSON_AddArrayToObject(o, name);
    for (size_t i = 0; i < codes.len; i++) {
        cJSON_AddItemToArray(list, cJSON_CreateNumber(codes.data[i]));
    }
}

static void describe_will(cJSON *packet, const struct mqtt_will *w)
{
    cJSON *o = cJSON_AddObjectToObject(packet, "will");
    cJSON_AddItemToObject(o, "topic", text_of(w->topic));
    add_binary(o, "payload", w->payload.data ? w->payload : BYTES(""));
    cJSON_AddNumberToObject(o, "qos", w->qos);
    cJSON_AddBoolToObject(o, "retain", w->retain);
    cJSON *p = cJSON_AddObjectToObject(o, "properties");
    add_number(p, "willDelayInterval", w->delay_s, w->delay_s != 0);
    add_flag(p, "payloadFormatIndicator", w->payload_format, false);
    add_number(p, "messageExpiryInterval", w->message_expiry_s, w->has_message_expiry);
    add_text(p, "contentType", w->content_type);
    add_text(p, "responseTopic", w->response_topic);
    add_binary(p, "correlationData", w->correlation_data);
    add_user_properties(p, w->user_properties);
}

static void describe_connect(cJSON *o, cJSON *p, const struct mqtt_connect *c)
{
    cJSON_AddStringToObject(o, "protocolId", "MQTT");
    cJSON_AddNumberToObject(o, "protocolVersion", c->version);
    cJSON_AddItemToObject(o, "clientId", text_of(c->client_id));
    cJSON_AddBoolToObject(o, "clean", c->clean_start);
    cJSON_AddNumberToObject(o, "keepalive", c->keepalive_s);
    if (c->has_username) {
        cJSON_AddItemToObject(o, "username", text_of(c->username));
    }
    if (c->has_password) {
        add_binary(o, "password", c->password.data ? c->password : BYTES(""));
    }
    if (c->has_will) {
        describe_will(o, &c->will);
    }
    add_number(p, "sessionExpiryInterval", c->session_expiry_s, c->session_expiry_s != 0);
    add_number(p, "receiveMaximum", c->receive_max, c->receive_max != 0 && c->receive_max != 65535);
    add_number(p, "maximumPacketSize", c->packet_max, c->packet_max != 0);
    add_number(p, "topicAliasMaximum", c->topic_alias_max, c->topic_alias_max != 0);
    add_flag(p, "requestResponseInformation", c->request_response_info, false);
    add_flag(p, "requestProblemInformation", !c->no_problem_info, true);
    add_text(p, "authenticationMethod", c->auth_method);
    add_binary(p, "authenticationData", c->auth_data);
    add_user_properties(p, c->user_properties);
}

static void describe_connack(cJSON *o, cJSON *p, enum mqtt_version version, const struct mqtt_connack *c)
{
    cJSON_AddBoolToObject(o, "sessionPresent", c->session_present);
    cJSON_AddNumberToObject(o, version == MQTT_V5 ? "reasonCode" : "returnCode", c->reason);
    add_number(p, "sessionExpiryInterval", c->session_expiry_s, c->has_session_expiry);
    add_number(p, "receiveMaximum", c->receive_max, c->receive_max != 0 && c->receive_max != 65535);
    add_number(p, "maximumQoS", c->qos_max, c->qos_max != 2);
    add_flag(p, "retainAvailable", c->retain_available, true);
    add_number(p, "maximumPacketSize", c->packet_max, c->packet_max != 0);
    add_text(p, "assignedClientIdentifier", c->assigned_client_id);
    add_number(p, "topicAliasMaximum", c->topic_alias_max, c->topic_alias_max != 0);
    add_text(p, "reasonString", c->reason_string);
    add_user_properties(p, c->user_properties);
    add_flag(p, "wildcardSubscriptionAvailable", c->wildcard_available, true);
    add_flag(p, "subscriptionIdentifiersAvailable", c->subscription_ids_available, true);
    add_flag(p, "sharedSubscriptionAvailable", c->shared_available, true);
    add_number(p, "serverKeepAlive", c->server_keepalive_s, c->has_server_keepalive);
    add_text(p, "responseInformation", c->response_info);
    add_text(p, "serverReference", c->server_reference);
    add_text(p, "authenticationMethod", c->auth_method);
    add_binary(p, "authenticationData", c->auth_data);
}

static void describe_publish(cJSON *o, cJSON *p, const struct mqtt_publish *m)
{
    cJSON_AddItemToObject(o, "topic", text_of(m->topic));
    add_binary(o, "payload", m->payload.data ? m->payload : BYTES(""));
    cJSON_AddNumberToObject(o, "qos", m->qos);
    cJSON_AddBoolToObject(o, "retain", m->retain);
    cJSON_AddBoolToObject(o, "dup", m->dup);
    add_number(o, "messageId", m->packet_id, m->qos > 0);
    add_flag(p, "payloadFormatIndicator", m->payload_format, false);
    add_number(p, "messageExpiryInterval", m->message_expiry_s, m->has_message_expiry);
    add_number(p, "topicAlias", m->topic_alias, m->topic_alias != 0);
    add_text(p, "contentType", m->content_type);
    add_text(p, "responseTopic", m->response_topic);
    add_binary(p, "correlationData", m->correlation_data);
    add_user_properties(p, m->user_properties);
    struct bytes list = m->subscription_ids;
    uint32_t id;
    cJSON *ids = NULL;
    while (mqtt_subscription_id_next(&list, &id)) {
        ids = ids ? ids : cJSON_AddArrayToObject(p, "subscriptionIdentifier");
        cJSON_AddItemToArray(ids, cJSON_CreateNumber(id));
    }
}

static void describe_subscription(cJSON *list, enum mqtt_version version, const struct mqtt_subscription *s)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToObject(o, "topic", text_of(s->filter));
    cJSON_AddNumberToObject(o, "qos", s->qos);
    if (version == MQTT_V5) {
        cJSON_AddBoolToObject(o, "nl", s->no_local);
        cJSON_AddBoolToObject(o, "rap", s->retain_as_published);
        cJSON_AddNumberToObject(o, "rh", s->retain_handling);
    }
    cJSON_AddItemToArray(list, o);
}

static void describe_subscribe(cJSON *o, cJSON *p, enum mqtt_version version, const struct mqtt_subscribe *s)
{
    cJSON_AddNumberToObject(o, "messageId", s->packet_id);
    cJSON *list = cJSON_AddArrayToObject(o, "subscriptions");
    struct mqtt_subscription item;
    struct bytes rest = s->list;
    for (size_t i = 0; s->items && i < s->count; i++) {
        describe_subscription(list, version, &s->items[i]);
    }
    while (!s->items && mqtt_subscription_next(version, &rest, &item)) {
        describe_subscription(list, version, &item);
    }
    add_number(p, "subscriptionIdentifier", s->subscription_id, s->subscription_id != 0);
    add_user_properties(p, s->user_properties);
}

static void describe_unsubscribe(cJSON *o, cJSON *p, const struct mqtt_unsubscribe *u)
{
    cJSON_AddNumberToObject(o, "messageId", u->packet_id);
    cJSON *list = cJSON_AddArrayToObject(o, "unsubscriptions");
    struct bytes filter;
    struct bytes rest = u->list;
    for (size_t i = 0; u->filters && i < u->count; i++) {
        cJSON_AddItemToArray(list, text_of(u->filters[i]));
    }
    while (!u->filters && mqtt_unsubscribe_next(&rest, &filter)) {
        cJSON_AddItemToArray(list, text_of(filter));
    }
    add_user_properties(p, u->user_properties);
}

static void describe_ack(cJSON *o, cJSON *p, enum mqtt_version version, const struct mqtt_ack *a)
{
    cJSON_AddNumberToObject(o, "messageId", a->packet_id);
    add_number(o, "reasonCode", a->reason, version == MQTT_V5);
    add_text(p, "reasonString", a->reason_string);
    add_user_properties(p, a->user_properties);
}

static void describe_suback(cJSON *o, cJSON *p, enum mqtt_version version, const struct mqtt_suback *s)
{
    cJSON_AddNumberToObject(o, "messageId", s->packet_id);
    if (s->type == MQTT_SUBACK || version == MQTT_V5) {
        add_codes(o, "granted", s->codes);
    }
    add_text(p, "reasonString", s->reason_string);
    add_user_properties(p, s->user_properties);
}

static void describe_disconnect(cJSON *o, cJSON *p, enum mqtt_version version, const struct mqtt_disconnect *d)
{
    add_number(o, "reasonCode", d->reason, version == MQTT_V5);
    add_number(p, "sessionExpiryInterval", d->session_expiry_s, d->has_session_expiry);
    add_text(p, "reasonString", d->reason_string);
    add_text(p, "serverReference", d->server_reference);
    add_user_properties(p, d->user_properties);
}

static void describe_auth(cJSON *o, cJSON *p, const struct mqtt_auth *a)
{
    cJSON_AddNumberToObject(o, "reasonCode", a->reason);
    add_text(p, "authenticationMethod", a->method);
    add_binary(p, "authenticationData", a->data);
    add_text(p, "reasonString", a->reason_string);
    add_user_properties(p, a->user_properties);
}

static void describe_body(cJSON *o, cJSON *p, enum mqtt_version version, const struct mqtt_packet *packet)
{
    switch (packet->type) {
    case MQTT_CONNECT:
        describe_connect(o, p, &packet->connect);
        return;
    case MQTT_CONNACK:
        describe_connack(o, p, version, &packet->connack);
        return;
    case MQTT_PUBLISH:
        describe_publish(o, p, &packet->publish);
        return;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        describe_ack(o, p, version, &packet->ack);
        return;
    case MQTT_SUBSCRIBE:
        describe_subscribe(o, p, version, &packet->subscribe);
        return;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        describe_suback(o, p, version, &packet->suback);
        return;
    case MQTT_UNSUBSCRIBE:
        describe_unsubscribe(o, p, &packet->unsubscribe);
        return;
    case MQTT_DISCONNECT:
        describe_disconnect(o, p, version, &packet->disconnect);
        return;
    case MQTT_AUTH:
        describe_auth(o, p, &packet->auth);
        return;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return;
    }
}

cJSON *codec_describe(enum mqtt_version version, const struct mqtt_packet *p)
{
    char name[16];
    snprintf(name, sizeof(name), "%s", mqtt_type_name((uint8_t)p->type));
    for (char *c = name; *c; c++) {
        *c = (char)(*c | 0x20);
    }
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "cmd", name);
    cJSON *properties = cJSON_AddObjectToObject(o, "properties");
    describe_body(o, properties, version, p);
    if (version != MQTT_V5) {
        /* What a struct holds for 5.0 does not go on the wire. */
        cJSON_DeleteItemFromObject(o, "properties");
        cJSON_DeleteItemFromObject(cJSON_GetObjectItem(o, "will"), "properties");
    }
    return o;
}
