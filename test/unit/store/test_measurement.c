#include "unit.h"

#include "store/measurement.h"

#include <stdlib.h>

enum { CAPTURE_MS = 4711 };

/* What comes out of a `store` line for one message, from filter and words to the measurement. */
struct outcome {
    enum err e;
    struct measurement m;
    struct measurement_error error;
    struct buffer scratch;
    struct buffer text;
    struct measurement_mapping mapping;
};

static int setup(void **state)
{
    struct outcome *o = calloc(1, sizeof(*o));
    if (!o) {
        return -1;
    }
    buffer_init(&o->scratch, 1u << 20);
    buffer_init(&o->text, 1u << 20);
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    struct outcome *o = *state;
    buffer_finish(&o->scratch);
    buffer_finish(&o->text);
    measurement_mapping_finish(&o->mapping);
    free(o);
    return 0;
}

static void store(struct outcome *o, const char *filter, const char *words, const char *topic, struct bytes payload)
{
    struct bytes sensor = {0};
    measurement_mapping_finish(&o->mapping);
    assert_int_equal(measurement_mapping_parse(bytes_str(filter), bytes_str(words), &o->mapping, &o->error), E_OK);
    o->error.text[0] = 0;
    o->e = measurement_sensor(&o->mapping, bytes_str(topic), BYTES("client-1"), payload, &o->scratch, &sensor);
    if (o->e == E_OK) {
        struct measurement_source source = {.topic = bytes_str(topic),
                                            .payload = payload,
                                            .sensor = sensor,
                                            .capture_ms = CAPTURE_MS,
                                            .time_path = bytes_str(o->mapping.time_path),
                                            .message_path = bytes_str(o->mapping.message_path)};
        o->e = measurement_make(&source, &o->text, &o->m, &o->error);
    }
}

static void expect(struct outcome *o, struct bytes sensor, int64_t ms, struct bytes message)
{
    if (o->e != E_OK) {
        print_error("%s: %s\n", err_name(o->e), o->error.text);
    }
    assert_int_equal(o->e, E_OK);
    assert_true(bytes_equal(o->m.sensor, sensor));
    assert_int_equal(o->m.timestamp_ms, ms);
    if (!bytes_equal(o->m.message, message)) {
        print_error("%.*s\n", (int)o->m.message.len, (const char *)o->m.message.data);
    }
    assert_true(bytes_equal(o->m.message, message));
    struct json_token t;
    assert_int_equal(json_parse(o->m.message, JSON_DEPTH_MAX, &t), E_OK);
    assert_int_equal(t.type, JSON_OBJECT);
}

static void expect_reason(struct outcome *o, const char *reason)
{
    assert_int_equal(o->e, E_INVALID);
    assert_string_equal(o->error.text, reason);
}

static void test_shadow_rows(void **state)
{
    struct outcome *o = *state;
    struct bytes update = BYTES("{\"state\":{\"desired\":{\"temperature\":21.5,\"x\":1},\"reported\":{\"x\":2}}}");
    struct bytes merged = BYTES("{\"temperature\":21.5,\"x\":2}");
    store(o, "$aws/things/+/shadow/update", "", "$aws/things/test/shadow/update", update);
    expect(o, BYTES("test"), CAPTURE_MS, merged);
    store(o, "$aws/#", "", "$aws/things/t2/shadow/name/config/update", update);
    expect(o, BYTES("t2"), CAPTURE_MS, merged);
    store(o, "$aws/#", "sensor=topic(6)", "$aws/things/t2/shadow/name/config/update", update);
    expect(o, BYTES("config"), CAPTURE_MS, merged);
    store(o, "$aws/#", "message=payload(state.reported)", "$aws/things/t2/shadow/update", update);
    expect(o, BYTES("t2"), CAPTURE_MS, BYTES("{\"x\":2}"));
    /* Other shadow topics are topics like any other. */
    store(o, "$aws/#", "", "$aws/things/t2/shadow/update/accepted", BYTES("{}"));
    expect(o, BYTES("$aws/things/t2/shadow/update/accepted"), CAPTURE_MS, BYTES("{}"));
    store(o, "$aws/things/+/shadow/get", "", "$aws/things/t2/shadow/get", BYTES(""));
    expect(o, BYTES("t2"), CAPTURE_MS, BYTES("{\"value\":\"\"}"));
    store(o, "$aws/#", "", "$aws/things/t2/shadow/name/update", BYTES("1"));
    expect(o, BYTES("$aws/things/t2/shadow/name/update"), CAPTURE_MS, BYTES("{\"value\":1}"));
    store(o, "$aws/#", "", "$aws/things/t2/shadow/update", BYTES("{\"temperature\":1}"));
    expect_reason(o, "no shadow update: there is no object \"state\"");
    store(o, "$aws/#", "", "$aws/things//shadow/update", update);
    expect_reason(o, "the mapping gives this message no sensor name");
}

static void test_things_stack_rows(void **state)
{
    struct outcome *o = *state;
    struct bytes uplink =
        BYTES("{\"received_at\":\"2020-04-03T07:46:40Z\",\"uplink_message\":{\"frm_payload\":\"gkHe\","
              "\"decoded_payload\":{\"ts\":7},\"rx_metadata\":[{\"rssi\":-35,\"snr\":5}]}}");
    store(o, "v3/+/devices/+/up", "", "v3/app1@tenant/devices/dev1/up", uplink);
    expect(o, BYTES("dev1"), 1585900000000, BYTES("{\"ts\":7,\"rssi\":-35,\"snr\":5}"));
    store(o, "v3/#", "", "v3/app1/devices/dev2/up", BYTES("{\"uplink_message\":{\"frm_payload\":\"gkHe\"}}"));
    expect(o, BYTES("dev2"), CAPTURE_MS, BYTES("{\"frm_payload\":\"gkHe\"}"));
    store(o, "v3/#", "time=payload(uplink_message.decoded_payload.ts)", "v3/app1/devices/dev2/up", uplink);
    expect(o, BYTES("dev2"), 7000, BYTES("{\"ts\":7,\"rssi\":-35,\"snr\":5}"));
    store(o, "v3/#", "", "v3/app1@tenant/devices/dev1/join", BYTES("{\"join_accept\":{}}"));
    expect(o, BYTES("v3/app1@tenant/devices/dev1/join"), CAPTURE_MS, BYTES("{\"join_accept\":{}}"));
    store(o, "v3/#", "", "v3/app1@tenant/devices/dev1/up", BYTES("x"));
    expect_reason(o, "the payload is not JSON");
}

static void test_object_row(void **state)
{
    struct outcome *o = *state;
    store(o, "a/+/b", "", "a/s1/b", BYTES("{\"t\":20.0}"));
    expect(o, BYTES("s1"), CAPTURE_MS, BYTES("{\"t\":20.0}"));
    store(o, "a/#", "", "a/s1/b", BYTES(" {\"t\" : 20.0}\r\n"));
    expect(o, BYTES("a/s1/b"), CAPTURE_MS, BYTES("{\"t\" : 20.0}"));
    store(o, "a/#", "", "a/s1/b", BYTES("\xEF\xBB\xBF{\"a\":1,\"a\":2}"));
    expect(o, BYTES("a/s1/b"), CAPTURE_MS, BYTES("{\"a\":1,\"a\":2}"));
    store(o, "+", "", "\xC3\xA4", BYTES("{\"n\":123456789012345678901234567890.123456789,\"e\":1E400,\"z\":-0}"));
    expect(o, BYTES("\xC3\xA4"), CAPTURE_MS,
           BYTES("{\"n\":123456789012345678901234567890.123456789,\"e\":1E400,\"z\":-0}"));
}

static void test_other_json_row(void **state)
{
    struct outcome *o = *state;
    static const char *const rows[][2] = {{"21.50", "{\"value\":21.50}"},
                                          {" -1e-7\n", "{\"value\":-1e-7}"},
                                          {"true", "{\"value\":true}"},
                                          {"false", "{\"value\":false}"},
                                          {"null", "{\"value\":null}"},
                                          {"\"on\\u0000\"", "{\"value\":\"on\\u0000\"}"},
                                          {"[1, {\"a\":2}]", "{\"value\":[1, {\"a\":2}]}"},
                                          {"[]", "{\"value\":[]}"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        store(o, "#", "", "x/y", bytes_str(rows[i][0]));
        expect(o, BYTES("x/y"), CAPTURE_MS, bytes_str(rows[i][1]));
    }
}

static void test_text_row(void **state)
{
    struct outcome *o = *state;
    store(o, "#", "", "x", BYTES("hello \"w\xC3\xB6rld\"\n\\"));
    expect(o, BYTES("x"), CAPTURE_MS, BYTES("{\"value\":\"hello \\\"w\xC3\xB6rld\\\"\\n\\\\\"}"));
    store(o, "#", "", "x", BYTES(""));
    expect(o, BYTES("x"), CAPTURE_MS, BYTES("{\"value\":\"\"}"));
    store(o, "#", "", "x", BYTES("NaN"));
    expect(o, BYTES("x"), CAPTURE_MS, BYTES("{\"value\":\"NaN\"}"));
    store(o, "#", "", "x", BYTES("{\"a\":1} trailing"));
    expect(o, BYTES("x"), CAPTURE_MS, BYTES("{\"value\":\"{\\\"a\\\":1} trailing\"}"));
    store(o, "#", "", "x", BYTES("{'a':1}"));
    expect(o, BYTES("x"), CAPTURE_MS, BYTES("{\"value\":\"{'a':1}\"}"));
    store(o, "#", "", "x", BYTES("007"));
    expect(o, BYTES("x"), CAPTURE_MS, BYTES("{\"value\":\"007\"}"));
    store(o, "#", "", "x", BYTES("a\0b\x1F"));
    expect(o, BYTES("x"), CAPTURE_MS, BYTES("{\"value\":\"a\\u0000b\\u001f\"}"));
}

static void test_raw_row(void **state)
{
    struct outcome *o = *state;
    store(o, "#", "", "x", BYTES("\xFF\x00\x01"));
    expect(o, BYTES("x"), CAPTURE_MS, BYTES("{\"raw\":\"/wAB\"}"));
    store(o, "#", "", "x", BYTES("{\"a\":\"\xFF\"}"));
    expect(o, BYTES("x"), CAPTURE_MS, BYTES("{\"raw\":\"eyJhIjoi/yJ9\"}"));
}

static void test_sensor(void **state)
{
    struct outcome *o = *state;
    store(o, "#", "sensor=topic(3)", "a/b/c", BYTES("1"));
    expect(o, BYTES("c"), CAPTURE_MS, BYTES("{\"value\":1}"));
    store(o, "#", "sensor=topic(4)", "a/b/c", BYTES("1"));
    assert_int_equal(o->e, E_NOT_FOUND);
    store(o, "#", "sensor=topic(2)", "a//c", BYTES("1"));
    expect_reason(o, "the mapping gives this message no sensor name");
    store(o, "#", "sensor=client()", "a", BYTES("1"));
    expect(o, BYTES("client-1"), CAPTURE_MS, BYTES("{\"value\":1}"));
    store(o, "#", "sensor=attic", "a", BYTES("1"));
    expect(o, BYTES("attic"), CAPTURE_MS, BYTES("{\"value\":1}"));
    store(o, "#", "sensor=payload(dev.id)", "a", BYTES("{\"dev\":{\"id\":\"d\\u0031\"}}"));
    expect(o, BYTES("d1"), CAPTURE_MS, BYTES("{\"dev\":{\"id\":\"d\\u0031\"}}"));
    store(o, "#", "sensor=payload(id)", "a", BYTES("{\"id\":\"plain\"}"));
    expect(o, BYTES("plain"), CAPTURE_MS, BYTES("{\"id\":\"plain\"}"));
    store(o, "#", "sensor=payload(id)", "a", BYTES("{\"id\":00}"));
    assert_int_equal(o->e, E_NOT_FOUND);
    store(o, "#", "sensor=payload(id)", "a", BYTES("{\"id\":12345678901234567890123}"));
    expect(o, BYTES("12345678901234567890123"), CAPTURE_MS, BYTES("{\"id\":12345678901234567890123}"));
    static const char *const unfit[] = {
        "", "x", "1", "{}", "{\"id\":null}", "{\"id\":{}}", "{\"id\":[]}", "{\"id\":true}"};
    for (size_t i = 0; i < sizeof(unfit) / sizeof(unfit[0]); i++) {
        store(o, "#", "sensor=payload(id)", "a", bytes_str(unfit[i]));
        assert_int_equal(o->e, E_NOT_FOUND);
    }
    store(o, "#", "sensor=payload(id)", "a", BYTES("{\"id\":\"\"}"));
    expect_reason(o, "the mapping gives this message no sensor name");
    store(o, "#", "sensor=payload(id)", "a", BYTES("{\"id\":\"a\\u0000b\"}"));
    expect_reason(o, "the sensor name contains NUL or is not UTF-8");
}

static void test_time(void **state)
{
    struct outcome *o = *state;
    store(o, "#", "time=payload(ts)", "a", BYTES("{\"ts\":1585900000.5,\"v\":1}"));
    expect(o, BYTES("a"), 1585900000500, BYTES("{\"ts\":1585900000.5,\"v\":1}"));
    store(o, "#", "time=payload(d.ts)", "a", BYTES("{\"d\":{\"ts\":\"2020-04-03T07:46:40Z\"}}"));
    expect(o, BYTES("a"), 1585900000000, BYTES("{\"d\":{\"ts\":\"2020-04-03T07:46:40Z\"}}"));
    store(o, "#", "time=payload(ts)", "a", BYTES("{\"v\":1}"));
    expect_reason(o, "time=payload(ts): the payload has no such member");
    store(o, "#", "time=payload(ts)", "a", BYTES("{\"ts\":\"noon\"}"));
    expect_reason(o, "time=payload(ts): this member is not epoch s, epoch ms or ISO 8601");
    store(o, "#", "time=payload(ts)", "a", BYTES("not json"));
    expect_reason(o, "the payload is not JSON");
    store(o, "#", "time=payload(ts)", "a", BYTES("[1]"));
    expect_reason(o, "time=payload(ts): the payload has no such member");
}

static void test_message(void **state)
{
    struct outcome *o = *state;
    store(o, "#", "message=payload(d.m) time=payload(d.t)", "a", BYTES("{\"d\":{\"t\":5,\"m\":{ \"x\": 1.10 }}}"));
    expect(o, BYTES("a"), 5000, BYTES("{ \"x\": 1.10 }"));
    store(o, "#", "message=payload(m)", "a", BYTES("{\"m\":[1]}"));
    expect_reason(o, "message=payload(m): this member is not an object");
    store(o, "#", "message=payload(m)", "a", BYTES("{}"));
    expect_reason(o, "message=payload(m): the payload has no such member");
    store(o, "#", "message=payload(m)", "a", BYTES("\xFF"));
    expect_reason(o, "the payload is not JSON");
}

static void test_large_and_deep(void **state)
{
    struct outcome *o = *state;
    static uint8_t payload[128 * 1024];
    memset(payload, 1, sizeof(payload));
    store(o, "#", "", "a", bytes_make(payload, sizeof(payload)));
    assert_int_equal(o->e, E_OK);
    assert_int_equal(o->m.message.len, sizeof(payload) * 6 + 12);
    memset(payload, '[', sizeof(payload));
    store(o, "#", "", "a", bytes_make(payload, sizeof(payload)));
    expect_reason(o, "the payload's JSON is nested deeper than 999 levels");
    store(o, "#", "", "a", bytes_make(payload, 999));
    assert_int_equal(o->e, E_OK); /* text: the brackets are not closed */
    memset(payload + 999, ']', 999);
    store(o, "#", "", "a", bytes_make(payload, 2 * 999));
    assert_int_equal(o->e, E_OK);
    struct json_token t;
    assert_int_equal(json_parse(o->m.message, JSON_DEPTH_MAX, &t), E_OK);
    memset(payload, 0xFF, sizeof(payload));
    store(o, "#", "", "a", bytes_make(payload, sizeof(payload)));
    assert_int_equal(o->e, E_OK);
    buffer_finish(&o->text);
    buffer_init(&o->text, 1000);
    store(o, "#", "", "a", bytes_make(payload, sizeof(payload)));
    assert_int_equal(o->e, E_TOO_LARGE);
    assert_string_equal(o->error.text, "the message takes more than 1000 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shadow_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_things_stack_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_object_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_json_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sensor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_and_deep, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
