#include "unit.h"

#include "mqttsn/topics.h"

static void an_id_is_stable(void **state)
{
    (void)state;
    struct topics a = {0}, b = {0};
    struct topics_entry *e;
    assert_int_equal(topics_add(&a, BYTES("x"), &e), E_OK);
    assert_int_equal(topics_add(&a, BYTES("sensors/riot/1"), &e), E_OK);
    uint16_t id = e->id;
    assert_true(id != 0 && id != 0xffff);
    assert_int_equal(topics_add(&a, BYTES("sensors/riot/1"), &e), E_OK);
    assert_int_equal(e->id, id);
    assert_int_equal(a.count, 2);
    /* ... also in another life of the gateway */
    assert_int_equal(topics_add(&b, BYTES("sensors/riot/1"), &e), E_OK);
    assert_int_equal(e->id, id);
    topics_clear(&a);
    assert_null(topics_by_id(&a, id));
    topics_clear(&b);
}

static void finds_both_ways(void **state)
{
    (void)state;
    struct topics t = {0};
    struct topics_entry *e;
    char name[32];
    for (unsigned i = 0; i < TOPICS_MAX; i++) {
        int n = snprintf(name, sizeof(name), "t/%u", i);
        assert_int_equal(topics_add(&t, bytes_make(name, (size_t)n), &e), E_OK);
    }
    for (unsigned i = 0; i < TOPICS_MAX; i++) {
        int n = snprintf(name, sizeof(name), "t/%u", i);
        e = topics_by_name(&t, bytes_make(name, (size_t)n));
        assert_non_null(e);
        assert_ptr_equal(topics_by_id(&t, e->id), e);
        assert_true(e->id != 0 && e->id != 0xffff);
    }
    for (unsigned i = 1; i < t.count; i++) {
        assert_true(t.entries[i - 1].id < t.entries[i].id);
    }
    assert_null(topics_by_name(&t, BYTES("t/x")));
    assert_int_equal(topics_add(&t, BYTES("one too many"), &e), E_FULL);
    assert_int_equal(topics_add(&t, BYTES("t/7"), &e), E_OK);
    topics_clear(&t);
}

static void names_have_a_ceiling_together(void **state)
{
    (void)state;
    static uint8_t name[TOPICS_BYTES_MAX];
    struct topics t = {0};
    struct topics_entry *e;
    assert_int_equal(topics_add(&t, bytes_make(name, TOPICS_BYTES_MAX - 10), &e), E_OK);
    name[0] = 1;
    assert_int_equal(topics_add(&t, bytes_make(name, 11), &e), E_FULL);
    assert_int_equal(topics_add(&t, bytes_make(name, 10), &e), E_OK);
    topics_clear(&t);
}

static void a_reconnect_keeps_what_the_client_asked_for(void **state)
{
    (void)state;
    struct topics t = {0};
    struct topics_entry *e;
    assert_int_equal(topics_add(&t, BYTES("asked"), &e), E_OK);
    e->known = e->asked = true;
    assert_int_equal(topics_add(&t, BYTES("told"), &e), E_OK);
    e->known = true;
    assert_int_equal(topics_add(&t, BYTES("refused"), &e), E_OK);
    e->refused = true;
    topics_reconnected(&t);
    assert_true(topics_by_name(&t, BYTES("asked"))->known);
    assert_false(topics_by_name(&t, BYTES("told"))->known);
    assert_false(topics_by_name(&t, BYTES("refused"))->refused);
    topics_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_stable),
        cmocka_unit_test(finds_both_ways),
        cmocka_unit_test(names_have_a_ceiling_together),
        cmocka_unit_test(a_reconnect_keeps_what_the_client_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
