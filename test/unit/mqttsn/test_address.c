/* Addresses, and the limits per address. */
#include "unit.h"

#include "mqttsn/flood.h"

static struct address parse(const char *ip, uint16_t port)
{
    struct address a;
    assert_int_equal(address_parse(ip, port, &a), E_OK);
    return a;
}

static void text_and_back(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_SIZE];
    struct sockaddr_storage sa;
    static const struct {
        const char *ip, *text;
    } cases[] = {{"192.0.2.1", "192.0.2.1:1883"}, {"::1", "[::1]:1883"}, {"fe80::1%lo", "[fe80::1%lo]:1883"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address a = parse(cases[i].ip, 1883);
        assert_string_equal(address_format(&a, text), cases[i].text);
        assert_true(address_to_sockaddr(&a, &sa) > 0);
        struct address back = address_from_sockaddr((const struct sockaddr *)&sa);
        assert_true(address_equal(&a, &back));
        back.port = 1;
        assert_false(address_equal(&a, &back));
    }
    struct address a;
    assert_int_equal(address_parse("localhost", 1, &a), E_MALFORMED);
    assert_int_equal(address_parse("", 1, &a), E_MALFORMED);
}

static void kinds(void **state)
{
    (void)state;
    struct address a = parse("225.1.1.1", 1), b = parse("ff02::1", 1), c = parse("255.255.255.255", 1),
                   d = parse("::", 1), e = parse("10.0.0.1", 1);
    assert_true(address_is_multicast(&a) && address_is_multicast(&b) && !address_is_multicast(&c));
    assert_true(address_is_broadcast(&c) && !address_is_broadcast(&e));
    assert_true(address_is_any(&d) && !address_is_any(&e));
    struct address f = parse("2001:db8::1", 1), g = parse("2001:db8::2", 9), h = parse("2001:db8:0:1::1", 1);
    assert_true(address_host_hash(&f, 1) == address_host_hash(&g, 1)); /* one /64 */
    assert_true(address_host_hash(&f, 1) != address_host_hash(&h, 1));
}

static void a_flood_is_limited(void **state)
{
    (void)state;
    struct flood *f;
    struct mono now = {1000000000};
    struct address a = parse("192.0.2.1", 1), other = parse("192.0.2.2", 1), loop = parse("127.0.0.1", 1);
    assert_int_equal(flood_create(7, &f), E_OK);
    unsigned allowed = 0;
    for (unsigned i = 0; i < 20000; i++) {
        allowed += flood_allows(f, FLOOD_CONNECT, &a, now);
        assert_true(flood_allows(f, FLOOD_CONNECT, &loop, now));
    }
    assert_int_equal(allowed, FLOOD_CONNECT_BURST);
    assert_true(flood_allows(f, FLOOD_CONNECT, &other, now));
    assert_true(flood_allows(f, FLOOD_ANSWER, &a, now));
    now = mono_add_ms(now, 1000);
    for (allowed = 0; flood_allows(f, FLOOD_CONNECT, &a, now);) {
        allowed++;
    }
    assert_in_range(allowed, FLOOD_CONNECT_RATE - 1, FLOOD_CONNECT_RATE + 1);
    for (allowed = 0; flood_allows(f, FLOOD_ECHO, &loop, now);) {
        assert_in_range(++allowed, 1, FLOOD_ECHO_BURST);
    }
    assert_int_equal(allowed, FLOOD_ECHO_BURST);
    flood_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_back),
        cmocka_unit_test(kinds),
        cmocka_unit_test(a_flood_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
