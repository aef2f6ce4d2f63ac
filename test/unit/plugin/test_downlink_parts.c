/* The parts of the downlink that need no connection: which filters, what is an echo, receipts across threads. */
#include "unit.h"

#include "plugin/downlink_filters.h"
#include "plugin/echo.h"
#include "plugin/receipts.h"

#include <stdlib.h>

enum { ECHO_SLOTS = 1024 };

/* --- filters --- */

static char *words[60];

static void make_options(struct plugin_options *o, struct topic_route *routes, size_t count)
{
    *o = (struct plugin_options){.topics = routes, .topic_count = count, .iot_connections = 1};
}

static struct topic_route route(char *filter, enum route_direction direction, char *local, char *remote)
{
    return (struct topic_route){
        .filter = filter, .direction = direction, .qos = 2, .local_prefix = local, .remote_prefix = remote};
}

static char in_a[] = "a/#", in_b[] = "b", none[] = "", remote[] = "remote/", local[] = "local/", bad[] = "$SYS/#";

static void test_filters(void **state)
{
    (void)state;
    struct topic_route routes[] = {
        route(in_a, ROUTE_IN, local, remote), route(in_b, ROUTE_OUT, none, none), route(in_b, ROUTE_BOTH, none, none),
        route(in_a, ROUTE_BOTH, none, remote), /* the same at IoT Core: the first one decides */
    };
    struct plugin_options o;
    struct downlink_filters f;
    char error[256];
    make_options(&o, routes, 4);
    assert_int_equal(downlink_filters_make(&o, 1, &f, error), E_OK);
    assert_int_equal(f.count, 2);
    assert_string_equal(f.items[0].remote, "remote/a/#");
    assert_string_equal(f.items[0].add, "local/");
    assert_int_equal(f.items[0].qos, 1);
    assert_false(f.items[0].dollar);
    assert_ptr_equal(downlink_filters_match(&f, BYTES("remote/a/x")), &f.items[0]);
    assert_ptr_equal(downlink_filters_match(&f, BYTES("b")), &f.items[1]);
    assert_null(downlink_filters_match(&f, BYTES("a/x")));
    downlink_filters_finish(&f);
}

static void test_shared_filter(void **state)
{
    (void)state;
    char shared[] = "$share/group/a/+";
    struct topic_route routes[] = {route(shared, ROUTE_IN, none, none)};
    struct plugin_options o;
    struct downlink_filters f;
    char error[256];
    make_options(&o, routes, 1);
    assert_int_equal(downlink_filters_make(&o, 1, &f, error), E_OK);
    assert_ptr_equal(downlink_filters_match(&f, BYTES("a/x")), &f.items[0]);
    downlink_filters_finish(&f);
}

static void test_refused_filters(void **state)
{
    (void)state;
    struct topic_route routes[60] = {route(bad, ROUTE_IN, none, none)};
    struct plugin_options o;
    struct downlink_filters f;
    char error[256];
    make_options(&o, routes, 1);
    assert_int_equal(downlink_filters_make(&o, 1, &f, error), E_INVALID);
    assert_non_null(strstr(error, "option topic: $SYS/#"));
    for (size_t i = 0; i < 60; i++) {
        words[i] = malloc(8);
        snprintf(words[i], 8, "w/%zu", i);
        routes[i] = route(words[i], ROUTE_IN, none, none);
    }
    make_options(&o, routes, 60);
    assert_int_equal(downlink_filters_make(&o, 1, &f, error), E_INVALID);
    assert_non_null(strstr(error, "iot_connections"));
    assert_int_equal(downlink_filters_make(&o, 2, &f, error), E_OK);
    assert_int_equal(f.items[49].link, 0);
    assert_int_equal(f.items[50].link, 1);
    downlink_filters_finish(&f);
    for (size_t i = 0; i < 60; i++) {
        free(words[i]);
    }
}

/* --- echo --- */

static void test_echo(void **state)
{
    (void)state;
    struct echo e;
    struct mono now = {1};
    bool same;
    echo_init(&e, 42, ECHO_SLOTS);
    assert_false(echo_came_back(&e, 0, BYTES("t"), BYTES("1"), ECHO_WINDOW_MS, now, &same));
    echo_sent(&e, 0, BYTES("t"), BYTES("1"), now);
    echo_sent(&e, 0, BYTES("t"), BYTES("1"), now);
    assert_false(echo_came_back(&e, 0, BYTES("t"), BYTES("2"), ECHO_WINDOW_MS, now, &same));
    assert_false(echo_came_back(&e, 0, BYTES("t1"), BYTES(""), ECHO_WINDOW_MS, now, &same));
    assert_true(echo_came_back(&e, 0, BYTES("t"), BYTES("1"), ECHO_WINDOW_MS, now, &same));
    assert_true(same);
    assert_true(echo_came_back(&e, 0, BYTES("t"), BYTES("1"), ECHO_WINDOW_MS, now, &same));
    assert_false(echo_came_back(&e, 0, BYTES("t"), BYTES("1"), ECHO_WINDOW_MS, now, &same)); /* somebody else's */
    echo_finish(&e);
}

static void test_echo_window(void **state)
{
    (void)state;
    struct echo e;
    struct mono now = {1};
    bool same;
    echo_init(&e, 42, ECHO_SLOTS);
    echo_sent(&e, 0, BYTES("t"), BYTES("1"), now);
    now = mono_add_ms(now, ECHO_WINDOW_NO_LOCAL_MS);
    /* Asked not to send it back, and this late: not ours. On another link it may be. */
    assert_false(echo_came_back(&e, 0, BYTES("t"), BYTES("1"), ECHO_WINDOW_NO_LOCAL_MS, now, &same));
    assert_true(echo_came_back(&e, 1, BYTES("t"), BYTES("1"), ECHO_WINDOW_NO_LOCAL_MS, now, &same));
    assert_false(same);
    echo_sent(&e, 0, BYTES("t"), BYTES("1"), now);
    now = mono_add_ms(now, ECHO_WINDOW_MS);
    assert_false(echo_came_back(&e, 1, BYTES("t"), BYTES("1"), ECHO_WINDOW_MS, now, &same));
    echo_finish(&e);
}

static void test_echo_table_is_bounded(void **state)
{
    (void)state;
    struct echo e;
    struct mono now = {1};
    bool same;
    unsigned known = 0;
    echo_init(&e, 42, ECHO_SLOTS);
    for (uint32_t i = 0; i < 10000; i++) {
        echo_sent(&e, 0, BYTES("t"), bytes_make(&i, sizeof(i)), now);
    }
    for (uint32_t i = 0; i < 10000; i++) {
        known += echo_came_back(&e, 0, BYTES("t"), bytes_make(&i, sizeof(i)), ECHO_WINDOW_MS, now, &same);
    }
    assert_in_range(known, ECHO_SLOTS / 2, ECHO_SLOTS);
    echo_finish(&e);

    /* A quarter full, nearly nothing is overwritten. */
    known = 0;
    echo_init(&e, 42, ECHO_SLOTS);
    for (uint32_t i = 0; i < ECHO_SLOTS / 4; i++) {
        echo_sent(&e, 0, BYTES("t"), bytes_make(&i, sizeof(i)), now);
    }
    for (uint32_t i = 0; i < ECHO_SLOTS / 4; i++) {
        known += echo_came_back(&e, 0, BYTES("t"), bytes_make(&i, sizeof(i)), ECHO_WINDOW_MS, now, &same);
    }
    assert_in_range(known, ECHO_SLOTS / 4 - 8, ECHO_SLOTS / 4);
    echo_finish(&e);
}

/* --- receipts --- */

static struct {
    unsigned came;
    unsigned expected;
    struct receipts *receipts;
    bool stopped;
} owner;

static void on_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

static void on_receipt(void *ctx, const struct receipt *r)
{
    assert_ptr_equal(ctx, &owner);
    assert_int_equal(r->packet_id, owner.came + 1);
    assert_int_equal(r->result, E_OK);
    if (++owner.came == owner.expected) {
        receipts_stop(owner.receipts, on_stopped, &owner.stopped);
    }
}

struct batch {
    struct receipt *receipts[500];
};

static void broker_thread(void *arg)
{
    struct batch *b = arg;
    for (unsigned i = 0; i < 500; i++) {
        receipt_done(b->receipts[i], E_OK);
    }
}

static void test_receipts(void **state)
{
    (void)state;
    static struct batch batch;
    uv_loop_t loop;
    uv_thread_t thread;
    assert_int_equal(uv_loop_init(&loop), 0);
    memset(&owner, 0, sizeof(owner));
    owner.expected = 500;
    assert_int_equal(receipts_create(&loop, on_receipt, &owner, &owner.receipts), E_OK);
    for (unsigned i = 0; i < 500; i++) {
        batch.receipts[i] = receipt_new(owner.receipts);
        assert_non_null(batch.receipts[i]);
        batch.receipts[i]->packet_id = (uint16_t)(i + 1);
    }
    receipt_cancel(receipt_new(owner.receipts));
    assert_int_equal(uv_thread_create(&thread, broker_thread, &batch), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_thread_join(&thread);
    assert_int_equal(owner.came, 500);
    assert_true(owner.stopped);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* The outbox may give back messages after the sink has gone. */
static void test_receipt_after_the_end(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    memset(&owner, 0, sizeof(owner));
    assert_int_equal(receipts_create(&loop, on_receipt, &owner, &owner.receipts), E_OK);
    struct receipt *late = receipt_new(owner.receipts);
    struct receipt *unread = receipt_new(owner.receipts);
    receipt_done(unread, E_OK);
    receipts_stop(owner.receipts, on_stopped, &owner.stopped);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(owner.stopped);
    assert_int_equal(uv_loop_close(&loop), 0);
    receipt_done(late, E_CANCELLED);
    assert_int_equal(owner.came, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters),         cmocka_unit_test(test_shared_filter),
        cmocka_unit_test(test_refused_filters), cmocka_unit_test(test_echo),
        cmocka_unit_test(test_echo_window),     cmocka_unit_test(test_echo_table_is_bounded),
        cmocka_unit_test(test_receipts),        cmocka_unit_test(test_receipt_after_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
