#include "mqtt/session.h"

#include "mqtt/session_end.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    DEFAULT_PING_TIMEOUT_MS = 10000,
    DEFAULT_CONNACK_TIMEOUT_MS = 30000,
    DEFAULT_INFLIGHT = 100,
    DEFAULT_PACKET_MAX = 1 << 20,
};

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static enum err encode_connect(struct mqtt_session *s, const struct mqtt_session_options *o)
{
    struct mqtt_connect c = {
        .version = o->version,
        .client_id = o->client_id,
        .clean_start = o->clean_start,
        .keepalive_s = o->keepalive_s,
        .has_username = o->username.data != NULL,
        .has_password = o->password.data != NULL,
        .username = o->username,
        .password = o->password,
        .has_will = o->will != NULL,
        .session_expiry_s = o->session_expiry_s,
        .receive_max = (uint16_t)s->receive_max,
        .packet_max = s->packet_max,
    };
    if (o->will) {
        c.will = *o->will;
    }
    return mqtt_encode_connect(&s->connect, &c);
}

enum err mqtt_session_init(struct mqtt_session *s, const struct mqtt_session_options *o)
{
    *s = (struct mqtt_session){
        .version = o->version,
        .window = or_default(o->max_inflight, DEFAULT_INFLIGHT),
        .server_qos_max = 2,
        .server_retain = true,
        .packet_max = or_default(o->packet_max, DEFAULT_PACKET_MAX),
        .receive_max = or_default(o->receive_max, DEFAULT_INFLIGHT),
        .keepalive_ms = o->keepalive_s * 1000u,
        .ping_timeout_ms = or_default(o->ping_timeout_ms, DEFAULT_PING_TIMEOUT_MS),
        .connack_timeout_ms = or_default(o->connack_timeout_ms, DEFAULT_CONNACK_TIMEOUT_MS),
        .ping_sent = MONO_NEVER,
    };
    s->window = s->window < FLIGHTS_MAX / 2 ? s->window : FLIGHTS_MAX / 2;
    buffer_init(&s->connect, SIZE_MAX);
    buffer_init(&s->input, s->packet_max);
    enum err err = encode_connect(s, o);
    if (err != E_OK) {
        buffer_finish(&s->connect);
        return err;
    }
    if (o->overrun_ok) {
        s->receive_max = UINT32_MAX;
    }
    flights_init(&s->flights, o->first_packet_id);
    return E_OK;
}

void mqtt_session_finish(struct mqtt_session *s)
{
    buffer_finish(&s->connect);
    buffer_finish(&s->input);
    flights_finish(&s->flights);
    free(s->received);
    s->received = NULL;
    s->state = MQTT_SESSION_OVER;
}

enum err mqtt_session_start(struct mqtt_session *s, struct mono now, struct buffer *out)
{
    if (s->state != MQTT_SESSION_IDLE) {
        return E_INVALID;
    }
    enum err err = buffer_append(out, buffer_bytes(&s->connect));
    if (err != E_OK) {
        return err;
    }
    buffer_finish(&s->connect);
    s->state = MQTT_SESSION_CONNECTING;
    s->connack_deadline = mono_add_ms(now, s->connack_timeout_ms);
    s->last_in = now;
    s->last_out = now;
    return E_OK;
}

bool mqtt_session_has_room(const struct mqtt_session *s)
{
    return s->publishes < s->window;
}

/* What was encoded from `before` on must fit the server, and a publish must leave the reserve free; on an error `out` is as
 * before. */
static enum err check_sent(struct mqtt_session *s, struct mono now, struct buffer *out, size_t before, size_t reserve,
                           enum err err)
{
    if (err == E_OK && s->server_packet_max != 0 && out->len - before > s->server_packet_max) {
        err = E_TOO_LARGE;
    }
    if (err == E_OK && out->max - out->len < reserve) {
        err = E_FULL;
    }
    if (err != E_OK) {
        out->len = before;
        return err;
    }
    s->last_out = now;
    return E_OK;
}

enum err mqtt_session_publish(struct mqtt_session *s, struct mono now, struct buffer *out, const struct mqtt_publish *p,
                              uint64_t token)
{
    if (s->state != MQTT_SESSION_OPEN) {
        return E_AGAIN;
    }
    if (p->qos > s->server_qos_max || (p->retain && !s->server_retain)) {
        return E_UNSUPPORTED;
    }
    if (out->max - out->len < MQTT_SESSION_RESERVE || (p->qos > 0 && !mqtt_session_has_room(s))) {
        return E_FULL;
    }
    struct mqtt_publish copy = *p;
    copy.dup = false;
    copy.packet_id = 0;
    struct flight *flight = NULL;
    if (p->qos > 0) {
        enum err err = flights_take(&s->flights, p->qos == 1 ? FLIGHT_PUBACK : FLIGHT_PUBREC, token, &flight);
        if (err != E_OK) {
            return err;
        }
        copy.packet_id = flight->id;
    }
    size_t before = out->len;
    enum err err = mqtt_encode_publish(out, s->version, &copy);
    err = check_sent(s, now, out, before, MQTT_SESSION_RESERVE, err);
    if (flight) {
        if (err == E_OK) {
            s->publishes++;
        } else {
            flights_release(&s->flights, flight);
        }
    }
    return err;
}

/* Takes an id for a SUBSCRIBE or UNSUBSCRIBE of `count` filters. */
static enum err take_request(struct mqtt_session *s, enum flight_state state, size_t count, uint64_t token,
                             struct flight **flight)
{
    if (s->state != MQTT_SESSION_OPEN) {
        return E_AGAIN;
    }
    if (count > MQTT_FILTERS_MAX) {
        return E_TOO_LARGE;
    }
    enum err err = flights_take(&s->flights, state, token, flight);
    if (err == E_OK) {
        (*flight)->filters = (uint32_t)count;
    }
    return err;
}

enum err mqtt_session_subscribe(struct mqtt_session *s, struct mono now, struct buffer *out,
                                const struct mqtt_subscription *items, size_t count, uint64_t token)
{
    struct flight *flight;
    enum err err = take_request(s, FLIGHT_SUBACK, count, token, &flight);
    if (err != E_OK) {
        return err;
    }
    struct mqtt_subscribe p = {.packet_id = flight->id,
                               .subscription_id = count > 0 ? items[0].subscription_id : 0,
                               .items = items,
                               .count = count};
    size_t before = out->len;
    err = check_sent(s, now, out, before, 0, mqtt_encode_subscribe(out, s->version, &p));
    if (err != E_OK) {
        flights_release(&s->flights, flight);
    }
    return err;
}

enum err mqtt_session_unsubscribe(struct mqtt_session *s, struct mono now, struct buffer *out,
                                  const struct bytes *filters, size_t count, uint64_t token)
{
    struct flight *flight;
    enum err err = take_request(s, FLIGHT_UNSUBACK, count, token, &flight);
    if (err != E_OK) {
        return err;
    }
    struct mqtt_unsubscribe p = {.packet_id = flight->id, .filters = filters, .count = count};
    size_t before = out->len;
    err = check_sent(s, now, out, before, 0, mqtt_encode_unsubscribe(out, s->version, &p));
    if (err != E_OK) {
        flights_release(&s->flights, flight);
    }
    return err;
}

enum err mqtt_session_ack(struct mqtt_session *s, struct mono now, struct buffer *out, uint16_t packet_id,
                          uint8_t reason)
{
    if (s->state != MQTT_SESSION_OPEN) {
        return E_AGAIN;
    }
    struct mqtt_ack ack = {.type = MQTT_PUBACK, .packet_id = packet_id, .reason = reason};
    enum err err = mqtt_encode_ack(out, s->version, &ack);
    if (err == E_OK) {
        s->last_out = now;
        s->receiving -= s->receiving > 0;
    }
    return err;
}

void mqtt_session_disconnect(struct mqtt_session *s, struct buffer *out)
{
    if (s->state == MQTT_SESSION_OPEN) {
        struct mqtt_disconnect d = {.reason = MQTT_SUCCESS};
        enum err err = mqtt_encode_disconnect(out, s->version, &d);
        (void)err; /* without room the end of the connection has to say it */
    }
    s->state = MQTT_SESSION_OVER;
}

enum err mqtt_session_end(struct mqtt_session *s, struct buffer *out, enum err why, uint8_t reason, const char *detail)
{
    if (s->state == MQTT_SESSION_OPEN && s->version == MQTT_V5 && why != E_CLOSED) {
        /* Section 4.13.1: say why before closing. */
        struct mqtt_disconnect d = {.reason = reason};
        enum err err = mqtt_encode_disconnect(out, s->version, &d);
        (void)err; /* without room the end of the connection has to say it */
    }
    s->state = MQTT_SESSION_OVER;
    s->end_reason = reason;
    snprintf(s->end_detail, sizeof(s->end_detail), "%s", detail);
    return why;
}

/* Nine tenths, so that the next packet starts within the keep-alive interval [MQTT-3.1.2-20]. */
static uint64_t ping_interval_ms(const struct mqtt_session *s)
{
    return s->keepalive_ms - s->keepalive_ms / 10;
}

/* An answer that does not come because the link is slow is told from a dead link by other bytes that do: they extend the time,
 * up to one and a half keep-alive intervals after the PINGREQ. */
static struct mono ping_deadline(const struct mqtt_session *s)
{
    struct mono alive = s->last_in.ns > s->ping_sent.ns ? s->last_in : s->ping_sent;
    uint64_t longest = s->keepalive_ms + s->keepalive_ms / 2u;
    longest = longest > s->ping_timeout_ms ? longest : s->ping_timeout_ms;
    return mono_min(mono_add_ms(alive, s->ping_timeout_ms), mono_add_ms(s->ping_sent, longest));
}

struct mono mqtt_session_deadline(const struct mqtt_session *s)
{
    if (s->state == MQTT_SESSION_CONNECTING) {
        return s->connack_deadline;
    }
    if (s->state != MQTT_SESSION_OPEN || s->keepalive_ms == 0) {
        return MONO_NEVER;
    }
    if (s->ping_sent.ns != MONO_NEVER.ns) {
        return ping_deadline(s);
    }
    /* Silence in one direction is enough: a server that takes everything and says nothing may be gone. */
    return mono_add_ms(mono_min(s->last_in, s->last_out), ping_interval_ms(s));
}

void mqtt_session_probe(struct mqtt_session *s, struct mono now, struct buffer *out)
{
    if (s->state == MQTT_SESSION_OPEN && s->ping_sent.ns == MONO_NEVER.ns &&
        mqtt_encode_ping(out, MQTT_PINGREQ) == E_OK) {
        s->ping_sent = now;
        s->last_out = now;
    }
}

enum err mqtt_session_service(struct mqtt_session *s, struct mono now, struct buffer *out)
{
    if (!mono_reached(now, mqtt_session_deadline(s))) {
        return E_OK;
    }
    if (s->state == MQTT_SESSION_CONNECTING) {
        return mqtt_session_end(s, out, E_TIMEOUT, 0, "no CONNACK in time");
    }
    if (s->ping_sent.ns != MONO_NEVER.ns) {
        return mqtt_session_end(s, out, E_TIMEOUT, MQTT_KEEP_ALIVE_TIMEOUT, "no PINGRESP in time");
    }
    enum err err = mqtt_encode_ping(out, MQTT_PINGREQ);
    if (err != E_OK) {
        return mqtt_session_end(s, out, err, MQTT_UNSPECIFIED_ERROR, "no room for a PINGREQ");
    }
    s->ping_sent = now;
    s->last_out = now;
    return E_OK;
}
