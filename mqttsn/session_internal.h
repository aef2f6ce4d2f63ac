/* What the files of the session share. session.c: life, dispatch, link events; session_connect.c: CONNECT, will, sleep,
 * DISCONNECT; session_up.c: from the device to the broker; session_down.c: from the broker to the device. */
#ifndef MQTTSN_SESSION_INTERNAL_H
#define MQTTSN_SESSION_INTERNAL_H

#include "mqttsn/session.h"
#include "mqttsn/topics.h"

#define SUBSCRIPTIONS_MAX 128u
#define SUBSCRIPTION_BYTES_MAX (16u * 1024)
#define REQUESTS_MAX 32u

enum link_state { LINK_NONE, LINK_OPENING, LINK_UP };

/* A filter that the client has subscribed to: what is asked of the broker again when it has lost its session. */
struct subscription {
    uint8_t *filter; /* owned */
    uint16_t len;
    uint16_t turn; /* of the request under way for it; 0 = none */
    uint8_t qos;
    bool granted;    /* by the broker, at least once */
    bool predefined; /* by its predefined id: the client knows that id */
};

/* One request of the device that waits for the broker, or for the device's PUBREL. */
enum request_kind { REQUEST_PUBLISH1, REQUEST_PUBLISH2, REQUEST_RELEASE, REQUEST_SUBSCRIBE, REQUEST_UNSUBSCRIBE };

struct request {
    uint16_t msg_id;
    uint16_t topic_id; /* for the acknowledgement */
    uint16_t turn;     /* tells a message id used again from its former use; 0 is never used */
    uint8_t kind;
    bool known; /* SUBSCRIBE: the acknowledgement tells the client an id */
};

/* One message for the device. */
struct queued {
    struct queued *next; /* links the session's messages, oldest first */
    uint32_t len;
    uint16_t topic_id;
    uint16_t packet_id; /* the broker waits for our acknowledgement; 0 = it does not */
    uint8_t topic_type;
    uint8_t qos;
    bool retain;
    bool stale;        /* the link that brought it is gone: the broker brings it again if it still knows us */
    bool reregistered; /* the device did not know its topic id: REGISTER was tried again */
    uint8_t payload[];
};

/* What the device has to answer before the next message goes out. */
enum out_stage { OUT_NONE, OUT_REGISTER, OUT_PUBLISH, OUT_PUBREL };

struct stored_will {
    uint16_t topic_len;
    uint32_t payload_len;
    uint8_t qos;
    bool retain;
    uint8_t bytes[]; /* topic, payload */
};

struct session {
    struct session_env *env;
    void *owner;
    struct topics topics;
    struct subscription *subs;
    struct request *requests;
    struct queued *head, *tail;
    struct stored_will *will;   /* NULL = none */
    struct stored_will *staged; /* being told by the device; payload empty so far */
    struct mono supervise;      /* the device is given up then */
    struct mono retry;          /* OUT_*: send again then */
    struct mono relink;         /* make the link again then */
    uint32_t queue_bytes;
    uint16_t queue_count;
    uint16_t subs_count, subs_bytes;
    uint16_t keepalive_s;
    uint16_t sleep_s;
    uint16_t next_msg_id;
    uint16_t out_msg_id;
    uint16_t awake_left; /* AWAKE: messages still to deliver before PINGRESP */
    uint16_t turn;
    uint8_t requests_count, requests_cap;
    uint8_t state; /* enum session_state */
    uint8_t link;  /* enum link_state */
    uint8_t out;   /* enum out_stage */
    uint8_t out_tries;
    uint8_t link_tries;
    uint8_t will_reply; /* WILLTOPICRESP or WILLMSGRESP owed when the link is up again; 0 = none */
    bool clean;
    bool connect_clean; /* the flag of the CONNECT under way */
    bool clean_start;   /* the link is made so that the broker forgets what it had */
    bool waking;        /* that CONNECT wakes a sleeping client */
    bool kept;          /* without clean: there is something to keep when offline */
    bool fresh;         /* CONNACK was sent, and nothing heard since: it may have been lost */
    bool heard;         /* the device was heard since OUT_* was sent first */
    bool waiting;       /* all retries are used up: go on when the device is heard */
    bool overflow;      /* the broker has messages that we did not take: it brings them when the link is made again */
    bool no_dup;        /* the device refuses PUBLISH with DUP (RIOT's emcute does) */
    uint8_t client_id_len;
    uint8_t client_id[];
};

/* --- session.c */
void session_send(struct session *s, const struct mqttsn_packet *p);
void session_send_plain(struct session *s, enum mqttsn_type type); /* packets without fields */
/* To OFFLINE. tell: DISCONNECT to the device; with_will: the will is published. */
void session_go_offline(struct session *s, bool with_will, bool tell);
void session_link_open(struct session *s, bool clean_start);
/* Ends the link if there is one; nothing of it is acknowledged any more. */
void session_link_close(struct session *s, bool with_will);
/* The time after which a silent device is given up (specification 7.2: 50 % tolerance up to a minute, 10 % beyond). */
void session_supervise(struct session *s, struct mono now);

/* --- session_connect.c */
void session_connect(struct session *s, const struct mqttsn_packet *p, struct mono now);
void session_will_topic(struct session *s, const struct mqttsn_packet *p, struct mono now);
void session_will_msg(struct session *s, const struct mqttsn_packet *p, struct mono now);
void session_will_update(struct session *s, const struct mqttsn_packet *p);
void session_disconnect(struct session *s, const struct mqttsn_packet *p, struct mono now);
void session_pingreq(struct session *s, struct mono now);
void session_accept(struct session *s, struct mono now); /* CONNACK, ACTIVE */
void session_refuse(struct session *s, uint8_t code);    /* CONNACK */
struct session_will session_will_view(const struct stored_will *w);

/* --- session_up.c */
/* May a device name this topic or filter? Nothing that the broker ends a link for, and not the control of the broker and its
 * plugins: a datagram tells nothing about its sender. */
bool session_topic_allowed(struct bytes topic);
void session_up_register(struct session *s, const struct mqttsn_packet *p);
void session_up_publish(struct session *s, const struct mqttsn_packet *p);
void session_up_pubrel(struct session *s, uint16_t msg_id);
void session_up_subscribe(struct session *s, const struct mqttsn_packet *p);
void session_up_unsubscribe(struct session *s, const struct mqttsn_packet *p);
void session_up_resubscribe(struct session *s);
/* Requests that the broker will not answer any more; what waits for PUBREL stays unless `all`. */
void session_up_forget_requests(struct session *s, bool all);
/* Does the device wait for an answer of the broker? */
bool session_up_busy(const struct session *s);
void session_up_forget_subscriptions(struct session *s);
bool session_subscribed_predefined(const struct session *s, struct bytes topic);

/* --- session_down.c */
/* Sends what may be sent now. */
void session_down_pump(struct session *s, struct mono now);
/* The device is there again after it was away or silent: what was under way is sent again. */
void session_down_resume(struct session *s, struct mono now);
/* The device is heard: what waited for that goes on. */
void session_down_unblock(struct session *s, struct mono now);
void session_down_timeout(struct session *s, struct mono now);
void session_down_regack(struct session *s, const struct mqttsn_packet *p, struct mono now);
void session_down_puback(struct session *s, const struct mqttsn_packet *p, struct mono now);
void session_down_pubrec(struct session *s, uint16_t msg_id, struct mono now);
void session_down_pubcomp(struct session *s, uint16_t msg_id, struct mono now);
/* The link is gone: nothing more to acknowledge on it. */
void session_down_mark_stale(struct session *s);
/* The broker still knows us: what it will bring again is dropped here. */
void session_down_drop_stale(struct session *s);
/* Drops all, or all but what the broker has no copy of (QoS 2), which goes on where it was. */
void session_down_clear(struct session *s, bool keep_qos2);

#endif
