#include "net/http_reader.h"
#include "unit.h"

#include <stdlib.h>

#define MAX_BODY 100u

struct expected {
    enum err err;
    int status;
    const char *body;
    const char *thing; /* header X-Thing; NULL = none */
    bool keeps_alive;
    size_t taken;
};

static void check(const struct http_reader *r, enum err e, const struct expected *x)
{
    assert_int_equal(e, x->err);
    assert_true(http_reader_began(r));
    if (e != E_OK) {
        assert_string_not_equal(http_reader_detail(r), "");
        return;
    }
    assert_int_equal(http_reader_status(r), x->status);
    assert_true(bytes_equal(http_reader_body(r), bytes_str(x->body)));
    struct bytes thing = http_reader_header(r, "x-thing");
    assert_int_equal(thing.data != NULL, x->thing != NULL);
    assert_true(bytes_equal(thing, bytes_str(x->thing)));
    assert_int_equal(http_reader_keeps_alive(r), x->keeps_alive);
}

/* In one piece, and byte by byte; `end`: the connection ends behind it. */
static void read_both_ways(enum http_reader_kind kind, const char *text, bool end, const struct expected *x)
{
    struct http_reader *r = http_reader_create();
    struct bytes all = bytes_str(text);
    size_t taken = 0;
    http_reader_start(r, kind, MAX_BODY);
    enum err e = http_reader_feed(r, all, &taken);
    if (e == E_OK) {
        assert_int_equal(taken, x->taken ? x->taken : all.len);
    }
    e = e == E_AGAIN && end ? http_reader_end(r) : e;
    check(r, e, x);
    http_reader_start(r, kind, MAX_BODY);
    e = E_AGAIN;
    for (size_t i = 0; e == E_AGAIN && i < all.len; i++) {
        e = http_reader_feed(r, bytes_sub(all, i, 1), &taken);
    }
    e = e == E_AGAIN && end ? http_reader_end(r) : e;
    check(r, e, x);
    http_reader_destroy(r);
}

static void test_lengths(void **state)
{
    (void)state;
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Thing: a b \t\r\n\r\nok", false,
                   &(struct expected){E_OK, 200, "ok", "a b", true, 0});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 404 \r\ncontent-length: 0\r\nx-thing:\r\n\r\n", false,
                   &(struct expected){E_OK, 404, "", "", true, 0});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 204 No Content\r\n\r\n", false,
                   &(struct expected){E_OK, 204, "", NULL, true, 0});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false,
                   &(struct expected){E_OK, 200, "x", NULL, false, 0});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false,
                   &(struct expected){E_OK, 200, "x", NULL, false, 0});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 200 OK\r\n\r\nuntil the end", true,
                   &(struct expected){E_OK, 200, "until the end", NULL, false, 0});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", false,
                   &(struct expected){E_OK, 200, "ok", NULL, true, 40});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort", true,
                   &(struct expected){.err = E_RESET});
}

static void test_chunks(void **state)
{
    (void)state;
    read_both_ways(HTTP_READER_BODY,
                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\n"
                   "X-Thing: a trailer\r\n\r\n",
                   false, &(struct expected){E_OK, 200, "abc0123456789", NULL, true, 0});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true,
                   &(struct expected){.err = E_RESET});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false,
                   &(struct expected){.err = E_PROTOCOL});
    read_both_ways(HTTP_READER_BODY,
                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                   false, &(struct expected){.err = E_PROTOCOL});
}

static void test_without_body(void **state)
{
    (void)state;
    read_both_ways(HTTP_READER_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", false,
                   &(struct expected){E_OK, 200, "", NULL, true, 0});
    read_both_ways(HTTP_READER_HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false,
                   &(struct expected){E_OK, 200, "", NULL, true, 0});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", false,
                   &(struct expected){E_OK, 304, "", NULL, true, 0});
    read_both_ways(HTTP_READER_CONNECT, "HTTP/1.1 200 Connection established\r\n\r\n", false,
                   &(struct expected){E_OK, 200, "", NULL, true, 0});
    read_both_ways(HTTP_READER_CONNECT, "HTTP/1.1 407 Say who\r\nContent-Length: 5\r\n\r\n", false,
                   &(struct expected){E_OK, 407, "", NULL, true, 0});
}

static void test_interim(void **state)
{
    (void)state;
    read_both_ways(HTTP_READER_BODY,
                   "HTTP/1.1 100 Continue\r\nX-Thing: interim\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"
                   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                   false, &(struct expected){E_OK, 200, "ok", NULL, true, 0});
    read_both_ways(HTTP_READER_HEAD, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false,
                   &(struct expected){E_OK, 200, "", NULL, true, 0});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
                   false, &(struct expected){.err = E_PROTOCOL});
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 100 Continue\r\n\r\n", true, &(struct expected){.err = E_RESET});
}

static void test_not_http(void **state)
{
    static const char *const texts[] = {
        "hello",
        "\x16\x03\x03",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX: a\x01z\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        read_both_ways(HTTP_READER_BODY, texts[i], true, &(struct expected){.err = E_PROTOCOL});
    }
}

static void test_ceilings(void **state)
{
    static char text[200000];
    struct expected large = {.err = E_TOO_LARGE};
    size_t len = 0;
    (void)state;
    read_both_ways(HTTP_READER_BODY, "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", false, &large);
    len = (size_t)snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n\r\n");
    memset(text + len, 'a', MAX_BODY + 1);
    read_both_ways(HTTP_READER_BODY, text, true, &large);
    text[len + MAX_BODY] = '\0';
    struct expected most = {E_OK, 200, text + len, NULL, false, 0};
    read_both_ways(HTTP_READER_BODY, text, true, &most);
    /* 60,000 bytes of headers are good, 70,000 are not: in one, in many, and in interim answers. */
    for (size_t size = 60000; size <= 70000; size += 10000) {
        struct expected x = {size < 65536 ? E_OK : E_PROTOCOL, 204, "", NULL, true, 0};
        len = (size_t)snprintf(text, sizeof(text), "HTTP/1.1 204 OK\r\nX: ");
        memset(text + len, 'a', size);
        snprintf(text + len + size, 5, "\r\n\r\n");
        read_both_ways(HTTP_READER_BODY, text, false, &x);
        len = (size_t)snprintf(text, sizeof(text), "HTTP/1.1 204 OK\r\n");
        while (len < size) {
            len += (size_t)snprintf(text + len, sizeof(text) - len, "X-Header: text\r\n");
        }
        snprintf(text + len, sizeof(text) - len, "\r\n");
        read_both_ways(HTTP_READER_BODY, text, false, &x);
    }
    for (len = 0; len < 150000;) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    }
    read_both_ways(HTTP_READER_BODY, text, false, &(struct expected){.err = E_PROTOCOL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths), cmocka_unit_test(test_chunks),   cmocka_unit_test(test_without_body),
        cmocka_unit_test(test_interim), cmocka_unit_test(test_not_http), cmocka_unit_test(test_ceilings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
