/* The broker's side with a connection of its own for each client.
 *
 *   wanted --in turn--> opening --CONNACK--> up --closed by the session, or lost--> gone
 *
 * Opening is limited: brokers have short accept queues (mosquitto's is 100), and a broker that is away is tried by one
 * connection at a time, the others being told at once.
 *
 * A link that the session has closed lives on until the broker has closed it, too, and only then the client gets another one:
 * mosquitto takes one packet at a time from each connection, so that a CONNECT can overtake what was sent before it on the
 * old connection, DISCONNECT included; what was overtaken would be lost, and the will sent. */
#include "mqttsn/gateway_internal.h"

#include "base/backoff.h"

#include <stdlib.h>

enum {
    OPENING_MAX = 64,
    CONNECT_TIMEOUT_MS = 5000, /* less than the time after which devices repeat CONNECT */
    KEEPALIVE_S = 120,
    RESUME_S = 120, /* a clean session is kept by the broker so long, to go on after the link broke */
    BROKER_RETRY_MS = 1000,
    WRITE_MAX = 256 * 1024,
    PACKET_MAX = 256 * 1024, /* larger ones fit no datagram anyway: the broker drops them (MQTT 5, 3.1.2.11.4) */
};

LOG_POINT(log_link_failed, "mqttsn.link-failed", LOG_WARNING, "no connection to the broker for a client");
LOG_POINT(log_link_lost, "mqttsn.link-lost", LOG_NOTICE, "connection to the broker lost for a client");

struct link {
    struct gateway *gateway;
    struct client *client; /* NULL: closed by its session */
    struct client *former; /* then: whose it was; NULL when that one is gone */
    struct mqtt_client *mqtt;
    bool up;
};

static void on_connected(void *ctx, const struct mqtt_connack *connack);
static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text);
static void on_message(void *ctx, const struct mqtt_publish *message);
static void on_subscribed(void *ctx, uint64_t token, const uint8_t *codes, size_t count);
/* Does an attempt that ended so say that the broker is away? Not when it took the connection and closed it: it may dislike this
 * CONNECT (mosquitto does so with one above max_packet_size), and that must not keep the other clients off. */
static bool says_away(enum err why)
{
    return why != E_REFUSED && why != E_CANCELLED && why != E_CLOSED && why != E_RESET;
}

static void on_end(void *ctx, enum err why, uint8_t reason, const char *detail);

static const struct mqtt_client_events link_events = {
    .on_connected = on_connected,
    .on_published = on_published,
    .on_message = on_message,
    .on_subscribed = on_subscribed,
    .on_end = on_end,
};

/* --- opening */

static enum err connect_link(struct client *c, struct link *l)
{
    struct gateway *g = c->gateway;
    struct bytes id = session_client_id(c->session);
    const struct credentials_entry *who = credentials_find(g->credentials, id);
    struct session_link wanted;
    session_link_options(c->session, &wanted);
    struct mqtt_will will = {.topic = wanted.will.topic,
                             .payload = wanted.will.payload,
                             .qos = wanted.will.qos,
                             .retain = wanted.will.retain};
    struct mqtt_client_options o = {
        .stream = uplink_config_stream(&g->config->uplink, g->tls),
        .session = {.version = MQTT_V5,
                    .client_id = id,
                    .username = bytes_str(who && who->username ? who->username : g->config->uplink.username),
                    .password = bytes_str(who && who->username ? who->password : g->config->uplink.password),
                    .clean_start = wanted.clean_start,
                    .session_expiry_s = wanted.persistent ? MQTT_NO_EXPIRY : RESUME_S,
                    .keepalive_s = KEEPALIVE_S,
                    .connack_timeout_ms = CONNECT_TIMEOUT_MS,
                    .receive_max = (uint16_t)g->config->sleep_queue,
                    .overrun_ok = true,
                    .packet_max = PACKET_MAX,
                    .first_packet_id = (uint16_t)(random_seed() % 65535 + 1),
                    .will = wanted.has_will ? &will : NULL}};
    o.stream.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    o.stream.write_max = WRITE_MAX;
    return mqtt_client_connect(g->loop, &o, &link_events, l, &l->mqtt);
}

/* Tells the session that there is no link. */
static void tell_down(struct client *c, bool refused)
{
    struct gateway *g = c->gateway;
    c->link = NULL;
    if (session_state(c->session) == SESSION_LINKING) {
        metric_add(&g->metrics.refused, 1);
    }
    session_on_link_down(c->session, refused, gateway_now(g));
    client_settle(c);
}

static void log_failed(struct client *c, const char *detail)
{
    char id[SESSION_CLIENT_ID_MAX + 8];
    log_emit(&log_link_failed, "client=%s %s", log_escape(session_client_id(c->session), id, sizeof(id)), detail);
}

static enum err open_link(struct client *c)
{
    struct gateway *g = c->gateway;
    struct link *l = calloc(1, sizeof(*l));
    enum err e = l ? connect_link(c, l) : E_NOMEM;
    if (e != E_OK) {
        free(l);
        return e;
    }
    l->gateway = g;
    l->client = c;
    c->link = l;
    g->links++;
    g->opening++;
    return E_OK;
}

void links_turn_end(struct turn_item *item)
{
    struct gateway *g = (struct gateway *)(void *)((char *)item - offsetof(struct gateway, links_item));
    size_t most = g->broker_away ? 1 : OPENING_MAX;
    bool closed = g->stopping || (g->broker_away && !mono_reached(gateway_now(g), g->broker_retry));
    while (g->first_waiting && (closed || g->opening < most)) {
        struct client *c = g->first_waiting;
        client_wait_no_longer(c);
        enum err e = closed ? E_UNREACHABLE : open_link(c);
        if (e != E_OK) {
            log_failed(c, closed ? "the broker is away" : err_name(e));
            tell_down(c, e == E_INVALID); /* E_INVALID: MQTT has no such client id or will */
        }
    }
}

static void opened(struct link *l, bool success)
{
    struct gateway *g = l->gateway;
    g->opening--;
    if (success) {
        g->broker_away = false;
    }
    if (g->first_waiting) {
        turn_add(g->turn, &g->links_item);
    }
}

static void on_connected(void *ctx, const struct mqtt_connack *connack)
{
    struct link *l = ctx;
    struct client *c = l->client;
    l->up = true;
    opened(l, true);
    if (c) {
        session_on_link_up(c->session, connack->session_present, gateway_now(l->gateway));
        client_settle(c);
    }
}

/* The broker's no that trying again will not change. */
static bool is_refusal(enum err why, uint8_t reason)
{
    switch (reason) {
    case MQTT_CLIENT_ID_NOT_VALID:
    case MQTT_BAD_CREDENTIALS:
    case MQTT_NOT_AUTHORIZED:
    case MQTT_BANNED:
    case MQTT_UNSUPPORTED_VERSION:
    case MQTT_TOPIC_NAME_INVALID: /* this and what follows: of the will */
    case MQTT_PACKET_TOO_LARGE:
    case MQTT_PAYLOAD_FORMAT_INVALID:
    case MQTT_RETAIN_NOT_SUPPORTED:
    case MQTT_QOS_NOT_SUPPORTED:
        return why == E_REFUSED;
    case MQTT_SESSION_TAKEN_OVER:
        return true; /* another MQTT client has this id: do not fight */
    default:
        return false;
    }
}

static void on_end(void *ctx, enum err why, uint8_t reason, const char *detail)
{
    struct link *l = ctx;
    struct gateway *g = l->gateway;
    if (l->client) {
        char id[SESSION_CLIENT_ID_MAX + 8];
        log_emit(l->up ? &log_link_lost : &log_link_failed, "client=%s error=%s reason=0x%02x detail=\"%s\"",
                 log_escape(session_client_id(l->client->session), id, sizeof(id)), err_name(why), reason, detail);
    }
    if (!l->up) {
        if (says_away(why)) {
            g->broker_away = true;
            g->broker_retry = mono_add_ms(gateway_now(g), BROKER_RETRY_MS);
        }
        opened(l, false);
    }
    struct client *former = l->former;
    if (l->client) {
        tell_down(l->client, is_refusal(why, reason));
    }
    free(l);
    g->links--;
    if (former) {
        former->old_link = NULL;
        if (former->wants_link) {
            former->wants_link = false;
            client_wait(former);
        } else {
            client_settle(former); /* may be over */
        }
    }
    gateway_check_stopped(g);
}

void links_forget(struct client *c)
{
    if (c->old_link) {
        c->old_link->former = NULL;
        c->old_link = NULL;
    }
}

/* --- events */

static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text)
{
    struct link *l = ctx;
    struct client *c = l->client;
    (void)reason_text;
    if (c) {
        session_on_published(c->session, token, reason, gateway_now(l->gateway));
        client_settle(c);
    }
}

static void on_message(void *ctx, const struct mqtt_publish *message)
{
    struct link *l = ctx;
    struct client *c = l->client;
    if (!c) {
        return;
    }
    struct session_message m = {.topic = message->topic,
                                .payload = message->payload,
                                .qos = message->qos,
                                .retain = message->retain,
                                .packet_id = message->qos == 1 ? message->packet_id : 0};
    session_on_message(c->session, &m, gateway_now(l->gateway));
    client_settle(c);
}

static void on_subscribed(void *ctx, uint64_t token, const uint8_t *codes, size_t count)
{
    struct link *l = ctx;
    struct client *c = l->client;
    if (c && count > 0) {
        session_on_subscribed(c->session, token, codes[0], gateway_now(l->gateway));
        client_settle(c);
    }
}

/* --- for the session */

static void ops_send(void *owner, const struct mqttsn_packet *p)
{
    struct client *c = owner;
    if (c->placed) {
        gateway_send(c->gateway, &c->place, p);
    }
}

static void ops_link_open(void *owner)
{
    struct client *c = owner;
    if (c->old_link) {
        c->wants_link = true;
    } else {
        client_wait(c);
    }
}

static void ops_link_close(void *owner, bool with_will)
{
    struct client *c = owner;
    struct link *l = c->link;
    client_wait_no_longer(c);
    c->wants_link = false;
    if (l) {
        c->link = NULL;
        c->old_link = l;
        l->client = NULL;
        l->former = c;
        mqtt_client_close(l->mqtt, !with_will);
    }
}

static enum err ops_publish(void *owner, const struct session_message *m, uint64_t token)
{
    struct link *l = ((struct client *)owner)->link;
    struct mqtt_publish p = {.topic = m->topic, .payload = m->payload, .qos = m->qos, .retain = m->retain};
    return l ? mqtt_client_publish(l->mqtt, &p, token) : E_AGAIN;
}

static enum err ops_subscribe(void *owner, struct bytes filter, uint8_t qos, uint64_t token)
{
    struct link *l = ((struct client *)owner)->link;
    struct mqtt_subscription s = {.filter = filter, .qos = qos};
    return l ? mqtt_client_subscribe(l->mqtt, &s, 1, token) : E_AGAIN;
}

static enum err ops_unsubscribe(void *owner, struct bytes filter, uint64_t token)
{
    struct link *l = ((struct client *)owner)->link;
    return l ? mqtt_client_unsubscribe(l->mqtt, &filter, 1, token) : E_AGAIN;
}

static void ops_ack(void *owner, uint16_t packet_id)
{
    struct link *l = ((struct client *)owner)->link;
    if (l) {
        enum err e = mqtt_client_ack(l->mqtt, packet_id, MQTT_SUCCESS);
        (void)e; /* not possible now: the link is ending, and the broker brings the message again */
    }
}

const struct session_ops links_session_ops = {.send = ops_send,
                                              .link_open = ops_link_open,
                                              .link_close = ops_link_close,
                                              .publish = ops_publish,
                                              .subscribe = ops_subscribe,
                                              .unsubscribe = ops_unsubscribe,
                                              .ack = ops_ack};
