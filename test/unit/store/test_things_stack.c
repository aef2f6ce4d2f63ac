#include "unit.h"

#include "store/things_stack.h"

#define NO_TIME (-1)

static void expect_message(const char *payload, const char *message, int64_t received)
{
    struct buffer text;
    struct measurement_error error = {""};
    int64_t ms = NO_TIME;
    buffer_init(&text, 1u << 20);
    enum err e = things_stack_message(bytes_str(payload), &text, &ms, &error);
    if (e != E_OK || !bytes_equal(buffer_bytes(&text), bytes_str(message))) {
        print_error("%s\n  %s %s\n  %.*s\n", payload, err_name(e), error.text, (int)text.len, (const char *)text.data);
    }
    assert_int_equal(e, E_OK);
    assert_true(bytes_equal(buffer_bytes(&text), bytes_str(message)));
    assert_int_equal(ms, received);
    buffer_finish(&text);
}

static void expect_reason(const char *payload, const char *reason)
{
    struct buffer text;
    struct measurement_error error = {""};
    int64_t ms = NO_TIME;
    buffer_init(&text, 1u << 20);
    assert_int_equal(things_stack_message(bytes_str(payload), &text, &ms, &error), E_INVALID);
    assert_string_equal(error.text, reason);
    buffer_finish(&text);
}

/* An uplink as the server sends it, with the members that matter here and some that do not. */
static void test_full_uplink(void **state)
{
    (void)state;
    expect_message(
        "{\"end_device_ids\":{\"device_id\":\"dev1\",\"application_ids\":{\"application_id\":\"app1\"}},"
        "\"correlation_ids\":[\"as:up:01\"],\"received_at\":\"2020-04-03T07:46:40.123456789Z\","
        "\"uplink_message\":{\"session_key_id\":\"AXA50==\",\"f_port\":1,\"frm_payload\":\"gkHe\","
        "\"decoded_payload\":{\"temperature\": 1.0, \"luminosity\":0.64},"
        "\"rx_metadata\":[{\"gateway_ids\":{\"gateway_id\":\"a\"},\"rssi\":-120,\"channel_rssi\":-120,\"snr\":-5.25},"
        "{\"gateway_ids\":{\"gateway_id\":\"b\"},\"rssi\":-35,\"snr\":5.0}],"
        "\"settings\":{\"data_rate\":{\"lora\":{\"bandwidth\":125000}}},"
        "\"received_at\":\"2020-04-03T07:46:39Z\"}}",
        "{\"temperature\": 1.0, \"luminosity\":0.64,\"rssi\":-35,\"snr\":5.0}", 1585900000123);
}

static void test_raw_uplink(void **state)
{
    (void)state;
    expect_message("{\"uplink_message\":{\"frm_payload\":\"gkHe\",\"rx_metadata\":[{\"rssi\":-1,\"snr\":2}]}}",
                   "{\"frm_payload\":\"gkHe\",\"rssi\":-1,\"snr\":2}", NO_TIME);
    expect_message("{\"uplink_message\":{\"frm_payload\":\"gkHe\"}}", "{\"frm_payload\":\"gkHe\"}", NO_TIME);
    expect_message("{\"uplink_message\":{\"frm_payload\":\"gkHe\",\"decoded_payload\":null}}",
                   "{\"frm_payload\":\"gkHe\"}", NO_TIME);
    expect_message("{\"uplink_message\":{}}", "{\"frm_payload\":\"\"}", NO_TIME);
}

static void test_signal(void **state)
{
    (void)state;
    /* snr decides before rssi; one that is left out is 0; who does not say rssi is not asked. */
    expect_message("{\"uplink_message\":{\"decoded_payload\":{},\"rx_metadata\":[{\"rssi\":-30,\"snr\":1},{\"rssi\":-"
                   "90,\"snr\":9.75}]}}",
                   "{\"rssi\":-90,\"snr\":9.75}", NO_TIME);
    expect_message("{\"uplink_message\":{\"decoded_payload\":{ "
                   "},\"rx_metadata\":[{\"rssi\":-90,\"snr\":9},{\"rssi\":-80,\"snr\":9}]}}",
                   "{\"rssi\":-80,\"snr\":9}", NO_TIME);
    expect_message(
        "{\"uplink_message\":{\"decoded_payload\":{},\"rx_metadata\":[{\"rssi\":-90,\"snr\":-0.5},{\"rssi\":-99}]}}",
        "{\"rssi\":-99,\"snr\":0}", NO_TIME);
    expect_message("{\"uplink_message\":{\"decoded_payload\":{\"a\":1},\"rx_metadata\":[{\"snr\":9},{},7]}}",
                   "{\"a\":1}", NO_TIME);
    expect_message("{\"uplink_message\":{\"decoded_payload\":{\"a\":1},\"rx_metadata\":{}}}", "{\"a\":1}", NO_TIME);
    /* What the device's own formatter says stands. */
    expect_message("{\"uplink_message\":{\"decoded_payload\":{\"rssi\":7},\"rx_metadata\":[{\"rssi\":-90,\"snr\":9}]}}",
                   "{\"rssi\":7,\"snr\":9}", NO_TIME);
    expect_message("{\"uplink_message\":{\"decoded_payload\":{\"s\":{\"snr\":1},\"sn\\u0072\":7 } "
                   ",\"rx_metadata\":[{\"rssi\":-90}]}}",
                   "{\"s\":{\"snr\":1},\"sn\\u0072\":7,\"rssi\":-90}", NO_TIME);
}

static void test_refused(void **state)
{
    (void)state;
    expect_reason("hello", "the payload is not JSON");
    expect_reason("{}", "no uplink of The Things Stack: there is no object \"uplink_message\"");
    expect_reason("3", "no uplink of The Things Stack: there is no object \"uplink_message\"");
    expect_reason("{\"join_accept\":{}}", "no uplink of The Things Stack: there is no object \"uplink_message\"");
    expect_reason("{\"received_at\":\"today\",\"uplink_message\":{}}", "received_at of the uplink is not a time");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full_uplink), cmocka_unit_test(test_raw_uplink),
                                       cmocka_unit_test(test_signal), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
