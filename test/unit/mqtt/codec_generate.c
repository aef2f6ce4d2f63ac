#include "codec_tool.h"

#include <stdlib.h>

/* Memory of one generated packet. */
static uint8_t text_space[1 << 16];
static size_t text_used;
static uint8_t property_space[1 << 14];
static size_t property_used;

static uint64_t *state;

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators"). */
static uint32_t draw(uint32_t below)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % below;
}

static bool coin(void)
{
    return draw(2) == 0;
}

/* Numbers near the borders of their encodings as often as others. */
static uint32_t number(uint32_t least, uint32_t most)
{
    static const uint32_t borders[] = {0,     1,     127,   128,     255,     256,      16383,
                                       16384, 65535, 65536, 2097151, 2097152, 268435455};
    uint32_t n = coin() ? borders[draw(sizeof(borders) / sizeof(borders[0]))] : draw(0x7FFFFFFF);
    n = coin() && coin() ? most : n;
    return n < least ? least : n > most ? most : n;
}

static uint8_t *reserve(size_t n)
{
    uint8_t *at = text_space + text_used;
    text_used += n;
    return at;
}

static struct bytes binary(uint32_t most)
{
    uint32_t n = draw(most + 1);
    uint8_t *at = reserve(n);
    for (uint32_t i = 0; i < n; i++) {
        at[i] = (uint8_t)draw(256);
    }
    return (struct bytes){at, n};
}

/* UTF-8 of every length. */
static struct bytes text(uint32_t least, uint32_t most)
{
    static const char *const letters[] = {"a",
                                          "Z",
                                          "7",
                                          " ",
                                          "/",
                                          "\"",
                                          "\\",
                                          "$",
                                          "\xC3\xA9",
                                          "\xE4\xB8\xAD",
                                          "\xF0\x9F\x8C\xB1",
                                          "\xEF\xBB\xBF",
                                          "\x7F",
                                          "\x01",
                                          "\xF4\x8F\xBF\xBF"};
    uint32_t n = least + draw(most - least + 1);
    uint8_t *start = text_space + text_used;
    for (uint32_t i = 0; i < n; i++) {
        const char *letter = letters[draw(sizeof(letters) / sizeof(letters[0]))];
        memcpy(reserve(strlen(letter)), letter, strlen(letter));
    }
    return (struct bytes){start, (size_t)(text_space + text_used - start)};
}

static struct bytes maybe_text(void)
{
    return coin() ? text(0, 12) : (struct bytes){NULL, 0};
}

static struct bytes maybe_topic(void)
{
    return coin() ? text(1, 12) : (struct bytes){NULL, 0};
}

static struct bytes maybe_binary(void)
{
    return coin() ? binary(20) : (struct bytes){NULL, 0};
}

/* Values are not empty: mqtt-packet forgets an empty one when a second of the same name follows. */
static struct bytes user_properties(void)
{
    uint32_t n = coin() ? draw(4) : 0;
    struct buffer b = {.data = property_space + property_used, .max = 1000, .cap = 1000};
    for (uint32_t i = 0; i < n; i++) {
        if (mqtt_user_property_append(&b, text(0, 5), text(1, 5)) != E_OK) {
            abort();
        }
    }
    property_used += b.len;
    return n > 0 ? buffer_bytes(&b) : (struct bytes){NULL, 0};
}

static void generate_will(struct mqtt_will *w)
{
    *w = (struct mqtt_will){.topic = text(1, 20), .payload = binary(50), .qos = (uint8_t)draw(3), .retain = coin()};
    w->payload_format = coin();
    w->has_message_expiry = coin();
    w->message_expiry_s = w->has_message_expiry ? number(0, UINT32_MAX) : 0;
    w->delay_s = coin() ? number(0, UINT32_MAX) : 0;
    w->content_type = maybe_text();
    w->response_topic = maybe_topic();
    w->correlation_data = maybe_binary();
    w->user_properties = user_properties();
}

static void generate_connect(enum mqtt_version version, struct mqtt_connect *c)
{
    *c = (struct mqtt_connect){.version = version, .client_id = text(version == MQTT_V5 ? 0 : 1, 30)};
    c->clean_start = coin();
    c->keepalive_s = (uint16_t)number(0, UINT16_MAX);
    c->has_username = coin();
    c->has_password = coin() && (c->has_username || version == MQTT_V5);
    c->username = text(0, 20);
    c->password = binary(20);
    c->has_will = coin();
    if (c->has_will) {
        generate_will(&c->will);
    }
    c->session_expiry_s = coin() ? number(0, UINT32_MAX) : 0;
    c->receive_max = coin() ? (uint16_t)number(1, UINT16_MAX) : 0;
    c->packet_max = coin() ? number(1, UINT32_MAX) : 0;
    c->topic_alias_max = coin() ? (uint16_t)number(0, UINT16_MAX) : 0;
    c->request_response_info = coin();
    c->no_problem_info = coin();
    c->auth_method = maybe_text();
    c->auth_data = c->auth_method.data ? maybe_binary() : (struct bytes){NULL, 0};
    c->user_properties = user_properties();
}

static void generate_connack(enum mqtt_version version, struct mqtt_connack *c)
{
    mqtt_connack_init(c);
    c->reason = coin() ? 0 : version == MQTT_V5 ? (uint8_t)(MQTT_UNSPECIFIED_ERROR + draw(0x20)) : (uint8_t)draw(6);
    c->session_present = c->reason == 0 && coin();
    c->has_session_expiry = coin();
    c->session_expiry_s = number(0, UINT32_MAX);
    c->receive_max = coin() ? (uint16_t)number(1, UINT16_MAX) : 0;
    c->qos_max = (uint8_t)draw(3);
    c->retain_available = coin();
    c->packet_max = coin() ? number(1, UINT32_MAX) : 0;
    c->assigned_client_id = maybe_text();
    c->topic_alias_max = coin() ? (uint16_t)number(0, UINT16_MAX) : 0;
    c->reason_string = maybe_text();
    c->user_properties = user_properties();
    c->wildcard_available = coin();
    c->subscription_ids_available = coin();
    c->shared_available = coin();
    c->has_server_keepalive = coin();
    c->server_keepalive_s = (uint16_t)number(0, UINT16_MAX);
    c->response_info = maybe_text();
    c->server_reference = maybe_text();
    c->auth_method = maybe_text();
    c->auth_data = maybe_binary();
}

static struct bytes subscription_ids(void)
{
    uint32_t n = coin() ? 1 + draw(3) : 0;
    uint8_t *start = property_space + property_used;
    uint8_t *at = start;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = number(1, MQTT_REMAINING_MAX);
        *at++ = 0x0B;
        for (; id >= 128; id >>= 7) {
            *at++ = (uint8_t)(id | 0x80);
        }
        *at++ = (uint8_t)id;
    }
    property_used += (size_t)(at - start);
    return n > 0 ? (struct bytes){start, (size_t)(at - start)} : (struct bytes){NULL, 0};
}

static void generate_publish(struct mqtt_publish *p)
{
    *p = (struct mqtt_publish){.topic = text(1, 40), .payload = binary(coin() ? 20 : 300), .qos = (uint8_t)draw(3)};
    p->retain = coin();
    p->dup = p->qos > 0 && coin();
    p->packet_id = p->qos > 0 ? (uint16_t)number(1, UINT16_MAX) : 0;
    p->payload_format = coin();
    p->has_message_expiry = coin();
    p->message_expiry_s = number(0, UINT32_MAX);
    p->topic_alias = coin() ? (uint16_t)number(1, UINT16_MAX) : 0;
    p->content_type = maybe_text();
    p->response_topic = maybe_topic();
    p->correlation_data = maybe_binary();
    p->user_properties = user_properties();
    p->subscription_ids = subscription_ids();
}

static void generate_ack(enum mqtt_type type, struct mqtt_ack *a)
{
    static const uint8_t first[] = {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
    static const uint8_t second[] = {0, 0x92};
    *a = (struct mqtt_ack){.type = type, .packet_id = (uint16_t)number(1, UINT16_MAX)};
    bool is_first = type == MQTT_PUBACK || type == MQTT_PUBREC;
    a->reason = is_first ? first[draw(sizeof(first))] : second[draw(sizeof(second))];
    a->reason_string = maybe_text();
    a->user_properties = user_properties();
}

static void generate_subscribe(enum mqtt_version version, struct mqtt_subscribe *s)
{
    static struct mqtt_subscription items[8];
    static const char *const filters[] = {"#", "+", "a/+/b", "+/#", "/", "$SYS/#", "a//b", "\xC3\xA9/+"};
    *s = (struct mqtt_subscribe){.packet_id = (uint16_t)number(1, UINT16_MAX), .items = items, .count = 1 + draw(8)};
    for (size_t i = 0; i < s->count; i++) {
        items[i] = (struct mqtt_subscription){.filter = bytes_str(filters[draw(8)]), .qos = (uint8_t)draw(3)};
        if (version == MQTT_V5) {
            items[i].no_local = coin();
            items[i].retain_as_published = coin();
            items[i].retain_handling = (uint8_t)draw(3);
        }
    }
    s->subscription_id = coin() ? number(1, MQTT_REMAINING_MAX) : 0;
    s->user_properties = user_properties();
}

static void generate_unsubscribe(struct mqtt_unsubscribe *u)
{
    static struct bytes filters[8];
    *u = (struct mqtt_unsubscribe){
        .packet_id = (uint16_t)number(1, UINT16_MAX), .filters = filters, .count = 1 + draw(8)};
    for (size_t i = 0; i < u->count; i++) {
        filters[i] = coin() ? BYTES("a/#") : text(1, 10);
    }
    u->user_properties = user_properties();
}

static void generate_suback(enum mqtt_version version, enum mqtt_type type, struct mqtt_suback *s)
{
    static const uint8_t subscribed[] = {0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2};
    static const uint8_t unsubscribed[] = {0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91};
    *s = (struct mqtt_suback){.type = type, .packet_id = (uint16_t)number(1, UINT16_MAX)};
    uint32_t n = version == MQTT_V5 || type == MQTT_SUBACK ? 1 + draw(8) : 0;
    uint8_t *codes = reserve(n);
    for (uint32_t i = 0; i < n; i++) {
        codes[i] = type == MQTT_SUBACK ? subscribed[draw(version == MQTT_V5 ? sizeof(subscribed) : 4)]
                                       : unsubscribed[draw(sizeof(unsubscribed))];
    }
    s->codes = (struct bytes){codes, n};
    s->reason_string = maybe_text();
    s->user_properties = user_properties();
}

static void generate_disconnect(struct mqtt_disconnect *d)
{
    *d = (struct mqtt_disconnect){.reason = coin() ? 0 : (uint8_t)(MQTT_UNSPECIFIED_ERROR + draw(4))};
    d->has_session_expiry = coin();
    d->session_expiry_s = number(0, UINT32_MAX);
    d->reason_string = maybe_text();
    d->server_reference = maybe_text();
    d->user_properties = user_properties();
}

static void generate_auth(struct mqtt_auth *a)
{
    *a = (struct mqtt_auth){.reason = coin() ? MQTT_CONTINUE_AUTHENTICATION : MQTT_REAUTHENTICATE,
                            .method = text(0, 10)};
    a->data = maybe_binary();
    a->reason_string = maybe_text();
    a->user_properties = user_properties();
}

void codec_generate(uint64_t *random, enum mqtt_version version, struct mqtt_packet *p)
{
    state = random;
    text_used = 0;
    property_used = 0;
    p->type = (enum mqtt_type)(MQTT_CONNECT + draw(version == MQTT_V5 ? 15 : 14));
    switch (p->type) {
    case MQTT_CONNECT:
        generate_connect(version, &p->connect);
        return;
    case MQTT_CONNACK:
        generate_connack(version, &p->connack);
        return;
    case MQTT_PUBLISH:
        generate_publish(&p->publish);
        return;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        generate_ack(p->type, &p->ack);
        return;
    case MQTT_SUBSCRIBE:
        generate_subscribe(version, &p->subscribe);
        return;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        generate_suback(version, p->type, &p->suback);
        return;
    case MQTT_UNSUBSCRIBE:
        generate_unsubscribe(&p->unsubscribe);
        return;
    case MQTT_DISCONNECT:
        generate_disconnect(&p->disconnect);
        return;
    case MQTT_AUTH:
        generate_auth(&p->auth);
        return;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return;
    }
}
