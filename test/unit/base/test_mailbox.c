#include "unit.h"

#include "base/mailbox.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

struct parcel {
    struct letter letter;
    unsigned sender;
    unsigned number;
};

static unsigned discarded;

static void discard(struct letter *letter)
{
    discarded++;
    free(letter);
}

static void count_wake(void *ctx)
{
    ++*(unsigned *)ctx;
}

static struct letter *make(unsigned number, size_t size)
{
    struct parcel *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    p->letter.size = size;
    p->number = number;
    return &p->letter;
}

static unsigned number_of(const struct letter *letter)
{
    return ((const struct parcel *)letter)->number;
}

/* Frees a chain; returns how many letters it had, checks that they count up from `first`. */
static unsigned consume(struct letter *chain, unsigned first)
{
    unsigned n = 0;
    while (chain) {
        struct letter *next = chain->next;
        assert_int_equal(number_of(chain), first + n);
        free(chain);
        chain = next;
        n++;
    }
    return n;
}

static void test_order_and_wake(void **state)
{
    (void)state;
    unsigned wakes = 0;
    struct mailbox *box;
    struct mailbox_options o = {10, 1000, count_wake, &wakes, discard};
    assert_int_equal(mailbox_create(&o, &box), E_OK);
    assert_null(mailbox_take(box, 0));
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(mailbox_put(box, make(i, 1)), E_OK);
    }
    assert_int_equal(wakes, 1);
    assert_int_equal(consume(mailbox_take(box, 0), 0), 5);
    assert_null(mailbox_take(box, 0));
    assert_int_equal(mailbox_put(box, make(5, 1)), E_OK);
    assert_int_equal(wakes, 2);
    assert_int_equal(consume(mailbox_take(box, 0), 5), 1);
    mailbox_destroy(box);
}

static void test_ceilings(void **state)
{
    (void)state;
    struct mailbox *box;
    struct mailbox_options o = {.max_letters = 3, .max_bytes = 100, .discard = discard};
    assert_int_equal(mailbox_create(&o, &box), E_OK);
    struct letter *large = make(9, 101);
    assert_int_equal(mailbox_put(box, large), E_TOO_LARGE);
    large->size = 61;
    assert_int_equal(mailbox_put(box, make(0, 40)), E_OK);
    assert_int_equal(mailbox_put(box, large), E_FULL);
    large->size = 60;
    assert_int_equal(mailbox_put(box, make(1, 60)), E_OK);
    assert_int_equal(mailbox_put(box, make(2, 0)), E_OK);
    struct letter *fourth = make(3, 0);
    assert_int_equal(mailbox_put(box, fourth), E_FULL);
    assert_int_equal(consume(mailbox_take(box, 1), 0), 1);
    assert_int_equal(mailbox_put(box, fourth), E_OK);
    assert_int_equal(mailbox_put(box, large), E_FULL);
    assert_int_equal(consume(mailbox_take(box, 0), 1), 3);
    assert_int_equal(mailbox_put(box, large), E_OK);
    discarded = 0;
    mailbox_destroy(box);
    assert_int_equal(discarded, 1);
}

static void test_partial_take(void **state)
{
    (void)state;
    unsigned wakes = 0;
    struct mailbox *box;
    struct mailbox_options o = {10, 1000, count_wake, &wakes, discard};
    assert_int_equal(mailbox_create(&o, &box), E_OK);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(mailbox_put(box, make(i, 10)), E_OK);
    }
    assert_int_equal(consume(mailbox_take(box, 2), 0), 2);
    assert_int_equal(mailbox_put(box, make(5, 10)), E_OK);
    assert_int_equal(wakes, 1); /* it was not empty */
    assert_int_equal(consume(mailbox_take(box, 3), 2), 3);
    assert_int_equal(consume(mailbox_take(box, 100), 5), 1);
    assert_null(mailbox_take(box, 1));
    assert_int_equal(mailbox_put(box, make(6, 1000)), E_OK); /* the byte count is back at 0 */
    assert_int_equal(wakes, 2);
    assert_int_equal(consume(mailbox_take(box, 1), 6), 1);
    assert_int_equal(mailbox_put(box, make(7, 1)), E_OK);
    assert_int_equal(wakes, 3);
    discarded = 0;
    mailbox_destroy(box);
    assert_int_equal(discarded, 1);
}

static void test_options(void **state)
{
    (void)state;
    struct mailbox *box = NULL;
    struct mailbox_options o = {.max_letters = 0, .max_bytes = 1};
    assert_int_equal(mailbox_create(&o, &box), E_INVALID);
    o = (struct mailbox_options){.max_letters = 1, .max_bytes = 0};
    assert_int_equal(mailbox_create(&o, &box), E_INVALID);
    assert_null(box);
    mailbox_destroy(NULL);
    /* Letters that need no freeing. */
    struct letter letter = {.size = 1};
    o = (struct mailbox_options){.max_letters = 1, .max_bytes = 1};
    assert_int_equal(mailbox_create(&o, &box), E_OK);
    assert_int_equal(mailbox_put(box, &letter), E_OK);
    mailbox_destroy(box);
}

enum { SENDERS = 4, LETTERS = 5000 };

struct race {
    struct mailbox *box;
    sem_t wake;
};

struct sender {
    struct race *race;
    unsigned id;
    unsigned refused;
};

static void post(void *ctx)
{
    sem_post(&((struct race *)ctx)->wake);
}

static void *send_all(void *arg)
{
    struct sender *s = arg;
    for (unsigned i = 0; i < LETTERS; i++) {
        struct parcel *p = calloc(1, sizeof(*p));
        assert_non_null(p);
        p->letter.size = 1;
        p->sender = s->id;
        p->number = i;
        while (mailbox_put(s->race->box, &p->letter) != E_OK) {
            s->refused++;
            sched_yield();
        }
    }
    return NULL;
}

/* Nothing is lost, nothing comes twice, each sender's letters keep their order, no wake is missed: a reader that only
 * looks when woken gets everything. */
static void test_threads(void **state)
{
    (void)state;
    struct race race;
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    unsigned next[SENDERS] = {0};
    assert_int_equal(sem_init(&race.wake, 0, 0), 0);
    struct mailbox_options o = {.max_letters = 64, .max_bytes = 50, .wake = post, .ctx = &race, .discard = discard};
    assert_int_equal(mailbox_create(&o, &race.box), E_OK);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.race = &race, .id = i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    for (unsigned got = 0; got < SENDERS * LETTERS;) {
        while (sem_wait(&race.wake) != 0) {
        }
        for (struct letter *l = mailbox_take(race.box, 0), *following; l; l = following) {
            struct parcel *p = (struct parcel *)l;
            following = l->next;
            assert_int_equal(p->number, next[p->sender]);
            next[p->sender]++;
            got++;
            free(p);
        }
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_null(mailbox_take(race.box, 0));
    mailbox_destroy(race.box);
    sem_destroy(&race.wake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_wake), cmocka_unit_test(test_ceilings), cmocka_unit_test(test_partial_take),
        cmocka_unit_test(test_options),        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
