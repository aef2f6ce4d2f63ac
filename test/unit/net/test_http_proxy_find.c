#include "net/http_proxy.h"
#include "unit.h"

#include <stdlib.h>

static const char *const variables[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
                                        "all_proxy",  "ALL_PROXY",  "no_proxy",    "NO_PROXY"};

static int clear(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        unsetenv(variables[i]);
    }
    return 0;
}

static enum err find(const char *text, struct http_proxy *out)
{
    struct http_url url;
    const char *variable = NULL;
    assert_int_equal(http_url_parse(text, &url), E_OK);
    return http_proxy_find(&url, out, &variable);
}

static void expect(const char *url, const char *host, unsigned port)
{
    struct http_proxy p;
    assert_int_equal(find(url, &p), E_OK);
    assert_string_equal(p.host, host);
    assert_int_equal(p.port, port);
}

static void test_variables(void **state)
{
    (void)state;
    expect("http://a/", "", 0);
    setenv("HTTP_PROXY", "http://evil:1", 1); /* "Proxy: http://evil:1" of a browser */
    expect("http://a/", "", 0);
    setenv("ALL_PROXY", "all:1", 1);
    expect("http://a/", "all", 1);
    expect("https://a/", "all", 1);
    setenv("HTTPS_PROXY", "http://secure", 1);
    expect("https://a/", "secure", 1080);
    expect("http://a/", "all", 1);
    setenv("https_proxy", "", 1); /* said to be none */
    expect("https://a/", "", 0);
    setenv("http_proxy", "http://[::1]:3128/", 1);
    expect("http://a/", "::1", 3128);
    expect("https://a/", "", 0);
}

static void test_authorization(void **state)
{
    struct http_proxy p;
    (void)state;
    setenv("http_proxy", "http://Aladdin:open%20sesame@proxy:80", 1);
    assert_int_equal(find("http://a/", &p), E_OK);
    assert_string_equal(p.host, "proxy");
    assert_int_equal(p.port, 80);
    assert_string_equal(p.authorization, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="); /* RFC 7617, section 2 */
    setenv("http_proxy", "name@proxy", 1);
    assert_int_equal(find("http://a/", &p), E_OK);
    assert_string_equal(p.authorization, "Basic bmFtZTo=");
}

static void test_bad(void **state)
{
    struct http_proxy p;
    char longest[700];
    (void)state;
    setenv("http_proxy", "socks5://proxy:1", 1);
    assert_int_equal(find("http://a/", &p), E_UNSUPPORTED);
    setenv("http_proxy", "http://", 1);
    assert_int_equal(find("http://a/", &p), E_INVALID);
    setenv("http_proxy", "proxy:port", 1);
    assert_int_equal(find("http://a/", &p), E_INVALID);
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + sizeof(longest) - 7, "@proxy", 7);
    setenv("http_proxy", longest, 1);
    assert_int_equal(find("http://a/", &p), E_INVALID);
}

static void test_exceptions(void **state)
{
    static const struct {
        const char *list, *url;
        bool excepted;
    } cases[] = {
        {"*", "http://a.example/", true},
        {"a.example", "http://A.example/", true},
        {"a.example", "http://a.example./", true},
        {".example", "http://a.example/", true},
        {"example", "http://a.b.example:8000/", true},
        {"example", "http://notexample/", false},
        {"a.example", "http://example/", false},
        {"b, c  a.example,", "http://a.example/", true},
        {",, .", "http://a.example/", false},
        {"127.0.0.1", "http://127.0.0.1/", true},
        {"0.0.1", "http://127.0.0.1/", false},
        {"10.0.0.0/8", "http://10.1.2.3/", true},
        {"10.0.0.0/8", "http://11.1.2.3/", false},
        {"192.168.6.0/23", "http://192.168.7.9/", true},
        {"192.168.6.0/23", "http://192.168.8.9/", false},
        {"10.0.0.1/32", "http://10.0.0.1/", true},
        {"10.0.0.0/33", "http://10.0.0.0/", false},
        {"10.0.0.0/", "http://10.0.0.0/", false},
        {"10.0.0.0/x", "http://10.0.0.0/", false},
        {"[::1]", "http://[::1]/", true},
        {"fd00::/8", "http://[fd12::1]/", true},
        {"fd00::/8", "http://[fe12::1]/", false},
        {"::1", "http://127.0.0.1/", false},
    };
    (void)state;
    setenv("http_proxy", "proxy:1", 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_proxy p;
        setenv("no_proxy", cases[i].list, 1);
        assert_int_equal(find(cases[i].url, &p), E_OK);
        if ((p.host[0] == '\0') != cases[i].excepted) {
            fail_msg("no_proxy '%s', %s", cases[i].list, cases[i].url);
        }
    }
    unsetenv("no_proxy");
    setenv("NO_PROXY", "a", 1);
    expect("http://a/", "", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_variables, clear),
        cmocka_unit_test_setup(test_authorization, clear),
        cmocka_unit_test_setup(test_bad, clear),
        cmocka_unit_test_setup(test_exceptions, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
