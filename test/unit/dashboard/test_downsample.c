#include "unit.h"

#include "dashboard/downsample.h"

#include <stdlib.h>

static struct buffer out;

static struct downsample *begin(int64_t from, int64_t to, uint32_t points)
{
    struct downsample_options o = {.from_ms = from, .to_ms = to, .points = points};
    struct downsample *d;
    assert_int_equal(downsample_create(&o, &d), E_OK);
    return d;
}

static void add(struct downsample *d, int64_t t, const char *message)
{
    assert_int_equal(downsample_add(d, t, bytes_str(message)), E_OK);
}

/* The answer without its meta, as text. Valid until the next one. */
static const char *end(struct downsample *d)
{
    static char text[65536];
    buffer_clear(&out);
    assert_int_equal(downsample_write(d, true, &out), E_OK);
    assert_int_equal(buffer_append_byte(&out, 0), E_OK);
    const char *meta = strstr((const char *)out.data, ",\"meta\":{");
    assert_non_null(meta);
    snprintf(text, sizeof(text), "%.*s%s", (int)(meta - (const char *)out.data), (const char *)out.data,
             strstr(meta, "}}") + 2);
    downsample_destroy(d);
    return text;
}

static void test_nothing(void **state)
{
    (void)state;
    assert_string_equal(end(begin(0, 999, 10)), "{\"t\":[]}");
}

static void test_buckets(void **state)
{
    struct downsample *d = begin(1000, 1999, 2);
    (void)state;
    add(d, 1000, "{\"a\":1}");
    add(d, 1100, "{\"a\":3}");
    add(d, 1400, "{\"a\":-4}");
    add(d, 1600, "{\"a\":0.5}");
    assert_string_equal(end(d),
                        "{\"t\":[1166,1600],\"a\":{\"min\":[-4,0.5],\"max\":[3,0.5],\"avg\":[0,0.5],\"count\":[3,1]}}");
}

static void test_ends_belong_to_the_range(void **state)
{
    struct downsample *d = begin(1000, 1001, 2);
    (void)state;
    add(d, 999, "{\"a\":1}");
    add(d, 1000, "{\"a\":2}");
    add(d, 1001, "{\"a\":3}");
    add(d, 1002, "{\"a\":4}");
    assert_string_equal(end(d), "{\"t\":[1000,1001],\"a\":{\"min\":[2,3],\"max\":[2,3],\"avg\":[2,3]}}");
}

static void test_gap(void **state)
{
    struct downsample *d = begin(0, 9999, 100);
    (void)state;
    for (int i = 0; i < 6; i++) {
        add(d, (i < 3 ? 0 : 5000) + i * 200, "{\"a\":1}");
    }
    assert_string_equal(end(d), "{\"t\":[0,200,400,3000,5600,5800,6000],\"a\":{\"min\":[1,1,1,null,1,1,1],"
                                "\"max\":[1,1,1,null,1,1,1],\"avg\":[1,1,1,null,1,1,1]}}");
}

static void test_states(void **state)
{
    struct downsample *d = begin(0, 29, 3);
    (void)state;
    add(d, 0, "{\"w\":true}");
    add(d, 1, "{\"w\":false}");
    add(d, 2, "{\"w\":true}");
    add(d, 10, "{\"w\":\"\\u00fc\"}");
    add(d, 20, "{\"w\":7}");
    assert_string_equal(end(d),
                        "{\"t\":[1,10,20],\"w\":{\"min\":[null,null,7],\"max\":[null,null,7],\"avg\":[null,null,7],"
                        "\"state\":[\"true\",\"\xC3\xBC\",null],\"changes\":[2,1,null]}}");
}

static void test_names(void **state)
{
    struct downsample *d = begin(0, 9, 1);
    (void)state;
    add(d, 0, "{\"t\":1,\"meta\":{\"x\":2},\"a\\\"b\":3,\"n\":null,\"l\":[1,{\"y\":2}]}");
    assert_string_equal(end(d),
                        "{\"t\":[0],\".t\":{\"min\":[1],\"max\":[1],\"avg\":[1]},\"meta.x\":{\"min\":[2],\"max\":[2],"
                        "\"avg\":[2]},\"a\\\"b\":{\"min\":[3],\"max\":[3],\"avg\":[3]}}");
}

static void test_one_metric(void **state)
{
    struct downsample_options o = {.to_ms = 9, .points = 1, .metric = BYTES("b")};
    struct downsample *d;
    (void)state;
    assert_int_equal(downsample_create(&o, &d), E_OK);
    add(d, 0, "{\"a\":1,\"b\":2}");
    assert_string_equal(end(d), "{\"t\":[0],\"b\":{\"min\":[2],\"max\":[2],\"avg\":[2]}}");
}

static void test_what_is_no_object_is_left_out(void **state)
{
    struct downsample *d = begin(0, 99, 10);
    (void)state;
    add(d, 0, "[1]");
    add(d, 10, "{\"a\":");
    add(d, 20, "");
    add(d, 30, "{\"a\":1e999}");
    assert_non_null(strstr(end(d), "\"state\":[null,null,null,\"1e999\"]"));
}

/* The ceilings: metrics, states, length of a state. */
static void test_ceilings(void **state)
{
    struct downsample *d = begin(0, 9, 1);
    char message[512];
    (void)state;
    for (unsigned i = 0; i < DOWNSAMPLE_METRICS_MAX + 5; i++) {
        snprintf(message, sizeof(message), "{\"m%u\":1}", i);
        add(d, 0, message);
    }
    buffer_clear(&out);
    assert_int_equal(downsample_write(d, false, &out), E_OK);
    assert_int_equal(buffer_append_byte(&out, 0), E_OK);
    assert_non_null(strstr((const char *)out.data, "\"omitted\":5,\"complete\":false,"));
    downsample_destroy(d);

    d = begin(0, 999, 1000);
    for (unsigned i = 0; i < DOWNSAMPLE_STATES_MAX + 1; i++) {
        snprintf(message, sizeof(message), "{\"s\":\"%0300u\"}", i);
        memcpy(message + 6 + 60, "\xE2\x82\xAC\xE2\x82\xAC", 6);
        snprintf(message + 6, 4, "%03u", i);
        message[9] = '0';
        add(d, i, message);
    }
    const char *text = end(d);
    assert_non_null(strstr(text, "\"(other)\"]"));
    assert_true(bytes_is_utf8(bytes_str(text)));
}

static void test_extremes(void **state)
{
    struct downsample *d = begin(0, INT64_C(253402300799999), 5000);
    (void)state;
    add(d, 0, "{\"a\":1.7976931348623157e308}");
    add(d, 1, "{\"a\":1.7976931348623157e308}");
    add(d, INT64_C(253402300799999), "{\"a\":-1.7976931348623157e308}");
    const char *text = end(d);
    assert_null(strstr(text, "inf"));
    assert_null(strstr(text, "nan"));
}

static void test_numbers(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-1, "-1"},
                 {0.1, "0.1"},
                 {21.3, "21.3"},
                 {1.0 / 3, "0.33333333333333331"},
                 {1e20, "1e+20"},
                 {123456789012345, "123456789012345"},
                 {-0.5, "-0.5"},
                 {5e-324, "4.94065645841247e-324"}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buffer_clear(&out);
        assert_int_equal(downsample_append_number(&out, cases[i].value), E_OK);
        assert_int_equal(buffer_append_byte(&out, 0), E_OK);
        assert_string_equal((const char *)out.data, cases[i].text);
        assert_true(strtod((const char *)out.data, NULL) == cases[i].value);
    }
}

/* Where a range begins within the grid does not make one point more than was asked for. */
static void test_never_more_than_points(void **state)
{
    (void)state;
    for (uint32_t points = 1; points <= 12; points++) {
        for (int64_t from = 0; from < 40; from++) {
            struct downsample *d = begin(from, from + 39, points);
            for (int64_t t = from; t < from + 40; t++) {
                add(d, t, "{\"a\":1}");
            }
            const char *text = end(d);
            size_t rows = 1;
            for (const char *p = strchr(text, '[') + 1; *p != ']'; p++) {
                rows += *p == ',' ? 1 : 0;
            }
            assert_in_range(rows, points > 2 ? points / 2 : 1, points);
        }
    }
    struct downsample *d = begin(500, 1499, 1);
    add(d, 500, "{\"a\":1}");
    add(d, 1400, "{\"a\":3}");
    assert_string_equal(end(d), "{\"t\":[950],\"a\":{\"min\":[1],\"max\":[3],\"avg\":[2],\"count\":[2]}}");
}

/* A range that moves on keeps its grid: its newest buckets alone are the same as in all of it. */
static void test_grid_stays(void **state)
{
    struct downsample *a = begin(1000, 4600999, 500);
    struct downsample *b = begin(1777, 4601776, 500);
    (void)state;
    for (int64_t t = 0; t < 4600000; t += 99991) {
        assert_true(downsample_bucket_start(a, t) == downsample_bucket_start(b, t));
    }
    downsample_destroy(a);
    downsample_destroy(b);
}

static int tear_down(void **state)
{
    (void)state;
    buffer_finish(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_ends_belong_to_the_range),
        cmocka_unit_test(test_never_more_than_points),
        cmocka_unit_test(test_gap),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_one_metric),
        cmocka_unit_test(test_what_is_no_object_is_left_out),
        cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_grid_stays),
    };
    buffer_init(&out, 1 << 20);
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
