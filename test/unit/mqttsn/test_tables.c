/* The hash table and the heap of deadlines, against plain arrays. */
#include "unit.h"

#include "mqttsn/deadlines.h"
#include "mqttsn/table.h"

enum { COUNT = 2000 };

struct thing {
    struct table_node node;
    struct deadline deadline;
    unsigned key;
    bool in;
};

static bool equal_key(const struct table_node *node, const void *key)
{
    return ((const struct thing *)node)->key == *(const unsigned *)key;
}

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void table_finds_what_is_in(void **state)
{
    (void)state;
    static struct thing things[COUNT];
    struct table t = {0};
    uint64_t rng = 1;
    assert_null(table_find(&t, 1, equal_key, &(unsigned){1}));
    assert_null(table_next(&t, NULL));
    for (unsigned i = 0; i < COUNT; i++) {
        things[i].key = i;
    }
    for (unsigned round = 0; round < 20000; round++) {
        struct thing *x = &things[next(&rng) % COUNT];
        if (x->in) {
            table_remove(&t, &x->node);
        } else {
            assert_int_equal(table_add(&t, &x->node, x->key % 97), E_OK); /* many collisions */
        }
        x->in = !x->in;
    }
    size_t in = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        struct table_node *found = table_find(&t, i % 97, equal_key, &i);
        assert_ptr_equal(found, things[i].in ? &things[i].node : NULL);
        in += things[i].in;
    }
    size_t walked = 0;
    for (struct table_node *n = table_next(&t, NULL); n; n = table_next(&t, n)) {
        walked++;
    }
    assert_int_equal(walked, in);
    assert_int_equal(t.count, in);
    table_finish(&t);
}

static void deadlines_come_in_order(void **state)
{
    (void)state;
    static struct thing things[COUNT];
    struct deadlines d = {0};
    uint64_t rng = 7;
    assert_null(deadlines_first(&d));
    for (unsigned round = 0; round < 20000; round++) {
        struct thing *x = &things[next(&rng) % COUNT];
        uint64_t what = next(&rng) % 8;
        struct mono at = what == 0 ? MONO_NEVER : (struct mono){next(&rng) % 1000};
        assert_int_equal(deadlines_set(&d, &x->deadline, at), E_OK);
        x->in = what != 0;
        if (what == 1) {
            deadlines_remove(&d, &x->deadline);
            deadlines_remove(&d, &x->deadline);
            x->in = false;
        }
    }
    size_t in = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        in += things[i].in;
        assert_true((things[i].deadline.place != 0) == things[i].in);
    }
    assert_int_equal(d.count, in);
    uint64_t last = 0;
    for (struct deadline *first; (first = deadlines_first(&d));) {
        assert_true(first->at.ns >= last);
        last = first->at.ns;
        deadlines_remove(&d, first);
    }
    deadlines_finish(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_finds_what_is_in),
        cmocka_unit_test(deadlines_come_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
