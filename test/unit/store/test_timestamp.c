#include "unit.h"

#include "store/timestamp.h"

static void expect_ms(const char *json, int64_t ms)
{
    struct json_token t;
    int64_t got = -1;
    assert_int_equal(json_parse(bytes_str(json), 0, &t), E_OK);
    assert_int_equal(timestamp_parse(&t, &got), E_OK);
    assert_int_equal(got, ms);
}

static void expect_none(const char *json)
{
    struct json_token t;
    int64_t got = 77;
    assert_int_equal(json_parse(bytes_str(json), 9, &t), E_OK);
    assert_int_equal(timestamp_parse(&t, &got), E_MALFORMED);
    assert_int_equal(got, 77);
}

static void test_seconds(void **state)
{
    (void)state;
    expect_ms("0", 0);
    expect_ms("-0", 0);
    expect_ms("0.0", 0);
    expect_ms("0e99999999999999999999", 0);
    expect_ms("1", 1000);
    expect_ms("1585900000", 1585900000000);
    expect_ms("1585900000.1", 1585900000100);
    expect_ms("1585900000.123", 1585900000123);
    expect_ms("1585900000.1239999999999999999999999999999999", 1585900000123);
    expect_ms("1585900000.0009", 1585900000000);
    expect_ms("0.001", 1);
    expect_ms("0.0001", 0);
    expect_ms("1e-99999999999999999999", 0);
    expect_ms("1.5859e9", 1585900000000);
    expect_ms("15859E+5", 1585900000000);
    expect_ms("0.00000015859e16", 1585900000000);
    expect_ms("1585900000000e-3", 1585900000000);
    expect_ms("99999999999", 99999999999000);
    expect_ms("99999999999.999", 99999999999999);
}

static void test_milliseconds(void **state)
{
    (void)state;
    expect_ms("100000000000", 100000000000);
    expect_ms("1e11", 100000000000);
    expect_ms("1585900000123", 1585900000123);
    expect_ms("1585900000123.9", 1585900000123);
    expect_ms("1.585900000123e12", 1585900000123);
    expect_ms("99999999999999", 99999999999999);
    expect_ms("99999999999999.9", 99999999999999);
}

static void test_text(void **state)
{
    (void)state;
    expect_ms("\"1585900000\"", 1585900000000);
    expect_ms("\"1585900000123\"", 1585900000123);
    expect_ms("\"2020-04-03T07:46:40Z\"", 1585900000000);
    expect_ms("\"2020-04-03T07:46:40.123456789Z\"", 1585900000123);
    expect_ms("\"2020-04-03 09:46:40+02:00\"", 1585900000000);
    expect_ms("\"2020-04-03T09:46:40\\u002B02:00\"", 1585900000000);
    expect_ms("\"2020-04-03T07\\u003a46\\u003a40\"", 1585900000000);
    expect_ms("\"1970-01-01T00:00:00Z\"", 0);
}

static void test_no_time(void **state)
{
    (void)state;
    expect_none("-1");
    expect_none("-0.1");
    expect_none("1e14");
    expect_none("100000000000000");
    expect_none("1585900000123456");
    expect_none("1585900000123456789");
    expect_none("1e99999999999999999999");
    expect_none("true");
    expect_none("null");
    expect_none("[1585900000]");
    expect_none("{\"t\":1}");
    expect_none("\"\"");
    expect_none("\"yesterday\"");
    expect_none("\"07:46:40\"");
    expect_none("\"2020-13-03T07:46:40Z\"");
    expect_none("\"1969-12-31T23:59:59Z\"");
    expect_none("\"-5\"");
    expect_none("\"1585900000 s\"");
    expect_none("\"2020-04-03T07:46:40Z\\u0000\"");
    expect_none("\"\\n2020-04-03T07:46:40Z\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seconds), cmocka_unit_test(test_milliseconds),
                                       cmocka_unit_test(test_text), cmocka_unit_test(test_no_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
