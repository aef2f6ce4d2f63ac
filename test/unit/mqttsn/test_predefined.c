#include "unit.h"

#include "mqttsn/predefined.h"

static struct predefined *read_ok(const char *text)
{
    struct predefined *p = NULL;
    struct option_error error = {""};
    enum err e = predefined_read(bytes_str(text), "file", &p, &error);
    if (e != E_OK) {
        fail_msg("%s: %s", err_name(e), error.text);
    }
    return p;
}

static void assert_topic(const struct predefined *p, const char *client, uint16_t id, const char *topic)
{
    struct bytes found = predefined_topic(p, bytes_str(client), id);
    assert_true(bytes_equal(found, bytes_str(topic)));
}

static void client_goes_before_all(void **state)
{
    (void)state;
    struct predefined *p = read_ok("# comment\n"
                                   "* 1 all/one\n"
                                   "* 2 all/two\n"
                                   "\n"
                                   "dev1 1 dev1/one\n"
                                   "  dev10\t1\t\"with a blank\"  \n");
    assert_topic(p, "dev1", 1, "dev1/one");
    assert_topic(p, "dev1", 2, "all/two");
    assert_topic(p, "dev10", 1, "with a blank");
    assert_topic(p, "dev", 1, "all/one");
    assert_topic(p, "dev", 3, "");
    assert_int_equal(predefined_id(p, BYTES("dev"), BYTES("all/one")), 1);
    assert_int_equal(predefined_id(p, BYTES("dev1"), BYTES("dev1/one")), 1);
    assert_int_equal(predefined_id(p, BYTES("dev1"), BYTES("all/one")), 0); /* 1 means something else to dev1 */
    assert_int_equal(predefined_id(p, BYTES("dev1"), BYTES("all/two")), 2);
    assert_int_equal(predefined_id(p, BYTES("dev1"), BYTES("nothing")), 0);
    predefined_destroy(p);
    assert_topic(NULL, "dev", 1, "");
    assert_int_equal(predefined_id(NULL, BYTES("dev"), BYTES("all/one")), 0);
}

static void mistakes_name_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where;
    } cases[] = {
        {"* 1 a\n* 2\n", "file:2: "},
        {"* 0 a\n", "file:1: "},
        {"* 65535 a\n", "file:1: "},
        {"* 1 a/#\n", "file:1: "},
        {"* 1 a b\n", "file:1: "},
        {"* x a\n", "file:1: "},
        {"* 1 a\n* 1 b\n", "topic id 1 twice"},
        {"\"\" 1 a\n", "file:1: "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct predefined *p = NULL;
        struct option_error error = {""};
        assert_int_equal(predefined_read(bytes_str(cases[i].text), "file", &p, &error), E_INVALID);
        assert_null(p);
        assert_non_null(strstr(error.text, cases[i].where));
    }
    struct predefined *p = NULL;
    struct option_error error = {""};
    assert_int_equal(predefined_read_file("/nonexistent/file", &p, &error), E_NOT_FOUND);
    assert_non_null(strstr(error.text, "/nonexistent/file"));
}

static void an_empty_file_is_an_empty_table(void **state)
{
    (void)state;
    struct predefined *p = read_ok("# nothing\n");
    assert_topic(p, "dev", 1, "");
    predefined_destroy(p);
}

static void many_lines(void **state)
{
    (void)state;
    struct buffer text;
    buffer_init(&text, 1 << 20);
    for (unsigned i = 0; i < 10000; i++) {
        assert_int_equal(buffer_appendf(&text, "client%u %u topic/%u\n", i % 100, i / 100 + 1, i), E_OK);
    }
    struct predefined *p = NULL;
    struct option_error error;
    assert_int_equal(predefined_read(buffer_bytes(&text), "file", &p, &error), E_OK);
    assert_topic(p, "client37", 51, "topic/5037");
    assert_int_equal(predefined_id(p, BYTES("client37"), BYTES("topic/5037")), 51);
    predefined_destroy(p);
    buffer_finish(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_goes_before_all),
        cmocka_unit_test(mistakes_name_the_line),
        cmocka_unit_test(an_empty_file_is_an_empty_table),
        cmocka_unit_test(many_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
