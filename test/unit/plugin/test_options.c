/* plugin/options.h: the plugin's table, file over lines, what options say together. */
#include "plugin/options.h"

#include "plugin/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define LINES(...)                                                                                                     \
    ((const struct plugin_option[]){__VA_ARGS__}),                                                                     \
        (sizeof((const struct plugin_option[]){__VA_ARGS__}) / sizeof(struct plugin_option))

static const struct plugin_options *good(const struct plugin_option *lines, size_t count)
{
    const struct plugin_options *o = NULL;
    struct option_error why = {""};
    if (plugin_options_create(lines, count, &o, &why) != E_OK) {
        fail_msg("%s", why.text);
    }
    return o;
}

static void bad(const struct plugin_option *lines, size_t count, const char *says)
{
    const struct plugin_options *o = NULL;
    struct option_error why = {""};
    assert_int_not_equal(plugin_options_create(lines, count, &o, &why), E_OK);
    if (!strstr(why.text, says)) {
        fail_msg("'%s' does not say '%s'", why.text, says);
    }
    assert_null(strchr(why.text, '\n'));
}

static void test_defaults(void **state)
{
    (void)state;
    const struct plugin_options *o = good(NULL, 0);
    assert_null(o->iot_endpoint.host);
    assert_int_equal(o->iot_connections, 1);
    assert_int_equal(o->iot_publish_rate, 100);
    assert_int_equal(o->iot_byte_rate, 512 * 1024);
    assert_int_equal(o->iot_max_inflight, 100);
    assert_int_equal(o->iot_max_payload, 128 * 1024);
    assert_int_equal(o->iot_keepalive, 60000);
    assert_int_equal(o->iot_protocol, IOT_MQTT_V5);
    assert_string_equal(o->dynamodb_sensor_key, "sensor");
    assert_string_equal(o->dynamodb_time_key, "timestamp");
    assert_int_equal(o->dynamodb_time_type, 'S');
    assert_int_equal(o->dynamodb_connections, 4);
    assert_string_equal(o->spool_dir, "/var/lib/mosquitto/aws-spool");
    assert_int_equal(o->spool_max_size, 1u << 30);
    assert_int_equal(o->spool_full, SPOOL_DROP_OLDEST);
    assert_int_equal(o->spool_sync, 1000);
    assert_int_equal(o->sys_interval, 10000);
    assert_int_equal(strncmp(o->iot_client_id, "mosquitto-aws-", 14), 0);
    plugin_options_unref(o);
}

static void test_values(void **state)
{
    (void)state;
    const struct plugin_options *o =
        good(LINES({"topic", "a/# out 0"}, {"topic", "cmd/# in 1 \"\" remote/"}, {"store", "a/+ sensor=client()"},
                   {"iot_endpoint", "x-ats.iot.eu-west-1.amazonaws.com:443"}, {"iot_certfile", "/c"},
                   {"iot_keyfile", "/k"}, {"sqlite_file", "/s"}, {"spool_sync", "always"}, {"spool_full", "reject"},
                   {"dynamodb_ttl", "30d"}, {"dynamodb_time_type", "N"}, {"spool_max_size", "2G"}));
    assert_int_equal(o->topic_count, 2);
    assert_int_equal(o->topics[1].direction, ROUTE_IN);
    assert_int_equal(o->store_count, 1);
    assert_string_equal(o->iot_endpoint.host, "x-ats.iot.eu-west-1.amazonaws.com");
    assert_int_equal(o->iot_endpoint.port, 443);
    assert_int_equal(o->spool_sync, SPOOL_SYNC_ALWAYS);
    assert_int_equal(o->spool_full, SPOOL_REJECT);
    assert_int_equal(o->dynamodb_ttl, UINT64_C(30) * 86400000);
    assert_int_equal(o->dynamodb_time_type, 'N');
    assert_int_equal(o->spool_max_size, UINT64_C(2) << 30);
    plugin_options_unref(o);
}

static void test_endpoint_port_defaults(void **state)
{
    (void)state;
    const struct plugin_options *o =
        good(LINES({"iot_endpoint", "host"}, {"iot_certfile", "/c"}, {"iot_keyfile", "/k"}));
    assert_int_equal(o->iot_endpoint.port, 8883);
    plugin_options_unref(o);
}

static void test_mistakes_name_the_option(void **state)
{
    (void)state;
    bad(LINES({"tpoic", "#"}), "tpoic");
    bad(LINES({"iot_connections", "0"}), "iot_connections");
    bad(LINES({"iot_connections", "two"}), "iot_connections");
    bad(LINES({"spool_max_size", "10"}), "spool_max_size");
    bad(LINES({"spool_sync", "sometimes"}), "spool_sync");
    bad(LINES({"spool_full", "panic"}), "spool_full");
    bad(LINES({"iot_protocol", "mqttv31"}), "iot_protocol");
    bad(LINES({"spool_dir", "/a"}, {"spool_dir", "/b"}), "spool_dir");
    bad(LINES({"topic", "a/#/b"}), "topic");
    bad(LINES({"store", "a sensor=topic(x)"}), "store");
    bad(LINES({"config_file", "/nowhere/at/all"}), "config_file");
    bad(LINES({"will", "$share/g/a"}), "will");
    bad(LINES({"store", "a/+ sensor=topic(3)"}), "2 levels");
    bad(LINES({"sqlite_retention", "30"}), "give the unit");
    bad(LINES({"dynamodb_ttl", "30"}), "give the unit");
    bad(LINES({"will", "$SYS/#"}), "will");
    bad(LINES({"will", "a/+"}, {"will", "b/#"}, {"will", "+/c"}), "a/+");
}

static void test_options_that_go_together(void **state)
{
    (void)state;
    bad(LINES({"topic", "#"}), "iot_endpoint");
    bad(LINES({"store", "#"}), "sqlite_file");
    bad(LINES({"dynamodb_table", "my table"}), "dynamodb_table");
    bad(LINES({"dynamodb_table", "t"}), "dynamodb_table");
    bad(LINES({"iot_endpoint", "h"}), "iot_certfile");
    bad(LINES({"iot_certfile", "/c"}), "iot_keyfile");
    bad(LINES({"aws_role_alias", "r"}), "aws_credentials_endpoint");
    bad(LINES({"aws_role_alias", "r"}, {"aws_credentials_endpoint", "h"}), "iot_certfile");
    bad(LINES({"iot_client_id", "$x"}), "iot_client_id");
    bad(LINES({"local_password", "x"}), "local_username");
    bad(LINES({"iot_notifications", "up/#"}), "iot_notifications");
    bad(LINES({"dynamodb_table", "a b"}), "dynamodb_table");
    bad(LINES({"dynamodb_table", "ab"}), "dynamodb_table");
    char id[130];
    memset(id, 'x', sizeof(id));
    id[128] = '\0';
    plugin_options_unref(good(LINES({"iot_client_id", id})));
    bad(LINES({"iot_client_id", id}, {"iot_connections", "2"}), "iot_client_id");
    id[126] = '\0';
    plugin_options_unref(good(LINES({"iot_client_id", id}, {"iot_connections", "9"})));
    bad(LINES({"iot_client_id", id}, {"iot_connections", "10"}), "iot_client_id");
}

static char *write_file(const char *text)
{
    char *path = strdup("/tmp/test_options.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void test_config_file_wins_over_lines(void **state)
{
    (void)state;
    char *path = write_file("# more\nsqlite_file /from/file\nstore a/#\nsys_interval 3s\n");
    const struct plugin_options *o =
        good(LINES({"sqlite_file", "/from/line"}, {"store", "b/#"}, {"config_file", path}));
    assert_string_equal(o->sqlite_file, "/from/file");
    assert_int_equal(o->store_count, 2);
    assert_string_equal(o->stores[0].filter, "b/#");
    assert_int_equal(o->sys_interval, 3000);
    plugin_options_unref(o);
    unlink(path);
    free(path);
}

static void test_mistake_in_config_file_names_file_and_line(void **state)
{
    (void)state;
    char *path = write_file("sqlite_file /x\n\nsys_interval soon\n");
    char place[64];
    snprintf(place, sizeof(place), "%s:3", path);
    bad(LINES({"config_file", path}), place);
    bad(LINES({"config_file", path}), "sys_interval");
    unlink(path);
    free(path);
    path = write_file("sqlite_file /x\n\niot_endpoint host\n");
    snprintf(place, sizeof(place), "%s:3: option iot_endpoint", path);
    bad(LINES({"config_file", path}), place);
    unlink(path);
    free(path);
}

static void test_prefix_in_config_file_is_explained(void **state)
{
    (void)state;
    char *path = write_file("plugin_opt_store a/#\n");
    bad(LINES({"config_file", path}), "without plugin_opt_");
    unlink(path);
    free(path);
}

static void test_printed_table_reads_back(void **state)
{
    (void)state;
    const struct plugin_options *o =
        good(LINES({"topic", "a/# both 0 l/ r/"}, {"store", "a/+ sensor=topic(1) time=payload(ts) table=readings"},
                   {"iot_endpoint", "h:1"}, {"iot_certfile", "/c"}, {"iot_keyfile", "/k"}, {"sqlite_file", "/s"}));
    struct buffer first;
    struct buffer second;
    buffer_init(&first, 65536);
    buffer_init(&second, 65536);
    assert_int_equal(options_print(&plugin_option_table, o, &first), E_OK);
    struct plugin_options again = {0};
    struct option_error why = {""};
    assert_int_equal(options_init(&plugin_option_table, &again), E_OK);
    if (options_read(&plugin_option_table, &again, buffer_bytes(&first), "printed", &why) != E_OK) {
        fail_msg("%s", why.text);
    }
    assert_int_equal(options_print(&plugin_option_table, &again, &second), E_OK);
    assert_true(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
    options_finish(&plugin_option_table, &again);
    buffer_finish(&first);
    buffer_finish(&second);
    plugin_options_unref(o);
}

static void test_fixed_changes_are_named(void **state)
{
    (void)state;
    const struct plugin_options *a = good(LINES({"spool_dir", "/a"}, {"sys_interval", "1s"}));
    const struct plugin_options *b = good(LINES({"spool_dir", "/b"}, {"sys_interval", "2s"}));
    struct buffer names;
    buffer_init(&names, 512);
    plugin_options_fixed_changes(a, b, &names);
    assert_true(bytes_equal(buffer_bytes(&names), BYTES("spool_dir")));
    buffer_finish(&names);
    plugin_options_unref(a);
    plugin_options_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_endpoint_port_defaults),
        cmocka_unit_test(test_mistakes_name_the_option),
        cmocka_unit_test(test_options_that_go_together),
        cmocka_unit_test(test_config_file_wins_over_lines),
        cmocka_unit_test(test_mistake_in_config_file_names_file_and_line),
        cmocka_unit_test(test_prefix_in_config_file_is_explained),
        cmocka_unit_test(test_printed_table_reads_back),
        cmocka_unit_test(test_fixed_changes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
