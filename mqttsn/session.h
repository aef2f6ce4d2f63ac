/* The session of one MQTT-SN v1.2 client: a state machine without I/O. Packets from the device, events of its link to the
 * broker and the clock come in; packets to the device and requests to the link go out through a table of functions.
 *
 *   OFFLINE --CONNECT--> (WILL_TOPIC --> WILL_MSG -->) LINKING --link up--> ACTIVE <--> ASLEEP <--> AWAKE
 *      ^------------------- DISCONNECT, silence, link lost -------------------------------'
 *
 * States and their exits:
 *   OFFLINE     no device. With clean_session the session is over; otherwise it keeps subscriptions, topic ids and QoS 2
 *               messages for the next CONNECT.
 *   WILL_TOPIC  WILLTOPICREQ sent; WILLTOPIC leads to WILL_MSG, an empty one (no will) to LINKING; silence to OFFLINE.
 *   WILL_MSG    WILLMSGREQ sent; WILLMSG leads to LINKING, silence to OFFLINE.
 *   LINKING     the link is being made; up: CONNACK and ACTIVE; failed: CONNACK with a refusal and OFFLINE.
 *   ACTIVE      DISCONNECT with duration leads to ASLEEP, without to OFFLINE; silence beyond the keep-alive, or the link lost: OFFLINE.
 *   ASLEEP      messages are kept; PINGREQ leads to AWAKE, CONNECT to ACTIVE (it wakes and does not reset: flags do not count,
 *               but for Will); silence beyond the sleep duration: OFFLINE. The link is made again if it breaks.
 *   AWAKE       what was kept is delivered, then PINGRESP and ASLEEP.
 *
 * Decisions where v1.2 is silent:
 *   - The will is the broker's (MQTT CONNECT), so that it is published also when the gateway dies. MQTT cannot change a will:
 *     WILLTOPICUPD and WILLMSGUPD reconnect the link with the new will, keeping the broker's session, and are
 *     answered when that is done. With shared links (aggregate) the session publishes the will itself.
 *   - QoS 1 and 2 from the device are acknowledged when the broker has acknowledged, never before.
 *   - QoS 1 to the device is acknowledged to the broker when the device has acknowledged: the broker keeps what we hold.
 *   - One message at a time to the device (6.10), in order. No answer after all retries: if the device was heard meanwhile, the
 *     message is dropped and counted (it cannot take it), otherwise it waits until the device is heard again.
 *   - Messages for one device beyond the ceilings: the oldest of QoS 0 is dropped, then the newest, but QoS 1 from the broker is
 *     left there unacknowledged; when the queue is empty the link is made again, which brings it.
 *   - Broker gone: active clients get a DISCONNECT at once. Sleeping ones cannot hear it: their link is made again.
 *
 * One thread. No function here calls back into the owner except through the table; functions of the table must not call
 * into the session.
 */
#ifndef MQTTSN_SESSION_H
#define MQTTSN_SESSION_H

#include "base/clock.h"
#include "base/metrics.h"
#include "mqttsn/codec.h"

struct predefined;
struct session;

enum session_state {
    SESSION_OFFLINE,
    SESSION_WILL_TOPIC,
    SESSION_WILL_MSG,
    SESSION_LINKING,
    SESSION_ACTIVE,
    SESSION_ASLEEP,
    SESSION_AWAKE,
};

struct session_will {
    struct bytes topic;
    struct bytes payload;
    uint8_t qos;
    bool retain;
};

/* What the link is to be made with. */
struct session_link {
    bool clean_start; /* the broker forgets what it had of this client */
    bool persistent;  /* the broker keeps its session when the link ends */
    bool has_will;
    struct session_will will;
};

struct session_message {
    struct bytes topic;
    struct bytes payload;
    uint8_t qos;
    bool retain;
    uint16_t packet_id; /* from the broker with QoS 1: for ack(); 0 = none wanted */
};

struct session_ops {
    /* To the device's current address. Borrowed during the call. */
    void (*send)(void *owner, const struct mqttsn_packet *p);
    /* Makes the link as session_link_options says; session_on_link_up or session_on_link_down follows, later. Called only
     * while there is none. */
    void (*link_open)(void *owner);
    /* Ends the link or the attempt; no link event follows. with_will: so that the broker publishes the will. */
    void (*link_close)(void *owner, bool with_will);
    /* session_on_published follows for QoS 1 and 2. E_FULL, E_AGAIN: not now. */
    enum err (*publish)(void *owner, const struct session_message *m, uint64_t token);
    /* session_on_subscribed follows for both. */
    enum err (*subscribe)(void *owner, struct bytes filter, uint8_t qos, uint64_t token);
    enum err (*unsubscribe)(void *owner, struct bytes filter, uint64_t token);
    /* The device has the QoS 1 message of that packet id. */
    void (*ack)(void *owner, uint16_t packet_id);
};

/* Counters of all sessions, atomics because status may be read elsewhere. */
struct session_metrics {
    metric_value accepted;  /* CONNECT */
    metric_value received;  /* PUBLISH from devices taken */
    metric_value rejected;  /* refused with a return code */
    metric_value delivered; /* PUBLISH to devices done: sent (QoS 0) or acknowledged */
    metric_value retransmitted;
    metric_value dropped;      /* messages to devices dropped: ceilings, refusals, unanswered */
    metric_value lost;         /* clients that fell silent */
    metric_value queued_bytes; /* gauge: payload kept for devices */
    metric_value awaited;      /* gauge: QoS 1 and 2 messages of devices that the broker has not acknowledged */
};

#define SESSION_QUEUE_BYTES_MAX (256u * 1024)        /* for one client */
#define SESSION_QUEUE_TOTAL_MAX (256u * 1024 * 1024) /* for all */
#define SESSION_PAYLOAD_MAX 65000u                   /* to a device: one UDP datagram */
#define SESSION_CLIENT_ID_MAX 128                    /* v1.2 says 23; users have longer ones */

/* What all sessions share; outlives them. May change between calls. */
struct session_env {
    const struct session_ops *ops;
    const struct predefined *predefined; /* NULL = none */
    uint32_t retry_interval_ms;
    uint32_t retry_count;
    uint32_t queue_max; /* messages kept for one client */
    bool gateway_wills; /* the link carries no will: publish it ourselves */
    bool keep_link;     /* a link costs nothing: sessions that are kept stay linked while offline, and keep messages */
    struct session_metrics *metrics;
    uint64_t rng; /* any seed, for jitter */
};

/* client_id: 1 to SESSION_CLIENT_ID_MAX bytes of UTF-8, copied. NULL without memory. */
struct session *session_create(struct session_env *env, void *owner, struct bytes client_id);
/* Calls nothing: close the link before, by session_end. NULL is allowed. */
void session_destroy(struct session *s);

struct bytes session_client_id(const struct session *s); /* until session_destroy */
enum session_state session_state(const struct session *s);
/* Nothing left to keep: the owner may destroy it. */
bool session_over(const struct session *s);
/* How the link that link_open asked for is to be made. The will is borrowed until the next call to the session. May be called
 * by functions of the table, and as late as when the link is really made. */
void session_link_options(const struct session *s, struct session_link *out);
/* When session_on_time must be called; MONO_NEVER. */
struct mono session_deadline(const struct session *s);

/* A packet from the device, whose address the owner knows (and has noted, when it is a new one). Not for SEARCHGW, ADVERTISE,
 * GWINFO. */
void session_on_packet(struct session *s, const struct mqttsn_packet *p, struct mono now);
void session_on_time(struct session *s, struct mono now);

/* Another client speaks from the device's address now, or its DTLS session has ended. One that is asleep will say where it is, the silence of others will be
 * noticed; one without keep-alive is given up. */
void session_on_displaced(struct session *s);
/* The broker can be reached again: a link that is to be made again later is made now. */
void session_on_broker_back(struct session *s);
/* session_present: the broker still had this client's session. */
void session_on_link_up(struct session *s, bool session_present, struct mono now);
/* The link ended, or could not be made. refused: the broker understood and said no for good (credentials, client id). */
void session_on_link_down(struct session *s, bool refused, struct mono now);
/* reason: MQTT 5 reason code, >= 0x80 is a refusal. */
void session_on_published(struct session *s, uint64_t token, uint8_t reason, struct mono now);
void session_on_subscribed(struct session *s, uint64_t token, uint8_t reason, struct mono now);
void session_on_message(struct session *s, const struct session_message *m, struct mono now);

/* Ends the device's connection in good order (shutdown, takeover by a client of another kind): DISCONNECT to it, link closed without
 * will, OFFLINE. */
void session_end(struct session *s, struct mono now);
/* Makes an offline session that was kept forget all, so that it is over. */
void session_forget(struct session *s);

#endif
