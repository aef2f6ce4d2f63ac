/* Sleeping clients (specification 6.14). */
#include "unit.h"

#include "mqttsn/session_rig.h"

static void asleep(struct rig *r, bool clean)
{
    rig_start(r);
    rig_online(r, clean, 60);
    rig_subscribe(r, 1, 1, "a/b");
    session_on_subscribed(r->session, r->token, 1, r->now);
    rig_clear(r);
    rig_sleep(r, 1000);
    rig_expect(r, "> DISCONNECT\n");
    assert_int_equal(session_state(r->session), SESSION_ASLEEP);
}

static void nothing_waits(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_expect(&r, "> PINGRESP\n");
    assert_int_equal(session_state(r.session), SESSION_ASLEEP);
    rig_finish(&r);
}

static void messages_are_kept_and_fetched(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_message(&r, "a/b", 0, 0, "one");
    rig_message(&r, "a/b", 1, 12, "two");
    rig_message(&r, "w/1", 0, 0, "three");
    rig_wait(&r, 500000);
    rig_expect(&r, "");
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_expect(&r, "> PUBLISH N1 q0 m0 \"one\"\n> PUBLISH N1 q1 m1 \"two\"\n");
    rig_message(&r, "a/b", 0, 0, "later"); /* for the next time */
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 0);
    rig_expect(&r, "ack 12\n> REGISTER N2 m2 w/1\n");
    rig_ack(&r, MQTTSN_REGACK, rig_id(&r, 2), 2, 0);
    rig_expect(&r, "> PUBLISH N2 q0 m0 \"three\"\n> PINGRESP\n");
    assert_int_equal(session_state(r.session), SESSION_ASLEEP);
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_expect(&r, "> PUBLISH N1 q0 m0 \"later\"\n> PINGRESP\n");
    rig_finish(&r);
}

static void the_sleep_is_supervised(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true); /* keep-alive 60 s, asleep for 1000 s: 10 % beyond that */
    rig_wait(&r, 1099000);
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_expect(&r, "> PINGRESP\n");
    rig_wait(&r, 1099000);
    rig_expect(&r, "");
    rig_wait(&r, 1000);
    rig_expect(&r, "close+will\n"); /* nobody there to be told */
    assert_true(session_over(r.session));
    rig_finish(&r);
}

static void a_new_duration(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_sleep(&r, 20);
    rig_expect(&r, "> DISCONNECT\n");
    rig_wait(&r, 29000);
    rig_expect(&r, "");
    rig_wait(&r, 1000);
    rig_expect(&r, "close+will\n");
    rig_finish(&r);
}

static void connect_wakes_and_does_not_reset(void **state)
{
    (void)state;
    for (int clean = 0; clean <= 1; clean++) {
        struct rig r;
        asleep(&r, clean);
        rig_message(&r, "a/b", 1, 12, "x");
        rig_connect(&r, true, false, 60);
        rig_expect(&r, "> CONNACK 0\n> PUBLISH N1 q1 m1 \"x\"\n");
        rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 0);
        rig_expect(&r, "ack 12\n");
        rig_message(&r, "a/b", 0, 0, "y");
        rig_expect(&r, "> PUBLISH N1 q0 m0 \"y\"\n");
        rig_wait(&r, 90000); /* the keep-alive counts again */
        rig_expect(&r, "> DISCONNECT\nclose+will\n");
        rig_finish(&r);
    }
}

static void waking_with_a_new_will(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_connect(&r, true, true, 60);
    struct mqttsn_packet topic = {.type = MQTTSN_WILLTOPIC, .willtopic = {.topic = BYTES("t")}};
    struct mqttsn_packet msg = {.type = MQTTSN_WILLMSG, .willmsg = {BYTES("w")}};
    rig_packet(&r, &topic);
    rig_packet(&r, &msg);
    rig_expect(&r, "> WILLTOPICREQ\n> WILLMSGREQ\nclose\nopen will=t/w q0\n"); /* not clean: it does not reset */
    rig_link_up(&r, true);
    rig_expect(&r, "> CONNACK 0\n");
    rig_finish(&r);
}

static void disconnect_ends_it(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_plain(&r, MQTTSN_DISCONNECT);
    rig_expect(&r, "> DISCONNECT\nclose\n");
    assert_true(session_over(r.session));
    rig_finish(&r);
}

static void a_lost_link_is_made_again(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_message(&r, "a/b", 1, 12, "x");
    rig_link_down(&r, false);
    rig_expect(&r, "");
    rig_wait(&r, 1000);
    rig_expect(&r, "open\n");
    rig_link_down(&r, false);
    rig_wait(&r, 2000);
    rig_expect(&r, "open\n");
    rig_link_up(&r, false); /* the broker has forgotten: what we have is all there is */
    rig_expect(&r, "sub a/b q1\n");
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 0);
    rig_expect(&r, "> PUBLISH N1 q1 m1 \"x\"\n> PINGRESP\n");
    rig_message(&r, "a/b", 1, 13, "y");
    rig_link_down(&r, false);
    rig_wait(&r, 1000);
    rig_link_up(&r, true); /* it knows us: it brings the message again */
    rig_message(&r, "a/b", 1, 14, "y");
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 2, 0);
    rig_expect(&r, "open\n> PUBLISH N1 q1 m2 \"y\"\nack 14\n> PINGRESP\n");
    rig_finish(&r);
}

static void a_refused_link_ends_it(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_link_down(&r, true);
    rig_expect(&r, "");
    assert_true(session_over(r.session));
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_expect(&r, "> DISCONNECT\n");
    rig_finish(&r);
}

static void a_device_that_falls_asleep_over_a_message(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_message(&r, "a/b", 1, 12, "x");
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_wait(&r, 100000);
    rig_expect(&r, "> PUBLISH N1 q1 m1 \"x\"\n> PUBLISH N1 q1 m1 dup \"x\"\n> PUBLISH N1 q1 m1 dup \"x\"\n"
                   "> PUBLISH N1 q1 m1 dup \"x\"\n");
    assert_int_equal(session_state(r.session), SESSION_ASLEEP);
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_plain(&r, MQTTSN_PINGREQ); /* the message was lost */
    rig_expect(&r, "> PUBLISH N1 q1 m1 dup \"x\"\n> PUBLISH N1 q1 m1 dup \"x\"\n");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 0);
    rig_expect(&r, "ack 12\n> PINGRESP\n");
    rig_finish(&r);
}

/* Not in the specification's diagram, but devices do it: publish without waking up first. */
static void a_sleeper_may_publish(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_register(&r, 5, "up");
    rig_publish(&r, 1, rig_id(&r, 1), 6, "x", false);
    rig_clear(&r);
    session_on_published(r.session, r.token, 0, r.now);
    rig_expect(&r, "> PUBACK N1 m6 0\n");
    assert_int_equal(session_state(r.session), SESSION_ASLEEP);
    rig_finish(&r);
}

/* aggregate: a link costs nothing, so a session that is kept goes on receiving while its device is away. */
static void kept_sessions_stay_on_a_shared_link(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    r.env.keep_link = true;
    rig_online(&r, false, 60);
    rig_subscribe(&r, 1, 1, "a/b");
    session_on_subscribed(r.session, r.token, 1, r.now);
    rig_clear(&r);
    rig_plain(&r, MQTTSN_DISCONNECT);
    rig_message(&r, "a/b", 1, 0, "x");
    rig_expect(&r, "> DISCONNECT\n");
    rig_link_down(&r, false);
    rig_wait(&r, 1000);
    rig_link_up(&r, false);
    rig_expect(&r, "open keep\nsub a/b q1\n");
    rig_connect(&r, false, false, 60);
    rig_expect(&r, "> CONNACK 0\n> PUBLISH N1 q1 m1 \"x\"\n");
    rig_finish(&r);
}

/* ... also when it fell silent, and what it did not acknowledge is sent again: the broker does not have it any more. */
static void kept_sessions_of_lost_clients_go_on(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    r.env.keep_link = r.env.gateway_wills = true;
    rig_online(&r, false, 60);
    rig_subscribe(&r, 1, 1, "a/b");
    session_on_subscribed(r.session, r.token, 1, r.now);
    rig_message(&r, "a/b", 1, 0, "x");
    rig_clear(&r);
    r.env.retry_count = 0;
    rig_wait(&r, 100000);
    rig_message(&r, "a/b", 1, 0, "y");
    rig_expect(&r, "> DISCONNECT\n");
    rig_connect(&r, false, false, 60);
    rig_expect(&r, "> CONNACK 0\n> PUBLISH N1 q1 m1 dup \"x\"\n");
    rig_link_down(&r, false); /* and when the broker was away while it was there */
    rig_wait(&r, 1000);
    rig_link_down(&r, false);
    rig_expect(&r, "> DISCONNECT\nopen keep\n");
    session_on_broker_back(r.session);
    session_on_broker_back(r.session);
    rig_link_up(&r, false);
    rig_expect(&r, "open keep\nsub a/b q1\n");
    rig_connect(&r, false, false, 60);
    rig_expect(&r, "> CONNACK 0\n> PUBLISH N1 q1 m1 dup \"x\"\n");
    rig_ack(&r, MQTTSN_PUBACK, rig_id(&r, 1), 1, 0);
    rig_expect(&r, "> PUBLISH N1 q1 m2 \"y\"\n");
    rig_finish(&r);
}

/* While the broker is away a sleeper that publishes or subscribes is told, and not left to repeat itself. */
static void a_sleeper_hears_that_the_broker_is_away(void **state)
{
    (void)state;
    struct rig r;
    asleep(&r, true);
    rig_register(&r, 5, "up");
    rig_clear(&r);
    rig_link_down(&r, false);
    rig_publish(&r, 1, rig_id(&r, 2), 6, "x", false);
    rig_subscribe(&r, 1, 7, "c");
    rig_expect(&r, "> PUBACK N2 m6 1\n> SUBACK 0 q0 m7 1\n");
    rig_wait(&r, 1000);
    rig_publish(&r, 1, rig_id(&r, 2), 6, "x", true);
    rig_expect(&r, "open\n"); /* known soon */
    rig_link_up(&r, true);
    rig_publish(&r, 1, rig_id(&r, 2), 6, "x", true);
    rig_expect(&r, "pub up q1 \"x\"\n");
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_waits),
        cmocka_unit_test(messages_are_kept_and_fetched),
        cmocka_unit_test(the_sleep_is_supervised),
        cmocka_unit_test(a_new_duration),
        cmocka_unit_test(connect_wakes_and_does_not_reset),
        cmocka_unit_test(waking_with_a_new_will),
        cmocka_unit_test(disconnect_ends_it),
        cmocka_unit_test(a_lost_link_is_made_again),
        cmocka_unit_test(a_refused_link_ends_it),
        cmocka_unit_test(a_device_that_falls_asleep_over_a_message),
        cmocka_unit_test(a_sleeper_may_publish),
        cmocka_unit_test(kept_sessions_stay_on_a_shared_link),
        cmocka_unit_test(kept_sessions_of_lost_clients_go_on),
        cmocka_unit_test(a_sleeper_hears_that_the_broker_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
