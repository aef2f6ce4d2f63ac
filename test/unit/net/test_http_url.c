#include "net/http_url.h"
#include "unit.h"

static void expect(const char *text, bool tls, const char *host, unsigned port, const char *target, const char *written)
{
    struct http_url url;
    struct buffer b;
    if (http_url_parse(text, &url) != E_OK) {
        fail_msg("%s is not taken", text);
    }
    assert_int_equal(url.tls, tls);
    assert_string_equal(url.host, host);
    assert_int_equal(url.port, port);
    assert_int_equal(url.target.len, strlen(target));
    assert_memory_equal(url.target.data, target, strlen(target));
    buffer_init(&b, 1000);
    assert_int_equal(http_url_append_host(&url, false, &b), E_OK);
    assert_int_equal(buffer_append_byte(&b, 0), E_OK);
    assert_string_equal((const char *)b.data, written);
    buffer_finish(&b);
}

static void test_parts(void **state)
{
    (void)state;
    expect("http://host", false, "host", 80, "", "host");
    expect("http://host/", false, "host", 80, "/", "host");
    expect("HTTPS://Host.Example:443/a/../b?c=d#e", true, "Host.Example", 443, "/a/../b?c=d", "Host.Example");
    expect("https://host:80/?", true, "host", 80, "/?", "host:80");
    expect("http://host?q=/", false, "host", 80, "?q=/", "host");
    expect("http://127.0.0.1:8000/#f", false, "127.0.0.1", 8000, "/", "127.0.0.1:8000");
    expect("http://[::1]:8000/x", false, "::1", 8000, "/x", "[::1]:8000");
    expect("https://[fe80::1%25eth0]/", true, "fe80::1%25eth0", 443, "/", "[fe80::1%25eth0]");
    expect("http://dynamo_db/x", false, "dynamo_db", 80, "/x", "dynamo_db");
}

static void test_user(void **state)
{
    struct http_url url;
    (void)state;
    assert_int_equal(http_url_parse("http://anna:p%40ss@host:3128/", &url), E_OK);
    assert_true(bytes_equal(url.user, BYTES("anna:p%40ss")));
    assert_true(url.has_port);
    assert_int_equal(http_url_parse("http://host/", &url), E_OK);
    assert_int_equal(url.user.len, 0);
    assert_false(url.has_port);
}

static void test_bad(void **state)
{
    static const char *const bad[] = {"",
                                      "host",
                                      "http:/host/",
                                      "http:///path",
                                      "ftp://host/",
                                      "httpx://host/",
                                      "http://host:0/",
                                      "http://host:65536/",
                                      "http://host:x/",
                                      "http://ho st/",
                                      "http://[::1/",
                                      "http://a@b@c/"};
    struct http_url url;
    char longest[400] = "http://";
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (http_url_parse(bad[i], &url) != E_INVALID) {
            fail_msg("'%s' is taken", bad[i]);
        }
    }
    memset(longest + 7, 'a', 255);
    assert_int_equal(http_url_parse(longest, &url), E_OK);
    longest[7 + 255] = 'a';
    assert_int_equal(http_url_parse(longest, &url), E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
