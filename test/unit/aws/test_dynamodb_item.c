#include "unit.h"

#include "aws/dynamodb_item.h"
#include "base/json.h"

#include <stdlib.h>

static const struct dynamodb_layout plain = {"sensor", "timestamp", 'S', 0};
static const struct dynamodb_layout other = {"device \"id\"", "at", 'N', 86400000};

static struct attribute_encoder encoder;
static struct buffer out;
static struct dynamodb_reason reason;

static int set_up(void **state)
{
    (void)state;
    attribute_encoder_init(&encoder);
    buffer_init(&out, DYNAMODB_ITEM_TEXT_MAX);
    reason.text[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    attribute_encoder_finish(&encoder);
    buffer_finish(&out);
    return 0;
}

static void assert_text(const char *expected)
{
    if (!bytes_equal(buffer_bytes(&out), bytes_str(expected))) {
        fail_msg("expected %s got %.*s", expected, (int)out.len, (const char *)out.data);
    }
}

static enum err build(const struct dynamodb_layout *l, struct bytes sensor, struct bytes message)
{
    struct dynamodb_measurement m = {sensor, 1585900000000, message};
    return dynamodb_item_build(l, &encoder, &m, &out, &reason);
}

static void test_item(void **state)
{
    (void)state;
    assert_int_equal(build(&plain, BYTES("green\"house"), BYTES("{\"t\":21.50}")), E_OK);
    assert_text("{\"sensor\":{\"S\":\"green\\\"house\"},\"timestamp\":{\"S\":\"1585900000000\"},"
                "\"message\":{\"M\":{\"t\":{\"N\":\"21.50\"}}}}");
    buffer_clear(&out);
    assert_int_equal(build(&other, BYTES("a"), BYTES("{}")), E_OK);
    assert_text("{\"device \\\"id\\\"\":{\"S\":\"a\"},\"at\":{\"N\":\"1585900000000\"},\"message\":{\"M\":{}},"
                "\"ttl\":{\"N\":\"1585986400\"}}");
}

static void refused(struct bytes sensor, struct bytes message, const char *why)
{
    assert_int_equal(build(&plain, sensor, message), E_INVALID);
    assert_non_null(strstr(reason.text, why));
    assert_int_equal(out.len, 0);
}

static void test_refused(void **state)
{
    (void)state;
    char *text = malloc(500000);
    assert_non_null(text);
    memset(text, 'x', 500000);
    refused(BYTES(""), BYTES("{}"), "empty");
    refused(bytes_make(text, 2049), BYTES("{}"), "2049");
    refused(BYTES("\xC0\x80"), BYTES("{}"), "UTF-8");
    refused(BYTES("a"), BYTES("{"), "JSON");
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + 450000, "\"}", 2);
    refused(BYTES("a"), bytes_make(text, 450002), "409600");
    size_t n = 0;
    for (; n < 40; n++) {
        text[n] = '[';
    }
    memset(text + n, ']', n);
    refused(BYTES("a"), bytes_make(text, 80), "nested");
    free(text);
}

/* 400 KB to the byte. */
static void test_largest(void **state)
{
    (void)state;
    size_t rest = strlen("sensor") + 1 + strlen("timestamp") + 8 + strlen("message") + 3 + 1 + 1;
    size_t len = ATTRIBUTE_ITEM_MAX - rest;
    char *text = malloc(len + 16);
    assert_non_null(text);
    size_t n = (size_t)snprintf(text, 16, "{\"a\":\"");
    memset(text + n, 'x', len);
    memcpy(text + n + len, "\"}", 2);
    assert_int_equal(build(&plain, BYTES("s"), bytes_make(text, n + len + 2)), E_OK);
    buffer_clear(&out);
    memcpy(text + n + len, "x\"}", 3);
    assert_int_equal(build(&plain, BYTES("s"), bytes_make(text, n + len + 3)), E_INVALID);
    assert_non_null(strstr(reason.text, "409601"));
    free(text);
}

static void test_layout(void **state)
{
    (void)state;
    char longer[300];
    memset(longer, 'n', sizeof(longer));
    longer[256] = '\0';
    const struct dynamodb_layout bad[] = {
        {"", "timestamp", 'S', 0},     {"sensor", "", 'S', 0},       {"message", "timestamp", 'S', 0},
        {"sensor", "ttl", 'S', 0},     {"sensor", "sensor", 'S', 0}, {"sensor", "timestamp", 'B', 0},
        {longer, "timestamp", 'S', 0},
    };
    assert_int_equal(dynamodb_layout_check(&plain, &reason), E_OK);
    assert_int_equal(dynamodb_layout_check(&other, &reason), E_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(dynamodb_layout_check(&bad[i], &reason), E_INVALID);
        assert_non_null(strstr(reason.text, "dynamodb_"));
    }
}

static void test_batch(void **state)
{
    (void)state;
    struct json_token whole;
    assert_int_equal(dynamodb_batch_begin(&out, BYTES("green.house")), E_OK);
    assert_int_equal(dynamodb_batch_add(&out, BYTES("{\"a\":1}"), true), E_OK);
    assert_int_equal(dynamodb_batch_add(&out, BYTES("{\"a\":2}"), false), E_OK);
    assert_int_equal(dynamodb_batch_end(&out), E_OK);
    assert_text("{\"RequestItems\":{\"green.house\":[{\"PutRequest\":{\"Item\":{\"a\":1}}},"
                "{\"PutRequest\":{\"Item\":{\"a\":2}}}]}}");
    assert_int_equal(json_parse(buffer_bytes(&out), 16, &whole), E_OK);
}

static void test_query(void **state)
{
    (void)state;
    struct dynamodb_query q = {
        .table = BYTES("t-1"), .sensor = BYTES("a"), .from_ms = 1, .to_ms = 2, .limit = 7, .newest_first = true};
    assert_int_equal(dynamodb_query_build(&plain, &q, &out), E_OK);
    assert_text("{\"TableName\":\"t-1\",\"KeyConditionExpression\":\"#s = :s AND #t BETWEEN :a AND :b\","
                "\"ExpressionAttributeNames\":{\"#s\":\"sensor\",\"#t\":\"timestamp\"},"
                "\"ExpressionAttributeValues\":{\":s\":{\"S\":\"a\"},\":a\":{\"S\":\"1\"},\":b\":{\"S\":\"2\"}},"
                "\"ScanIndexForward\":false,\"Limit\":7}");
    buffer_clear(&out);
    q = (struct dynamodb_query){
        .table = BYTES("t-1"), .sensor = BYTES("a"), .from_ms = 1, .to_ms = 2, .start_key = BYTES("{\"k\":{}}")};
    assert_int_equal(dynamodb_query_build(&other, &q, &out), E_OK);
    assert_text("{\"TableName\":\"t-1\",\"KeyConditionExpression\":\"#s = :s AND #t BETWEEN :a AND :b\","
                "\"ExpressionAttributeNames\":{\"#s\":\"device \\\"id\\\"\",\"#t\":\"at\"},"
                "\"ExpressionAttributeValues\":{\":s\":{\"S\":\"a\"},\":a\":{\"N\":\"1\"},\":b\":{\"N\":\"2\"}},"
                "\"ScanIndexForward\":true,\"ExclusiveStartKey\":{\"k\":{}}}");
    buffer_clear(&out);
    assert_int_equal(dynamodb_scan_build(&plain, BYTES("t-1"), 0, BYTES(""), &out), E_OK);
    assert_text("{\"TableName\":\"t-1\",\"ProjectionExpression\":\"#s, #t\","
                "\"ExpressionAttributeNames\":{\"#s\":\"sensor\",\"#t\":\"timestamp\"}}");
}

static void on_unprocessed(void *ctx, struct bytes sensor, int64_t timestamp_ms)
{
    (void)ctx;
    assert_int_equal(buffer_append(&out, sensor), E_OK);
    assert_int_equal(buffer_appendf(&out, "@%lld ", (long long)timestamp_ms), E_OK);
}

static enum err unprocessed(const char *body)
{
    buffer_clear(&out);
    return dynamodb_unprocessed(&plain, bytes_str(body), on_unprocessed, NULL);
}

static void test_unprocessed(void **state)
{
    (void)state;
    assert_int_equal(unprocessed("{\"UnprocessedItems\":{}}"), E_OK);
    assert_int_equal(out.len, 0);
    assert_int_equal(
        unprocessed("{\"ItemCollectionMetrics\":{},\"UnprocessedItems\":{\"t.a\":[{\"PutRequest\":{\"Item\":"
                    "{\"timestamp\":{\"S\":\"2\"},\"message\":{\"M\":{\"sensor\":{\"S\":\"no\"}}},\"sensor\":{\"S\":"
                    "\"\\u00e4\"}}}},{\"PutRequest\":{\"Item\":{\"sensor\":{\"S\":\"b\"},\"timestamp\":{\"S\":"
                    "\"3\"}}}}],\"u\":[]}}"),
        E_OK);
    assert_text("\xC3\xA4@2 b@3 ");
    static const char *const bad[] = {
        "",
        "<html>",
        "[]",
        "{}",
        "{\"UnprocessedItems\":[]}",
        "{\"UnprocessedItems\":{\"t\":{}}}",
        "{\"UnprocessedItems\":{\"t\":[{}]}}",
        "{\"UnprocessedItems\":{\"t\":[{\"PutRequest\":{\"Item\":{\"sensor\":{\"S\":\"b\"}}}}]}}",
        "{\"UnprocessedItems\":{\"t\":[{\"PutRequest\":{\"Item\":{\"sensor\":{\"S\":\"b\"},\"timestamp\":{\"N\":\"1\"}}"
        "}}]}}",
        "{\"UnprocessedItems\":{}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(unprocessed(bad[i]), E_MALFORMED);
    }
}

static bool on_item(void *ctx, const struct dynamodb_item *item)
{
    int *left = ctx;
    assert_int_equal(buffer_appendf(&out, "%.*s@%lld=%.*s ", (int)item->sensor.len, (const char *)item->sensor.data,
                                    (long long)item->timestamp_ms, (int)item->message.len,
                                    item->message.len ? (const char *)item->message.data : ""),
                     E_OK);
    return --*left > 0;
}

static void test_items(void **state)
{
    (void)state;
    static const char body[] =
        "{\"Count\":3,\"Items\":["
        "{\"sensor\":{\"S\":\"a\"},\"timestamp\":{\"S\":\"1585900000000\"},\"message\":{\"M\":{\"t\":{\"N\":\"1.5\"}}}}"
        ","
        "{\"sensor\":{\"S\":\"a\"},\"timestamp\":{\"S\":\"1585900000001\"},\"ttl\":{\"N\":\"1585900\"}},"
        "{\"sensor\":{\"S\":\"b\"},\"timestamp\":{\"S\":\"no time\"}},"
        "{\"sensor\":{\"S\":\"c\"},\"timestamp\":{\"S\":\"-5\"},\"message\":{\"S\":\"text\"}}],"
        "\"LastEvaluatedKey\":{\"sensor\":{\"S\":\"c\"}}}";
    struct buffer next;
    buffer_init(&next, 4096);
    int left = 10;
    assert_int_equal(dynamodb_items_parse(&plain, bytes_str(body), (struct wall){1585900000000}, on_item, &left, &next),
                     E_OK);
    assert_text("a@1585900000000={\"t\":1.5} c@-5= ");
    assert_true(bytes_equal(buffer_bytes(&next), BYTES("{\"sensor\":{\"S\":\"c\"}}")));
    left = 1;
    buffer_clear(&out);
    assert_int_equal(dynamodb_items_parse(&plain, bytes_str(body), (struct wall){0}, on_item, &left, &next), E_OK);
    assert_text("a@1585900000000={\"t\":1.5} ");
    left = 10;
    assert_int_equal(dynamodb_items_parse(&plain, BYTES("{\"Items\":[]}"), (struct wall){0}, on_item, &left, &next),
                     E_OK);
    assert_int_equal(next.len, 0);
    static const char *const bad[] = {
        "", "{}", "{\"Items\":{}}", "{\"Items\":[1]}",
        "{\"Items\":[{\"sensor\":{\"S\":\"a\"},\"timestamp\":{\"S\":\"1\"},\"message\":{\"X\":1}}]}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(dynamodb_items_parse(&plain, bytes_str(bad[i]), (struct wall){0}, on_item, &left, &next),
                         E_MALFORMED);
    }
    buffer_finish(&next);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_item),  CASE(test_refused), CASE(test_largest),     CASE(test_layout),
        CASE(test_batch), CASE(test_query),   CASE(test_unprocessed), CASE(test_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
