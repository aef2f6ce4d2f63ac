/* Answers as the web server gets them, from a source that the test makes up. */
#include "unit.h"

#include "dashboard/gateway.h"

static struct source_row rows[8];
static size_t row_count;
static enum source_fault fault;
static struct buffer out;
static enum err listener;

static bool fake_sensors(struct source *s, source_sensor_fn *fn, void *ctx, struct source_error *error)
{
    struct source_sensor sensor = {BYTES("a\"<b>"), 5, BYTES("{\"x\":1.50,\"y\":\"<i>\",\"z\":{\"w\":true}}")};
    (void)s;
    error->fault = fault;
    return fault == SOURCE_OK && (fn(ctx, &sensor), true);
}

static bool fake_range(struct source *s, const struct source_range *range, source_row_fn *fn, void *ctx, bool *complete,
                       struct source_error *error)
{
    (void)s;
    *complete = true;
    for (size_t i = 0; i < row_count; i++) {
        const struct source_row *row = &rows[range->newest_first ? row_count - 1 - i : i];
        if (row->time_ms >= range->from_ms && row->time_ms <= range->to_ms && !fn(ctx, row)) {
            break;
        }
    }
    error->fault = fault;
    return fault == SOURCE_OK;
}

static void fake_close(struct source *s)
{
    (void)s;
}

static const struct source_ops ops = {fake_sensors, fake_range, fake_close};
static struct dashboard_config config = {.title = (char *)(uintptr_t) "T", .refresh = 10000, .points = 10};
static struct source source = {&ops, &config};
static const struct api api = {&config, &source};

static enum err write_out(void *ctx, struct bytes data)
{
    (void)ctx;
    return listener ? listener : buffer_append(&out, data);
}

/* The whole answer as text. */
static const char *ask_as(const struct gateway_variables *v)
{
    buffer_clear(&out);
    assert_int_equal(gateway_answer(&api, v, write_out, NULL), listener);
    assert_int_equal(buffer_append_byte(&out, 0), E_OK);
    return (const char *)out.data;
}

static const char *ask(const char *uri)
{
    return ask_as(&(struct gateway_variables){.method = "GET", .request_uri = uri, .script_name = ""});
}

static const char *body(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static int set_up(void **state)
{
    (void)state;
    rows[0] = (struct source_row){1000, BYTES("{\"x\":1,\"s\":\"=1+1\"}")};
    rows[1] = (struct source_row){2000, BYTES("{\"x\":-2.50,\"s\":\"a\\\"b\",\"timestamp\":\"old\"}")};
    row_count = 2;
    fault = SOURCE_OK;
    listener = E_OK;
    return 0;
}

static void test_sensors(void **state)
{
    (void)state;
    assert_string_equal(
        body(ask("/api/sensors")),
        "[{\"sensor\":\"a\\\"<b>\",\"last\":5,\"metrics\":[\"x\",\"y\",\"z.w\"],\"values\":{\"x\":1.50,\"y\":"
        "\"<i>\",\"z.w\":\"true\"}}]\n");
    assert_string_equal(body(ask("/api/sensors?since=5")), "[]\n");
}

static void test_csv(void **state)
{
    (void)state;
    const char *answer = ask("/api/sensors/a%22%2F..%2Fb/export.csv?from=0&to=9999");
    assert_non_null(strstr(answer, "filename=\"a__.._b.csv\"\r\n"));
    assert_string_equal(body(answer), "timestamp,time,\"x\",\"s\",\"timestamp\"\r\n"
                                      "1000,1970-01-01T00:00:01.000Z,1,\"'=1+1\",\r\n"
                                      "2000,1970-01-01T00:00:02.000Z,-2.50,\"a\"\"b\",\"old\"\r\n");
}

/* Nothing in the range: a heading. Nothing at all: no file. */
static void test_csv_of_nothing(void **state)
{
    (void)state;
    assert_string_equal(body(ask("/api/sensors/a/export.csv?from=1&to=2")), "timestamp,time\r\n");
    assert_string_equal(body(ask("/api/sensors/a/export.csv?from=1&to=2&metric=x")), "timestamp,time,\"x\"\r\n");
    row_count = 0;
    const char *const uris[] = {"/api/sensors/a/export.csv", "/api/sensors/a/export.csv?metric=x"};
    for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
        const char *answer = ask(uris[i]);
        assert_non_null(strstr(answer, "Status: 404"));
        assert_non_null(strstr(answer, "no-measurements"));
        assert_null(strstr(answer, "attachment"));
    }
}

static void test_old_urls(void **state)
{
    (void)state;
    const char *text = body(ask("/a/"));
    assert_non_null(strstr(text, "[{\"x\":\"-2.50\",\"s\":\"a\\\"b\",\"timestamp\":\""));
    assert_null(strstr(text, "old"));
    row_count = 0;
    assert_non_null(strstr(ask("/a/"), "Status: 404"));
    assert_non_null(strstr(ask("/a/last"), "Status: 404"));
}

static void test_faults(void **state)
{
    static const char *const uris[] = {"/api/sensors", "/api/sensors/a/range",     "/api/sensors/a/last", "/a/",
                                       "/a/last",      "/api/sensors/a/export.csv"};
    char status[40];
    (void)state;
    for (fault = SOURCE_BUSY; fault < SOURCE_FAULT_COUNT_; fault++) {
        const struct source_fault_answer *expected = source_fault_answer(fault);
        snprintf(status, sizeof(status), "Status: %d ", expected->status);
        row_count = 0;
        for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
            const char *answer = ask(uris[i]);
            assert_non_null(strstr(answer, status));
            assert_non_null(strstr(answer, expected->code));
            assert_null(strstr(answer, "ETag"));
        }
    }
}

/* What began with 200 says in its last line that it is not all. */
static void test_fault_in_the_middle_of_csv(void **state)
{
    (void)state;
    fault = SOURCE_BUSY;
    assert_non_null(strstr(body(ask("/api/sensors/a/export.csv?from=0&to=9999&metric=x")), "\r\n# incomplete: "));
}

static void test_etag(void **state)
{
    char tag[64] = "";
    (void)state;
    const char *at = strstr(ask("/api/config"), "ETag: ");
    assert_non_null(at);
    memcpy(tag, at + 6, 18);
    struct gateway_variables v = {.method = "GET", .request_uri = "/api/config", .if_none_match = tag};
    const char *same = ask_as(&v);
    assert_non_null(strstr(same, "Status: 304"));
    assert_string_equal(body(same), "");
    v.if_none_match = "W/\"0000000000000000\"";
    assert_non_null(strstr(ask_as(&v), "Status: 200"));
}

static void test_places(void **state)
{
    struct gateway_variables v = {
        .method = "GET", .request_uri = "/cgi-bin/d.cgi/api/config?", .script_name = "/cgi-bin/d.cgi"};
    (void)state;
    assert_non_null(strstr(ask_as(&v), "Status: 200"));
    v.request_uri = "/cgi-bin/d.cgi";
    assert_non_null(strstr(ask_as(&v), "Location: /cgi-bin/d.cgi/\r\n"));
    v.request_uri = "http://host/cgi-bin/d.cgi/api/config";
    assert_non_null(strstr(ask_as(&v), "Status: 200"));
    v.request_uri = "/api/config";
    assert_non_null(strstr(ask_as(&v), "Status: 200"));
    v.request_uri = NULL;
    v.path_info = "/50%/last";
    assert_non_null(strstr(ask_as(&v), "Status: 200"));
    v.path_info = NULL;
    assert_non_null(strstr(ask_as(&v), "text/html"));
}

static void test_methods(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "get", "", "OPTIONS"};
    struct gateway_variables v = {.request_uri = "/api/config"};
    (void)state;
    assert_non_null(strstr(ask_as(&v), "Status: 405"));
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        v.method = methods[i];
        assert_non_null(strstr(ask_as(&v), "Status: 405"));
    }
    v.method = "HEAD";
    assert_string_equal(body(ask_as(&v)), "");
}

static void test_nobody_listens(void **state)
{
    (void)state;
    listener = E_CLOSED;
    (void)ask("/api/sensors");
    (void)ask("/api/sensors/a/export.csv");
    (void)ask("/");
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
        cmocka_unit_test_setup(test_sensors, set_up),
        cmocka_unit_test_setup(test_csv, set_up),
        cmocka_unit_test_setup(test_csv_of_nothing, set_up),
        cmocka_unit_test_setup(test_old_urls, set_up),
        cmocka_unit_test_setup(test_faults, set_up),
        cmocka_unit_test_setup(test_fault_in_the_middle_of_csv, set_up),
        cmocka_unit_test_setup(test_etag, set_up),
        cmocka_unit_test_setup(test_places, set_up),
        cmocka_unit_test_setup(test_methods, set_up),
        cmocka_unit_test_setup(test_nobody_listens, set_up),
    };
    buffer_init(&out, 1 << 22);
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
