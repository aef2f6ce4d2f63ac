/* An MQTT 3.1.1 / 5.0 client connection: the session's state machine (mqtt/session.h, no I/O) on a stream.
 *
 * One object per connection attempt: it connects, works and ends in exactly one on_end. When to connect again is the
 * owner's business (base/backoff.h). In-flight publishes are the owner's too: what has not been confirmed by on_published
 * when on_end comes must be sent again by the owner. Nothing but CONNECT is sent before CONNACK. All on the loop's thread.
 * An idle client costs under 1 KiB beside its stream.
 */
#ifndef MQTT_CLIENT_H
#define MQTT_CLIENT_H

#include "mqtt/session.h"
#include "net/stream.h"

struct mqtt_client;

struct mqtt_client_options {
    struct stream_options stream;
    struct mqtt_session_options session;
    /* TCP acknowledges PUBACKs without delay (stream_acknowledge): for publishes that somebody waits for. */
    bool acknowledge_at_once;
    /* Two system calls for each piece of PUBACKs that arrives while the window is full: those that a broker on this host
     * holds back behind the first by Nagle's algorithm (mosquitto by default) come in the same turn (stream_pull). */
    bool pull;
};

/* Each may be NULL but on_end. */
struct mqtt_client_events {
    /* CONNACK with success. `connack` is valid during the call. */
    void (*on_connected)(void *ctx, const struct mqtt_connack *connack);
    /* A publish sent with `token` is settled: PUBACK, or PUBCOMP for QoS 2. reason >= 0x80: refused by the server. Not
     * called for QoS 0. */
    void (*on_published)(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text);
    /* After mqtt_client_publish said E_FULL: a quarter of the window, or the output, has room again. */
    void (*on_writable)(void *ctx);
    /* A message came. QoS 1: the owner calls mqtt_client_ack(packet_id) when it has taken charge of it. QoS 2 is handled
     * inside up to PUBCOMP and given once, at PUBLISH. Valid during the call. */
    void (*on_message)(void *ctx, const struct mqtt_publish *message);
    /* SUBACK or UNSUBACK: one reason code per filter, in order. */
    void (*on_subscribed)(void *ctx, uint64_t token, const uint8_t *codes, size_t count);
    /* The end, with why: connection error, CONNACK refusal (E_REFUSED, reason = its code), server DISCONNECT (E_CLOSED with
     * reason), protocol error of the peer, timeout, mqtt_client_close (E_CANCELLED). `detail` is in plain words. Last call. */
    void (*on_end)(void *ctx, enum err why, uint8_t reason, const char *detail);
};

/* Starts connecting; the outcome comes by callback, never before this returns. `o` is copied, `events` must outlive the client.
 * E_INVALID: an option breaks the protocol. */
MUST_CHECK enum err mqtt_client_connect(uv_loop_t *loop, const struct mqtt_client_options *o,
                                        const struct mqtt_client_events *events, void *ctx, struct mqtt_client **out);

/* Sends a publish. QoS 1/2: `token` comes back in on_published. E_FULL: window or output is full, on_writable follows;
 * E_AGAIN: not connected (yet). E_TOO_LARGE: over the server's Maximum Packet Size or the output; E_UNSUPPORTED,
 * E_INVALID as mqtt_session_publish. */
MUST_CHECK enum err mqtt_client_publish(struct mqtt_client *c, const struct mqtt_publish *p, uint64_t token);

/* As mqtt_session_subscribe and mqtt_session_unsubscribe: on_subscribed brings the token and the codes. */
MUST_CHECK enum err mqtt_client_subscribe(struct mqtt_client *c, const struct mqtt_subscription *filters, size_t count,
                                          uint64_t token);
MUST_CHECK enum err mqtt_client_unsubscribe(struct mqtt_client *c, const struct bytes *filters, size_t count,
                                            uint64_t token);
/* Acknowledges a QoS 1 message. reason: 0, or a v5 code >= 0x80 (as success in 3.1.1). */
MUST_CHECK enum err mqtt_client_ack(struct mqtt_client *c, uint16_t packet_id, uint8_t reason);

/* Sends a PINGREQ, as mqtt_session_probe. */
void mqtt_client_probe(struct mqtt_client *c);
/* When the server was last heard: any packet of it. */
struct mono mqtt_client_heard(const struct mqtt_client *c);

/* As stream_share and stream_send_through. */
int mqtt_client_share(struct mqtt_client *c);
void mqtt_client_send_through(struct mqtt_client *c, int fd);

/* As stream_read_later, but not while a publish waits for room in the window: that ends it. */
void mqtt_client_read_later(struct mqtt_client *c, uint32_t ms);

/* Of the open connection, for logs: TLS version and cipher, or "plain". */
const char *mqtt_client_security(const struct mqtt_client *c);

/* DISCONNECT and close, or (graceful false) drop the connection so that the server sends the will. on_end follows, after
 * this returned; no other call does. */
void mqtt_client_close(struct mqtt_client *c, bool graceful);

#endif
