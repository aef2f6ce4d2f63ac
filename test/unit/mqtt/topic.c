#include "unit.h"

#include "mqtt/topic.h"

#include <stdio.h>

static void test_names(void **state)
{
    (void)state;
    static const struct {
        struct bytes topic;
        bool name;
        bool filter;
    } cases[] = {
        {BYTES(""), false, false},         {BYTES("a"), true, true},
        {BYTES("/"), true, true},          {BYTES("a//b"), true, true},
        {BYTES(" "), true, true},          {BYTES("$aws/things/t/shadow/update"), true, true},
        {BYTES("+"), false, true},         {BYTES("#"), false, true},
        {BYTES("a/#"), false, true},       {BYTES("/#"), false, true},
        {BYTES("+/+/#"), false, true},     {BYTES("a/+/b"), false, true},
        {BYTES("a+"), false, false},       {BYTES("+a/b"), false, false},
        {BYTES("a#"), false, false},       {BYTES("#/a"), false, false},
        {BYTES("a/#/b"), false, false},    {BYTES("##"), false, false},
        {BYTES("a\0b"), false, false},     {BYTES("\xC3\xA9"), true, true},
        {BYTES("\xC3"), false, false},     {BYTES("\xED\xA0\x80"), false, false},
        {BYTES("$share/g/a"), true, true}, {BYTES("$share/g/#"), false, true},
        {BYTES("$share/g/"), true, false}, {BYTES("$share/g"), true, false},
        {BYTES("$share//a"), true, false}, {BYTES("$share/+/a"), false, false},
        {BYTES("$shared"), true, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (topic_name_valid(cases[i].topic) != cases[i].name ||
            topic_filter_valid(cases[i].topic) != cases[i].filter) {
            fail_msg("%.*s", (int)cases[i].topic.len, (const char *)cases[i].topic.data);
        }
    }
}

static void test_length(void **state)
{
    (void)state;
    static uint8_t text[65536];
    memset(text, 'a', sizeof(text));
    assert_true(topic_name_valid((struct bytes){text, 65535}));
    assert_false(topic_name_valid((struct bytes){text, 65536}));
    assert_true(topic_filter_valid((struct bytes){text, 65535}));
    assert_false(topic_filter_valid((struct bytes){text, 65536}));
}

/* Examples of sections 4.7.1 to 4.7.3, and their borders. */
static void test_matches(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        const char *topic;
        bool matches;
    } cases[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/player1/#", "sport/tennis/player10", false},
        {"sport/#", "sport", true},
        {"sport/#", "sport/", true},
        {"sport/#", "spor", false},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+", "finance", true},
        {"#", "a/b/c", true},
        {"#", "/", true},
        {"+/#", "a", true},
        {"+/+/#", "a", false},
        {"+/b/#", "a/b", true},
        {"a/+/c", "a//c", true},
        {"a/+/c", "a/b/d", false},
        {"a", "a/b", false},
        {"a/b", "a", false},
        {"a/", "a", false},
        {"a", "a/", false},
        {"a//b", "a//b", true},
        {"A", "a", false},
        {"#", "$SYS/x", false},
        {"+/x", "$SYS/x", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS/x", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"$aws/things/+/shadow/#", "$aws/things/t/shadow/update", true},
        {"a/$x/+", "a/$x/b", true},
        {"+/$x", "a/$x", true},
        {"", "a", false},
        {"a", "", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (topic_matches(bytes_str(cases[i].filter), bytes_str(cases[i].topic)) != cases[i].matches) {
            fail_msg("%s and %s", cases[i].filter, cases[i].topic);
        }
    }
}

/* Does a name of up to four of these levels match both? */
static bool some_name_matches(struct bytes a, struct bytes b)
{
    static const char *const levels[] = {"", "a", "b", "c", "$x"};
    char name[32];
    for (unsigned n = 0; n < 4 * 5 * 5 * 5 * 5; n++) {
        unsigned rest = n / 4;
        size_t len = 0;
        for (unsigned level = 0; level <= n % 4; level++, rest /= 5) {
            len += (size_t)snprintf(name + len, sizeof(name) - len, "%s%s", level ? "/" : "", levels[rest % 5]);
        }
        struct bytes topic = bytes_make(name, len);
        if (topic_matches(a, topic) && topic_matches(b, topic)) {
            return true;
        }
    }
    return false;
}

static void test_overlap(void **state)
{
    (void)state;
    static const char *const filters[] = {"a",  "a/b",  "a/+", "+/b", "+",    "#",    "a/#",   "a/b/#", "b/#",
                                          "/a", "+/+/", "/#",  "$x",  "$x/#", "$x/+", "a/+/c", "+/b/#", "c/+/+"};
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        for (size_t j = 0; j < sizeof(filters) / sizeof(filters[0]); j++) {
            bool both = some_name_matches(bytes_str(filters[i]), bytes_str(filters[j]));
            if (topic_filters_overlap(bytes_str(filters[i]), bytes_str(filters[j])) != both) {
                fail_msg("%s and %s: %d expected", filters[i], filters[j], both);
            }
        }
    }
}

static void test_levels(void **state)
{
    (void)state;
    struct bytes level;
    assert_int_equal(topic_level_count(BYTES("a")), 1);
    assert_int_equal(topic_level_count(BYTES("/")), 2);
    assert_int_equal(topic_level_count(BYTES("a/b/c")), 3);
    assert_int_equal(topic_level(BYTES("a/bc/d"), 2, &level), E_OK);
    assert_true(bytes_equal(level, BYTES("bc")));
    assert_int_equal(topic_level(BYTES("a/bc/d"), 3, &level), E_OK);
    assert_true(bytes_equal(level, BYTES("d")));
    assert_int_equal(topic_level(BYTES("a/"), 2, &level), E_OK);
    assert_int_equal(level.len, 0);
    assert_int_equal(topic_level(BYTES("a"), 2, &level), E_NOT_FOUND);
    assert_int_equal(topic_level(BYTES("a"), 0, &level), E_NOT_FOUND);
}

/* The table of mosquitto.conf(5), "topic". */
static void test_rewrite(void **state)
{
    (void)state;
    static const struct {
        const char *topic, *strip, *add, *result;
        enum err err;
    } cases[] = {
        {"L/topic", "L/", "R/", "R/topic", E_OK},
        {"L/topic", "L/", "", "topic", E_OK},
        {"topic", "", "R/", "R/topic", E_OK},
        {"topic", "", "", "topic", E_OK},
        {"local", "local", "remote", "remote", E_OK},
        {"other/topic", "L/", "R/", "R/other/topic", E_OK},
        {"L/L/x", "L/", "", "L/x", E_OK},
        {"L", "L/", "R/", "R/L", E_OK},
        {"local", "local", "", NULL, E_INVALID},
    };
    struct buffer out;
    buffer_init(&out, 65535);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum err err =
            topic_rewrite(bytes_str(cases[i].topic), bytes_str(cases[i].strip), bytes_str(cases[i].add), &out);
        assert_int_equal(err, cases[i].err);
        if (err == E_OK && !bytes_equal(buffer_bytes(&out), bytes_str(cases[i].result))) {
            fail_msg("%s: %.*s", cases[i].topic, (int)out.len, (const char *)out.data);
        }
    }
    static uint8_t text[65535];
    memset(text, 'a', sizeof(text));
    struct bytes longest = {text, sizeof(text)};
    assert_int_equal(topic_rewrite(longest, BYTES(""), BYTES(""), &out), E_OK);
    assert_int_equal(topic_rewrite(longest, BYTES(""), BYTES("b"), &out), E_TOO_LARGE);
    assert_int_equal(topic_rewrite(longest, BYTES("a"), BYTES("b"), &out), E_OK);
    buffer_finish(&out);
}

static void test_prefix_filter(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *pattern, *result;
    } cases[] = {
        {"L/", "#", "L/#"}, {"", "a/+", "a/+"}, {"local", "", "local"},
        {"", "", NULL},     {"L/#", "a", NULL}, {"+/", "a", NULL},
        {"L", "#", NULL},   {"L", "+/a", NULL}, {"$aws/", "things/#", "$aws/things/#"},
    };
    struct buffer out;
    buffer_init(&out, 65535);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum err err = topic_prefix_filter(bytes_str(cases[i].prefix), bytes_str(cases[i].pattern), &out);
        assert_int_equal(err, cases[i].result ? E_OK : E_INVALID);
        assert_true(!cases[i].result || bytes_equal(buffer_bytes(&out), bytes_str(cases[i].result)));
    }
    buffer_finish(&out);
}

static void test_safe(void **state)
{
    (void)state;
    char deep[512];
    memset(deep, '/', sizeof(deep));
    assert_true(topic_safe(BYTES("a/b")) && topic_safe(BYTES("+/#")));
    assert_true(topic_safe(BYTES("gr\xc3\xbc\xc3\x9f/\xf0\x9f\x8c\xb1")) && topic_safe(BYTES(" ~\xc2\xa0")));
    assert_true(topic_safe(BYTES("\xef\xb7\x8f\xef\xbf\xbd")));
    static const char *const unsafe[] = {
        "a\x01",        "a\n",          "\x1f",         "\x7f",         "\xc2\x80",         "\xc2\x9f",
        "\xef\xb7\x90", "\xef\xb7\xaf", "\xef\xbf\xbe", "\xef\xbf\xbf", "\xf0\x9f\xbf\xbe", "\xf4\x8f\xbf\xbf",
        "\xff",
    };
    for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++) {
        assert_false(topic_safe(bytes_str(unsafe[i])));
    }
    assert_false(topic_safe(bytes_make("a\0", 2)));
    assert_false(topic_safe(BYTES("$share")));
    assert_true(topic_safe(BYTES("$share/a/b")) && topic_safe(BYTES("$shared")) && topic_safe(BYTES("a/$share")));
    assert_true(topic_safe(bytes_make(deep, 200)));
    assert_false(topic_safe(bytes_make(deep, 201)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),  cmocka_unit_test(test_length),  cmocka_unit_test(test_matches),
        cmocka_unit_test(test_levels), cmocka_unit_test(test_rewrite), cmocka_unit_test(test_prefix_filter),
        cmocka_unit_test(test_safe),   cmocka_unit_test(test_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
