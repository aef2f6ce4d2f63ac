#include "unit.h"

#include "store/measurement.h"

static void parse(const char *filter, const char *words, struct measurement_mapping *m)
{
    struct measurement_error error = {""};
    enum err e = measurement_mapping_parse(bytes_str(filter), bytes_str(words), m, &error);
    if (e != E_OK) {
        print_error("%s: %s\n", words, error.text);
    }
    assert_int_equal(e, E_OK);
}

static void expect_print(const char *words, const char *printed)
{
    struct measurement_mapping m;
    struct buffer out;
    buffer_init(&out, 4096);
    parse("a/b", words, &m);
    assert_int_equal(buffer_append_str(&out, "a/b "), E_OK);
    size_t start = out.len;
    assert_int_equal(measurement_mapping_print(&m, &out), E_OK);
    assert_true(bytes_equal(bytes_sub(buffer_bytes(&out), start, out.len), bytes_str(printed)));
    measurement_mapping_finish(&m);
    buffer_finish(&out);
}

static void test_parse(void **state)
{
    (void)state;
    struct measurement_mapping m;
    parse("a/+/b", "", &m);
    assert_int_equal(m.sensor, MEASUREMENT_SENSOR_DEFAULT);
    assert_int_equal(m.sensor_level, 2);
    assert_null(m.time_path);
    assert_null(m.message_path);
    assert_null(m.table);
    parse("+/+", "", &m);
    assert_int_equal(m.sensor_level, 1);
    parse("a/#", "", &m);
    assert_int_equal(m.sensor_level, 0);
    parse("a/b/#", "sensor=topic(12)", &m);
    assert_int_equal(m.sensor, MEASUREMENT_SENSOR_TOPIC);
    assert_int_equal(m.sensor_level, 12);
    parse("a/b", "sensor=client()", &m);
    assert_int_equal(m.sensor, MEASUREMENT_SENSOR_CLIENT);
    parse("a/b", "  table=my.table-1_x \t message=payload(data) time=payload(data.ts) sensor=payload(id) ", &m);
    assert_int_equal(m.sensor, MEASUREMENT_SENSOR_PAYLOAD);
    assert_string_equal(m.sensor_text, "id");
    assert_string_equal(m.time_path, "data.ts");
    assert_string_equal(m.message_path, "data");
    assert_string_equal(m.table, "my.table-1_x");
    measurement_mapping_finish(&m);
    assert_null(m.sensor_text);
    parse("a/b", "\"sensor=green house (north)\"", &m);
    assert_int_equal(m.sensor, MEASUREMENT_SENSOR_LITERAL);
    assert_string_equal(m.sensor_text, "green house (north)");
    measurement_mapping_finish(&m);
    parse("a/b", "table=arn:aws:dynamodb:eu-west-1:123456789012:table/t", &m);
    measurement_mapping_finish(&m);
}

static void test_print(void **state)
{
    (void)state;
    expect_print("", "");
    expect_print("sensor=topic(2)", "sensor=topic(2)");
    expect_print("sensor=client()", "sensor=client()");
    expect_print("table=abc message=payload(m) time=payload(t.u) sensor=payload(s)",
                 "sensor=payload(s) time=payload(t.u) message=payload(m) table=abc");
    expect_print("\"sensor=green house\" \"time=payload(sent at)\"",
                 "\"sensor=green house\" \"time=payload(sent at)\"");
    expect_print("\"sensor=plain\"", "sensor=plain");
    expect_print("table=abc", "table=abc");
}

static void test_refused(void **state)
{
    static const char *const bad[] = {"sensor=",
                                      "sensor=topic()",
                                      "sensor=topic(0)",
                                      "sensor=topic(x)",
                                      "sensor=topic(70000)",
                                      "sensor=topic(9)",
                                      "sensor=topics(2)",
                                      "sensor=client(1)",
                                      "sensor=payload()",
                                      "time=",
                                      "time=now",
                                      "time=payload()",
                                      "time=topic(1)",
                                      "message=x",
                                      "message=payload()",
                                      "table=",
                                      "table=ab",
                                      "table=a$b",
                                      "table=a b",
                                      "tables=abc",
                                      "sensor",
                                      "nonsense",
                                      "sensor=a sensor=b",
                                      "time=payload(a) time=payload(a)",
                                      "sensor=\xFF"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct measurement_mapping m;
        struct measurement_error error = {""};
        assert_int_equal(measurement_mapping_parse(BYTES("a"), bytes_str(bad[i]), &m, &error), E_INVALID);
        assert_true(error.text[0] != 0);
        assert_true(bytes_is_utf8(bytes_str(error.text)));
    }
    struct buffer words;
    struct measurement_mapping m;
    struct measurement_error error;
    buffer_init(&words, 4096);
    assert_int_equal(buffer_appendf(&words, "time=payload(%0256d)", 0), E_OK);
    assert_int_equal(measurement_mapping_parse(BYTES("a"), buffer_bytes(&words), &m, &error), E_OK);
    measurement_mapping_finish(&m);
    buffer_clear(&words);
    assert_int_equal(buffer_appendf(&words, "time=payload(%0257d)", 0), E_OK);
    assert_int_equal(measurement_mapping_parse(BYTES("a"), buffer_bytes(&words), &m, &error), E_INVALID);
    buffer_finish(&words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_print),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
