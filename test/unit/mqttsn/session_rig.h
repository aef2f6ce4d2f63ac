/* A session with a recording device side and broker side, and a clock of its own. Everything it does becomes one line in
 * a log that tests compare:
 *
 *   > CONNACK 0                              packets to the device; topic ids given by the session appear as N1, N2 ...
 *   > PUBLISH N1 q1 m1 dup "payload"         in order of first appearance; predefined ones as P5, short ones as S"ab"
 *   open clean keep will=t/m q1 r            link_open
 *   close, close+will                        link_close
 *   pub a/b q1 "payload"   sub a/# q1   unsub a/#   ack 7
 */
#ifndef TEST_MQTTSN_SESSION_RIG_H
#define TEST_MQTTSN_SESSION_RIG_H

#include "mqttsn/predefined.h"
#include "mqttsn/session.h"

struct rig {
    struct session_env env;
    struct session_metrics metrics;
    struct session *session;
    struct mono now;
    char log[8192];
    size_t log_len;
    uint16_t ids[64]; /* N1 is ids[0] */
    size_t id_count;
    uint64_t token;      /* of the last publish, subscribe or unsubscribe */
    uint64_t tokens[16]; /* of the last ones, latest first */
    enum err answer;     /* of publish, subscribe and unsubscribe */
    bool quiet;          /* nothing is logged */
};

/* retry 10 s x 3, queue of 5 messages, client id "dev". */
void rig_start(struct rig *r);
void rig_finish(struct rig *r);
/* Replaces the session by a new one. */
void rig_client(struct rig *r, const char *client_id);

void rig_packet(struct rig *r, const struct mqttsn_packet *p);
void rig_connect(struct rig *r, bool clean, bool will, uint16_t keepalive_s);
/* CONNECT and the link up: active. Clears the log. */
void rig_online(struct rig *r, bool clean, uint16_t keepalive_s);
void rig_plain(struct rig *r, enum mqttsn_type type); /* packets without fields */
void rig_sleep(struct rig *r, uint16_t duration_s);
void rig_register(struct rig *r, uint16_t msg_id, const char *topic);
void rig_publish(struct rig *r, uint8_t qos, uint16_t topic_id, uint16_t msg_id, const char *payload, bool dup);
void rig_subscribe(struct rig *r, uint8_t qos, uint16_t msg_id, const char *filter);
void rig_unsubscribe(struct rig *r, uint16_t msg_id, const char *filter);
/* REGACK or PUBACK. */
void rig_ack(struct rig *r, enum mqttsn_type type, uint16_t topic_id, uint16_t msg_id, uint8_t code);
/* PUBREC, PUBREL, PUBCOMP. */
void rig_msg_id(struct rig *r, enum mqttsn_type type, uint16_t msg_id);
void rig_message(struct rig *r, const char *topic, uint8_t qos, uint16_t packet_id, const char *payload);
void rig_link_up(struct rig *r, bool present);
void rig_link_down(struct rig *r, bool refused);
/* Lets time pass, calling session_on_time at each deadline. */
void rig_wait(struct rig *r, uint64_t ms);
/* The id that the log shows as N<number>. */
uint16_t rig_id(const struct rig *r, size_t number);

/* What happened since the last rig_expect; lines end in '\n'. Fails the test at a difference. */
#define rig_expect(r, text) rig_expect_at(r, text, __FILE__, __LINE__)
void rig_expect_at(struct rig *r, const char *text, const char *file, int line);
void rig_clear(struct rig *r);

#endif
