#include "unit.h"

#include "plugin/iotcore_flow.h"

#include <stdlib.h>

enum { MOST = 64 };

/* The surroundings: what was sent, confirmed and set aside, by sequence. */
static struct {
    uint64_t sent[1000], confirmed[1000], aside[1000];
    struct delivery *deliveries[1000]; /* of sent */
    size_t sent_count, confirmed_count, aside_count;
    size_t window;      /* publishes that are taken before E_FULL */
    enum err publish;   /* what publish says */
    enum err set_aside; /* what set_aside says */
    struct mqtt_publish last;
    char reason[160];
    unsigned probes;
    struct mono heard;
} world;

static struct iotcore_flow flow;
static struct mono now;

static enum err publish(void *ctx, const struct mqtt_publish *p, uint64_t token)
{
    assert_ptr_equal(ctx, &world);
    struct delivery *d = (struct delivery *)(uintptr_t)token;
    if (world.publish != E_OK) {
        return world.publish;
    }
    if (flow.sent.count >= world.window) {
        return E_FULL;
    }
    world.last = *p;
    world.deliveries[world.sent_count] = d;
    world.sent[world.sent_count++] = d->record.sequence;
    return E_OK;
}

static void confirm(void *ctx, struct delivery *d)
{
    assert_ptr_equal(ctx, &world);
    world.confirmed[world.confirmed_count++] = d->record.sequence;
    free(d);
}

static enum err set_aside(void *ctx, const struct delivery *d, const char *reason)
{
    assert_ptr_equal(ctx, &world);
    if (world.set_aside == E_OK) {
        world.aside[world.aside_count++] = d->record.sequence;
        snprintf(world.reason, sizeof(world.reason), "%s", reason);
    }
    return world.set_aside;
}

static void probe(void *ctx)
{
    assert_ptr_equal(ctx, &world);
    world.probes++;
}

static const struct iotcore_flow_ops ops = {publish, confirm, set_aside, probe};

static void drop(void *ctx, struct delivery *d)
{
    (void)ctx;
    free(d);
}

static int setup(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    world.window = MOST;
    now = (struct mono){1000000};
    flow_init(&flow, &ops, &world);
    iotcore_pace_init(&flow.pace, 0, 0, now);
    flow.payload_max = 1000;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    flow_finish(&flow, drop);
    return 0;
}

static void open_flow(void)
{
    struct mqtt_connack connack;
    mqtt_connack_init(&connack);
    flow_opened(&flow, &connack, now);
    flow_send(&flow, now);
}

static struct delivery *push_topic(uint64_t sequence, const char *topic)
{
    struct delivery *d = calloc(1, sizeof(*d));
    assert_non_null(d);
    d->record = (struct record){
        .sequence = sequence, .topic = bytes_str(topic), .payload = BYTES("x"), .qos = 1, .remote_qos = 1};
    flow_push(&flow, d, now);
    return d;
}

static void push(uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to; i++) {
        push_topic(i, "t");
    }
    flow_send(&flow, now);
}

/* The server answers the publish that was the nth to be sent (from 0). */
static enum flow_answer answer(size_t n, uint8_t reason)
{
    return flow_published(&flow, (uint64_t)(uintptr_t)world.deliveries[n], reason, now);
}

static void wait_ms(uint64_t ms)
{
    now = mono_add_ms(now, ms);
}

static void assert_sequences(const uint64_t *have, size_t count, const char *wanted)
{
    char text[1000] = "";
    for (size_t i = 0; i < count; i++) {
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u", i ? " " : "", (unsigned)have[i]);
    }
    assert_string_equal(text, wanted);
}

#define SENT(wanted) assert_sequences(world.sent, world.sent_count, wanted)
#define CONFIRMED(wanted) assert_sequences(world.confirmed, world.confirmed_count, wanted)
#define ASIDE(wanted) assert_sequences(world.aside, world.aside_count, wanted)

static void test_in_order(void **state)
{
    (void)state;
    push(1, 3);
    SENT("");
    assert_false(flow_wants(&flow, now));
    open_flow();
    SENT("1 2 3");
    assert_true(flow_wants(&flow, now));
    assert_int_equal(answer(1, 0), FLOW_OK);
    assert_int_equal(answer(0, MQTT_NO_MATCHING_SUBSCRIBERS), FLOW_OK);
    CONFIRMED("2 1");
    assert_int_equal(flow.sent.count, 1);
}

static void test_window(void **state)
{
    (void)state;
    world.window = 2;
    open_flow();
    push(1, 5);
    SENT("1 2");
    assert_false(flow_wants(&flow, now));
    answer(0, 0);
    flow_send(&flow, now);
    SENT("1 2"); /* until it is told */
    flow_unblocked(&flow);
    flow_send(&flow, now);
    SENT("1 2 3");
}

static void test_what_is_sent(void **state)
{
    (void)state;
    open_flow();
    struct delivery *d = push_topic(1, "local");
    d->record.remote_topic = BYTES("remote");
    d->record.retain = true;
    d->record.payload_format = 1;
    d->record.content_type = BYTES("c");
    d->record.user_properties = BYTES("\0\1k\0\1v");
    flow_send(&flow, now);
    assert_true(bytes_equal(world.last.topic, BYTES("remote")));
    assert_true(world.last.retain);
    assert_int_equal(world.last.qos, 1);
    assert_int_equal(world.last.payload_format, 1);
    assert_true(bytes_equal(world.last.content_type, BYTES("c")));
    assert_null(world.last.response_topic.data);
    assert_true(bytes_equal(world.last.user_properties, BYTES("\x26\0\1k\0\1v")));
    d = push_topic(2, "$aws/things/t/shadow/update");
    d->record.retain = true;
    flow_send(&flow, now);
    assert_false(world.last.retain);
}

static void test_qos_0_is_done_when_sent(void **state)
{
    (void)state;
    open_flow();
    push_topic(1, "t")->record.remote_qos = 0;
    flow_send(&flow, now);
    SENT("1");
    CONFIRMED("1");
    assert_int_equal(flow_deadline(&flow, now).ns, MONO_NEVER.ns);
}

static void test_lost_connection(void **state)
{
    (void)state;
    world.window = 3;
    open_flow();
    push(1, 5);
    answer(1, 0);
    flow_lost(&flow, FLOW_LOST_LINK, now);
    push(6, 6);
    SENT("1 2 3");
    world.window = MOST;
    open_flow();
    SENT("1 2 3 1 3 4 5 6");
    assert_int_equal(world.deliveries[3]->sent, 2);
}

static void test_refused_before_sending(void **state)
{
    (void)state;
    open_flow();
    push_topic(1, "$SYS/x");
    push(2, 2);
    SENT("2");
    ASIDE("1");
    CONFIRMED("1");
}

static void test_refused_by_the_client(void **state)
{
    (void)state;
    open_flow();
    world.publish = E_TOO_LARGE;
    push(1, 1);
    world.publish = E_OK;
    struct delivery *d = push_topic(2, "t");
    d->record.user_properties = BYTES("\0\5k");
    flow_send(&flow, now);
    push(3, 3);
    SENT("3");
    ASIDE("1 2");
    assert_string_equal(world.reason, "not a valid MQTT message");
}

/* Nothing is lost, and nothing waits, when a message cannot be set aside. */
static void test_disk_full(void **state)
{
    (void)state;
    open_flow();
    world.set_aside = E_NO_SPACE;
    push_topic(1, "$SYS/x");
    push_topic(2, "$SYS/y");
    push(3, 3);
    SENT("3");
    CONFIRMED("");
    answer(0, 0);
    struct mono retry = flow.doomed_retry;
    assert_true(retry.ns > now.ns);
    assert_true(flow_deadline(&flow, now).ns <= retry.ns);
    now = retry;
    assert_int_equal(flow_service(&flow, world.heard, now), E_OK);
    CONFIRMED("3");
    world.set_aside = E_OK;
    now = flow.doomed_retry;
    assert_int_equal(flow_service(&flow, world.heard, now), E_OK);
    CONFIRMED("3 1 2");
}

static void test_no_puback(void **state)
{
    (void)state;
    iotcore_pace_init(&flow.pace, 100, 0, now);
    open_flow();
    push(1, 3);
    wait_ms(5000);
    answer(0, 0); /* 2 is the oldest from now on */
    world.heard = now;
    wait_ms(4999);
    assert_int_equal(flow_service(&flow, world.heard, now), E_OK);
    assert_int_equal(world.probes, 0);
    wait_ms(1);
    assert_int_equal(mono_ms_until(now, flow_deadline(&flow, now)), 0);
    assert_int_equal(flow_service(&flow, world.heard, now), E_OK);
    assert_int_equal(world.probes, 1);
    assert_int_equal(mono_ms_until(now, flow_deadline(&flow, now)), 5000);
    wait_ms(10);
    world.heard = now; /* PINGRESP */
    wait_ms(4989);
    assert_int_equal(flow_service(&flow, world.heard, now), E_OK);
    assert_int_equal(world.probes, 1);
    wait_ms(1);
    assert_int_equal(mono_ms_until(now, flow_deadline(&flow, now)), 0);
    assert_int_equal(flow_service(&flow, world.heard, now), E_TIMEOUT);
    assert_float_equal(flow.pace.rate, 50, 0.1);
    flow_lost(&flow, FLOW_LOST_LINK, now);
    open_flow();
    SENT("1 2 3 2 3");
}

/* Silence says nothing about the rate. */
static void test_no_sign_of_life(void **state)
{
    (void)state;
    iotcore_pace_init(&flow.pace, 100, 0, now);
    open_flow();
    push(1, 3);
    wait_ms(1000);
    answer(0, 0); /* 2 is the oldest from now on */
    world.heard = now;
    wait_ms(5000);
    assert_int_equal(flow_service(&flow, world.heard, now), E_OK);
    assert_int_equal(world.probes, 1);
    wait_ms(5000);
    assert_int_equal(flow_service(&flow, world.heard, now), E_RESET);
    assert_float_equal(flow.pace.rate, 100, 0.1);
    flow_lost(&flow, FLOW_LOST_LINK, now);
    open_flow();
    SENT("1 2 3 2 3");
    wait_ms(5000);
    assert_int_equal(flow_service(&flow, world.heard, now), E_OK);
    assert_int_equal(world.probes, 2);
}

static void test_pace(void **state)
{
    (void)state;
    iotcore_pace_init(&flow.pace, 100, 0, now);
    open_flow();
    push(1, 20);
    SENT("1 2 3 4 5");
    struct mono next = flow_deadline(&flow, now);
    assert_in_range(mono_ms_until(now, next), 10, 11);
    now = next;
    flow_send(&flow, now);
    SENT("1 2 3 4 5 6");
}

static void test_quota(void **state)
{
    (void)state;
    iotcore_pace_init(&flow.pace, 1000, 0, now);
    open_flow();
    push(1, 4);
    assert_int_equal(answer(1, MQTT_QUOTA_EXCEEDED), FLOW_SLOW_DOWN);
    assert_int_equal(answer(0, MQTT_QUOTA_EXCEEDED), FLOW_SLOW_DOWN);
    assert_int_equal(answer(3, MQTT_QUOTA_EXCEEDED), FLOW_SLOW_DOWN);
    assert_float_equal(flow.pace.rate, 500, 0.1); /* once for all of them */
    flow_send(&flow, now);
    SENT("1 2 3 4");
    assert_false(flow_wants(&flow, now));
    now = flow_deadline(&flow, now);
    flow_send(&flow, now);
    SENT("1 2 3 4 1 2 4");
    for (size_t i = 4; i < 7; i++) {
        assert_int_equal(answer(i, 0), FLOW_OK);
    }
    assert_int_equal(flow.holds, 0);
    ASIDE("");
}

static void test_refused_for_good(void **state)
{
    (void)state;
    open_flow();
    push(1, 3);
    assert_int_equal(answer(0, MQTT_TOPIC_NAME_INVALID), FLOW_SET_ASIDE);
    assert_int_equal(answer(1, MQTT_PAYLOAD_FORMAT_INVALID), FLOW_SET_ASIDE);
    assert_int_equal(answer(2, 0), FLOW_OK);
    ASIDE("1 2");
    CONFIRMED("1 2 3");
}

/* A policy may change: tried again a few times, while others go on. */
static void test_not_authorized(void **state)
{
    (void)state;
    open_flow();
    push(1, 1);
    size_t at = 0;
    uint64_t other = 2;
    while (answer(at, MQTT_NOT_AUTHORIZED) == FLOW_RETRY) {
        push(other, other);
        answer(world.sent_count - 1, 0);
        other++;
        now = flow.delayed.first->not_before;
        assert_int_equal(flow_service(&flow, world.heard, now), E_OK);
        at = world.sent_count;
        flow_send(&flow, now);
        assert_int_equal(world.sent[at], 1);
    }
    SENT("1 2 1 3 1 4 1 5 1");
    ASIDE("1");
    assert_non_null(strstr(world.reason, "not authorized"));
}

/* The server ends the connection whenever it sees message 3. */
static void serve_until_poison(void)
{
    size_t from = world.sent_count;
    open_flow();
    while (from < world.sent_count && world.sent[from] != 3) {
        answer(from, 0);
        from++;
        flow_send(&flow, now);
    }
    if (from < world.sent_count) {
        flow_lost(&flow, FLOW_LOST_SERVER, now);
    }
}

static void test_poison(void **state)
{
    (void)state;
    push(1, 6);
    unsigned connections = 0;
    while (world.confirmed_count < 6 && connections < 20) {
        serve_until_poison();
        connections++;
    }
    ASIDE("3");
    CONFIRMED("1 2 3 4 5 6");
    assert_int_equal(connections, 5); /* twice to suspect it, twice to be sure, and the good end */
    assert_non_null(strstr(world.reason, "ends the connection"));
}

static void test_unstable_links_set_nothing_aside(void **state)
{
    (void)state;
    push(1, 3);
    for (int i = 0; i < 50; i++) {
        open_flow();
        flow_lost(&flow, FLOW_LOST_LINK, now);
    }
    ASIDE("");
    open_flow();
    assert_int_equal(flow.sent.count, 3);
}

/* A suspect that is taken after all does not slow down the rest. */
static void test_acquitted(void **state)
{
    (void)state;
    push(1, 4);
    open_flow();
    flow_lost(&flow, FLOW_LOST_REFUSED, now);
    size_t from = world.sent_count;
    open_flow();
    assert_int_equal(flow.sent.count, 1);
    assert_false(flow_wants(&flow, now));
    assert_int_equal(answer(from, 0), FLOW_OK);
    flow_send(&flow, now);
    assert_int_equal(flow.sent.count, 3);
    ASIDE("");
}

static void test_paused(void **state)
{
    (void)state;
    flow.paused = true;
    open_flow();
    push(1, 2);
    SENT("");
    flow.paused = false;
    flow_send(&flow, now);
    SENT("1 2");
}

static void test_no_memory(void **state)
{
    (void)state;
    open_flow();
    world.publish = E_NOMEM;
    push(1, 1);
    world.publish = E_OK;
    assert_int_equal(flow.waiting.count, 1);
    now = flow_deadline(&flow, now);
    flow_send(&flow, now);
    SENT("1");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_in_order),
        TEST(test_window),
        TEST(test_what_is_sent),
        TEST(test_qos_0_is_done_when_sent),
        TEST(test_lost_connection),
        TEST(test_refused_before_sending),
        TEST(test_refused_by_the_client),
        TEST(test_disk_full),
        TEST(test_no_puback),
        TEST(test_no_sign_of_life),
        TEST(test_pace),
        TEST(test_quota),
        TEST(test_refused_for_good),
        TEST(test_not_authorized),
        TEST(test_poison),
        TEST(test_unstable_links_set_nothing_aside),
        TEST(test_acquitted),
        TEST(test_paused),
        TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
