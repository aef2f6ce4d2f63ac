/* plugin/outbox.h: what waits for the broker's thread. */
#include "plugin/outbox.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct seen {
    unsigned lines;
    unsigned publishes;
    char last_line[LOG_LINE_MAX + 1];
    char last_topic[64];
    enum err answer;
};

static void see_line(void *ctx, enum log_level level, const char *line)
{
    struct seen *s = ctx;
    (void)level;
    s->lines++;
    snprintf(s->last_line, sizeof(s->last_line), "%s", line);
}

static enum err see_publish(void *ctx, const struct outbox_message *m)
{
    struct seen *s = ctx;
    s->publishes++;
    snprintf(s->last_topic, sizeof(s->last_topic), "%.*s", (int)m->topic.len, (const char *)m->topic.data);
    assert_true(bytes_equal(m->payload, BYTES("payload")));
    assert_true(bytes_equal(m->user_properties, BYTES("\0\1a\0\1b")));
    return s->answer;
}

static void drain(struct outbox *o, struct seen *s, size_t max)
{
    const struct outbox_broker broker = {see_line, see_publish, s};
    outbox_drain(o, &broker, max);
}

static void note(void *ctx, enum err e)
{
    *(enum err *)ctx = e;
}

static const struct outbox_message message = {
    .topic = {(const uint8_t *)"a/b", 3},
    .payload = {(const uint8_t *)"payload", 7},
    .user_properties = {(const uint8_t *)"\0\1a\0\1b", 6},
};

static void test_lines_and_publishes_are_handed_over(void **state)
{
    (void)state;
    struct outbox *o;
    struct seen s = {.answer = E_OK};
    enum err settled = E_AGAIN;
    assert_int_equal(outbox_create(&o), E_OK);
    outbox_log(o, LOG_INFO, "one");
    assert_int_equal(outbox_publish(o, &message, note, &settled), E_OK);
    assert_int_equal(settled, E_AGAIN);
    drain(o, &s, 10);
    assert_int_equal(s.lines, 1);
    assert_string_equal(s.last_line, "one");
    assert_string_equal(s.last_topic, "a/b");
    assert_int_equal(settled, E_OK);
    drain(o, &s, 10);
    assert_int_equal(s.lines + s.publishes, 2);
    outbox_destroy(o);
}

static void test_ceilings(void **state)
{
    (void)state;
    struct outbox *o;
    struct seen s = {.answer = E_NOMEM};
    assert_int_equal(outbox_create(&o), E_OK);
    for (unsigned i = 0; i < OUTBOX_LINES + 7; i++) {
        outbox_log(o, LOG_INFO, "line");
    }
    for (unsigned i = 0; i < OUTBOX_PUBLISHES; i++) {
        assert_int_equal(outbox_publish(o, &message, NULL, NULL), E_OK);
    }
    assert_int_equal(outbox_publish(o, &message, NULL, NULL), E_FULL);
    drain(o, &s, 100);
    assert_int_equal(s.lines, OUTBOX_LINES + 1);
    assert_non_null(strstr(s.last_line, "count=7"));
    assert_int_equal(s.publishes, 100);
    assert_int_equal(outbox_publish(o, &message, NULL, NULL), E_OK);
    outbox_destroy(o);
}

static void test_destroy_settles_what_waits(void **state)
{
    (void)state;
    struct outbox *o;
    enum err settled = E_AGAIN;
    assert_int_equal(outbox_create(&o), E_OK);
    assert_int_equal(outbox_publish(o, &message, note, &settled), E_OK);
    outbox_destroy(o);
    assert_int_equal(settled, E_CANCELLED);
}

static void count_call(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void test_calls(void **state)
{
    (void)state;
    struct outbox *o;
    struct seen s = {.answer = E_OK};
    unsigned called = 0;
    unsigned cancelled = 0;
    assert_int_equal(outbox_create(&o), E_OK);
    assert_int_equal(outbox_call(o, count_call, NULL, &called), E_OK);
    assert_int_equal(outbox_call(o, count_call, count_call, &called), E_OK);
    drain(o, &s, 10);
    assert_int_equal(called, 2);
    assert_int_equal(s.publishes, 0);
    assert_int_equal(outbox_call(o, count_call, count_call, &cancelled), E_OK);
    outbox_destroy(o);
    assert_int_equal(cancelled, 1);
}

static void *log_many(void *outbox)
{
    for (unsigned i = 0; i < 200; i++) {
        outbox_log(outbox, LOG_INFO, "from a thread");
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct outbox *o;
    struct seen s = {0};
    pthread_t threads[4];
    assert_int_equal(outbox_create(&o), E_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, o), 0);
    }
    for (unsigned i = 0; i < 100; i++) {
        drain(o, &s, 10);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    drain(o, &s, 10);
    assert_int_equal(s.lines, 800);
    outbox_destroy(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_and_publishes_are_handed_over),
        cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_destroy_settles_what_waits),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
