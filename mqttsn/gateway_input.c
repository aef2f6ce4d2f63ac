/* Datagrams from devices to their sessions, and packets to devices into datagrams; discovery, QoS -1, and who may be whom. */
#include "mqttsn/gateway_internal.h"

#include "mqtt/topic.h"
#include "mqtt/uplink.h"

#include <stdlib.h>

enum { GROUP_ANSWER_MS = 1000 }; /* between two GWINFO to the group */

LOG_POINT(log_malformed, "mqttsn.malformed", LOG_INFO, "datagram is no MQTT-SN packet");
LOG_POINT(log_full, "mqttsn.full", LOG_WARNING, "client refused: max_clients are connected");
LOG_POINT(log_flood, "mqttsn.flood", LOG_WARNING, "too many packets from an address");
LOG_POINT(log_identity, "mqttsn.identity", LOG_WARNING, "client refused: not its DTLS identity");
LOG_POINT(log_connect, "mqttsn.connect", LOG_INFO, "client connects");
LOG_POINT(log_takeover, "mqttsn.takeover", LOG_NOTICE, "client connects from another address");

/* --- out */

void gateway_send(struct gateway *g, const struct place *to, const struct mqttsn_packet *p)
{
    struct mqttsn_forward forward = {.node_id = bytes_make(to->node, to->node_len)};
    size_t size = mqttsn_encoded_size(p) + (to->node_len > 0 ? 3u + to->node_len : 0);
    (void)g;
    if (to->secure) {
        static uint8_t room[65536]; /* one thread */
        size_t head = to->node_len > 0 ? mqttsn_encode_forward(&forward, room, sizeof(room)) : 0;
        gateway_dtls_send(to->secure, bytes_make(room, head + mqttsn_encode(p, room + head, sizeof(room) - head)));
        return;
    }
    struct udp *udp = to->endpoint->udp;
    uint8_t *room = udp_reserve(udp, size);
    if (room) {
        size_t head = to->node_len > 0 ? mqttsn_encode_forward(&forward, room, size) : 0;
        udp_commit(udp, &to->address, &to->local, head + mqttsn_encode(p, room + head, size - head));
    }
}

static void send_plain(struct gateway *g, const struct place *to, enum mqttsn_type type)
{
    struct mqttsn_packet p = {.type = type};
    gateway_send(g, to, &p);
}

static void refuse(struct gateway *g, const struct place *to, uint8_t code)
{
    struct mqttsn_packet p = {.type = MQTTSN_CONNACK, .connack = {code}};
    metric_add(&g->metrics.refused, 1);
    gateway_send(g, to, &p);
}

/* May we spend an answer on somebody who is no client? */
static bool may_answer(struct gateway *g, const struct place *to)
{
    metric_add(&g->metrics.strangers, 1);
    if (flood_allows(g->flood, FLOOD_ANSWER, &to->address, gateway_now(g))) {
        return true;
    }
    char text[ADDRESS_TEXT_SIZE];
    log_emit(&log_flood, "address=%s", address_format(&to->address, text));
    return false;
}

/* --- discovery (specification 6.1) */

/* A plain endpoint of that family that devices can send to. */
static struct endpoint *answering_endpoint(struct gateway *g, uint16_t family)
{
    for (size_t i = 0; i < g->endpoint_count; i++) {
        struct endpoint *e = &g->endpoints[i];
        if (!e->dtls && !e->group_only && udp_address(e->udp)->family == family) {
            return e;
        }
    }
    return NULL;
}

static void send_to_group(struct gateway *g, const struct mqttsn_packet *p)
{
    struct place group = {.address = g->advertise, .endpoint = answering_endpoint(g, g->advertise.family)};
    if (group.endpoint) {
        gateway_send(g, &group, p);
    }
}

void gateway_advertise(struct gateway *g)
{
    struct mqttsn_packet p = {
        .type = MQTTSN_ADVERTISE,
        .advertise = {(uint8_t)g->config->gateway_id, (uint16_t)(g->config->advertise_interval_ms / 1000)}};
    send_to_group(g, &p);
}

static void on_searchgw(struct gateway *g, const struct place *from)
{
    struct mqttsn_packet p = {.type = MQTTSN_GWINFO, .gwinfo = {.gateway_id = (uint8_t)g->config->gateway_id}};
    struct place to = *from;
    if (from->endpoint->group_only) {
        to.endpoint = answering_endpoint(g, from->address.family);
    }
    if (!to.endpoint || !may_answer(g, from)) {
        return;
    }
    gateway_send(g, &to, &p);
    /* Others of the group need not search any more; once in a while is enough. */
    if (g->advertise.family != 0 && address_is_multicast(&from->local) &&
        mono_reached(gateway_now(g), g->next_group_answer)) {
        g->next_group_answer = mono_add_ms(gateway_now(g), GROUP_ANSWER_MS);
        send_to_group(g, &p);
    }
}

/* --- QoS -1 of those who are not connected (specification 6.8) */

static void on_minus_one(struct gateway *g, const struct place *from, const struct mqttsn_packet *p)
{
    uint8_t room[2] = {(uint8_t)(p->publish.topic.id >> 8), (uint8_t)p->publish.topic.id};
    struct bytes topic = {0};
    if (p->publish.topic.type == MQTTSN_TOPIC_SHORT) {
        topic = bytes_make(room, 2);
    } else if (p->publish.topic.type == MQTTSN_TOPIC_PREDEFINED) {
        topic = predefined_topic(g->predefined, (struct bytes){0}, p->publish.topic.id);
    }
    if (!g->config->qos_minus_one || !topic_name_valid(topic) || !topic_safe(topic) || !may_answer(g, from)) {
        return;
    }
    struct mqtt_publish m = {.topic = topic, .payload = p->publish.payload, .retain = p->publish.retain};
    enum err e = g->uplink ? uplink_publish(g->uplink, &m, 0) : E_AGAIN;
    metric_add(e == E_OK ? &g->metrics.minus_one : &g->metrics.session.dropped, 1);
}

/* --- who may be whom */

static bool valid_client_id(const struct gateway *g, struct bytes id)
{
    return id.len > 0 && id.len <= SESSION_CLIENT_ID_MAX && !memchr(id.data, 0, id.len) && topic_safe(id) &&
           !bytes_equal(id, bytes_str(g->uplink_id));
}

/* A client with a DTLS identity, configured or had so far, must show it. */
static bool identity_fits(struct gateway *g, const struct client *c, struct bytes id, const struct place *from)
{
    const struct credentials_entry *known = credentials_find(g->credentials, id);
    const char *shown = from->secure ? from->secure->identity : NULL;
    const char *wanted = known && known->dtls ? known->dtls : c ? c->dtls_identity : NULL;
    if (!wanted || (shown && strcmp(shown, wanted) == 0)) {
        return true;
    }
    char text[ADDRESS_TEXT_SIZE], name[SESSION_CLIENT_ID_MAX + 8];
    log_emit(&log_identity, "client=%s address=%s", log_escape(id, name, sizeof(name)),
             address_format(&from->address, text));
    return false;
}

/* The session of a client that is away and was plain may become a secure one; not the other way round (identity_fits). */
static enum err note_identity(struct client *c, const struct place *from)
{
    if (from->secure && !c->dtls_identity) {
        c->dtls_identity = strdup(from->secure->identity);
        return c->dtls_identity ? E_OK : E_NOMEM;
    }
    return E_OK;
}

/* --- CONNECT */

static bool same_place(const struct client *c, const struct place *p)
{
    return c->placed && client_by_place(c->gateway, p) == c;
}

/* May this CONNECT have a place among the clients? Answers where not. The client itself may be gone when room was made for it. */
static bool may_connect(struct gateway *g, const struct client *c, const struct place *from,
                        const struct mqttsn_packet *p)
{
    char text[ADDRESS_TEXT_SIZE];
    struct bytes id = p->connect.client_id;
    if (p->connect.protocol_id != MQTTSN_PROTOCOL_ID || !valid_client_id(g, id) || !identity_fits(g, c, id, from)) {
        if (may_answer(g, from)) {
            refuse(g, from, MQTTSN_NOT_SUPPORTED);
        }
        return false;
    }
    if (c && same_place(c, from)) {
        return true;
    }
    if (g->stopping || !flood_allows(g->flood, FLOOD_CONNECT, &from->address, gateway_now(g))) {
        log_emit(&log_flood, "address=%s packet=CONNECT", address_format(&from->address, text));
        if (may_answer(g, from)) {
            refuse(g, from, MQTTSN_CONGESTION);
        }
        return false;
    }
    if (g->online >= g->config->max_clients && !(c && c->online) && !clients_make_room(g, &from->address)) {
        log_emit(&log_full, "address=%s clients=%zu", address_format(&from->address, text), g->online);
        refuse(g, from, MQTTSN_CONGESTION);
        return false;
    }
    return true;
}

/* Who was at that address until `c` came there. */
static struct client *other_at(struct gateway *g, const struct place *from, const struct client *c)
{
    struct client *there = client_by_place(g, from);
    return there != c ? there : NULL;
}

static void leave_place(struct client *there)
{
    if (there && !there->placed) {
        session_on_displaced(there->session);
        client_settle(there);
    }
}

static void on_connect(struct gateway *g, const struct place *from, const struct mqttsn_packet *p)
{
    char text[ADDRESS_TEXT_SIZE], name[SESSION_CLIENT_ID_MAX + 8];
    struct bytes id = p->connect.client_id;
    struct client *c = id.len > 0 && id.len <= SESSION_CLIENT_ID_MAX ? client_by_id(g, id) : NULL;
    if (!may_connect(g, c, from, p)) {
        return;
    }
    c = client_by_id(g, id);
    struct client *before = other_at(g, from, c);
    enum err e = c ? E_OK : client_create(g, id, &c);
    if (e == E_OK && !same_place(c, from)) {
        bool awake = c->online && session_state(c->session) < SESSION_ASLEEP;
        log_emit(awake ? &log_takeover : &log_connect, "client=%s address=%s", log_escape(id, name, sizeof(name)),
                 address_format(&from->address, text));
        if (awake && c->placed) {
            send_plain(g, &c->place, MQTTSN_DISCONNECT);
        }
        e = client_move(c, from);
    }
    if (e == E_OK) {
        e = note_identity(c, from);
    }
    if (e == E_OK) {
        c->place.local = from->local;
        session_on_packet(c->session, p, gateway_now(g));
    } else {
        refuse(g, from, MQTTSN_CONGESTION);
    }
    if (c) {
        client_settle(c);
    }
    /* Not before: until `c` is settled, it may be among those that are away, and be forgotten as one too many. */
    leave_place(before);
}

/* PINGREQ with a client id, from wherever the client is now. */
static void on_named_ping(struct gateway *g, const struct place *from, const struct mqttsn_packet *p)
{
    struct bytes id = p->pingreq.client_id;
    struct client *c = id.len <= SESSION_CLIENT_ID_MAX ? client_by_id(g, id) : NULL;
    struct client *before = other_at(g, from, c);
    if (!c || !c->online || !identity_fits(g, c, id, from) || (!same_place(c, from) && client_move(c, from) != E_OK)) {
        if (may_answer(g, from)) {
            send_plain(g, from, MQTTSN_DISCONNECT);
        }
        return;
    }
    session_on_packet(c->session, p, gateway_now(g));
    client_settle(c);
    leave_place(before);
}

/* --- in */

/* A DISCONNECT that is sent again because its answer was lost deserves one; what we send ourselves, from a false address, does not. */
static bool may_echo(struct gateway *g, const struct place *from)
{
    return flood_allows(g->flood, FLOOD_ECHO, &from->address, gateway_now(g));
}

static void on_packet(struct gateway *g, const struct place *from, const struct mqttsn_packet *p)
{
    switch (p->type) {
    case MQTTSN_ADVERTISE:
    case MQTTSN_GWINFO:
        return; /* of other gateways */
    case MQTTSN_SEARCHGW:
        on_searchgw(g, from);
        return;
    case MQTTSN_CONNECT:
        on_connect(g, from, p);
        return;
    case MQTTSN_PINGREQ:
        if (p->pingreq.client_id.len > 0) {
            on_named_ping(g, from, p);
            return;
        }
        break;
    default:
        break;
    }
    struct client *c = client_by_place(g, from);
    if (c) {
        session_on_packet(c->session, p, gateway_now(g));
        client_settle(c);
    } else if (p->type == MQTTSN_PUBLISH && p->publish.qos == MQTTSN_QOS_MINUS_ONE) {
        on_minus_one(g, from, p);
    } else if (may_answer(g, from) && (p->type != MQTTSN_DISCONNECT || may_echo(g, from))) {
        send_plain(g, from, MQTTSN_DISCONNECT);
    }
}

void gateway_input(struct gateway *g, const struct place *from, struct bytes datagram)
{
    struct place place = *from;
    struct mqttsn_packet p;
    enum err e = E_OK;
    if (mqttsn_is_forwarded(datagram)) {
        struct mqttsn_forward forward;
        e = g->config->forwarder ? mqttsn_decode_forward(datagram, &forward, &datagram) : E_UNSUPPORTED;
        if (e == E_OK) {
            place.node_len = (uint8_t)forward.node_id.len;
            memcpy(place.node, forward.node_id.data, forward.node_id.len);
        }
    }
    if (e == E_OK) {
        e = mqttsn_decode(datagram, &p);
    }
    if (e == E_OK) {
        on_packet(g, &place, &p);
    } else {
        char text[ADDRESS_TEXT_SIZE];
        metric_add(&g->metrics.malformed, 1);
        log_emit(&log_malformed, "address=%s bytes=%zu", address_format(&from->address, text), datagram.len);
    }
}

static void on_datagram(void *ctx, const struct address *from, const struct address *to, struct bytes datagram)
{
    struct endpoint *e = ctx;
    if (e->dtls) {
        gateway_dtls_feed(e, from, to, datagram);
        return;
    }
    struct place place = {.endpoint = e, .address = *from, .local = *to};
    if (!e->group_only) {
        gateway_input(e->gateway, &place, datagram);
        return;
    }
    struct mqttsn_packet p;
    if (mqttsn_decode(datagram, &p) == E_OK && p.type == MQTTSN_SEARCHGW) {
        on_searchgw(e->gateway, &place);
    }
}

const struct udp_events gateway_udp_events = {.on_datagram = on_datagram};
