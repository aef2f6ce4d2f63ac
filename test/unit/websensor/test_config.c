#include "unit.h"

#include "websensor/config.h"

static enum err read_config(struct websensor_config *c, const char *text, struct option_error *error)
{
    memset(c, 0, sizeof(*c));
    error->text[0] = '\0';
    assert_int_equal(options_init(&websensor_option_table, c), E_OK);
    enum err e = options_read(&websensor_option_table, c, bytes_str(text), "file", error);
    return e == E_OK ? websensor_config_check(c, error) : e;
}

static void defaults(void **state)
{
    (void)state;
    struct websensor_config c;
    struct option_error error;
    assert_int_equal(read_config(&c, "certfile a\nkeyfile b\n", &error), E_OK);
    struct listeners tls = websensor_config_tls(&c);
    assert_int_equal(tls.count, 1);
    assert_int_equal(tls.items[0].port, 8443);
    assert_string_equal(tls.items[0].address, "");
    assert_int_equal(c.max_body, 131072);
    assert_int_equal(c.max_connections, 1024);
    assert_true(c.rate_limit == RATE_LIMIT_AUTO);
    assert_false(c.allow_anonymous);
    assert_string_equal(c.walk_topic, "$aws/things/%s/shadow/update");
    options_finish(&websensor_option_table, &c);
}

static void printed_reads_back(void **state)
{
    (void)state;
    static const char text[] = "listener 443 ::\nlistener 8443 192.0.2.1\ncertfile a\nkeyfile b\nhttp_listener 80\n"
                               "http_listener 81 ::1\ntokens t\nallow_anonymous true\nrate_limit 0\nwalk_topic w/%s\n"
                               "max_body 1M\nttn_secret s\n";
    struct websensor_config a, b;
    struct option_error error;
    struct buffer first, second;
    buffer_init(&first, 65536);
    buffer_init(&second, 65536);
    assert_int_equal(read_config(&a, text, &error), E_OK);
    assert_int_equal(options_print(&websensor_option_table, &a, &first), E_OK);
    assert_int_equal(buffer_append_byte(&first, '\0'), E_OK);
    assert_int_equal(read_config(&b, (const char *)first.data, &error), E_OK);
    first.len--;
    assert_int_equal(options_print(&websensor_option_table, &b, &second), E_OK);
    assert_true(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
    assert_int_equal(b.tls.count, 2);
    assert_int_equal(b.plain.count, 2);
    assert_string_equal(b.plain.items[1].address, "::1");
    buffer_finish(&first);
    buffer_finish(&second);
    options_finish(&websensor_option_table, &a);
    options_finish(&websensor_option_table, &b);
}

static void mistakes(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "http_listener 0",
        "http_listener 80 nowhere",
        "http_listener 80 127.0.0.1 more",
        "listener 8443",
        "certfile a",
        "http_listener 80\nkeyfile b",
        "http_listener 80\nwalk_topic a/#",
        "http_listener 80\nmax_body 1",
        "http_listener 80\nrate_limit -1",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct websensor_config c;
        struct option_error error;
        assert_int_not_equal(read_config(&c, texts[i], &error), E_OK);
        assert_non_null(strstr(error.text, "option"));
        options_finish(&websensor_option_table, &c);
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
