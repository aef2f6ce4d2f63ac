#include "mqtt/session_end.h"

#include <stdio.h>
#include <stdlib.h>

enum { RECEIVED_WORDS = 65536 / 64 };

static enum err protocol_error(struct mqtt_session *s, struct buffer *out, const char *detail)
{
    return mqtt_session_end(s, out, E_PROTOCOL, MQTT_PROTOCOL_ERROR, detail);
}

/* "text: reason string (code)", all from the server; control characters do not pass. */
static const char *describe(char *text, size_t size, const char *what, const char *reason_text, uint8_t reason,
                            struct bytes reason_string)
{
    char said[80] = "";
    size_t n = reason_string.len < sizeof(said) - 1 ? reason_string.len : sizeof(said) - 1;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = reason_string.data[i];
        said[i] = c >= 0x20 && c < 0x7F ? (char)c : '?';
    }
    said[n] = '\0';
    snprintf(text, size, "%s: %s (0x%02X)%s%s", what, reason_text, reason, n > 0 ? ": " : "", said);
    return text;
}

static enum err on_connack(struct mqtt_session *s, struct mono now, struct buffer *out, const struct mqtt_connack *c,
                           struct mqtt_event *event)
{
    if (s->state != MQTT_SESSION_CONNECTING) {
        return protocol_error(s, out, "second CONNACK");
    }
    if (c->reason != 0) {
        char text[sizeof(s->end_detail)];
        describe(text, sizeof(text), "CONNACK", mqtt_connack_text(s->version, c->reason), c->reason, c->reason_string);
        return mqtt_session_end(s, out, E_REFUSED, c->reason, text);
    }
    s->state = MQTT_SESSION_OPEN;
    s->last_in = now;
    if (s->version == MQTT_V5) {
        s->window = s->window < c->receive_max ? s->window : c->receive_max;
        s->server_packet_max = c->packet_max;
        s->server_qos_max = c->qos_max;
        s->server_retain = c->retain_available;
        if (c->has_server_keepalive) {
            s->keepalive_ms = c->server_keepalive_s * 1000u;
        }
    }
    *event = (struct mqtt_event){.type = MQTT_EVENT_CONNECTED, .connack = *c};
    return E_OK;
}

/* Was this QoS 2 id there already? Remembers it. */
static enum err remember_received(struct mqtt_session *s, uint16_t id, bool *known)
{
    if (!s->received) {
        s->received = calloc(RECEIVED_WORDS, sizeof(*s->received));
        if (!s->received) {
            return E_NOMEM;
        }
    }
    uint64_t bit = UINT64_C(1) << (id % 64);
    *known = (s->received[id / 64] & bit) != 0;
    s->received[id / 64] |= bit;
    s->received_count += !*known;
    return E_OK;
}

static bool forget_received(struct mqtt_session *s, uint16_t id)
{
    uint64_t bit = UINT64_C(1) << (id % 64);
    if (!s->received || (s->received[id / 64] & bit) == 0) {
        return false;
    }
    s->received[id / 64] &= ~bit;
    s->received_count--;
    if (s->received_count == 0) {
        free(s->received);
        s->received = NULL;
    }
    return true;
}

static enum err send_ack(struct mqtt_session *s, struct mono now, struct buffer *out, enum mqtt_type type, uint16_t id,
                         uint8_t reason)
{
    struct mqtt_ack ack = {.type = type, .packet_id = id, .reason = reason};
    enum err err = mqtt_encode_ack(out, s->version, &ack);
    if (err != E_OK) {
        return mqtt_session_end(s, out, err, MQTT_UNSPECIFIED_ERROR, "no room for an acknowledgement");
    }
    s->last_out = now;
    return E_OK;
}

/* E_AGAIN: nothing for the owner. */
static enum err on_publish(struct mqtt_session *s, struct mono now, struct buffer *out, const struct mqtt_publish *p,
                           struct mqtt_event *event)
{
    if (p->topic_alias != 0) {
        return mqtt_session_end(s, out, E_PROTOCOL, MQTT_TOPIC_ALIAS_INVALID, "topic alias though none is allowed");
    }
    bool known = false;
    if (p->qos == 2) {
        enum err err = remember_received(s, p->packet_id, &known);
        if (err == E_OK) {
            err = send_ack(s, now, out, MQTT_PUBREC, p->packet_id, MQTT_SUCCESS);
        }
        if (err != E_OK) {
            return err;
        }
    }
    if (known) {
        return E_AGAIN;
    }
    s->receiving += p->qos > 0;
    if (s->version == MQTT_V5 && s->receiving > s->receive_max) { /* section 3.3.4 */
        return mqtt_session_end(s, out, E_PROTOCOL, MQTT_RECEIVE_MAXIMUM_EXCEEDED,
                                "more messages than Receive Maximum");
    }
    *event = (struct mqtt_event){.type = MQTT_EVENT_MESSAGE, .message = *p};
    return E_OK;
}

static enum err settle(struct mqtt_session *s, struct flight *flight, const struct mqtt_ack *a,
                       struct mqtt_event *event)
{
    *event = (struct mqtt_event){.type = MQTT_EVENT_PUBLISHED};
    event->published.token = flight->token;
    event->published.reason = a->reason;
    event->published.reason_text = a->reason_string;
    flights_release(&s->flights, flight);
    s->publishes--;
    return E_OK;
}

/* PUBACK, PUBREC and PUBCOMP for what we sent; PUBREL for what we received (section 4.3). */
static enum err on_ack(struct mqtt_session *s, struct mono now, struct buffer *out, const struct mqtt_ack *a,
                       struct mqtt_event *event)
{
    if (a->type == MQTT_PUBREL) {
        bool known = forget_received(s, a->packet_id);
        s->receiving -= known && s->receiving > 0;
        enum err err =
            send_ack(s, now, out, MQTT_PUBCOMP, a->packet_id, known ? MQTT_SUCCESS : MQTT_PACKET_ID_NOT_FOUND);
        return err == E_OK ? E_AGAIN : err;
    }
    struct flight *flight = flights_find(&s->flights, a->packet_id);
    if (!flight || flight->state == FLIGHT_SUBACK || flight->state == FLIGHT_UNSUBACK) {
        if (a->type != MQTT_PUBREC) {
            return E_AGAIN; /* late or repeated: nothing waits for it */
        }
        enum err err = send_ack(s, now, out, MQTT_PUBREL, a->packet_id, MQTT_PACKET_ID_NOT_FOUND);
        return err == E_OK ? E_AGAIN : err;
    }
    if ((a->type == MQTT_PUBACK) != (flight->state == FLIGHT_PUBACK)) {
        return protocol_error(s, out, "acknowledgement of another QoS");
    }
    if (a->type == MQTT_PUBREC && a->reason < MQTT_FAILURE) {
        flight->state = FLIGHT_PUBCOMP;
        enum err err = send_ack(s, now, out, MQTT_PUBREL, a->packet_id, MQTT_SUCCESS);
        return err == E_OK ? E_AGAIN : err;
    }
    if (a->type == MQTT_PUBCOMP && flight->state != FLIGHT_PUBCOMP) {
        return protocol_error(s, out, "PUBCOMP before PUBREC");
    }
    return settle(s, flight, a, event);
}

static enum err on_suback(struct mqtt_session *s, struct buffer *out, const struct mqtt_suback *a,
                          struct mqtt_event *event)
{
    static const uint8_t zeros[MQTT_FILTERS_MAX];
    struct flight *flight = flights_find(&s->flights, a->packet_id);
    if (!flight || flight->state != (a->type == MQTT_SUBACK ? FLIGHT_SUBACK : FLIGHT_UNSUBACK)) {
        return E_AGAIN;
    }
    struct bytes codes = a->codes;
    if (s->version == MQTT_V311 && a->type == MQTT_UNSUBACK) {
        codes = (struct bytes){zeros, flight->filters};
    }
    if (codes.len != flight->filters) {
        return protocol_error(s, out, "SUBACK or UNSUBACK with another number of filters"); /* [MQTT-3.9.3-1] */
    }
    *event = (struct mqtt_event){.type = MQTT_EVENT_SUBSCRIBED};
    event->subscribed.token = flight->token;
    event->subscribed.codes = codes;
    flights_release(&s->flights, flight);
    return E_OK;
}

static enum err on_disconnect(struct mqtt_session *s, struct buffer *out, const struct mqtt_disconnect *d)
{
    if (s->version != MQTT_V5) {
        return protocol_error(s, out, "DISCONNECT from a 3.1.1 server");
    }
    char text[sizeof(s->end_detail)];
    describe(text, sizeof(text), "DISCONNECT", d->reason == 0 ? "normal disconnection" : mqtt_reason_text(d->reason),
             d->reason, d->reason_string);
    return mqtt_session_end(s, out, E_CLOSED, d->reason, text);
}

static enum err on_packet(struct mqtt_session *s, struct mono now, struct buffer *out, const struct mqtt_packet *p,
                          struct mqtt_event *event)
{
    if (s->state == MQTT_SESSION_CONNECTING && p->type != MQTT_CONNACK) {
        return protocol_error(s, out, "packet before CONNACK"); /* [MQTT-3.2.0-1] */
    }
    switch (p->type) {
    case MQTT_CONNACK:
        return on_connack(s, now, out, &p->connack, event);
    case MQTT_PUBLISH:
        return on_publish(s, now, out, &p->publish, event);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return on_ack(s, now, out, &p->ack, event);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return on_suback(s, out, &p->suback, event);
    case MQTT_PINGRESP:
        s->ping_sent = MONO_NEVER;
        return E_AGAIN;
    case MQTT_DISCONNECT:
        return on_disconnect(s, out, &p->disconnect);
    case MQTT_CONNECT:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
    case MQTT_PINGREQ:
    case MQTT_AUTH:
        break;
    }
    return protocol_error(s, out, "packet that a server must not send");
}

static enum err framing_error(struct mqtt_session *s, struct buffer *out, enum err err)
{
    if (err == E_TOO_LARGE) {
        return mqtt_session_end(s, out, err, MQTT_PACKET_TOO_LARGE, "packet over our Maximum Packet Size");
    }
    if (err == E_MALFORMED) {
        return mqtt_session_end(s, out, err, MQTT_MALFORMED_PACKET, "bytes that begin no packet");
    }
    return mqtt_session_end(s, out, err, MQTT_UNSPECIFIED_ERROR, err_name(err));
}

/* Moves bytes of *in behind the piece of a packet that has come before, as many as that packet wants. */
static enum err collect(struct mqtt_session *s, struct bytes *in, struct bytes *packet)
{
    for (;;) {
        size_t length;
        enum err err = mqtt_frame(buffer_bytes(&s->input), s->packet_max, &length);
        if (err == E_OK) {
            *packet = buffer_bytes(&s->input);
            s->input_done = true;
            return E_OK;
        }
        if (err != E_AGAIN || in->len == 0) {
            return err;
        }
        size_t missing = length > 0 ? length - s->input.len : 1;
        struct bytes piece = bytes_sub(*in, 0, missing);
        err = buffer_append(&s->input, piece);
        if (err != E_OK) {
            return err;
        }
        *in = bytes_sub(*in, piece.len, SIZE_MAX);
    }
}

/* The next whole packet, borrowed from *in, or from s->input when it came in pieces. */
static enum err next_packet(struct mqtt_session *s, struct bytes *in, struct bytes *packet)
{
    if (s->input_done) {
        buffer_finish(&s->input);
        s->input_done = false;
    }
    if (s->input.len > 0) {
        return collect(s, in, packet);
    }
    size_t length;
    enum err err = mqtt_frame(*in, s->packet_max, &length);
    if (err == E_OK) {
        *packet = bytes_sub(*in, 0, length);
        *in = bytes_sub(*in, length, SIZE_MAX);
        return E_OK;
    }
    if (err == E_AGAIN && in->len > 0) {
        err = buffer_append(&s->input, *in);
        *in = bytes_sub(*in, in->len, 0);
        return err == E_OK ? E_AGAIN : err;
    }
    return err;
}

enum err mqtt_session_input(struct mqtt_session *s, struct mono now, struct bytes *in, struct buffer *out,
                            struct mqtt_event *event)
{
    if (s->state != MQTT_SESSION_CONNECTING && s->state != MQTT_SESSION_OPEN) {
        return E_CLOSED;
    }
    if (in->len > 0) {
        s->last_in = now;
    }
    for (;;) {
        struct bytes bytes;
        enum err err = next_packet(s, in, &bytes);
        if (err == E_AGAIN) {
            return E_AGAIN;
        }
        if (err != E_OK) {
            return framing_error(s, out, err);
        }
        struct mqtt_packet packet;
        err = mqtt_decode(s->version, bytes, &packet);
        if (err != E_OK) {
            char text[64];
            snprintf(text, sizeof(text), "%s %s from the server", err_name(err), mqtt_type_name(bytes.data[0] >> 4));
            return mqtt_session_end(s, out, err, err == E_PROTOCOL ? MQTT_PROTOCOL_ERROR : MQTT_MALFORMED_PACKET, text);
        }
        err = on_packet(s, now, out, &packet, event);
        if (err != E_AGAIN) {
            return err;
        }
    }
}
