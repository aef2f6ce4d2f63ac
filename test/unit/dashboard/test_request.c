#include "unit.h"

#include "dashboard/config.h"
#include "dashboard/request.h"

static struct request r;
static struct request_error why;

static enum err parse(const char *path, const char *query)
{
    memset(&why, 0, sizeof(why));
    return request_parse(bytes_str(path), bytes_str(query), &r, &why);
}

static void expect_sensor(const char *path, enum route route, const char *sensor)
{
    assert_int_equal(parse(path, ""), E_OK);
    assert_int_equal(r.route, route);
    assert_true(bytes_equal(r.sensor, bytes_str(sensor)));
}

static void expect_refused(const char *path, const char *query, int status)
{
    assert_int_not_equal(parse(path, query), E_OK);
    assert_int_equal(why.status, status);
    assert_true(why.text[0]);
}

static void test_routes(void **state)
{
    (void)state;
    assert_int_equal(parse("/", "sensor=a&sensor=b&from=1&anything=%zz"), E_OK);
    assert_int_equal(r.route, ROUTE_PAGE);
    assert_int_equal(parse("/api/sensors", "since=5"), E_OK);
    assert_int_equal(r.route, ROUTE_SENSORS);
    assert_true(r.has_since && r.since_ms == 5);
    assert_int_equal(parse("/api/config", ""), E_OK);
    assert_int_equal(parse("/page/app.js", "v=1"), E_OK);
    assert_true(r.has_version && bytes_equal(r.file, BYTES("app.js")));
    expect_sensor("/api/sensors/a/range", ROUTE_RANGE, "a");
    expect_sensor("/api/sensors/a/last", ROUTE_LAST, "a");
    expect_sensor("/api/sensors/a/export.csv", ROUTE_CSV, "a");
    expect_sensor("/a/", ROUTE_OLD_LIST, "a");
    expect_sensor("/a/last", ROUTE_OLD_LAST, "a");
}

static void test_names(void **state)
{
    (void)state;
    expect_sensor("/api/sensors/a%2Fb/range", ROUTE_RANGE, "a/b");
    expect_sensor("/api/sensors/a/b/range", ROUTE_RANGE, "a/b");
    expect_sensor("/api/sensors//a//range", ROUTE_RANGE, "/a/");
    expect_sensor("/api/sensors/range/range", ROUTE_RANGE, "range");
    expect_sensor("/api/sensors/%E2%82%AC+%25/last", ROUTE_LAST, "\xE2\x82\xAC+%");
    expect_sensor("/api/sensors/..%2f..%2fetc%2fpasswd/last", ROUTE_LAST, "../../etc/passwd");
    expect_sensor("/last/last", ROUTE_OLD_LAST, "last");
}

static void test_no_such_page(void **state)
{
    static const char *const paths[] = {"",
                                        "x",
                                        "/x",
                                        "/api",
                                        "/api/",
                                        "/api/x",
                                        "/api/x/",
                                        "/api/last",
                                        "/api/sensors/",
                                        "/api/sensors/a",
                                        "/last/x",
                                        "/index.html",
                                        "//",
                                        "/api/sensors//range"};
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        expect_refused(paths[i], "", 404);
    }
}

static void test_ill_formed(void **state)
{
    static const char *const paths[] = {
        "/api/sensors/%/last",        "/api/sensors/%4/last",  "/api/sensors/%zz/last",    "/api/sensors/%00/last",
        "/api/sensors/a%0d%0ab/last", "/api/sensors/%ff/last", "/api/sensors/%C0%AF/last", "/api/sensors/a\x7F/last"};
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        expect_refused(paths[i], "", 400);
    }
}

static void test_parameters(void **state)
{
    (void)state;
    assert_int_equal(parse("/api/sensors/a/range", "from=0&to=253402300799999&points=5000&metric=a%20b+c%26&since=7"),
                     E_OK);
    assert_true(r.has_from && r.from_ms == 0 && r.has_to && r.to_ms == REQUEST_TIME_MAX);
    assert_int_equal(r.points, CONFIG_POINTS_MAX);
    assert_true(bytes_equal(r.metric, BYTES("a b c&")));
    assert_int_equal(parse("/api/sensors/a/range", "from=5&to=5"), E_OK);
    assert_null(r.metric.data);
}

static void test_refused_parameters(void **state)
{
    static const char *const queries[] = {"from=1&from=1",
                                          "points=0",
                                          "points=5001",
                                          "points=99999999999999999999",
                                          "from=-1",
                                          "from=1.5",
                                          "from=",
                                          "from",
                                          "from=1e3",
                                          "from= 1",
                                          "to=253402300800000",
                                          "from=2&to=1",
                                          "x=1",
                                          "&from=1",
                                          "from=1&",
                                          "from=1&&to=2",
                                          "from=1;to=2",
                                          "metric=",
                                          "metric=%00",
                                          "metric=%FF",
                                          "=",
                                          "FROM=1",
                                          "from=0x10",
                                          "v=1",
                                          "since=a",
                                          "fr%6fm=1&from=1",
                                          "points=+5"};
    (void)state;
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        expect_refused("/api/sensors/a/range", queries[i], 400);
    }
    expect_refused("/api/sensors/a/last", "from=1", 400);
    expect_refused("/api/sensors", "points=5", 400);
    expect_refused("/a/", "from=1", 400);
}

static void test_lengths(void **state)
{
    static char text[REQUEST_PATH_MAX + 100];
    (void)state;
    memset(text, 'a', sizeof(text));
    text[0] = '/';
    memcpy(text + REQUEST_SENSOR_MAX + 1, "/last", 6);
    assert_int_equal(parse(text, ""), E_OK);
    assert_int_equal(r.sensor.len, REQUEST_SENSOR_MAX);
    memcpy(text + REQUEST_SENSOR_MAX + 1, "a/last", 7);
    expect_refused(text, "", 404);
    memset(text, 'a', sizeof(text) - 1);
    text[0] = '/';
    text[sizeof(text) - 1] = '\0';
    expect_refused(text, "", 414);
    expect_refused("/", text, 414);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),     cmocka_unit_test(test_names),      cmocka_unit_test(test_no_such_page),
        cmocka_unit_test(test_ill_formed), cmocka_unit_test(test_parameters), cmocka_unit_test(test_refused_parameters),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
