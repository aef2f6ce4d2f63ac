#include "unit.h"

#include "plugin/sink_dynamodb_window.h"

#include <stdlib.h>

static struct window w;
static struct table *t;
static struct mono now;
static uint64_t next_sequence;
static uint64_t done[64];
static size_t done_count;
static size_t covered_count;

static int set_up(void **state)
{
    (void)state;
    now = (struct mono){UINT64_C(1000000000)};
    next_sequence = 1;
    done_count = covered_count = 0;
    assert_int_equal(window_init(&w), E_OK);
    assert_int_equal(window_table(&w, BYTES("greenhouse"), now, &t), E_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    window_finish(&w);
    return 0;
}

static void add(const char *sensor, int64_t time, const char *item)
{
    struct record r = {.sequence = next_sequence++, .sensor = bytes_str(sensor)};
    struct dynamodb_measurement m = {r.sensor, time, BYTES("")};
    assert_int_equal(window_add(&w, t, &r, &m, bytes_str(item), now), E_OK);
}

static void on_record(void *ctx, const struct record *record, bool covered)
{
    (void)ctx;
    done[done_count++] = record->sequence;
    covered_count += covered;
}

static struct entry *send_all(size_t *count)
{
    return window_send(&w, t, DYNAMODB_BATCH_MAX, 1 << 20, count);
}

static void finish_all(struct entry *first)
{
    while (first) {
        struct entry *e = first;
        first = e->next;
        window_done(&w, e, on_record, NULL, now);
    }
}

static void assert_item(const struct entry *e, const char *item)
{
    assert_true(bytes_equal(e->item, bytes_str(item)));
}

static void assert_empty(void)
{
    assert_int_equal(w.entries, 0);
    assert_int_equal(w.bytes, 0);
    assert_int_equal(w.ready, 0);
    assert_int_equal(w.delayed, 0);
    assert_int_equal(t->entries, 0);
    assert_int_equal(t->in_flight, 0);
    assert_int_equal(t->ready.count, 0);
    assert_int_equal(t->ready.bytes, 0);
}

static void test_in_order(void **state)
{
    (void)state;
    size_t count;
    for (int64_t i = 0; i < 30; i++) {
        add("a", i, "item");
    }
    struct entry *first = send_all(&count);
    assert_int_equal(count, 25);
    assert_int_equal(first->record.sequence, 1);
    assert_int_equal(w.ready, 5);
    finish_all(first);
    finish_all(send_all(&count));
    assert_int_equal(count, 5);
    assert_int_equal(done_count, 30);
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(done[i], i + 1);
    }
    assert_empty();
}

static void test_bytes_limit(void **state)
{
    (void)state;
    size_t count;
    add("a", 1, "0123456789");
    add("a", 2, "0123456789");
    add("a", 3, "0123456789");
    struct entry *first = window_send(&w, t, 25, 20, &count);
    assert_int_equal(count, 2);
    finish_all(first);
    first = window_send(&w, t, 25, 5, &count); /* one at least */
    assert_int_equal(count, 1);
    finish_all(first);
    assert_empty();
}

/* Two of the same keys are never in one request; the later one stands for both. */
static void test_same_keys_waiting(void **state)
{
    (void)state;
    size_t count;
    add("a", 1, "old");
    add("b", 1, "other");
    add("a", 1, "newer one");
    add("a", 1, "newest");
    assert_int_equal(w.entries, 4);
    struct entry *first = send_all(&count);
    assert_int_equal(count, 2);
    assert_item(first, "newest");
    assert_int_equal(first->record.sequence, 4);
    assert_item(first->next, "other");
    finish_all(first);
    assert_int_equal(done_count, 4);
    assert_int_equal(covered_count, 2);
    assert_empty();
}

static void test_same_keys_on_the_way(void **state)
{
    (void)state;
    size_t count;
    add("a", 1, "first");
    struct entry *first = send_all(&count);
    add("a", 1, "second");
    add("a", 1, "third");
    assert_null(send_all(&count)); /* waits behind */
    finish_all(first);
    assert_int_equal(done_count, 1);
    first = send_all(&count);
    assert_int_equal(count, 1);
    assert_item(first, "third");
    finish_all(first);
    assert_int_equal(done_count, 3);
    assert_empty();
}

/* What comes back makes room for the later one. */
static void test_same_keys_returned(void **state)
{
    (void)state;
    size_t count;
    add("a", 1, "first");
    struct entry *first = send_all(&count);
    add("a", 1, "second");
    window_return(&w, first, now);
    first = send_all(&count);
    assert_int_equal(count, 1);
    assert_item(first, "second");
    add("a", 1, "third");
    window_delay(&w, first, mono_add_ms(now, 100));
    add("a", 1, "fourth"); /* while delayed */
    assert_null(send_all(&count));
    now = mono_add_ms(now, 100);
    window_release(&w, now);
    first = send_all(&count);
    assert_item(first, "fourth");
    finish_all(first);
    assert_int_equal(done_count, 4);
    assert_empty();
}

static void test_delayed(void **state)
{
    (void)state;
    size_t count;
    for (int64_t i = 0; i < 20; i++) {
        add("a", i, "item");
    }
    struct entry *e = send_all(&count);
    static const unsigned delays[] = {5, 3, 17, 11, 2, 19, 7, 13, 1, 4, 6, 8, 20, 9, 10, 12, 14, 15, 16, 18};
    for (size_t i = 0; i < 20; i++) {
        struct entry *next = e->next;
        window_delay(&w, e, mono_add_ms(now, delays[i]));
        e = next;
    }
    for (unsigned ms = 1; ms <= 20; ms++) {
        assert_int_equal(window_next_due(&w).ns, mono_add_ms(now, ms).ns);
        window_release(&w, mono_add_ms(now, ms));
        e = send_all(&count);
        assert_int_equal(count, 1);
        assert_int_equal(delays[e->record.sequence - 1], ms);
        finish_all(e);
    }
    assert_int_equal(window_next_due(&w).ns, MONO_NEVER.ns);
    assert_empty();
}

static void test_hurry(void **state)
{
    (void)state;
    size_t count;
    for (int64_t i = 0; i < 10; i++) {
        add("a", i, "item");
    }
    struct entry *e = send_all(&count);
    for (unsigned i = 0; e; i++) {
        struct entry *next = e->next;
        window_delay(&w, e, mono_add_ms(now, 1000 - 90 * i));
        e = next;
    }
    window_hurry(&w, mono_add_ms(now, 500));
    assert_int_equal(window_next_due(&w).ns, mono_add_ms(now, 190).ns);
    window_release(&w, mono_add_ms(now, 500));
    assert_int_equal(w.delayed, 0);
    finish_all(send_all(&count));
    assert_empty();
}

static void test_suspects(void **state)
{
    (void)state;
    size_t count;
    for (int64_t i = 0; i < 4; i++) {
        add("a", i, "item");
    }
    struct entry *first = send_all(&count);
    struct entry *second = first->next->next;
    first->next->next = NULL;
    window_suspect(&w, t, first, 2, now);
    window_suspect(&w, t, second, 2, now);
    add("a", 0, "later"); /* takes its place in the group */
    add("b", 0, "mate");
    first = window_send_group(&w, t, &count);
    assert_int_equal(count, 2);
    assert_item(first, "later");
    finish_all(first);
    second = window_send_group(&w, t, &count);
    assert_int_equal(count, 2);
    finish_all(second);
    assert_null(window_send_group(&w, t, &count));
    finish_all(send_all(&count));
    assert_int_equal(count, 1);
    assert_empty();
}

static void test_tables(void **state)
{
    (void)state;
    struct table *again;
    char name[32];
    assert_int_equal(window_table(&w, BYTES("greenhouse"), now, &again), E_OK);
    assert_ptr_equal(again, t);
    add("a", 1, "keeps it");
    for (unsigned i = 0; i < 2 * WINDOW_TABLES_MAX; i++) { /* idle ones make room */
        snprintf(name, sizeof(name), "table-%u", i);
        assert_int_equal(window_table(&w, bytes_str(name), now, &again), E_OK);
    }
    assert_int_equal(window_table(&w, BYTES("greenhouse"), now, &again), E_OK);
    assert_ptr_equal(again, t);
    assert_int_equal(w.table_count, WINDOW_TABLES_MAX);
    window_rotate(&w, t);
    window_rotate(&w, again);
    size_t listed = 0;
    for (struct table *at = w.tables; at; at = at->next) {
        listed++;
    }
    assert_int_equal(listed, WINDOW_TABLES_MAX);
}

/* Random operations; every record is done once in the end, and of equal keys the last one was written last. */
static void test_random(void **state)
{
    (void)state;
    uint64_t rng = 12345;
    static int64_t last_written[50];
    static bool seen[20001];
    memset(seen, 0, sizeof(seen));
    struct entry *sent[8] = {0};
    for (int step = 0; step < 40000 || w.entries > 0; step++) {
        rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
        unsigned choice = (unsigned)(rng >> 33) % 8;
        unsigned slot = (unsigned)(rng >> 40) % 8;
        unsigned key = (unsigned)(rng >> 50) % 50;
        size_t count = 0;
        now = mono_add_ms(now, 1);
        window_release(&w, now);
        if (choice < 4 && next_sequence <= 20000 && window_has_room(&w)) {
            char item[32];
            snprintf(item, sizeof(item), "%llu", (unsigned long long)next_sequence);
            add("s", key, item);
        } else if (choice < 6 && !sent[slot]) {
            sent[slot] = window_send_group(&w, t, &count);
            sent[slot] = sent[slot] ? sent[slot] : window_send(&w, t, 1 + key % 25, 1 << 20, &count);
        } else if (sent[slot]) {
            struct entry *e = sent[slot];
            sent[slot] = NULL;
            if (choice == 7 && step < 60000) {
                for (struct entry *x = e; x; x = x->next) {
                    count++;
                }
                window_suspect(&w, t, e, count, now);
                continue;
            }
            for (struct entry *next; e; e = next) {
                next = e->next;
                if (key % 4 == 0 && step < 60000) {
                    window_delay(&w, e, mono_add_ms(now, key));
                } else if (key % 4 == 1 && step < 60000) {
                    window_return(&w, e, now);
                } else {
                    char text[32];
                    snprintf(text, sizeof(text), "%.*s", (int)e->item.len, (const char *)e->item.data);
                    int64_t value = strtoll(text, NULL, 10);
                    assert_int_equal(value, (int64_t)e->record.sequence);
                    assert_true(value > last_written[e->timestamp_ms]);
                    last_written[e->timestamp_ms] = value;
                    done_count = 0;
                    window_done(&w, e, on_record, NULL, now);
                    for (size_t i = 0; i < done_count; i++) {
                        assert_false(seen[done[i]]);
                        seen[done[i]] = true;
                    }
                }
            }
        }
    }
    for (uint64_t i = 1; i < next_sequence; i++) {
        assert_true(seen[i]);
    }
    assert_empty();
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_in_order),
        CASE(test_bytes_limit),
        CASE(test_same_keys_waiting),
        CASE(test_same_keys_on_the_way),
        CASE(test_same_keys_returned),
        CASE(test_delayed),
        CASE(test_hurry),
        CASE(test_suspects),
        CASE(test_tables),
        CASE(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
