#include "unit.h"

#include "dashboard/config.h"

static struct dashboard_config config;

static enum err read_config(const char *text, struct option_error *error)
{
    memset(&config, 0, sizeof(config));
    error->text[0] = '\0';
    assert_int_equal(options_init(&dashboard_option_table, &config), E_OK);
    enum err e = options_read(&dashboard_option_table, &config, bytes_str(text), "file", error);
    return e ? e : dashboard_config_check(&config, error);
}

static void test_printed_and_read_again(void **state)
{
    static const char text[] =
        "source dynamodb\ndynamodb_table readings\ntitle A b\nmetric temperature unit=\xC2\xB0"
        "C min=-5 max=3.5e1\nmetric \"two words\" \"unit=m / s\"\nsensors a \"b c\"\nsensors d a\n";
    struct option_error error;
    struct buffer first;
    struct buffer second;
    (void)state;
    buffer_init(&first, 65536);
    buffer_init(&second, 65536);
    assert_int_equal(read_config(text, &error), E_OK);
    assert_int_equal(config.metric_count, 2);
    assert_string_equal(config.metrics[1].unit, "m / s");
    assert_int_equal(config.sensor_count, 3);
    assert_true(dashboard_config_allows(&config, BYTES("b c")));
    assert_false(dashboard_config_allows(&config, BYTES("b")));
    assert_int_equal(options_print(&dashboard_option_table, &config, &first), E_OK);
    options_finish(&dashboard_option_table, &config);
    assert_int_equal(buffer_append_byte(&first, 0), E_OK);
    assert_int_equal(read_config((const char *)first.data, &error), E_OK);
    assert_int_equal(options_print(&dashboard_option_table, &config, &second), E_OK);
    options_finish(&dashboard_option_table, &config);
    assert_int_equal(first.len, second.len + 1);
    assert_memory_equal(first.data, second.data, second.len);
    buffer_finish(&first);
    buffer_finish(&second);
}

static void test_mistakes(void **state)
{
    static const struct {
        const char *text, *named;
    } cases[] = {
        {"title x\n", "sqlite_file"},
        {"source dynamodb\n", "dynamodb_table"},
        {"source redis\n", "source"},
        {"sqlite_file f\npoints 9\n", "points"},
        {"sqlite_file f\nrefresh 10ms\n", "refresh"},
        {"sqlite_file f\nmetric a min=x\n", "min="},
        {"sqlite_file f\nmetric a min=1 min=2\n", "min="},
        {"sqlite_file f\nmetric a max=1e\n", "max="},
        {"sqlite_file f\nmetric a unit=\n", "unit="},
        {"sqlite_file f\nmetric a min=2 max=-1e1\n", "min="},
        {"source dynamodb\ndynamodb_table a b\n", "dynamodb_table"},
        {"sqlite_file f\nmetric a colour=red\n", "metric"},
        {"sqlite_file f\nmetric a\nmetric a\n", "metric"},
        {"sqlite_file f\nsensors \"\"\n", "sensors"},
        {"sqlite_file f\naws_role_alias a\n", "aws_credentials_endpoint"},
        {"sqlite_file f\niot_certfile a\n", "iot_keyfile"},
        {"sqlite_file f\nlistener 80\n", "listener"},
    };
    struct option_error error;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_not_equal(read_config(cases[i].text, &error), E_OK);
        assert_non_null(strstr(error.text, cases[i].named));
        options_finish(&dashboard_option_table, &config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_printed_and_read_again), cmocka_unit_test(test_mistakes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
