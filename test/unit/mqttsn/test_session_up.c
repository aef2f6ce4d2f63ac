/* REGISTER, PUBLISH, SUBSCRIBE, UNSUBSCRIBE from the device. */
#include "unit.h"

#include "mqttsn/session_rig.h"

static void settle(struct rig *r, uint8_t reason)
{
    session_on_published(r->session, r->token, reason, r->now);
}

static void registers(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    rig_register(&r, 1, "a/b");
    rig_register(&r, 2, "a/c");
    rig_register(&r, 3, "a/b");
    rig_expect(&r, "> REGACK N1 m1 0\n> REGACK N2 m2 0\n> REGACK N1 m3 0\n");
    rig_register(&r, 4, "a/+");
    rig_register(&r, 5, "\xff");
    rig_expect(&r, "> REGACK 0 m4 3\n> REGACK 0 m5 3\n");
    r.quiet = true;
    char topic[16];
    for (unsigned i = 0; i < 600; i++) { /* others crash at the 51st */
        snprintf(topic, sizeof(topic), "t%u", i);
        rig_register(&r, 6, topic);
    }
    r.quiet = false;
    rig_register(&r, 7, "one more");
    rig_register(&r, 8, "a/b");
    rig_expect(&r, "> REGACK 0 m7 1\n> REGACK N1 m8 0\n");
    rig_finish(&r);
}

static void qos1_is_acknowledged_after_the_broker(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    rig_register(&r, 1, "a/b");
    rig_clear(&r);
    uint16_t id = rig_id(&r, 1);
    rig_publish(&r, 1, id, 7, "x", false);
    rig_expect(&r, "pub a/b q1 \"x\"\n");
    rig_publish(&r, 1, id, 7, "x", true); /* sent again: the answer is on its way */
    rig_expect(&r, "");
    settle(&r, 0);
    rig_expect(&r, "> PUBACK N1 m7 0\n");
    settle(&r, 0);
    rig_expect(&r, "");
    /* PUBACK lost: at least once */
    rig_publish(&r, 1, id, 7, "x", true);
    settle(&r, 0x10); /* no matching subscribers is no refusal */
    rig_expect(&r, "pub a/b q1 \"x\"\n> PUBACK N1 m7 0\n");
    /* refusals */
    rig_publish(&r, 1, id, 8, "x", false);
    settle(&r, 0x87);
    rig_publish(&r, 1, id, 9, "x", false);
    settle(&r, 0x97);
    rig_publish(&r, 1, id, 10, "x", false);
    settle(&r, 0x90);
    rig_expect(&r, "pub a/b q1 \"x\"\n> PUBACK N1 m8 3\npub a/b q1 \"x\"\n> PUBACK N1 m9 1\n"
                   "pub a/b q1 \"x\"\n> PUBACK N1 m10 2\n");
    rig_finish(&r);
}

/* A device that always uses message id 1 and gives up on an answer must not lose the next message. */
static void a_message_id_used_again_is_a_new_message(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    rig_register(&r, 1, "a/b");
    rig_clear(&r);
    uint16_t id = rig_id(&r, 1);
    rig_publish(&r, 1, id, 1, "first", false);
    uint64_t first = r.token;
    rig_publish(&r, 1, id, 1, "second", false);
    rig_expect(&r, "pub a/b q1 \"first\"\npub a/b q1 \"second\"\n");
    session_on_published(r.session, first, 0, r.now);
    rig_expect(&r, "");
    settle(&r, 0);
    rig_expect(&r, "> PUBACK N1 m1 0\n");
    rig_finish(&r);
}

static void qos2_is_taken_once(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    rig_register(&r, 1, "a/b");
    rig_clear(&r);
    uint16_t id = rig_id(&r, 1);
    rig_publish(&r, 2, id, 7, "x", false);
    rig_publish(&r, 2, id, 7, "x", true);
    rig_expect(&r, "pub a/b q2 \"x\"\n");
    settle(&r, 0);
    rig_expect(&r, "> PUBREC m7\n");
    rig_publish(&r, 2, id, 7, "x", true); /* PUBREC was lost */
    rig_expect(&r, "> PUBREC m7\n");
    rig_msg_id(&r, MQTTSN_PUBREL, 7);
    rig_msg_id(&r, MQTTSN_PUBREL, 7);
    rig_expect(&r, "> PUBCOMP m7\n> PUBCOMP m7\n");
    rig_publish(&r, 2, id, 7, "next", false);
    settle(&r, 0x87);
    rig_expect(&r, "pub a/b q2 \"next\"\n> PUBACK N1 m7 3\n");
    rig_finish(&r);
}

static void congestion_instead_of_silence(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    rig_register(&r, 1, "a/b");
    rig_clear(&r);
    uint16_t id = rig_id(&r, 1);
    r.answer = E_FULL;
    rig_publish(&r, 1, id, 2, "x", false);
    rig_publish(&r, 0, id, 0, "x", false);
    rig_subscribe(&r, 0, 3, "s");
    rig_expect(&r, "> PUBACK N1 m2 1\n> PUBACK N1 m0 1\n> SUBACK N2 q0 m3 1\n");
    r.answer = E_OK;
    r.quiet = true;
    for (uint16_t i = 0; i < 32; i++) {
        rig_publish(&r, 1, id, (uint16_t)(100 + i), "x", false);
    }
    r.quiet = false;
    rig_publish(&r, 1, id, 200, "x", false);
    rig_expect(&r, "> PUBACK N1 m200 1\n");
    settle(&r, 0);
    rig_publish(&r, 1, id, 200, "x", false);
    rig_expect(&r, "> PUBACK N1 m131 0\npub a/b q1 \"x\"\n");
    rig_finish(&r);
}

/* Messages of QoS 2 whose PUBREL never comes do not block the client for ever. */
static void unreleased_messages_give_way(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    rig_register(&r, 1, "a/b");
    uint16_t id = 0;
    rig_clear(&r);
    id = rig_id(&r, 1);
    r.quiet = true;
    for (uint16_t i = 0; i < 32; i++) {
        rig_publish(&r, 2, id, (uint16_t)(100 + i), "x", false);
        settle(&r, 0);
    }
    r.quiet = false;
    rig_publish(&r, 2, id, 7, "x", false);
    settle(&r, 0);
    rig_expect(&r, "pub a/b q2 \"x\"\n> PUBREC m7\n");
    rig_finish(&r);
}

static void short_and_predefined_topics(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    struct option_error error;
    struct predefined *p = NULL;
    assert_int_equal(predefined_read(BYTES("* 5 all/five\ndev 6 dev/six\nother 7 other/seven\n"), "f", &p, &error),
                     E_OK);
    r.env.predefined = p;
    rig_online(&r, true, 60);
    struct mqttsn_packet pub = {.type = MQTTSN_PUBLISH, .publish = {.qos = 1, .msg_id = 1, .payload = BYTES("x")}};
    const struct {
        enum mqttsn_topic_type type;
        uint16_t id;
        const char *expect;
    } cases[] = {
        {MQTTSN_TOPIC_PREDEFINED, 5, "pub all/five q1 \"x\"\n"},
        {MQTTSN_TOPIC_PREDEFINED, 6, "pub dev/six q1 \"x\"\n"},
        {MQTTSN_TOPIC_PREDEFINED, 7, "> PUBACK N1 m3 2\n"},
        {MQTTSN_TOPIC_SHORT, 'a' << 8 | 'b', "pub ab q1 \"x\"\n"},
        {MQTTSN_TOPIC_SHORT, 'a' << 8 | '#', "> PUBACK N2 m5 2\n"},
        {MQTTSN_TOPIC_SHORT, 'a' << 8, "> PUBACK N3 m6 2\n"},
        {MQTTSN_TOPIC_NORMAL, 0, "> PUBACK 0 m7 2\n"},
        {MQTTSN_TOPIC_NORMAL, 0xffff, "> PUBACK N4 m8 2\n"},
        {MQTTSN_TOPIC_NORMAL, 5, "> PUBACK N5 m9 2\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        r.id_count = i >= 8 ? 4 : r.id_count;
        pub.publish.topic = (struct mqttsn_topic){.type = cases[i].type, .id = cases[i].id};
        pub.publish.msg_id = (uint16_t)(i + 1);
        rig_packet(&r, &pub);
        if (strncmp(cases[i].expect, "pub", 3) == 0) {
            rig_expect(&r, cases[i].expect);
            settle(&r, 0);
            rig_clear(&r);
            r.id_count = 0;
        } else {
            r.id_count = 0;
            rig_clear(&r);
        }
    }
    /* QoS -1 on a connected client: no answer, whatever happens */
    pub.publish.qos = MQTTSN_QOS_MINUS_ONE;
    pub.publish.topic = (struct mqttsn_topic){.type = MQTTSN_TOPIC_PREDEFINED, .id = 5};
    rig_packet(&r, &pub);
    pub.publish.topic.id = 99;
    rig_packet(&r, &pub);
    rig_expect(&r, "pub all/five q0 \"x\"\n");
    rig_finish(&r);
    predefined_destroy(p);
}

static void invalid_topic_ids_are_answered(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    rig_publish(&r, 0, 0x1234, 0, "x", false);
    rig_publish(&r, 1, 0x1234, 4, "x", false);
    rig_publish(&r, 2, 0x1234, 5, "x", false);
    rig_publish(&r, 1, 0, 6, "x", false);
    rig_expect(&r, "> PUBACK N1 m0 2\n> PUBACK N1 m4 2\n> PUBACK N1 m5 2\n> PUBACK 0 m6 2\n");
    assert_int_equal(metric_get(&r.metrics.rejected), 4);
    rig_finish(&r);
}

static void subscriptions(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    rig_subscribe(&r, 2, 1, "a/b");
    rig_subscribe(&r, 2, 1, "a/b"); /* sent again */
    rig_expect(&r, "sub a/b q2\n");
    session_on_subscribed(r.session, r.token, 1, r.now); /* granted less */
    rig_expect(&r, "> SUBACK N1 q1 m1 0\n");
    rig_subscribe(&r, 0, 2, "a/+/c");
    session_on_subscribed(r.session, r.token, 0, r.now);
    rig_expect(&r, "sub a/+/c q0\n> SUBACK 0 q0 m2 0\n");
    rig_subscribe(&r, 0, 3, "x"); /* one character is no short name */
    session_on_subscribed(r.session, r.token, 0, r.now);
    rig_expect(&r, "sub x q0\n> SUBACK N2 q0 m3 0\n");
    rig_subscribe(&r, 0, 4, "a/#/b");
    rig_expect(&r, "> SUBACK 0 q0 m4 3\n");
    rig_unsubscribe(&r, 5, "a/b");
    rig_expect(&r, "unsub a/b\n");
    session_on_subscribed(r.session, r.token, 0, r.now);
    rig_expect(&r, "> UNSUBACK m5\n");
    rig_unsubscribe(&r, 6, "#bad");
    rig_expect(&r, "> UNSUBACK m6\n");
    struct mqttsn_packet p = {.type = MQTTSN_SUBSCRIBE,
                              .subscribe = {.msg_id = 7, .topic = {.type = MQTTSN_TOPIC_PREDEFINED, .id = 9}}};
    rig_packet(&r, &p);
    rig_expect(&r, "> SUBACK N3 q0 m7 2\n");
    p.subscribe.topic = (struct mqttsn_topic){.type = MQTTSN_TOPIC_SHORT, .id = 'a' << 8 | 'b'};
    rig_packet(&r, &p);
    session_on_subscribed(r.session, r.token, 0, r.now);
    rig_expect(&r, "sub ab q0\n> SUBACK 0 q0 m7 0\n");
    rig_finish(&r);
}

static void subscriptions_have_a_ceiling(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, true, 60);
    r.quiet = true;
    char filter[32];
    for (uint16_t i = 0; i < 128; i++) {
        snprintf(filter, sizeof(filter), "f/%u/#", i);
        rig_subscribe(&r, 0, i, filter);
        session_on_subscribed(r.session, r.token, 0, r.now);
    }
    r.quiet = false;
    rig_subscribe(&r, 0, 500, "f/x/#");
    rig_expect(&r, "> SUBACK 0 q0 m500 1\n");
    rig_unsubscribe(&r, 501, "f/7/#");
    session_on_subscribed(r.session, r.token, 0, r.now);
    rig_subscribe(&r, 0, 502, "f/x/#");
    rig_expect(&r, "unsub f/7/#\n> UNSUBACK m501\nsub f/x/# q0\n");
    rig_finish(&r);
}

static void answers_after_the_link_broke_are_ignored(void **state)
{
    (void)state;
    struct rig r;
    rig_start(&r);
    rig_online(&r, false, 60);
    rig_register(&r, 1, "a/b");
    rig_publish(&r, 1, rig_id(&r, 1), 7, "x", false);
    uint64_t old = r.token;
    rig_link_down(&r, false);
    rig_connect(&r, false, false, 60);
    rig_link_up(&r, true);
    rig_clear(&r);
    session_on_published(r.session, old, 0, r.now);
    rig_expect(&r, "");
    rig_publish(&r, 1, rig_id(&r, 1), 7, "x", true); /* the device never heard an answer */
    rig_expect(&r, "pub a/b q1 \"x\"\n");
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers),
        cmocka_unit_test(qos1_is_acknowledged_after_the_broker),
        cmocka_unit_test(a_message_id_used_again_is_a_new_message),
        cmocka_unit_test(qos2_is_taken_once),
        cmocka_unit_test(congestion_instead_of_silence),
        cmocka_unit_test(unreleased_messages_give_way),
        cmocka_unit_test(short_and_predefined_topics),
        cmocka_unit_test(invalid_topic_ids_are_answered),
        cmocka_unit_test(subscriptions),
        cmocka_unit_test(subscriptions_have_a_ceiling),
        cmocka_unit_test(answers_after_the_link_broke_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
