#include "unit.h"

#include "base/metrics.h"

#include <pthread.h>

struct values {
    metric_value received;
    metric_value queued;
};

static const struct metric_row rows[] = {
    {"received_total", METRIC_COUNTER, offsetof(struct values, received), "Messages received."},
    {"queued", METRIC_GAUGE, offsetof(struct values, queued), "Back\\slash and\nnew line."},
};

static void test_values(void **state)
{
    (void)state;
    struct values v = {0};
    metric_add(&v.received, 2);
    metric_add(&v.received, UINT64_MAX);
    assert_int_equal(metric_get(&v.received), 1);
    metric_set(&v.queued, 7);
    assert_int_equal(metric_row_get(&rows[0], &v), 1);
    assert_int_equal(metric_row_get(&rows[1], &v), 7);
}

static void test_prometheus(void **state)
{
    (void)state;
    struct values v = {0};
    struct buffer out;
    buffer_init(&out, 1000);
    metric_set(&v.received, UINT64_MAX);
    assert_int_equal(metrics_print_prometheus(rows, 2, &v, "websensor_", &out), E_OK);
    assert_true(bytes_equal(buffer_bytes(&out), BYTES("# HELP websensor_received_total Messages received.\n"
                                                      "# TYPE websensor_received_total counter\n"
                                                      "websensor_received_total 18446744073709551615\n"
                                                      "# HELP websensor_queued Back\\\\slash and\\nnew line.\n"
                                                      "# TYPE websensor_queued gauge\n"
                                                      "websensor_queued 0\n")));
    buffer_finish(&out);
}

static void test_full(void **state)
{
    (void)state;
    struct values v = {0};
    for (size_t max = 0; max < 300; max++) {
        struct buffer out;
        buffer_init(&out, max);
        bool started = buffer_append_str(&out, "before") == E_OK;
        enum err err = metrics_print_prometheus(rows, 2, &v, "", &out);
        assert_true(err == E_OK || err == E_FULL);
        if (err != E_OK) {
            assert_int_equal(out.len, started ? 6 : 0);
        }
        buffer_finish(&out);
    }
    struct buffer none;
    buffer_init(&none, 0);
    assert_int_equal(metrics_print_prometheus(rows, 0, &v, "", &none), E_OK);
    static const struct metric_row silent[] = {{"x", METRIC_GAUGE, 0, NULL}};
    buffer_init(&none, 100);
    assert_int_equal(metrics_print_prometheus(silent, 1, &v, "", &none), E_OK);
    assert_true(bytes_equal(buffer_bytes(&none), BYTES("# TYPE x gauge\nx 0\n")));
    buffer_finish(&none);
}

static void *count(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        metric_add(arg, 1);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct values v = {0};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count, &v.received), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(metric_get(&v.received), 40000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_prometheus),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
