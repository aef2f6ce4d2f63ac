/* CONNECT, the will, keep-alive, DISCONNECT, the link. */
#include "unit.h"

#include "mqttsn/session_rig.h"

static void will_topic(struct rig *r, const char *topic, uint8_t qos, bool retain)
{
    struct mqttsn_packet p = {.type = MQTTSN_WILLTOPIC,
                              .willtopic = {.topic = bytes_str(topic), .qos = qos, .retain = retain}};
    rig_packet(r, &p);
}

static void will_msg(struct rig *r, const char *message)
{
    struct mqttsn_packet p = {.type = MQTTSN_WILLMSG, .willmsg = {bytes_str(message)}};
    rig_packet(r, &p);
}

static void will_update(struct rig *r, const char *topic, const char *message)
{
    struct mqttsn_packet p = {.type = MQTTSN_WILLTOPICUPD, .willtopicupd = {.topic = bytes_str(topic)}};
    if (message) {
        p = (struct mqttsn_packet){.type = MQTTSN_WILLMSGUPD, .willmsgupd = {bytes_str(message)}};
    }
    rig_packet(r, &p);
}

static void connack_when_the_link_is_up(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_connect(&r, true, false, 60);
    rig_expect(&r, "open clean\n");
    rig_connect(&r, true, false, 60); /* sent again */
    rig_expect(&r, "");
    rig_link_up(&r, false);
    rig_expect(&r, "> CONNACK 0\n");
    rig_connect(&r, true, false, 60); /* CONNACK was lost */
    rig_expect(&r, "> CONNACK 0\n");
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_expect(&r, "> PINGRESP\n");
    rig_connect(&r, true, false, 60); /* the device has begun again */
    rig_expect(&r, "close\nopen clean\n");
    rig_link_up(&r, false);
    rig_expect(&r, "> CONNACK 0\n");
    rig_plain(&r, MQTTSN_DISCONNECT);
    rig_expect(&r, "> DISCONNECT\nclose\n");
    assert_true(session_over(r.session));
    rig_finish(&r);
}

static void refusals(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_connect(&r, true, false, 60);
    rig_link_down(&r, false);
    rig_expect(&r, "open clean\n> CONNACK 1\n");
    assert_true(session_over(r.session));
    rig_connect(&r, true, false, 60);
    rig_link_down(&r, true);
    rig_expect(&r, "open clean\n> CONNACK 3\n");
    struct mqttsn_packet p = {.type = MQTTSN_CONNECT, .connect = {.protocol_id = 2}};
    rig_packet(&r, &p);
    rig_expect(&r, "> CONNACK 3\n");
    assert_true(session_over(r.session));
    rig_finish(&r);
}

static void will_handshake(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_connect(&r, true, true, 60);
    rig_expect(&r, "> WILLTOPICREQ\n");
    rig_connect(&r, true, true, 60); /* WILLTOPICREQ was lost */
    rig_expect(&r, "> WILLTOPICREQ\n");
    will_topic(&r, "last/will", 1, true);
    will_topic(&r, "last/will", 1, true); /* WILLMSGREQ was lost */
    rig_expect(&r, "> WILLMSGREQ\n> WILLMSGREQ\n");
    will_msg(&r, "gone");
    rig_expect(&r, "open clean will=last/will/gone q1 r\n");
    will_msg(&r, "gone");
    rig_expect(&r, "");
    rig_link_up(&r, false);
    rig_expect(&r, "> CONNACK 0\n");
    will_msg(&r, "gone"); /* CONNACK was lost: RIOT's emcute repeats WILLMSG */
    rig_expect(&r, "> CONNACK 0\n");
    rig_wait(&r, 90000);
    rig_expect(&r, "> DISCONNECT\nclose+will\n");
    assert_int_equal(metric_get(&r.metrics.lost), 1);
    rig_finish(&r);
}

static void empty_will_and_bad_will(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_connect(&r, true, true, 60);
    will_topic(&r, "", 0, false);
    rig_expect(&r, "> WILLTOPICREQ\nopen clean\n");
    rig_link_up(&r, false);
    rig_plain(&r, MQTTSN_DISCONNECT);
    rig_clear(&r);
    rig_connect(&r, true, true, 60);
    will_topic(&r, "no/+/wildcards", 0, false);
    rig_expect(&r, "> WILLTOPICREQ\n> CONNACK 3\n");
    assert_true(session_over(r.session));
    rig_finish(&r);
}

static void an_unfinished_handshake_ends(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_connect(&r, false, true, 0);
    will_topic(&r, "t", 0, false);
    rig_clear(&r);
    rig_wait(&r, 39000);
    assert_false(session_over(r.session));
    rig_wait(&r, 2000);
    assert_true(session_over(r.session));
    rig_expect(&r, "");
    rig_finish(&r);
}

/* CleanSession=false keeps the will for the next CONNECT without one (specification 6.3). */
static void a_kept_session_keeps_its_will(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_connect(&r, false, true, 60);
    will_topic(&r, "t", 0, false);
    will_msg(&r, "w");
    rig_link_up(&r, false);
    rig_plain(&r, MQTTSN_DISCONNECT);
    rig_clear(&r);
    rig_connect(&r, false, false, 60);
    rig_expect(&r, "open keep will=t/w q0\n");
    rig_link_up(&r, true);
    rig_plain(&r, MQTTSN_DISCONNECT);
    rig_clear(&r);
    rig_connect(&r, true, false, 60);
    rig_expect(&r, "open clean\n");
    rig_finish(&r);
}

static void a_changed_will_reconnects(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_connect(&r, true, true, 60);
    will_topic(&r, "t", 0, false);
    will_msg(&r, "w");
    rig_link_up(&r, false);
    rig_clear(&r);
    will_update(&r, NULL, "w"); /* as it is */
    rig_expect(&r, "> WILLMSGRESP 0\n");
    will_update(&r, NULL, "new");
    rig_expect(&r, "close\nopen will=t/new q0\n");
    will_update(&r, NULL, "new"); /* sent again */
    rig_expect(&r, "");
    rig_link_up(&r, true);
    rig_expect(&r, "> WILLMSGRESP 0\n");
    will_update(&r, "u", NULL);
    rig_link_up(&r, true);
    rig_expect(&r, "close\nopen will=u/new q0\n> WILLTOPICRESP 0\n");
    will_update(&r, "bad/#", NULL);
    rig_expect(&r, "> WILLTOPICRESP 3\n");
    will_update(&r, "", NULL); /* deleted */
    rig_link_up(&r, true);
    rig_expect(&r, "close\nopen\n> WILLTOPICRESP 0\n");
    will_update(&r, NULL, "message without topic");
    rig_expect(&r, "> WILLMSGRESP 3\n");
    will_update(&r, "v", NULL);
    rig_link_down(&r, false);
    rig_expect(&r, "close\nopen will=v/ q0\n> DISCONNECT\n");
    rig_finish(&r);
}

static void shared_links_have_their_wills_published_here(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    r.env.gateway_wills = true;
    rig_connect(&r, true, true, 60);
    will_topic(&r, "t", 1, false);
    will_msg(&r, "w");
    rig_link_up(&r, false);
    rig_clear(&r);
    will_update(&r, NULL, "new");
    rig_expect(&r, "> WILLMSGRESP 0\n");
    rig_wait(&r, 90000);
    rig_expect(&r, "> DISCONNECT\npub t q1 \"new\"\nclose+will\n");
    rig_finish(&r);
}

static void keep_alive_has_its_tolerance(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60); /* 50 % up to a minute */
    rig_wait(&r, 89000);
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_wait(&r, 89000);
    rig_expect(&r, "> PINGRESP\n");
    rig_wait(&r, 1000);
    rig_expect(&r, "> DISCONNECT\nclose+will\n");
    assert_true(session_over(r.session));
    rig_client(&r, "dev");
    rig_online(&r, true, 1000); /* 10 % beyond */
    rig_wait(&r, 1099000);
    rig_expect(&r, "");
    rig_wait(&r, 1000);
    rig_expect(&r, "> DISCONNECT\nclose+will\n");
    rig_client(&r, "dev");
    rig_online(&r, true, 0); /* none */
    rig_wait(&r, 1000u * 86400u * 365u);
    rig_expect(&r, "");
    rig_finish(&r);
}

static void broker_gone_is_told(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    rig_link_down(&r, false);
    rig_expect(&r, "> DISCONNECT\n");
    assert_true(session_over(r.session));
    rig_plain(&r, MQTTSN_PINGREQ);
    rig_register(&r, 1, "t");
    rig_expect(&r, "> DISCONNECT\n> DISCONNECT\n");
    rig_finish(&r);
}

static void a_kept_session_is_resumed(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, false, 60);
    rig_register(&r, 1, "asked/for");
    rig_subscribe(&r, 1, 2, "sub/scribed");
    session_on_subscribed(r.session, r.token, 1, r.now);
    rig_subscribe(&r, 2, 3, "wild/#");
    session_on_subscribed(r.session, r.token, 2, r.now);
    rig_subscribe(&r, 1, 4, "refused");
    session_on_subscribed(r.session, r.token, 0x87, r.now);
    rig_expect(&r, "> REGACK N1 m1 0\nsub sub/scribed q1\n> SUBACK N2 q1 m2 0\nsub wild/# q2\n> SUBACK 0 q2 m3 0\n"
                   "sub refused q1\n> SUBACK N3 q0 m4 3\n");
    rig_link_down(&r, false);
    rig_expect(&r, "> DISCONNECT\n");
    assert_false(session_over(r.session));
    /* the broker has lost its session: what was granted is subscribed to again */
    rig_connect(&r, false, false, 60);
    rig_link_up(&r, false);
    rig_expect(&r, "open keep\nsub sub/scribed q1\nsub wild/# q2\n> CONNACK 0\n");
    rig_message(&r, "sub/scribed", 0, 0, "x");
    rig_publish(&r, 0, rig_id(&r, 1), 0, "y", false);
    rig_expect(&r, "> PUBLISH N2 q0 m0 \"x\"\npub asked/for q0 \"y\"\n");
    /* the broker knows us still */
    rig_plain(&r, MQTTSN_DISCONNECT);
    rig_connect(&r, false, false, 60);
    rig_link_up(&r, true);
    rig_expect(&r, "> DISCONNECT\nclose\nopen keep\n> CONNACK 0\n");
    /* a clean session forgets */
    rig_connect(&r, true, false, 60);
    rig_plain(&r, MQTTSN_DISCONNECT);
    rig_clear(&r);
    rig_connect(&r, true, false, 60);
    rig_link_up(&r, false);
    rig_publish(&r, 0, rig_id(&r, 1), 7, "y", false);
    rig_expect(&r, "open clean\n> CONNACK 0\n> PUBACK N1 m7 2\n");
    rig_finish(&r);
}

static void connecting_again_keeps_the_link_where_it_can(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, false, 60);
    rig_register(&r, 1, "t");
    rig_clear(&r);
    rig_connect(&r, false, false, 30);
    rig_expect(&r, "> CONNACK 0\n");
    rig_wait(&r, 45000);
    rig_expect(&r, "> DISCONNECT\nclose+will\n");
    assert_false(session_over(r.session));
    session_forget(r.session);
    assert_true(session_over(r.session));
    rig_finish(&r);
}

static void the_end_is_told(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    session_end(r.session, r.now);
    rig_expect(&r, "> DISCONNECT\nclose\n");
    session_end(r.session, r.now);
    rig_expect(&r, "");
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connack_when_the_link_is_up),
        cmocka_unit_test(refusals),
        cmocka_unit_test(will_handshake),
        cmocka_unit_test(empty_will_and_bad_will),
        cmocka_unit_test(an_unfinished_handshake_ends),
        cmocka_unit_test(a_kept_session_keeps_its_will),
        cmocka_unit_test(a_changed_will_reconnects),
        cmocka_unit_test(shared_links_have_their_wills_published_here),
        cmocka_unit_test(keep_alive_has_its_tolerance),
        cmocka_unit_test(broker_gone_is_told),
        cmocka_unit_test(a_kept_session_is_resumed),
        cmocka_unit_test(connecting_again_keeps_the_link_where_it_can),
        cmocka_unit_test(the_end_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
