#include "unit.h"

#include "aws/credentials_source.h"
#include "aws/http_date.h"

#include <stdlib.h>

/* 2023-02-06T04:54:46Z */
#define NOW ((struct wall){1675659286000})

static struct credential_answer answer;
static struct aws_error error;

static enum err parse(enum credential_source_id source, const char *body)
{
    aws_keys_finish(&answer.keys);
    answer = (struct credential_answer){0};
    return credential_answer_parse(source, bytes_str(body), NOW, &answer, &error);
}

static void test_role_alias(void **state)
{
    (void)state;
    assert_int_equal(parse(SOURCE_ROLE_ALIAS,
                           "{\"credentials\":{\"accessKeyId\":\"ASIA1\",\"secretAccessKey\":\"s\\/1\","
                           "\"sessionToken\":\"t==\",\"expiration\":\"2023-02-06T05:54:46Z\"}}"),
                     E_OK);
    assert_string_equal(answer.keys.access_key, "ASIA1");
    assert_string_equal(answer.keys.secret_key, "s/1");
    assert_string_equal(answer.keys.session_token, "t==");
    assert_true(answer.temporary);
    assert_int_equal(answer.lifetime_ms, 3600000);
}

static void test_metadata(void **state)
{
    (void)state;
    assert_int_equal(parse(SOURCE_METADATA, "{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"ASIA2\","
                                            "\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":"
                                            "\"2023-02-06T04:54:47Z\"}"),
                     E_OK);
    assert_int_equal(answer.lifetime_ms, 1000);
    assert_int_equal(parse(SOURCE_METADATA, "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"no\"}"),
                     E_REFUSED);
    assert_non_null(strstr(error.text, "AssumeRoleUnauthorizedAccess"));
}

/* A container may give credentials for ever. */
static void test_container(void **state)
{
    (void)state;
    assert_int_equal(parse(SOURCE_CONTAINER, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"s\"}"), E_OK);
    assert_false(answer.temporary);
    assert_null(answer.keys.session_token);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "<html>",
        "[]",
        "{}",
        "{\"credentials\":\"x\"}",
        "{\"credentials\":{\"accessKeyId\":1}}",
        "{\"credentials\":{\"accessKeyId\":\"A\",\"secretAccessKey\":\"s\",\"sessionToken\":\"t\"}}",
        "{\"credentials\":{\"accessKeyId\":\"A\",\"secretAccessKey\":\"s\",\"sessionToken\":\"t\",\"expiration\":"
        "\"soon\"}}",
        "{\"credentials\":{\"accessKeyId\":\"A\",\"secretAccessKey\":\"s\",\"sessionToken\":\"t\","
        "\"expiration\":\"2023-02-06T04:54:46Z\"}}",
        "{\"credentials\":{\"accessKeyId\":\"A\\r\\nX: y\",\"secretAccessKey\":\"s\",\"sessionToken\":\"t\","
        "\"expiration\":\"2023-02-06T05:54:46Z\"}}",
        "{\"credentials\":{\"accessKeyId\":\"\",\"secretAccessKey\":\"s\",\"sessionToken\":\"t\","
        "\"expiration\":\"2023-02-06T05:54:46Z\"}}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        error.text[0] = '\0';
        assert_int_not_equal(parse(SOURCE_ROLE_ALIAS, bad[i]), E_OK);
        assert_true(error.text[0] != '\0');
        assert_null(answer.keys.access_key);
    }
}

static void test_container_uri(void **state)
{
    (void)state;
    static const char *const good[] = {
        "https://example.org/credentials", "http://127.0.0.1:51679/v1", "http://127.1.2.3/x",
        "http://localhost:80/x",           "http://[::1]:1234/x",       "http://169.254.170.2/v2/x",
        "http://169.254.170.23/v1/",       "http://[fd00:ec2::23]/v1",
    };
    static const char *const bad[] = {
        "http://example.org/credentials",
        "http://127.0.0.1.example.org/",
        "http://localhost.example.org/",
        "ftp://127.0.0.1/",
        "http://169.254.170.2.evil.org/",
        "http://169.254.169.254/",
        "http://127.0.0.1@evil.org/",
        "https://",
        "http://localhost\r\nX: y/",
        "",
        "/relative",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(container_uri_allowed(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(container_uri_allowed(bad[i]));
    }
}

static void test_environment(void **state)
{
    (void)state;
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    unsetenv("AWS_SESSION_TOKEN");
    assert_int_equal(source_environment(&answer, &error), E_NOT_FOUND);
    setenv("AWS_ACCESS_KEY_ID", "A", 1);
    assert_int_equal(source_environment(&answer, &error), E_INVALID); /* half of it is a mistake, not an absence */
    setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    assert_int_equal(source_environment(&answer, &error), E_OK);
    assert_string_equal(answer.keys.access_key, "A");
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
}

static void test_files(void **state)
{
    (void)state;
    char path[] = "/tmp/config.XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    assert_non_null(f);
    fputs("[profile a]\ncredential_process = rm -rf /\n[profile b]\nregion=eu-west-1\n", f);
    fclose(f);
    setenv("AWS_CONFIG_FILE", path, 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
    assert_int_equal(source_files("a", &answer, &error), E_UNSUPPORTED);
    assert_non_null(strstr(error.text, "credential_process"));
    assert_int_equal(source_files("b", &answer, &error), E_NOT_FOUND);
    assert_non_null(strstr(error.text, "holds no keys"));
    assert_int_equal(source_files("c", &answer, &error), E_NOT_FOUND);
    assert_non_null(strstr(error.text, "no profile c"));
    remove(path);
}

static void test_http_date(void **state)
{
    (void)state;
    struct wall t;
    assert_int_equal(http_date_parse(BYTES("Mon, 06 Feb 2023 04:54:46 GMT"), &t), E_OK);
    assert_int_equal(t.ms, NOW.ms);
    static const char *const bad[] = {
        "",
        "Mon, 06 Feb 2023 04:54:46 UTC",
        "Mon, 06 Xxx 2023 04:54:46 GMT",
        "Mon, 06 anF 2023 04:54:46 GMT",
        "Mon, 31 Feb 2023 04:54:46 GMT",
        "Monday, 06-Feb-23 04:54:46 GMT",
        "Mon Feb  6 04:54:46 2023     ",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(http_date_parse(bytes_str(bad[i]), &t), E_MALFORMED);
    }
}

static int tear_down(void **state)
{
    (void)state;
    aws_keys_finish(&answer.keys);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_role_alias), cmocka_unit_test(test_metadata),      cmocka_unit_test(test_container),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_container_uri), cmocka_unit_test(test_environment),
        cmocka_unit_test(test_files),      cmocka_unit_test(test_http_date),
    };
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
