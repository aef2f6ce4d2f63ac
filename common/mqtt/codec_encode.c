#include "mqtt/property.h"
#include "mqtt/topic.h"

void mqtt_connack_init(struct mqtt_connack *c)
{
    *c = (struct mqtt_connack){.qos_max = 2,
                               .retain_available = true,
                               .wildcard_available = true,
                               .subscription_ids_available = true,
                               .shared_available = true};
}

/* Makes room for a whole packet and writes its fixed header; *at is where the variable header goes. */
static enum err begin_packet(struct buffer *out, uint8_t first, size_t remaining, uint8_t **at)
{
    if (remaining > MQTT_REMAINING_MAX) {
        return E_TOO_LARGE;
    }
    enum err err = buffer_reserve(out, 1 + wire_varint_size(remaining) + remaining);
    if (err == E_OK) {
        *at = wire_put_varint(wire_put_byte(out->data + out->len, first), (uint32_t)remaining);
    }
    return err;
}

static void end_packet(struct buffer *out, const uint8_t *at)
{
    out->len = (size_t)(at - out->data);
}

/* Size of the properties with their length; 3.1.1 has none. */
static enum err block_size(enum mqtt_version version, const struct property_table *t, const void *packet,
                           size_t *properties, size_t *size)
{
    *properties = 0;
    *size = 0;
    if (version != MQTT_V5) {
        return E_OK;
    }
    enum err err = properties_size(t, packet, properties);
    *size = wire_varint_size(*properties) + *properties;
    return err;
}

static uint8_t *put_block(enum mqtt_version version, const struct property_table *t, const void *packet,
                          size_t properties, uint8_t *at)
{
    return version == MQTT_V5 ? properties_write(t, packet, properties, at) : at;
}

static bool connect_valid(const struct mqtt_connect *p)
{
    if ((p->version != MQTT_V311 && p->version != MQTT_V5) || !wire_is_string(p->client_id) ||
        (p->has_username && !wire_is_string(p->username)) || (p->has_password && p->password.len > MQTT_STRING_MAX)) {
        return false;
    }
    if (p->has_will && (!topic_name_valid(p->will.topic) || p->will.qos > 2 || p->will.payload.len > MQTT_STRING_MAX)) {
        return false;
    }
    if (p->version == MQTT_V311) {
        /* 3.1.1: [MQTT-3.1.2-22], [MQTT-3.1.3-8]. */
        return (p->has_username || !p->has_password) && (p->client_id.len > 0 || p->clean_start);
    }
    return p->auth_method.data || !p->auth_data.data;
}

static uint8_t connect_flags(const struct mqtt_connect *p)
{
    unsigned flags = (p->has_username ? 0x80u : 0) | (p->has_password ? 0x40u : 0) | (p->clean_start ? 0x02u : 0);
    if (p->has_will) {
        flags |= 0x04u | (unsigned)p->will.qos << 3 | (p->will.retain ? 0x20u : 0);
    }
    return (uint8_t)flags;
}

enum err mqtt_encode_connect(struct buffer *out, const struct mqtt_connect *p)
{
    if (!connect_valid(p)) {
        return E_INVALID;
    }
    size_t properties;
    size_t block;
    size_t will_block_properties = 0;
    size_t will_block = 0;
    enum err err = block_size(p->version, &connect_properties, p, &properties, &block);
    if (err == E_OK && p->has_will) {
        err = block_size(p->version, &will_properties, &p->will, &will_block_properties, &will_block);
    }
    if (err != E_OK) {
        return err;
    }
    size_t remaining = 2 + 4 + 1 + 1 + 2 + block + 2 + p->client_id.len;
    remaining += p->has_will ? will_block + 2 + p->will.topic.len + 2 + p->will.payload.len : 0;
    remaining += p->has_username ? 2 + p->username.len : 0;
    remaining += p->has_password ? 2 + p->password.len : 0;
    uint8_t *at;
    err = begin_packet(out, MQTT_CONNECT << 4, remaining, &at);
    if (err != E_OK) {
        return err;
    }
    at = wire_put_binary(at, BYTES("MQTT"));
    at = wire_put_byte(at, (uint8_t)p->version);
    at = wire_put_byte(at, connect_flags(p));
    at = wire_put_u16(at, p->keepalive_s);
    at = put_block(p->version, &connect_properties, p, properties, at);
    at = wire_put_binary(at, p->client_id);
    if (p->has_will) {
        at = put_block(p->version, &will_properties, &p->will, will_block_properties, at);
        at = wire_put_binary(at, p->will.topic);
        at = wire_put_binary(at, p->will.payload);
    }
    if (p->has_username) {
        at = wire_put_binary(at, p->username);
    }
    if (p->has_password) {
        at = wire_put_binary(at, p->password);
    }
    end_packet(out, at);
    return E_OK;
}

enum err mqtt_encode_connack(struct buffer *out, enum mqtt_version version, const struct mqtt_connack *p)
{
    if (p->session_present && p->reason != 0) {
        return E_INVALID;
    }
    size_t properties;
    size_t block;
    enum err err = block_size(version, &connack_properties, p, &properties, &block);
    uint8_t *at;
    if (err == E_OK) {
        err = begin_packet(out, MQTT_CONNACK << 4, 2 + block, &at);
    }
    if (err != E_OK) {
        return err;
    }
    at = wire_put_byte(at, p->session_present ? 1 : 0);
    at = wire_put_byte(at, p->reason);
    end_packet(out, put_block(version, &connack_properties, p, properties, at));
    return E_OK;
}

/* Remaining length of a PUBLISH, and the size of its properties. */
static enum err publish_size(enum mqtt_version version, const struct mqtt_publish *p, size_t *properties,
                             size_t *remaining)
{
    size_t block;
    enum err err = block_size(version, &publish_properties, p, properties, &block);
    if (err == E_OK && p->payload.len > MQTT_REMAINING_MAX) {
        err = E_TOO_LARGE;
    }
    *remaining = 2 + p->topic.len + (p->qos > 0 ? 2u : 0u) + block + p->payload.len;
    return err;
}

static bool publish_valid(enum mqtt_version version, const struct mqtt_publish *p)
{
    if (p->qos > 2 || (p->qos == 0) != (p->packet_id == 0) || (p->dup && p->qos == 0)) {
        return false;
    }
    if (version == MQTT_V5 && p->topic.len == 0) {
        return p->topic_alias != 0;
    }
    return topic_name_valid(p->topic);
}

enum err mqtt_encode_publish(struct buffer *out, enum mqtt_version version, const struct mqtt_publish *p)
{
    if (!publish_valid(version, p)) {
        return E_INVALID;
    }
    size_t properties;
    size_t remaining;
    enum err err = publish_size(version, p, &properties, &remaining);
    unsigned first = MQTT_PUBLISH << 4 | (p->dup ? 0x08u : 0) | (unsigned)p->qos << 1 | (p->retain ? 0x01u : 0);
    uint8_t *at;
    if (err == E_OK) {
        err = begin_packet(out, (uint8_t)first, remaining, &at);
    }
    if (err != E_OK) {
        return err;
    }
    at = wire_put_binary(at, p->topic);
    if (p->qos > 0) {
        at = wire_put_u16(at, p->packet_id);
    }
    at = put_block(version, &publish_properties, p, properties, at);
    end_packet(out, wire_put_bytes(at, p->payload));
    return E_OK;
}

size_t mqtt_publish_length(enum mqtt_version version, const struct mqtt_publish *p)
{
    size_t properties;
    size_t remaining;
    if (publish_size(version, p, &properties, &remaining) != E_OK || remaining > MQTT_REMAINING_MAX) {
        return 0;
    }
    return 1 + wire_varint_size(remaining) + remaining;
}

enum err mqtt_encode_ack(struct buffer *out, enum mqtt_version version, const struct mqtt_ack *p)
{
    bool is_ack = p->type >= MQTT_PUBACK && p->type <= MQTT_PUBCOMP;
    if (!is_ack || p->packet_id == 0) {
        return E_INVALID;
    }
    size_t properties;
    size_t block;
    enum err err = block_size(version, &ack_properties, p, &properties, &block);
    /* Section 3.4.2.1: reason 0 without properties may be left out, and properties alone too. */
    bool has_reason = version == MQTT_V5 && (p->reason != 0 || properties > 0);
    size_t remaining = 2u + (has_reason ? 1u : 0u) + (properties > 0 ? block : 0u);
    unsigned first = (unsigned)p->type << 4 | (p->type == MQTT_PUBREL ? 0x02u : 0);
    uint8_t *at;
    if (err == E_OK) {
        err = begin_packet(out, (uint8_t)first, remaining, &at);
    }
    if (err != E_OK) {
        return err;
    }
    at = wire_put_u16(at, p->packet_id);
    if (has_reason) {
        at = wire_put_byte(at, p->reason);
    }
    if (properties > 0) {
        at = properties_write(&ack_properties, p, properties, at);
    }
    end_packet(out, at);
    return E_OK;
}

static bool subscription_valid(enum mqtt_version version, const struct mqtt_subscription *s)
{
    if (!topic_filter_valid(s->filter) || s->qos > 2) {
        return false;
    }
    bool shared = bytes_starts_with(s->filter, BYTES("$share/"));
    return version != MQTT_V5 || (s->retain_handling <= 2 && !(s->no_local && shared));
}

static uint8_t subscription_options(enum mqtt_version version, const struct mqtt_subscription *s)
{
    unsigned options = s->qos;
    if (version == MQTT_V5) {
        options |= (s->no_local ? 0x04u : 0) | (s->retain_as_published ? 0x08u : 0) | (unsigned)s->retain_handling << 4;
    }
    return (uint8_t)options;
}

enum err mqtt_encode_subscribe(struct buffer *out, enum mqtt_version version, const struct mqtt_subscribe *p)
{
    size_t properties;
    size_t block;
    enum err err = block_size(version, &subscribe_properties, p, &properties, &block);
    if (err != E_OK) {
        return err;
    }
    size_t remaining = 2 + block;
    for (size_t i = 0; i < p->count; i++) {
        if (!subscription_valid(version, &p->items[i])) {
            return E_INVALID;
        }
        remaining += 2 + p->items[i].filter.len + 1;
    }
    if (p->packet_id == 0 || p->count == 0) {
        return E_INVALID;
    }
    uint8_t *at;
    err = begin_packet(out, MQTT_SUBSCRIBE << 4 | 0x02, remaining, &at);
    if (err != E_OK) {
        return err;
    }
    at = wire_put_u16(at, p->packet_id);
    at = put_block(version, &subscribe_properties, p, properties, at);
    for (size_t i = 0; i < p->count; i++) {
        at = wire_put_binary(at, p->items[i].filter);
        at = wire_put_byte(at, subscription_options(version, &p->items[i]));
    }
    end_packet(out, at);
    return E_OK;
}

enum err mqtt_encode_unsubscribe(struct buffer *out, enum mqtt_version version, const struct mqtt_unsubscribe *p)
{
    size_t properties;
    size_t block;
    enum err err = block_size(version, &unsubscribe_properties, p, &properties, &block);
    if (err != E_OK) {
        return err;
    }
    size_t remaining = 2 + block;
    for (size_t i = 0; i < p->count; i++) {
        if (!topic_filter_valid(p->filters[i])) {
            return E_INVALID;
        }
        remaining += 2 + p->filters[i].len;
    }
    if (p->packet_id == 0 || p->count == 0) {
        return E_INVALID;
    }
    uint8_t *at;
    err = begin_packet(out, MQTT_UNSUBSCRIBE << 4 | 0x02, remaining, &at);
    if (err != E_OK) {
        return err;
    }
    at = wire_put_u16(at, p->packet_id);
    at = put_block(version, &unsubscribe_properties, p, properties, at);
    for (size_t i = 0; i < p->count; i++) {
        at = wire_put_binary(at, p->filters[i]);
    }
    end_packet(out, at);
    return E_OK;
}

static bool suback_valid(enum mqtt_version version, const struct mqtt_suback *p)
{
    if ((p->type != MQTT_SUBACK && p->type != MQTT_UNSUBACK) || p->packet_id == 0) {
        return false;
    }
    if (version == MQTT_V5) {
        return p->codes.len > 0;
    }
    for (size_t i = 0; i < p->codes.len; i++) {
        if (p->codes.data[i] > 2 && p->codes.data[i] != MQTT_FAILURE) {
            return false;
        }
    }
    return p->type == MQTT_SUBACK ? p->codes.len > 0 : p->codes.len == 0;
}

enum err mqtt_encode_suback(struct buffer *out, enum mqtt_version version, const struct mqtt_suback *p)
{
    if (!suback_valid(version, p)) {
        return E_INVALID;
    }
    size_t properties;
    size_t block;
    enum err err = block_size(version, &suback_properties, p, &properties, &block);
    uint8_t *at;
    if (err == E_OK) {
        err = begin_packet(out, (uint8_t)((unsigned)p->type << 4), 2 + block + p->codes.len, &at);
    }
    if (err != E_OK) {
        return err;
    }
    at = wire_put_u16(at, p->packet_id);
    at = put_block(version, &suback_properties, p, properties, at);
    end_packet(out, wire_put_bytes(at, p->codes));
    return E_OK;
}

enum err mqtt_encode_ping(struct buffer *out, enum mqtt_type type)
{
    uint8_t *at;
    if (type != MQTT_PINGREQ && type != MQTT_PINGRESP) {
        return E_INVALID;
    }
    enum err err = begin_packet(out, (uint8_t)((unsigned)type << 4), 0, &at);
    if (err == E_OK) {
        end_packet(out, at);
    }
    return err;
}

enum err mqtt_encode_disconnect(struct buffer *out, enum mqtt_version version, const struct mqtt_disconnect *p)
{
    size_t properties;
    size_t block;
    enum err err = block_size(version, &disconnect_properties, p, &properties, &block);
    /* Section 3.14.2.1: reason 0 without properties may be left out, and properties alone too. */
    bool has_reason = version == MQTT_V5 && (p->reason != 0 || properties > 0);
    uint8_t *at;
    if (err == E_OK) {
        err = begin_packet(out, MQTT_DISCONNECT << 4, (has_reason ? 1u : 0u) + (properties > 0 ? block : 0u), &at);
    }
    if (err != E_OK) {
        return err;
    }
    if (has_reason) {
        at = wire_put_byte(at, p->reason);
    }
    if (properties > 0) {
        at = properties_write(&disconnect_properties, p, properties, at);
    }
    end_packet(out, at);
    return E_OK;
}

enum err mqtt_encode_auth(struct buffer *out, const struct mqtt_auth *p)
{
    size_t properties;
    enum err err = properties_size(&auth_properties, p, &properties);
    if (err != E_OK) {
        return err;
    }
    bool empty = p->reason == MQTT_SUCCESS && properties == 0;
    if (!empty && !p->method.data) {
        return E_INVALID; /* section 3.15.2.2.2 */
    }
    uint8_t *at;
    err = begin_packet(out, MQTT_AUTH << 4, empty ? 0 : 1 + wire_varint_size(properties) + properties, &at);
    if (err != E_OK) {
        return err;
    }
    if (!empty) {
        at = wire_put_byte(at, p->reason);
        at = properties_write(&auth_properties, p, properties, at);
    }
    end_packet(out, at);
    return E_OK;
}

enum err mqtt_encode(struct buffer *out, enum mqtt_version version, const struct mqtt_packet *p)
{
    switch (p->type) {
    case MQTT_CONNECT:
        return mqtt_encode_connect(out, &p->connect);
    case MQTT_CONNACK:
        return mqtt_encode_connack(out, version, &p->connack);
    case MQTT_PUBLISH:
        return mqtt_encode_publish(out, version, &p->publish);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return mqtt_encode_ack(out, version, &p->ack);
    case MQTT_SUBSCRIBE:
        return mqtt_encode_subscribe(out, version, &p->subscribe);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return mqtt_encode_suback(out, version, &p->suback);
    case MQTT_UNSUBSCRIBE:
        return mqtt_encode_unsubscribe(out, version, &p->unsubscribe);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return mqtt_encode_ping(out, p->type);
    case MQTT_DISCONNECT:
        return mqtt_encode_disconnect(out, version, &p->disconnect);
    case MQTT_AUTH:
        return version == MQTT_V5 ? mqtt_encode_auth(out, &p->auth) : E_INVALID;
    }
    return E_INVALID;
}
