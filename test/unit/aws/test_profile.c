#include "unit.h"

#include "aws/profile.h"

#include <stdlib.h>
#include <unistd.h>

static struct aws_error error;

static void parse(const char *text, enum aws_profile_file file, const char *name, struct aws_profile *p)
{
    assert_int_equal(aws_profile_parse(bytes_str(text), file, name, p, &error), E_OK);
}

static void test_credentials_file(void **state)
{
    (void)state;
    static const char text[] = "# keys of the workshop\n"
                               "[default]\r\n"
                               "aws_access_key_id=AKIADEFAULT\r\n"
                               "aws_secret_access_key = s3cr3t/=# \r\n"
                               "\n"
                               "[ gateway ]\n"
                               "aws_access_key_id = AKIAGATEWAY # of the greenhouse\n"
                               "aws_secret_access_key = x\n"
                               "aws_session_token = t==\n"
                               "unknown = 1\n"
                               "region = eu-west-1";
    struct aws_profile p = {0};
    parse(text, AWS_CREDENTIALS_FILE, "default", &p);
    assert_true(p.found);
    assert_string_equal(p.access_key, "AKIADEFAULT");
    assert_string_equal(p.secret_key, "s3cr3t/=#");
    assert_null(p.session_token);
    aws_profile_finish(&p);

    parse(text, AWS_CREDENTIALS_FILE, "gateway", &p);
    assert_string_equal(p.access_key, "AKIAGATEWAY");
    assert_string_equal(p.session_token, "t==");
    assert_string_equal(p.region, "eu-west-1");
    aws_profile_finish(&p);

    parse(text, AWS_CREDENTIALS_FILE, "other", &p);
    assert_false(p.found);
    assert_null(p.access_key);
    aws_profile_finish(&p);
}

static void test_config_file(void **state)
{
    (void)state;
    static const char text[] = "[default]\n"
                               "region = eu-central-1\n"
                               "s3 =\n"
                               "  max_concurrent_requests = 20\n"
                               "  region = nested-1\n"
                               "[profile gateway]\n"
                               "region = us-east-2\n"
                               "credential_process = /usr/bin/keys --print\n"
                               "[profile \"two words\"]\n"
                               "region = ap-south-1\n"
                               "[gateway]\n"
                               "region = not-this-1\n"
                               "[sso-session gateway]\n"
                               "region = not-that-1\n";
    struct aws_profile p = {0};
    parse(text, AWS_CONFIG_FILE, "default", &p);
    assert_string_equal(p.region, "eu-central-1");
    assert_null(p.unsupported);
    aws_profile_finish(&p);
    parse(text, AWS_CONFIG_FILE, "gateway", &p);
    assert_string_equal(p.region, "us-east-2");
    assert_string_equal(p.unsupported, "credential_process");
    aws_profile_finish(&p);
    parse(text, AWS_CONFIG_FILE, "two words", &p);
    assert_string_equal(p.region, "ap-south-1");
    aws_profile_finish(&p);
}

/* The key of one file is never paired with the secret of the other. */
static void test_files_together(void **state)
{
    (void)state;
    struct aws_profile p = {0};
    parse("[default]\naws_access_key_id=A\naws_secret_access_key=a\n", AWS_CREDENTIALS_FILE, "default", &p);
    parse("[default]\naws_access_key_id=B\naws_secret_access_key=b\naws_session_token=t\nregion=eu-west-3\n",
          AWS_CONFIG_FILE, "default", &p);
    assert_string_equal(p.access_key, "A");
    assert_string_equal(p.secret_key, "a");
    assert_null(p.session_token);
    assert_string_equal(p.region, "eu-west-3");
    aws_profile_finish(&p);
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *line;
    } cases[] = {
        {"aws_access_key_id = A\n", "line 1 "},
        {"[default\n", "line 1 "},
        {"[default]\n\n# x\nno setting\n", "line 4 "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct aws_profile p = {0};
        assert_int_equal(aws_profile_parse(bytes_str(cases[i].text), AWS_CREDENTIALS_FILE, "default", &p, &error),
                         E_MALFORMED);
        assert_non_null(strstr(error.text, cases[i].line));
        assert_null(p.access_key);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_load(void **state)
{
    (void)state;
    char folder[] = "/tmp/profile.XXXXXX";
    char credentials[64];
    char config[64];
    assert_non_null(mkdtemp(folder));
    snprintf(credentials, sizeof(credentials), "%s/credentials", folder);
    snprintf(config, sizeof(config), "%s/config", folder);
    setenv("AWS_SHARED_CREDENTIALS_FILE", credentials, 1);
    setenv("AWS_CONFIG_FILE", config, 1);
    unsetenv("AWS_PROFILE");

    struct aws_profile p = {0};
    assert_int_equal(aws_profile_load(NULL, &p, &error), E_OK); /* neither exists */
    assert_false(p.found);

    write_file(credentials, "[work]\naws_access_key_id=A\naws_secret_access_key=a\n");
    write_file(config, "[profile work]\nregion=eu-west-2\nca_bundle=/etc/ca.pem\n");
    setenv("AWS_PROFILE", "work", 1);
    assert_int_equal(aws_profile_load(NULL, &p, &error), E_OK);
    assert_string_equal(p.access_key, "A");
    assert_string_equal(p.region, "eu-west-2");
    assert_string_equal(p.ca_bundle, "/etc/ca.pem");
    aws_profile_finish(&p);

    write_file(config, "garbage\n");
    assert_int_equal(aws_profile_load("work", &p, &error), E_MALFORMED);
    assert_non_null(strstr(error.text, config));
    assert_non_null(strstr(error.text, "line 1"));
    aws_profile_finish(&p);

    setenv("AWS_CONFIG_FILE", folder, 1);
    assert_int_equal(aws_profile_load("work", &p, &error), E_INVALID);
    aws_profile_finish(&p);
    unlink(credentials);
    unlink(config);
    rmdir(folder);
    unsetenv("AWS_PROFILE");
}

static void check_region(const char *configured, const char *profile_region, const char *host, const char *expected)
{
    char region[AWS_REGION_SIZE];
    char *copy = profile_region ? strdup(profile_region) : NULL;
    struct aws_profile p = {.region = copy};
    enum err e = aws_region_find(configured, &p, &host, 1, region, &error);
    if (expected) {
        assert_int_equal(e, E_OK);
        assert_string_equal(region, expected);
    } else {
        assert_int_not_equal(e, E_OK);
    }
    free(copy);
}

static void test_region(void **state)
{
    (void)state;
    unsetenv("AWS_REGION");
    unsetenv("AWS_DEFAULT_REGION");
    check_region("eu-north-1", "eu-west-1", NULL, "eu-north-1");
    check_region(NULL, "eu-west-1", NULL, "eu-west-1");
    check_region(NULL, NULL, "a1b2c3-ats.iot.eu-central-1.amazonaws.com", "eu-central-1");
    check_region(NULL, NULL, "https://dynamodb.cn-north-1.amazonaws.com.cn:443/", "cn-north-1");
    check_region(NULL, NULL, "https://dynamodb.amazonaws.com", NULL);
    check_region(NULL, NULL, "http://localhost:8000", NULL);
    check_region(NULL, NULL, "https://localhost/?x=.amazonaws.com", NULL);
    check_region("EU-1", NULL, NULL, NULL);
    setenv("AWS_DEFAULT_REGION", "us-west-1", 1);
    check_region(NULL, "eu-west-1", NULL, "us-west-1");
    setenv("AWS_REGION", "us-west-2", 1);
    check_region("", "eu-west-1", NULL, "us-west-2");
    unsetenv("AWS_REGION");
    unsetenv("AWS_DEFAULT_REGION");
    assert_string_equal(aws_region_domain("eu-west-1"), "amazonaws.com");
    assert_string_equal(aws_region_domain("cn-north-1"), "amazonaws.com.cn");
}

static void test_keys(void **state)
{
    (void)state;
    struct aws_keys keys = {0};
    char longer[AWS_TOKEN_MAX + 2];
    memset(longer, 't', sizeof(longer));
    assert_int_equal(aws_keys_set(&keys, BYTES("A"), BYTES("s"), BYTES(""), &error), E_OK);
    assert_null(keys.session_token);
    struct sigv4_identity identity = aws_keys_identity(&keys);
    assert_true(bytes_equal(identity.access_key, BYTES("A")));
    assert_int_equal(identity.session_token.len, 0);
    assert_int_equal(aws_keys_set(&keys, BYTES(""), BYTES("s"), BYTES(""), &error), E_INVALID);
    assert_int_equal(aws_keys_set(&keys, BYTES("A"), BYTES("s\r\nHost: x"), BYTES(""), &error), E_INVALID);
    assert_null(strstr(error.text, "Host: x"));
    assert_int_equal(aws_keys_set(&keys, BYTES("A"), BYTES("s"), bytes_make(longer, AWS_TOKEN_MAX + 1), &error),
                     E_INVALID);
    assert_string_equal(keys.access_key, "A");
    struct aws_keys same = {0};
    assert_int_equal(aws_keys_set(&same, BYTES("A"), BYTES("s"), BYTES(""), &error), E_OK);
    assert_true(aws_keys_equal(&keys, &same));
    assert_int_equal(aws_keys_set(&same, BYTES("A"), BYTES("s"), BYTES("t"), &error), E_OK);
    assert_false(aws_keys_equal(&keys, &same));
    aws_keys_finish(&keys);
    aws_keys_finish(&same);
    assert_null(keys.access_key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credentials_file),
        cmocka_unit_test(test_config_file),
        cmocka_unit_test(test_files_together),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_region),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
