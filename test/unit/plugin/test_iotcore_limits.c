#include "unit.h"

#include "plugin/iotcore_limits.h"

static const char *refusal(const char *topic, size_t payload)
{
    static const uint8_t bytes[1000];
    const struct record r = {.topic = bytes_str(topic), .payload = {bytes, payload}};
    return iotcore_refusal(&r, 500);
}

static void test_reserved_topics(void **state)
{
    (void)state;
    static const struct {
        const char *topic;
        bool taken;
    } cases[] = {
        {"$aws/things/t/shadow/update", true},
        {"$aws/things/t/shadow/get", true},
        {"$aws/things/t/shadow/name/n/delete", true},
        {"$aws/things/t/shadow/update/accepted", false},
        {"$aws/things/t/shadow/other", false},
        {"$aws/things/t/shadow", false},
        {"$aws/things/t/jobs/get", true},
        {"$aws/things/t/jobs/start-next", true},
        {"$aws/things/t/jobs/j/update", true},
        {"$aws/things/t/jobs/notify", false},
        {"$aws/things/t/defender/metrics/json", true},
        {"$aws/things/t/defender/metrics/xml", false},
        {"$aws/things/t/streams/s/get/cbor", true},
        {"$aws/rules/r/a", true},
        {"$aws/rules/r/a/b/c", true},
        {"$aws/rules/r", false},
        {"$aws/events/thing/t/created", false},
        {"$aws/commands/things/t/executions/e/response/json", true},
        {"$aws/device_location/d/get_position_estimate", true},
        {"$aws/certificates/create/json", true},
        {"$aws/provisioning-templates/p/provision/cbor", true},
        {"$aws/provisioning-templates/p/provision/cbor/accepted", false},
        {"$aws/a-feature/of-tomorrow", true},
        {"$aws", false},
        {"$SYS/broker/uptime", false},
        {"$unknown/x", false},
        {"aws/things", true},
        {"a/$aws/x", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (!refusal(cases[i].topic, 1) != cases[i].taken) {
            fail_msg("%s", cases[i].topic);
        }
    }
}

static void test_sizes(void **state)
{
    (void)state;
    char topic[300];
    memset(topic, 'a', sizeof(topic));
    topic[256] = '\0';
    assert_null(refusal(topic, 1));
    topic[256] = 'a';
    topic[257] = '\0';
    assert_non_null(strstr(refusal(topic, 1), "256 bytes"));
    assert_null(refusal("a", 500));
    assert_non_null(strstr(refusal("a", 501), "larger"));
    assert_null(refusal("a/b/c/d/e/f/g/h", 1));
    assert_non_null(strstr(refusal("a/b/c/d/e/f/g/h/", 1), "slashes"));
    assert_null(refusal("$aws/rules/r/a/b/c/d/e/f/g/h", 1));
    assert_non_null(refusal("$aws/rules/r/a/b/c/d/e/f/g/h/i", 1));
    assert_non_null(refusal("", 1));
    assert_non_null(refusal("a/+", 1));
    assert_non_null(refusal("\xC3", 1));
}

static void test_remote_topic_counts(void **state)
{
    (void)state;
    const struct record r = {.topic = BYTES("$local/x"), .remote_topic = BYTES("x")};
    assert_null(iotcore_refusal(&r, 1));
    assert_true(bytes_equal(iotcore_topic(&r), BYTES("x")));
}

static void test_filters(void **state)
{
    (void)state;
    assert_null(iotcore_filter_refusal(BYTES("a/#")));
    assert_null(iotcore_filter_refusal(BYTES("$aws/things/t/shadow/update/delta")));
    assert_null(iotcore_filter_refusal(BYTES("$share/g/a/#")));
    assert_non_null(iotcore_filter_refusal(BYTES("a/#/b")));
    assert_non_null(iotcore_filter_refusal(BYTES("$SYS/#")));
    assert_non_null(iotcore_filter_refusal(BYTES("a/b/c/d/e/f/g/h/i")));
}

static void test_retain(void **state)
{
    (void)state;
    assert_true(iotcore_may_retain(BYTES("a")));
    assert_false(iotcore_may_retain(BYTES("$aws/things/t/shadow/update")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserved_topics),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_remote_topic_counts),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_retain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
