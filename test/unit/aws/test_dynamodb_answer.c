#include "unit.h"

#include "aws/dynamodb_answer.h"

static void check(int status, const char *body, enum dynamodb_outcome outcome, const char *type, const char *text)
{
    struct dynamodb_answer a = {.outcome = DYNAMODB_OK};
    dynamodb_classify(status, bytes_str(body), &a);
    assert_int_equal(a.outcome, outcome);
    assert_string_equal(a.type, type);
    assert_non_null(strstr(a.text, text));
}

static void test_types(void **state)
{
    (void)state;
    check(200, "{}", DYNAMODB_OK, "", "");
    check(
        400,
        "{\"__type\":\"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException\",\"message\":\"slow\"}",
        DYNAMODB_THROTTLED, "ProvisionedThroughputExceededException", "slow");
    check(400, "{\"__type\":\"com.amazon.coral.availability#ThrottlingException\",\"Message\":\"Rate\"}",
          DYNAMODB_THROTTLED, "ThrottlingException", "Rate");
    check(400, "{\"__type\":\"RequestLimitExceeded\"}", DYNAMODB_THROTTLED, "RequestLimitExceeded", "status 400");
    check(500, "{\"__type\":\"com.amazonaws.dynamodb.v20120810#InternalServerError\",\"message\":\"x\"}",
          DYNAMODB_TRANSIENT, "InternalServerError", "x");
    check(503, "<html>", DYNAMODB_TRANSIENT, "", "status 503");
    check(429, "", DYNAMODB_THROTTLED, "", "status 429");
    check(413, "", DYNAMODB_INVALID, "", "status 413");
    check(302, "", DYNAMODB_CONFIGURATION, "", "status 302");
    check(400, "{\"__type\":\"com.amazon.coral.service#ExpiredTokenException\",\"message\":\"x\"}",
          DYNAMODB_CREDENTIALS, "ExpiredTokenException", "x");
    check(400, "{\"__type\":\"com.amazon.coral.service#UnrecognizedClientException:http://x/\",\"message\":\"x\"}",
          DYNAMODB_CREDENTIALS, "UnrecognizedClientException", "x");
    check(400,
          "{\"__type\":\"com.amazon.coral.service#AccessDeniedException\",\"Message\":\"User: arn is not authorized\"}",
          DYNAMODB_CONFIGURATION, "AccessDeniedException", "not authorized");
    check(400, "{\"__type\":\"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException\",\"message\":\"Requested\"}",
          DYNAMODB_CONFIGURATION, "ResourceNotFoundException", "Requested");
    check(400, "{\"__type\":\"Future#NobodyKnowsException\",\"message\":\"x\"}", DYNAMODB_CONFIGURATION,
          "NobodyKnowsException", "x");
    check(500, "{\"__type\":\"Future#NobodyKnowsException\",\"message\":\"x\"}", DYNAMODB_TRANSIENT,
          "NobodyKnowsException", "x");
}

/* A table with other keys refuses every item: that is no poison. */
static void test_validation(void **state)
{
    (void)state;
#define VALIDATION(text) "{\"__type\":\"com.amazon.coral.validate#ValidationException\",\"message\":\"" text "\"}"
    check(400, VALIDATION("Item size has exceeded the maximum allowed size"), DYNAMODB_INVALID, "ValidationException",
          "size");
    check(400, VALIDATION("The provided key element does not match the schema"), DYNAMODB_CONFIGURATION,
          "ValidationException", "schema");
    check(400, VALIDATION("One or more parameter values were invalid: Missing the key id in the item"),
          DYNAMODB_CONFIGURATION, "ValidationException", "Missing");
    check(400, VALIDATION("One or more parameter values were invalid: Type mismatch for key t expected: N actual: S"),
          DYNAMODB_CONFIGURATION, "ValidationException", "mismatch");
    check(400, "{\"__type\":\"com.amazon.coral.service#SerializationException\"}", DYNAMODB_INVALID,
          "SerializationException", "status");
}

static void test_signature(void **state)
{
    (void)state;
    struct dynamodb_answer a = {.outcome = DYNAMODB_OK};
    dynamodb_classify(
        400,
        BYTES("{\"__type\":\"com.amazon.coral.service#InvalidSignatureException\",\"message\":\"Signature "
              "expired\\n: \\u0007\"}"),
        &a);
    assert_true(a.time_refused);
    assert_int_equal(a.outcome, DYNAMODB_CONFIGURATION);
    assert_string_equal(a.text, "Signature expired");
    dynamodb_classify(400, BYTES("{\"__type\":\"AccessDeniedException\"}"), &a);
    assert_false(a.time_refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_signature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
