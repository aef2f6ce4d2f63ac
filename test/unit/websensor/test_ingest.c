#include "unit.h"

#include "websensor/ingest.h"

/* One request and what becomes of it: `expected` is the status, then "TOPIC PAYLOAD" of each message, one a line. */
struct sample {
    const char *method, *target, *body, *expected;
};

static const struct sample samples[] = {
    {"POST", "/topics/a/b%20c?qos=1&retain=1", "x", "200\na/b c x\n"},
    {"PUT", "/topics/a%2Fb", "", "200\na/b \n"},
    {"POST", "/topics/%24aws/things/t/shadow/update", "{}", "200\n$aws/things/t/shadow/update {}\n"},
    {"POST", "/topics/a?qos=2", "", "400\n"},
    {"POST", "/topics/a?qos=true", "", "400\n"},
    {"POST", "/topics/a?qos=&retain=", "x", "200\na x\n"},
    {"POST", "/topics/a?retain=maybe", "", "400\n"},
    {"POST", "/topics/a?messageExpiry=1.5", "", "400\n"},
    {"POST", "/topics/a?messageExpiry=4294967296", "", "400\n"},
    {"POST", "/topics/a?responseTopic=a/%23", "", "400\n"},
    {"POST", "/topics/a?contentType=%ff", "", "400\n"},
    {"POST", "/topics/a?contentType=%01", "", "400\n"},
    {"POST", "/topics/a?responseTopic=%7f", "", "400\n"},
    {"POST", "/topics/a?responseTopic=$CONTROL/dynamic-security/v1", "", "400\n"},
    {"POST", "/topics/a%00", "", "400\n"},
    {"POST", "/topics/a%2", "", "400\n"},
    {"POST", "/topics/a%ff", "", "400\n"},
    {"POST", "/topics/a/+/b", "", "400\n"},
    {"POST", "/topics/a/%23", "", "400\n"},
    {"POST", "/topics/$SYS/x", "", "400\n"},
    {"POST", "/topics/$share/g/x", "", "400\n"},
    {"POST", "/topics/", "", "404\n"},
    {"GET", "/topics/a", "", "405\n"},
    {"POST", "/walk-sensor/raw", "[1,2.5]", "200\n$aws/things/walk-sensor-raw/shadow/update \n"},
    {"POST", "/walk-sensor/raw", "{\"device\":\"d\",\"rate\":60,\"x\":[1],\"y\":[2],\"z\":[3]}",
     "200\n$aws/things/d/shadow/update \n"},
    {"POST", "/walk-sensor/raw", "[]", "400\n"},
    {"POST", "/walk-sensor/raw", "[1,\"a\"]", "400\n"},
    {"POST", "/walk-sensor/raw", "[1e999]", "400\n"},
    {"POST", "/walk-sensor/raw", "{\"device\":\"a/b\",\"rate\":60,\"x\":[1],\"y\":[2],\"z\":[3]}", "400\n"},
    {"POST", "/walk-sensor/raw", "{\"device\":\"d\",\"rate\":1,\"x\":[1],\"y\":[2],\"z\":[3]}", "400\n"},
    {"POST", "/walk-sensor/raw", "{\"device\":\"d\",\"rate\":60,\"x\":[1,2],\"y\":[2],\"z\":[3]}", "400\n"},
    {"POST", "/walk-sensor/proc", "true",
     "200\n$aws/things/walk-sensor-proc/shadow/update "
     "{\"state\":{\"desired\":{\"walking\":true}}}\n"},
    {"POST", "/walk-sensor/proc", "{\"device\":\"d\",\"walking\":false,\"cadence\":0,\"time\":5}",
     "200\n$aws/things/d/shadow/update {\"state\":{\"desired\":{\"walking\":false,\"cadence\":0,\"time\":5}}}\n"},
    {"POST", "/walk-sensor/proc", "1", "400\n"},
    {"POST", "/ttn",
     "{\"end_device_ids\":{\"device_id\":\"d\",\"application_ids\":{\"application_id\":\"a\"}},\"uplink_message\":{"
     "\"network_ids\":{\"tenant_id\":\"t\"}}}",
     "200\nv3/a@t/devices/d/up "
     "{\"end_device_ids\":{\"device_id\":\"d\",\"application_ids\":{\"application_id\":\"a\"}},"
     "\"uplink_message\":{\"network_ids\":{\"tenant_id\":\"t\"}}}\n"},
    {"POST", "/ttn", "{\"end_device_ids\":{\"device_id\":\"a/b\"},\"uplink_message\":{}}", "400\n"},
    {"POST", "/ttn",
     "{\"end_device_ids\":{\"device_id\":\"d\",\"application_ids\":{\"application_id\":\"a\"}},\"uplink_message\":"
     "null}",
     "400\n"},
    {"POST", "/api/v1/dev/telemetry", "{\"a\":1}", "200\nsensors/dev/telemetry {\"a\":1}\n"},
    {"POST", "/api/v1/dev/telemetry", "[{\"ts\":5,\"values\":{\"a\":1}},{\"ts\":6,\"values\":{}}]",
     "200\nsensors/dev/telemetry {\"ts\":5,\"a\":1}\nsensors/dev/telemetry {\"ts\":6}\n"},
    {"POST", "/api/v1/dev/telemetry", "[1]", "400\n"},
    {"POST", "/api/v1/dev/rpc", "{}", "404\n"},
    {"POST", "/sensorlogger",
     "{\"deviceId\":\"p\",\"payload\":[{\"name\":\"acc\",\"time\":1700000000000000000,\"values\":"
     "{\"x\":1}},{\"name\":\"b\",\"values\":{}}]}",
     "200\nsensors/p/acc {\"time\":1700000000000,\"x\":1}\nsensors/p/b {}\n"},
    {"POST", "/sensorlogger/me", "{\"payload\":[{\"name\":\"a/b\",\"values\":{}}]}", "400\n"},
    {"POST", "/phyphox", "{\"acc\":[1,2]}", "200\nsensors/phyphox/phyphox {\"acc\":[1,2]}\n"},
    {"GET", "/phyphox/lab?a=1.5&b=x%22y&token=t", "", "200\nsensors/lab/phyphox {\"a\":1.5,\"b\":\"x\\\"y\"}\n"},
    {"GET", "/phyphox", "", "400\n"},
    {"POST", "/owntracks?u=me&d=ph", "{\"_type\":\"location\"}", "200\nowntracks/me/ph {\"_type\":\"location\"}\n"},
    {"POST", "/pub?u=me&d=ph", "", "200\n"},
    {"POST", "/owntracks", "{}", "400\n"},
    {"POST", "/write?db=h&precision=s", "m,host=a\\ b,x=1 f=1.5,g=2i,h=\"a,\\\"b c\",t=T 17\n\n# c\nm2 v=-.5",
     "200\nsensors/a b/m {\"host\":\"a b\",\"x\":\"1\",\"f\":1.5,\"g\":2,\"h\":\"a,\\\"b "
     "c\",\"t\":true,\"time\":17000}\n"
     "sensors/h/m2 {\"v\":-0.5}\n"},
    {"POST", "/api/v2/write?bucket=b", "m f=1u 1700000000000000000",
     "200\nsensors/b/m {\"f\":1,\"time\":1700000000000}\n"},
    {"POST", "/write", "m", "400\n"},
    {"POST", "/write", "m f=", "400\n"},
    {"POST", "/write", "m f=nan", "400\n"},
    {"POST", "/write?precision=w", "m f=1", "400\n"},
    {"POST", "/api/v5/publish", "{\"topic\":\"a\",\"payload\":\"aGk=\",\"payload_encoding\":\"base64\"}",
     "200\na hi\n"},
    {"POST", "/api/v5/publish", "{\"topic\":\"a/#\",\"payload\":\"\"}", "400\n"},
    {"POST", "/api/v5/publish", "{\"topic\":\"a\",\"payload\":\"61\",\"payload_encoding\":\"hex\"}", "400\n"},
    {"POST", "/api/v5/publish", "{\"topic\":\"a\",\"payload\":\"61\",\"retain\":\"true\"}", "400\n"},
    {"POST", "/nothing", "", "404\n"},
};

static void properties_of_the_query(void **state)
{
    (void)state;
    struct ingest_request rq = {.method = BYTES("POST"),
                                .target =
                                    BYTES("/topics/a?contentType=text%2Fplain&messageExpiry=60&responseTopic=b/c"),
                                .body = BYTES("x")};
    struct ingest in;
    ingest_init(&in, 65536);
    assert_int_equal(ingest_parse(&rq, &in), 200);
    assert_int_equal(in.count, 1);
    assert_true(bytes_equal(ingest_topic(&in, 0), BYTES("a")));
    assert_true(bytes_equal(ingest_payload(&in, 0), BYTES("x")));
    assert_true(bytes_equal(ingest_piece(&in, in.content_type), BYTES("text/plain")));
    assert_true(bytes_equal(ingest_piece(&in, in.response_topic), BYTES("b/c")));
    assert_true(in.has_message_expiry && in.message_expiry_s == 60);
    ingest_finish(&in);
    rq.target = BYTES("/topics/a?messageExpiry=&contentType=");
    ingest_init(&in, 65536);
    assert_int_equal(ingest_parse(&rq, &in), 200);
    assert_null(ingest_piece(&in, in.content_type).data); /* not sent, instead of sent empty */
    assert_null(ingest_piece(&in, in.response_topic).data);
    assert_false(in.has_message_expiry);
    ingest_finish(&in);
}

static void formats(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const struct sample *s = &samples[i];
        struct ingest_request rq = {.method = bytes_str(s->method),
                                    .target = bytes_str(s->target),
                                    .body = bytes_str(s->body),
                                    .walk_topic = "$aws/things/%s/shadow/update"};
        struct ingest in;
        struct buffer got;
        ingest_init(&in, 65536);
        buffer_init(&got, 65536);
        int status = ingest_parse(&rq, &in);
        assert_int_equal(buffer_appendf(&got, "%d\n", status), E_OK);
        assert_true(status == 200 || in.reason);
        for (size_t j = 0; status == 200 && j < in.count; j++) {
            struct bytes t = ingest_topic(&in, j), p = ingest_payload(&in, j);
            assert_int_equal(buffer_appendf(&got, "%.*s %.*s\n", (int)t.len, (const char *)t.data, (int)p.len,
                                            p.len ? (const char *)p.data : ""),
                             E_OK);
        }
        assert_int_equal(buffer_append_byte(&got, 0), E_OK);
        assert_string_equal((const char *)got.data, s->expected);
        buffer_finish(&got);
        ingest_finish(&in);
    }
}

static void repetition_keys(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"deviceId\":\"p\",\"sessionId\":\"s\",\"messageId\":1,\"payload\":[]}",
        "{\"deviceId\":\"p\",\"sessionId\":\"s\",\"messageId\":2,\"payload\":[]}",
        "{\"deviceId\":\"p\",\"sessionId\":\"s\",\"messageId\":1,\"payload\":[]}",
    };
    uint64_t keys[3];
    for (size_t i = 0; i < 3; i++) {
        struct ingest in;
        struct ingest_request rq = {.method = BYTES("POST"),
                                    .target = BYTES("/sensorlogger"),
                                    .body = bytes_str(bodies[i]),
                                    .walk_topic = "%s"};
        ingest_init(&in, 65536);
        assert_int_equal(ingest_parse(&rq, &in), 200);
        keys[i] = in.key;
        ingest_finish(&in);
    }
    assert_true(keys[0] != 0 && keys[0] != keys[1] && keys[0] == keys[2]);
}

static void known_urls(void **state)
{
    (void)state;
    const char *methods;
    assert_true(ingest_is_known(BYTES("/topics/a?x"), false, &methods));
    assert_string_equal(methods, "POST, PUT");
    assert_false(ingest_is_known(BYTES("/topics/a"), true, &methods));
    assert_true(ingest_is_known(BYTES("/phyphox/x?a=1"), true, &methods));
    assert_false(ingest_is_known(BYTES("/healthz"), false, &methods));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(properties_of_the_query),
        cmocka_unit_test(formats),
        cmocka_unit_test(repetition_keys),
        cmocka_unit_test(known_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
