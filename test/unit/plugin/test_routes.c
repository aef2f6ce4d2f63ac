/* plugin/routes.h: lines, matching, prefixes. */
#include "mqtt/topic.h"
#include "plugin/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct topic_route topic_line(const char *text)
{
    struct topic_route r;
    struct option_error why = {""};
    if (topic_route_parse(bytes_str(text), &r, &why) != E_OK) {
        fail_msg("%s: %s", text, why.text);
    }
    return r;
}

static struct store_route store_line(const char *text)
{
    struct store_route r;
    struct option_error why = {""};
    if (store_route_parse(bytes_str(text), &r, &why) != E_OK) {
        fail_msg("%s: %s", text, why.text);
    }
    return r;
}

struct set {
    struct topic_route topics[8];
    size_t topic_count;
    struct store_route stores[8];
    size_t store_count;
    struct routes *routes;
};

static void compile(struct set *s, const char *const *topics, const char *const *stores)
{
    *s = (struct set){0};
    for (; topics && topics[s->topic_count]; s->topic_count++) {
        s->topics[s->topic_count] = topic_line(topics[s->topic_count]);
    }
    for (; stores && stores[s->store_count]; s->store_count++) {
        s->stores[s->store_count] = store_line(stores[s->store_count]);
    }
    assert_int_equal(routes_compile(s->topics, s->topic_count, s->stores, s->store_count, &s->routes), E_OK);
}

static void finish(struct set *s)
{
    routes_destroy(s->routes);
    for (size_t i = 0; i < s->topic_count; i++) {
        topic_route_finish(&s->topics[i]);
    }
    for (size_t i = 0; i < s->store_count; i++) {
        store_route_finish(&s->stores[i]);
    }
}

/* Index of the `topic` line that decides, -1 without one. */
static int topic_of(const struct set *s, const char *topic)
{
    struct route_match m;
    routes_match(s->routes, bytes_str(topic), &m);
    return m.topic ? (int)(m.topic - s->topics) : -1;
}

static int store_of(const struct set *s, const char *topic)
{
    struct route_match m;
    routes_match(s->routes, bytes_str(topic), &m);
    return m.store ? (int)(m.store - s->stores) : -1;
}

static void test_wildcards(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        const char *topic;
        bool matches;
    } cases[] = {
        {"a/b", "a/b", true},
        {"a/b", "a/b/", false},
        {"a/b", "a", false},
        {"a/b", "a/bc", false},
        {"+", "a", true},
        {"+", "a/b", false},
        {"+/+", "/a", true},
        {"/+", "/a", true},
        {"+", "/a", false},
        {"a/+/c", "a/b/c", true},
        {"a/+/c", "a//c", true},
        {"a/+", "a", false},
        {"a/+", "a/", true},
        {"#", "a/b/c", true},
        {"a/#", "a", true},
        {"a/#", "a/b/c", true},
        {"a/#", "ab", false},
        {"+/#", "a", true},
        {"#", "$aws/things/x", false},
        {"+/things/x", "$aws/things/x", false},
        {"$aws/#", "$aws/things/x", true},
        {"$aws/things/+/shadow/update", "$aws/things/gh1/shadow/update", true},
        {"$aws/things/+/shadow/update", "$aws/things/gh1/shadow/get", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct set s;
        const char *const lines[] = {cases[i].filter, NULL};
        compile(&s, lines, lines);
        int expected = cases[i].matches ? 0 : -1;
        if (topic_of(&s, cases[i].topic) != expected || store_of(&s, cases[i].topic) != expected) {
            fail_msg("%s against %s", cases[i].filter, cases[i].topic);
        }
        finish(&s);
    }
}

static void test_first_line_decides(void **state)
{
    (void)state;
    struct set s;
    compile(&s, (const char *const[]){"a/b/c out 0", "a/+/c", "#", "a/b/#", NULL},
            (const char *const[]){"a/# sensor=one", "a/b/c sensor=two", NULL});
    assert_int_equal(topic_of(&s, "a/b/c"), 0);
    assert_int_equal(topic_of(&s, "a/x/c"), 1);
    assert_int_equal(topic_of(&s, "a/b/d"), 2);
    assert_int_equal(topic_of(&s, "z"), 2);
    assert_int_equal(store_of(&s, "a/b/c"), 0);
    assert_int_equal(store_of(&s, "b"), -1);
    finish(&s);
}

static void test_lines_for_commands_do_not_forward(void **state)
{
    (void)state;
    struct set s;
    compile(&s, (const char *const[]){"cmd/# in", "cmd/x both", NULL}, NULL);
    assert_int_equal(topic_of(&s, "cmd/y"), -1);
    assert_int_equal(topic_of(&s, "cmd/x"), 1);
    finish(&s);
}

static void expect_remote(const char *line, const char *topic, const char *expected)
{
    struct set s;
    compile(&s, (const char *const[]){line, NULL}, NULL);
    struct buffer scratch;
    buffer_init(&scratch, 70000);
    struct route_match m;
    assert_true(routes_match(s.routes, bytes_str(topic), &m));
    struct bytes remote = BYTES("unset");
    assert_int_equal(topic_route_remote(m.topic, bytes_str(topic), &scratch, &remote), E_OK);
    char *text = bytes_dup_str(remote);
    assert_string_equal(text, expected);
    free(text);
    buffer_finish(&scratch);
    finish(&s);
}

static void test_prefixes_as_in_a_bridge(void **state)
{
    (void)state;
    expect_remote("sensors/#", "sensors/1", "");
    expect_remote("# out 1 local/ remote/", "local/a/b", "remote/a/b");
    expect_remote("# out 1 local/", "local/a/b", "a/b");
    expect_remote("# out 1 \"\" remote/", "a/b", "remote/a/b");
    expect_remote("\"\" out 1 one/topic other/topic", "one/topic", "other/topic");
    expect_remote("# out 1 \"\" $aws/rules/store/", "a/b", "$aws/rules/store/a/b");
    struct set s;
    compile(&s, (const char *const[]){"# out 1 local/ remote/", NULL}, NULL);
    assert_int_equal(topic_of(&s, "elsewhere/a"), -1);
    finish(&s);
}

static void test_remote_topic_has_a_ceiling(void **state)
{
    (void)state;
    struct topic_route r = topic_line("# out 1 \"\" remote/");
    char *topic = malloc(65535);
    memset(topic, 'a', 65535);
    struct buffer scratch;
    buffer_init(&scratch, 140000);
    struct bytes remote;
    assert_int_equal(topic_route_remote(&r, bytes_make(topic, 65528), &scratch, &remote), E_OK);
    assert_int_equal(remote.len, 65535);
    assert_int_equal(topic_route_remote(&r, bytes_make(topic, 65529), &scratch, &remote), E_TOO_LARGE);
    buffer_finish(&scratch);
    free(topic);
    topic_route_finish(&r);
}

static void test_wrong_lines(void **state)
{
    (void)state;
    static const char *const topics[] = {
        "",
        "a/#/b",
        "a+",
        "a out 3",
        "a up",
        "a out x",
        "a 3",
        "a 1 out",
        "a 1 l/# r/",
        "a 1 l r extra",
        "a out 1 l/# r/",
        "a out 1 l/ +/",
        "a out 1 l r extra",
        "\"\" out 1",
    };
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        struct topic_route r;
        struct option_error why = {""};
        if (topic_route_parse(bytes_str(topics[i]), &r, &why) == E_OK) {
            fail_msg("accepted: %s", topics[i]);
        }
        assert_true(strlen(why.text) > 0);
    }
    static const char *const stores[] = {"", "a/#/b", "a sensor=", "a sensor=topic(0)", "a nonsense", "a colour=red"};
    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
        struct store_route r;
        struct option_error why = {""};
        if (store_route_parse(bytes_str(stores[i]), &r, &why) == E_OK) {
            fail_msg("accepted: %s", stores[i]);
        }
        assert_true(strlen(why.text) > 0);
    }
}

static void test_qos_2_becomes_1(void **state)
{
    (void)state;
    struct topic_route r = topic_line("a out 2");
    assert_int_equal(r.qos, 1);
    assert_true(r.qos_lowered);
    topic_route_finish(&r);
}

/* FILTER [out|in|both] [QOS]: one may stand without the other. */
static void test_qos_without_direction(void **state)
{
    (void)state;
    struct topic_route r = topic_line("a/# 0 l/ r/");
    assert_int_equal(r.direction, ROUTE_OUT);
    assert_int_equal(r.qos, 0);
    assert_string_equal(r.local_prefix, "l/");
    assert_string_equal(r.remote_prefix, "r/");
    topic_route_finish(&r);
}

static void test_printed_lines_parse_to_the_same(void **state)
{
    (void)state;
    static const char *const lines[] = {"a/+/# both 0", "# out 1 l/ r/", "# out 1 \"\" r/", "# in 1 l/",
                                        "\"\" out 1 a b"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct buffer first;
        struct buffer second;
        buffer_init(&first, 1000);
        buffer_init(&second, 1000);
        struct topic_route r = topic_line(lines[i]);
        assert_int_equal(topic_route_print(&r, &first), E_OK);
        topic_route_finish(&r);
        char *text = bytes_dup_str(buffer_bytes(&first));
        r = topic_line(text);
        assert_int_equal(topic_route_print(&r, &second), E_OK);
        topic_route_finish(&r);
        assert_true(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
        assert_string_equal(text, lines[i]);
        free(text);
        buffer_finish(&first);
        buffer_finish(&second);
    }
}

/* Ten thousand lines, each found, and nothing else. */
static void test_many_lines(void **state)
{
    (void)state;
    enum { N = 10000 };
    struct topic_route *topics = calloc(N, sizeof(*topics));
    char text[64];
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "site/%d/+/room%d", i, i % 7);
        topics[i] = topic_line(text);
    }
    struct routes *routes;
    assert_int_equal(routes_compile(topics, N, NULL, 0, &routes), E_OK);
    struct route_match m;
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "site/%d/x/room%d", i, i % 7);
        assert_true(routes_match(routes, bytes_str(text), &m));
        assert_ptr_equal(m.topic, &topics[i]);
        snprintf(text, sizeof(text), "site/%d/x/room%d", i, i % 7 + 1);
        assert_false(routes_match(routes, bytes_str(text), &m));
    }
    routes_destroy(routes);
    for (int i = 0; i < N; i++) {
        topic_route_finish(&topics[i]);
    }
    free(topics);
}

/* Levels from `choices`, at most four, joined by '/'. '#' ends a filter. */
static void random_topic(unsigned *seed, const char *const *choices, size_t count, char out[64])
{
    size_t len = 0;
    int levels = 1 + rand_r(seed) % 4;
    for (int i = 0; i < levels; i++) {
        const char *level = choices[(size_t)rand_r(seed) % count];
        len += (size_t)snprintf(out + len, 64 - len, "%s%s", i > 0 ? "/" : "", level);
        if (level[0] == '#') {
            break;
        }
    }
    if (len == 0) {
        snprintf(out, 64, "a");
    }
}

/* The first line whose filter matches by itself, whatever the others are. */
static void test_as_each_filter_alone(void **state)
{
    (void)state;
    static const char *const levels[] = {"a", "b", "ab", "", "$s", "+", "#"};
    unsigned seed = 1;
    for (int round = 0; round < 3000; round++) {
        struct set s = {.topic_count = 1 + (size_t)rand_r(&seed) % 8};
        char filters[8][64];
        for (size_t i = 0; i < s.topic_count; i++) {
            char line[80];
            random_topic(&seed, levels, 7, filters[i]);
            snprintf(line, sizeof(line), "\"%.63s\" out", filters[i]);
            s.topics[i] = topic_line(line);
        }
        assert_int_equal(routes_compile(s.topics, s.topic_count, NULL, 0, &s.routes), E_OK);
        for (int k = 0; k < 40; k++) {
            char topic[64];
            random_topic(&seed, levels, 5, topic);
            int wanted = -1;
            for (size_t i = s.topic_count; i-- > 0;) {
                wanted = topic_matches(bytes_str(filters[i]), bytes_str(topic)) ? (int)i : wanted;
            }
            if (topic_of(&s, topic) != wanted) {
                fail_msg("round %d, topic '%s': line %d, wanted %d", round, topic, topic_of(&s, topic), wanted);
            }
        }
        finish(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wildcards),
        cmocka_unit_test(test_first_line_decides),
        cmocka_unit_test(test_lines_for_commands_do_not_forward),
        cmocka_unit_test(test_prefixes_as_in_a_bridge),
        cmocka_unit_test(test_remote_topic_has_a_ceiling),
        cmocka_unit_test(test_wrong_lines),
        cmocka_unit_test(test_qos_2_becomes_1),
        cmocka_unit_test(test_qos_without_direction),
        cmocka_unit_test(test_printed_lines_parse_to_the_same),
        cmocka_unit_test(test_many_lines),
        cmocka_unit_test(test_as_each_filter_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
