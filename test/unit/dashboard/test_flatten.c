#include "unit.h"

#include "dashboard/flatten.h"

static char seen[4096];
static size_t most;

static bool note(void *ctx, const struct flatten_value *value)
{
    size_t *count = ctx;
    size_t len = strlen(seen);
    snprintf(seen + len, sizeof(seen) - len, "%.*s=%s%.*s;", (int)value->name.len, (const char *)value->name.data,
             value->is_number ? "#" : "", (int)value->text.len, (const char *)value->text.data);
    return ++*count < most;
}

static enum err flatten(const char *message)
{
    struct flatten f;
    size_t count = 0;
    seen[0] = '\0';
    flatten_init(&f);
    enum err e = flatten_message(&f, bytes_str(message), note, &count);
    flatten_finish(&f);
    return e;
}

static void test_values(void **state)
{
    (void)state;
    most = 100;
    assert_int_equal(
        flatten("{\"a\":1.50,\"b\":{\"c\":true,\"d\":{\"e\":\"x\\ny\"}},\"f\":null,\"g\":[1,[2]],\"h\":-2}"), E_OK);
    assert_string_equal(seen, "a=#1.50;b.c=true;b.d.e=x\ny;h=#-2;");
    assert_int_equal(flatten("{}"), E_OK);
    assert_string_equal(seen, "");
    assert_int_equal(flatten("{\"\":1,\"\\u00fc\":2}"), E_OK);
    assert_string_equal(seen, "=#1;\xC3\xBC=#2;");
}

static void test_not_an_object(void **state)
{
    (void)state;
    assert_int_equal(flatten("5"), E_MALFORMED);
    assert_int_equal(flatten(""), E_MALFORMED);
    assert_int_equal(flatten("{\"a\":1"), E_MALFORMED);
    assert_string_equal(seen, "a=#1;");
    assert_int_equal(flatten("{\"a\":1}x"), E_MALFORMED);
}

static void test_stops(void **state)
{
    (void)state;
    most = 1;
    assert_int_equal(flatten("{\"a\":1,\"b\":2}"), E_OK);
    assert_string_equal(seen, "a=#1;");
    most = 100;
}

/* What is too deep or has too long a name is left out, and what follows is not. */
static void test_limits(void **state)
{
    char message[2048];
    char name[600];
    (void)state;
    assert_int_equal(
        flatten("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"y\":0,\"a\":{\"x\":1}}}}}}}},\"z\":2}"), E_OK);
    assert_string_equal(seen, "a.a.a.a.a.a.a.y=#0;z=#2;");
    memset(name, 'n', sizeof(name));
    name[FLATTEN_NAME_MAX + 1] = '\0';
    snprintf(message, sizeof(message), "{\"%s\":1,\"%s\":{\"a\":2},\"b\":3}", name, name);
    assert_int_equal(flatten(message), E_OK);
    assert_string_equal(seen, "b=#3;");
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        double value;
    } cases[] = {{"0", 0},
                 {"-0.0", 0},
                 {"21.5", 21.5},
                 {"0.1", 0.1},
                 {"-273.15", -273.15},
                 {"1e3", 1000},
                 {"1E-2", .01},
                 {"9007199254740993", 9007199254740992.0},
                 {"123456789.123456789", 123456789.123456789},
                 {"0.000000000000001", 1e-15}};
    double value;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(flatten_number(bytes_str(cases[i].text), &value));
        assert_true(value == cases[i].value);
    }
    assert_false(flatten_number(BYTES("1e400"), &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_not_an_object), cmocka_unit_test(test_stops),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
