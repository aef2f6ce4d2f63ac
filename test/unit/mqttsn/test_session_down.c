/* Messages to the device: REGISTER first where needed, QoS 0 to 2, retransmission, refusals. */
#include "unit.h"

#include "mqttsn/session_rig.h"

static void online_with_subscription(struct rig *r, bool clean)
{
    rig_start(r);
    rig_online(r, clean, 3600);
    rig_subscribe(r, 2, 1, "a/b");
    session_on_subscribed(r->session, r->token, 2, r->now);
    rig_expect(r, "sub a/b q2\n> SUBACK N1 q2 m1 0\n");
}

static void qos0_goes_at_once(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "a/b", 0, 0, "x");
    rig_message(&r, "ab", 0, 0, "y"); /* of a wildcard: two characters need no id */
    rig_expect(&r, "> PUBLISH N1 q0 m0 \"x\"\n> PUBLISH S\"ab\" q0 m0 \"y\"\n");
    assert_int_equal(metric_get(&r.metrics.delivered), 2);
    rig_finish(&r);
}

static void qos1_one_at_a_time(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "a/b", 1, 11, "x");
    rig_message(&r, "a/b", 0, 0, "y");
    rig_message(&r, "a/b", 1, 12, "z");
    rig_expect(&r, "> PUBLISH N1 q1 m1 \"x\"\n");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 99, 0);
    rig_expect(&r, "");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 0);
    rig_expect(&r, "ack 11\n> PUBLISH N1 q0 m0 \"y\"\n> PUBLISH N1 q1 m2 \"z\"\n");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 2, 0);
    rig_expect(&r, "ack 12\n");
    assert_true(session_deadline(r.session).ns > mono_add_ms(r.now, 3600000).ns);
    rig_finish(&r);
}

static void qos1_is_sent_again(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "a/b", 1, 11, "x");
    rig_clear(&r);
    rig_wait(&r, 10000);
    rig_expect(&r, "> PUBLISH N1 q1 m1 dup \"x\"\n");
    rig_wait(&r, 20000);
    rig_expect(&r, "> PUBLISH N1 q1 m1 dup \"x\"\n> PUBLISH N1 q1 m1 dup \"x\"\n");
    rig_wait(&r, 600000); /* out of reach: kept, and not acknowledged to the broker */
    rig_expect(&r, "");
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_expect(&r, "> PINGRESP\n> PUBLISH N1 q1 m1 dup \"x\"\n");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 0);
    rig_expect(&r, "ack 11\n");
    rig_finish(&r);
}

/* A message that the device never acknowledges although it is there: dropped, so that it does not block for ever. */
static void what_a_device_cannot_take_is_dropped(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "a/b", 1, 11, "poison");
    rig_message(&r, "a/b", 0, 0, "next");
    rig_wait(&r, 25000);
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_clear(&r);
    rig_wait(&r, 30000);
    rig_expect(&r, "> PUBLISH N1 q1 m1 dup \"poison\"\nack 11\n> PUBLISH N1 q0 m0 \"next\"\n");
    assert_int_equal(metric_get(&r.metrics.dropped), 1);
    rig_finish(&r);
}

static void qos2_both_halves(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "a/b", 2, 0, "x");
    rig_message(&r, "a/b", 2, 0, "y");
    rig_wait(&r, 10000);
    rig_expect(&r, "> PUBLISH N1 q2 m1 \"x\"\n> PUBLISH N1 q2 m1 dup \"x\"\n");
    rig_msg_id(&r, MQTTSN_PUBREC, 1);
    rig_msg_id(&r, MQTTSN_PUBREC, 1);
    rig_expect(&r, "> PUBREL m1\n> PUBREL m1\n");
    rig_wait(&r, 10000);
    rig_expect(&r, "> PUBREL m1\n");
    rig_msg_id(&r, MQTTSN_PUBCOMP, 1);
    rig_expect(&r, "> PUBLISH N1 q2 m2 \"y\"\n");
    rig_msg_id(&r, MQTTSN_PUBCOMP, 2); /* too soon */
    rig_expect(&r, "");
    rig_msg_id(&r, MQTTSN_PUBREC, 77); /* of another life: let the device finish */
    rig_expect(&r, "> PUBREL m77\n");
    rig_finish(&r);
}

static void wildcards_register_first(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 3600);
    rig_message(&r, "w/1", 0, 0, "x");
    rig_message(&r, "w/1", 1, 21, "y");
    rig_message(&r, "w/2", 0, 0, "z");
    rig_expect(&r, "> REGISTER N1 m1 w/1\n");
    rig_wait(&r, 10000);
    rig_expect(&r, "> REGISTER N1 m1 w/1\n");
    rig_ack(&r, MQTTSN_REGACK, rig_id(&r, 1), 1, 1); /* congestion: later */
    rig_expect(&r, "");
    rig_wait(&r, 10000);
    rig_ack(&r, MQTTSN_REGACK, rig_id(&r, 1), 1, 0);
    rig_expect(&r, "> REGISTER N1 m1 w/1\n> PUBLISH N1 q0 m0 \"x\"\n> PUBLISH N1 q1 m2 \"y\"\n");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 2, 0);
    rig_expect(&r, "ack 21\n> REGISTER N2 m3 w/2\n");
    rig_ack(&r, MQTTSN_REGACK, rig_id(&r, 2), 3, 3); /* refused: no PUBLISH */
    rig_message(&r, "w/2", 1, 22, "z2");
    rig_expect(&r, "ack 22\n");
    rig_message(&r, "w/1", 0, 0, "known");
    rig_expect(&r, "> PUBLISH N1 q0 m0 \"known\"\n");
    assert_int_equal(metric_get(&r.metrics.dropped), 2);
    /* the device may use the id, too */
    rig_publish(&r, 0, rig_id(&r, 2), 0, "back", false);
    rig_expect(&r, "pub w/2 q0 \"back\"\n");
    rig_finish(&r);
}

/* RIOT's clients ignore REGISTER: the queue behind it must go on. */
static void an_ignored_register_does_not_block(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "w/1", 0, 0, "x");
    rig_message(&r, "a/b", 0, 0, "y");
    rig_wait(&r, 15000);
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_wait(&r, 30000);
    rig_expect(&r,
               "> REGISTER N2 m1 w/1\n> REGISTER N2 m1 w/1\n> PINGRESP\n> REGISTER N2 m1 w/1\n> REGISTER N2 m1 w/1\n"
               "> PUBLISH N1 q0 m0 \"y\"\n");
    rig_message(&r, "w/1", 0, 0, "again"); /* not tried again on this connection */
    rig_expect(&r, "");
    rig_finish(&r);
}

static void an_invalid_topic_id_is_registered_again(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "a/b", 1, 11, "x");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 2);
    rig_expect(&r, "> PUBLISH N1 q1 m1 \"x\"\n> REGISTER N1 m2 a/b\n");
    rig_ack(&r, MQTTSN_REGACK, rig_id(&r, 1), 2, 0);
    rig_expect(&r, "> PUBLISH N1 q1 m3 \"x\"\n");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 3, 2); /* still not: given up */
    rig_expect(&r, "ack 11\n");
    /* QoS 0: the next one is preceded by REGISTER */
    rig_message(&r, "a/b", 0, 0, "y");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 0, 2);
    rig_message(&r, "a/b", 0, 0, "z");
    rig_expect(&r, "> PUBLISH N1 q0 m0 \"y\"\n> REGISTER N1 m4 a/b\n");
    rig_finish(&r);
}

static void predefined_and_short_fall_back_to_register(void **state)
{
    (void)state;
    struct rig r;
    struct option_error error;
    struct predefined *p = NULL;
    assert_int_equal(predefined_read(BYTES("* 5 all/five\n"), "f", &p, &error), E_OK);
    rig_start(&r);
    r.env.predefined = p;
    rig_online(&r, true, 3600);
    rig_message(&r, "all/five", 1, 11, "x");
    rig_ack(&r, MQTTSN_PUBACK, 5, 1, 2);
    rig_expect(&r, "> PUBLISH P5 q1 m1 \"x\"\n> REGISTER N1 m2 all/five\n");
    rig_ack(&r, MQTTSN_REGACK, rig_id(&r, 1), 2, 0);
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 3, 0);
    rig_message(&r, "all/five", 0, 0, "y");
    rig_expect(&r, "> PUBLISH N1 q1 m3 \"x\"\nack 11\n> PUBLISH N1 q0 m0 \"y\"\n");
    rig_message(&r, "ab", 1, 12, "x");
    rig_ack(&r, MQTTSN_PUBACK, 'a' << 8 | 'b', 4, 2);
    rig_expect(&r, "> PUBLISH S\"ab\" q1 m4 \"x\"\n> REGISTER N2 m5 ab\n");
    rig_finish(&r);
    predefined_destroy(p);
}

static void a_predefined_subscription_gets_its_id(void **state)
{
    (void)state;
    struct rig r;
    struct option_error error;
    struct predefined *p = NULL;
    assert_int_equal(predefined_read(BYTES("* 5 all/five\n"), "f", &p, &error), E_OK);
    rig_start(&r);
    r.env.predefined = p;
    rig_online(&r, true, 3600);
    struct mqttsn_packet sub = {.type = MQTTSN_SUBSCRIBE,
                                .subscribe = {.msg_id = 7, .topic = {.type = MQTTSN_TOPIC_PREDEFINED, .id = 5}}};
    rig_packet(&r, &sub);
    session_on_subscribed(r.session, r.token, 0, r.now);
    rig_message(&r, "all/five", 0, 0, "x");
    rig_expect(&r, "sub all/five q0\n> SUBACK N1 q0 m7 0\n> PUBLISH P5 q0 m0 \"x\"\n");
    assert_int_equal(rig_id(&r, 1), 5);
    /* subscribed by name: the id from SUBACK, RIOT's emcute knows no other */
    rig_subscribe(&r, 0, 8, "all/five");
    session_on_subscribed(r.session, r.token, 0, r.now);
    rig_message(&r, "all/five", 0, 0, "y");
    rig_expect(&r, "sub all/five q0\n> SUBACK N2 q0 m8 0\n> PUBLISH N2 q0 m0 \"y\"\n");
    rig_finish(&r);
    predefined_destroy(p);
}

/* RIOT's emcute answers "not supported" to a PUBLISH with DUP. */
static void a_device_that_refuses_dup(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "a/b", 1, 11, "x");
    rig_wait(&r, 10000);
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 3);
    rig_expect(&r, "> PUBLISH N1 q1 m1 \"x\"\n> PUBLISH N1 q1 m1 dup \"x\"\n> PUBLISH N1 q1 m1 \"x\"\n");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 3); /* not DUP then */
    rig_expect(&r, "ack 11\n");
    rig_finish(&r);
}

static void congestion_at_the_device_waits(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "a/b", 1, 11, "x");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 1);
    rig_wait(&r, 9000);
    rig_expect(&r, "> PUBLISH N1 q1 m1 \"x\"\n");
    rig_wait(&r, 1000);
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 0);
    rig_expect(&r, "> PUBLISH N1 q1 m1 dup \"x\"\nack 11\n");
    rig_finish(&r);
}

static void the_queue_has_a_ceiling(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, true);
    rig_message(&r, "a/b", 1, 1, "head");
    rig_message(&r, "a/b", 0, 0, "old");
    rig_message(&r, "a/b", 1, 2, "two");
    rig_message(&r, "a/b", 0, 0, "newer");
    rig_message(&r, "a/b", 1, 3, "three");
    rig_clear(&r);
    rig_message(&r, "a/b", 1, 4, "four"); /* "old" goes */
    rig_message(&r, "a/b", 1, 5, "five"); /* "newer" goes */
    rig_expect(&r, "");
    rig_message(&r, "a/b", 2, 0, "two"); /* nothing of QoS 0 left: this one goes */
    assert_int_equal(metric_get(&r.metrics.dropped), 3);
    rig_message(&r, "a/b", 1, 6, "six"); /* stays with the broker, and what comes behind it */
    rig_expect(&r, "");
    for (uint16_t i = 1; i <= 4; i++) {
        rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), i, 0);
    }
    rig_message(&r, "a/b", 1, 7, "seven");
    rig_publish(&r, 1, rig_id(&r, 1), 50, "up", false);
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 5, 0);
    rig_expect(&r, "ack 1\n> PUBLISH N1 q1 m2 \"two\"\nack 2\n> PUBLISH N1 q1 m3 \"three\"\nack 3\n"
                   "> PUBLISH N1 q1 m4 \"four\"\nack 4\n> PUBLISH N1 q1 m5 \"five\"\npub a/b q1 \"up\"\nack 5\n");
    session_on_published(r.session, r.token, 0, r.now); /* nothing under way: time to fetch the rest */
    rig_expect(&r, "> PUBACK N1 m50 0\nclose\nopen\n");
    rig_link_up(&r, true);
    rig_message(&r, "a/b", 1, 8, "six");
    rig_expect(&r, "> PUBLISH N1 q1 m6 \"six\"\n");
    assert_int_equal(metric_get(&r.metrics.dropped), 3);
    rig_finish(&r);
}

static void what_fits_no_datagram_is_dropped(void **state)
{
    (void)state;
    static uint8_t payload[SESSION_PAYLOAD_MAX + 1];
    struct rig r;
    online_with_subscription(&r, true);
    struct session_message m = {
        .topic = BYTES("a/b"), .payload = bytes_make(payload, sizeof(payload)), .qos = 1, .packet_id = 9};
    session_on_message(r.session, &m, r.now);
    m.qos = 0;
    m.packet_id = 0;
    session_on_message(r.session, &m, r.now);
    rig_expect(&r, "ack 9\n");
    assert_int_equal(metric_get(&r.metrics.dropped), 2);
    rig_finish(&r);
}

/* The broker keeps QoS 1 until we acknowledge, and brings it again: not kept twice. QoS 2 is ours. */
static void a_lost_link_and_what_was_waiting(void **state)
{
    (void)state;
    struct rig r;
    online_with_subscription(&r, false);
    rig_message(&r, "a/b", 2, 0, "two");
    rig_message(&r, "a/b", 1, 11, "one");
    rig_message(&r, "a/b", 0, 0, "zero");
    rig_msg_id(&r, MQTTSN_PUBREC, 1);
    rig_clear(&r);
    rig_link_down(&r, false);
    rig_connect(&r, false, false, 3600);
    rig_link_up(&r, true);
    rig_expect(&r, "> DISCONNECT\nopen keep\n> CONNACK 0\n> PUBREL m1\n");
    rig_message(&r, "a/b", 1, 12, "one"); /* brought again */
    rig_msg_id(&r, MQTTSN_PUBCOMP, 1);
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 2, 0);
    rig_expect(&r, "> PUBLISH N1 q1 m2 \"one\"\nack 12\n");
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qos0_goes_at_once),
        cmocka_unit_test(qos1_one_at_a_time),
        cmocka_unit_test(qos1_is_sent_again),
        cmocka_unit_test(what_a_device_cannot_take_is_dropped),
        cmocka_unit_test(qos2_both_halves),
        cmocka_unit_test(wildcards_register_first),
        cmocka_unit_test(an_ignored_register_does_not_block),
        cmocka_unit_test(an_invalid_topic_id_is_registered_again),
        cmocka_unit_test(predefined_and_short_fall_back_to_register),
        cmocka_unit_test(a_predefined_subscription_gets_its_id),
        cmocka_unit_test(a_device_that_refuses_dup),
        cmocka_unit_test(congestion_at_the_device_waits),
        cmocka_unit_test(the_queue_has_a_ceiling),
        cmocka_unit_test(what_fits_no_datagram_is_dropped),
        cmocka_unit_test(a_lost_link_and_what_was_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
