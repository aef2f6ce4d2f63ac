#include "unit.h"

#include "mqttsn/config.h"

static enum err read_config(struct mqttsn_config *c, const char *text, struct option_error *error)
{
    memset(c, 0, sizeof(*c));
    error->text[0] = '\0';
    assert_int_equal(options_init(&mqttsn_option_table, c), E_OK);
    enum err e = options_read(&mqttsn_option_table, c, bytes_str(text), "file", error);
    return e == E_OK ? mqttsn_config_check(c, error) : e;
}

static void defaults(void **state)
{
    (void)state;
    struct mqttsn_config c;
    struct option_error error;
    assert_int_equal(read_config(&c, "", &error), E_OK);
    struct listeners plain = mqttsn_config_plain(&c);
    assert_int_equal(plain.count, 1);
    assert_int_equal(plain.items[0].port, 10000);
    assert_string_equal(plain.items[0].address, "");
    assert_int_equal(c.gateway_id, 1);
    assert_int_equal(c.advertise_interval_ms, 900000);
    assert_int_equal(c.max_clients, 10000);
    assert_int_equal(c.retry_interval_ms, 10000);
    assert_int_equal(c.retry_count, 3);
    assert_int_equal(c.sleep_queue, 100);
    assert_true(c.qos_minus_one && c.forwarder && !c.aggregate);
    assert_string_equal(c.uplink.broker.host, "127.0.0.1");
    assert_int_equal(c.uplink.broker.port, 1883);
    options_finish(&mqttsn_option_table, &c);
}

static void printed_reads_back(void **state)
{
    (void)state;
    static const char text[] =
        "listener 1884\nlistener 1885 192.0.2.1\nlistener 1886 ::1\ndtls_listener 8884 127.0.0.1\n"
        "dtls_certfile /c.pem\ndtls_keyfile /k.pem\nadvertise_address 225.1.1.1:1883\n"
        "gateway_id 7\nretry_interval 1500ms\naggregate true\nbroker example.org:8883\n"
        "log_type error warning\n";
    struct mqttsn_config c;
    struct option_error error;
    assert_int_equal(read_config(&c, text, &error), E_OK);
    struct buffer first, second;
    buffer_init(&first, 65536);
    buffer_init(&second, 65536);
    assert_int_equal(options_print(&mqttsn_option_table, &c, &first), E_OK);
    assert_int_equal(buffer_append_byte(&first, '\0'), E_OK);
    options_finish(&mqttsn_option_table, &c);
    assert_non_null(strstr((char *)first.data, "listener 1885 192.0.2.1\nlistener 1886 ::1\n"));
    assert_int_equal(read_config(&c, (char *)first.data, &error), E_OK);
    assert_int_equal(options_print(&mqttsn_option_table, &c, &second), E_OK);
    assert_int_equal(buffer_append_byte(&second, '\0'), E_OK);
    assert_string_equal((char *)first.data, (char *)second.data);
    options_finish(&mqttsn_option_table, &c);
    buffer_finish(&first);
    buffer_finish(&second);
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *say;
    } cases[] = {
        {"listener 0\n", "listener"},
        {"listener 1884 nowhere\n", "listener"},
        {"listener 1884 127.0.0.1 x\n", "listener"},
        {"dtls_listener 8884\n", "dtls_listener"},
        {"dtls_certfile /c.pem\n", "dtls_keyfile"},
        {"dtls_cafile /c.pem\n", "dtls_cafile"},
        {"advertise_address fe80::1\n", "advertise_address"},
        {"advertise_address somewhere\n", "advertise_address"},
        {"gateway_id 256\n", "gateway_id"},
        {"max_clients 0\n", "max_clients"},
        {"broker_certfile /c.pem\n", "broker_keyfile"},
        {"nonsense 1\n", "nonsense"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mqttsn_config c;
        struct option_error error;
        assert_int_equal(read_config(&c, cases[i].text, &error), E_INVALID);
        assert_non_null(strstr(error.text, cases[i].say));
        options_finish(&mqttsn_option_table, &c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(printed_reads_back),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
