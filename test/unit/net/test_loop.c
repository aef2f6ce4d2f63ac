#define _GNU_SOURCE /* pthread_getname_np */
#include "net/loop.h"
#include "net/turn.h"
#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>

struct seen {
    unsigned next;
    bool in_order;
    pthread_t thread;
    sigset_t blocked;
    char name[16];
};

struct numbered {
    struct seen *seen;
    unsigned number;
};

static void note(void *arg)
{
    struct numbered *n = arg;
    n->seen->in_order &= n->seen->next == n->number;
    n->seen->next++;
    n->seen->thread = pthread_self();
    pthread_sigmask(SIG_BLOCK, NULL, &n->seen->blocked);
    pthread_getname_np(pthread_self(), n->seen->name, sizeof(n->seen->name));
}

static void test_posts_in_order(void **state)
{
    static struct numbered numbers[3000];
    struct seen seen = {.in_order = true};
    struct loop *l = NULL;
    (void)state;
    assert_int_equal(loop_create(&l), E_OK);
    assert_int_equal(loop_start(l, "test-loop"), E_OK);
    for (unsigned i = 0; i < 3000; i++) {
        numbers[i] = (struct numbered){&seen, i};
        enum err e = E_FULL;
        while (e == E_FULL) {
            e = loop_post(l, note, &numbers[i]);
        }
        assert_int_equal(e, E_OK);
    }
    loop_stop(l);
    assert_int_equal(loop_post(l, note, &numbers[0]), E_CLOSED);
    loop_join(l);
    assert_int_equal(seen.next, 3000);
    assert_true(seen.in_order);
    assert_false(pthread_equal(seen.thread, pthread_self()));
    assert_string_equal(seen.name, "test-loop");
    assert_true(sigismember(&seen.blocked, SIGTERM) && sigismember(&seen.blocked, SIGPIPE));
    sigset_t ours;
    pthread_sigmask(SIG_BLOCK, NULL, &ours);
    assert_false(sigismember(&ours, SIGTERM));
    loop_destroy(l);
}

static void test_full(void **state)
{
    struct seen seen = {.in_order = true};
    static struct numbered numbers[1025];
    struct loop *l = NULL;
    (void)state;
    assert_int_equal(loop_create(&l), E_OK);
    for (unsigned i = 0; i < 1024; i++) {
        numbers[i] = (struct numbered){&seen, i};
        assert_int_equal(loop_post(l, note, &numbers[i]), E_OK);
    }
    assert_int_equal(loop_post(l, note, &numbers[1024]), E_FULL);
    loop_stop(l);
    loop_run(l); /* on this thread: what was posted, then the end */
    assert_int_equal(seen.next, 1024);
    assert_true(pthread_equal(seen.thread, pthread_self()));
    loop_destroy(l);
}

struct chain {
    struct loop *loop;
    unsigned left;
    enum err last;
};

static void post_again(void *arg)
{
    struct chain *c = arg;
    if (c->left-- == 0) {
        loop_stop(c->loop);
        c->last = loop_post(c->loop, post_again, c);
        return;
    }
    c->last = loop_post(c->loop, post_again, c);
}

static void test_post_from_the_loop(void **state)
{
    struct chain c = {.left = 100};
    (void)state;
    assert_int_equal(loop_create(&c.loop), E_OK);
    assert_int_equal(loop_post(c.loop, post_again, &c), E_OK);
    assert_int_equal(loop_start(c.loop, "test-loop"), E_OK);
    loop_join(c.loop);
    assert_int_equal(c.last, E_CLOSED);
    loop_destroy(c.loop);
}

static void close_timer(void *arg)
{
    uv_close(arg, NULL);
}

/* A handle whose closing has only begun when the loop stops is finished by loop_destroy. */
static void test_destroy_finishes_closing(void **state)
{
    struct loop *l = NULL;
    uv_timer_t timer;
    (void)state;
    assert_int_equal(loop_create(&l), E_OK);
    assert_int_equal(uv_timer_init(loop_uv(l), &timer), 0);
    assert_int_equal(loop_post(l, close_timer, &timer), E_OK);
    loop_stop(l);
    assert_int_equal(loop_start(l, "test-loop"), E_OK);
    loop_join(l);
    loop_destroy(l);
    loop_destroy(NULL);
    assert_true(uv_is_closing((uv_handle_t *)&timer));
}

#define NAP_US 300u

struct nap {
    struct turn_item item;
    struct turn *turn;
    unsigned runs;
};

static void nap(struct turn_item *item)
{
    struct nap *n = (struct nap *)item;
    n->runs++;
    turn_nap(n->turn, NAP_US);
    turn_nap(n->turn, 1);
}

static void test_nap(void **state)
{
    uv_loop_t loop;
    struct nap n = {.item.run = nap};
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(turn_get(&loop, &n.turn), E_OK);
    turn_add(n.turn, &n.item);
    uint64_t start = uv_hrtime();
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(n.runs, 1);
    assert_true(uv_hrtime() - start >= NAP_US * 1000);
    turn_put(n.turn);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

struct later {
    struct turn_item item;
    struct turn *turn;
    unsigned runs;
    unsigned polls; /* at the second run */
};

/* Items that note the order in which they ran. */
struct listed {
    struct turn_item item;
    char name;
};

static char ran[16];

static void run_listed(struct turn_item *item)
{
    size_t len = strlen(ran);
    ran[len] = ((struct listed *)item)->name;
    ran[len + 1] = '\0';
}

static void test_remove(void **state)
{
    uv_loop_t loop;
    struct turn *t;
    struct listed a = {{.run = run_listed}, 'a'}, b = {{.run = run_listed}, 'b'}, c = {{.run = run_listed}, 'c'},
                  d = {{.run = run_listed}, 'd'};
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(turn_get(&loop, &t), E_OK);
    turn_remove(t, &a.item); /* it is in no list */
    turn_add(t, &a.item);
    turn_add(t, &b.item);
    turn_add(t, &c.item);
    turn_remove(t, &c.item);
    turn_remove(t, &a.item);
    turn_add(t, &d.item);
    turn_add_after_poll(t, &c.item);
    turn_add_after_poll(t, &a.item);
    turn_remove(t, &c.item);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_string_equal(ran, "bda");
    turn_add(t, &b.item);
    assert_int_equal(uv_backend_timeout(&loop), 0);
    turn_remove(t, &b.item);
    assert_int_equal(uv_run(&loop, UV_RUN_NOWAIT), 0); /* nothing keeps the loop awake */
    assert_string_equal(ran, "bda");
    turn_put(t);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static struct later later;

static void on_poll_done(uv_check_t *check)
{
    (void)check;
    later.polls++;
}

static void run_later(struct turn_item *item)
{
    struct later *l = (struct later *)item;
    if (l->runs++ == 0) {
        turn_add_after_poll(l->turn, item);
        turn_add(l->turn, item); /* does nothing: it waits already */
    } else {
        assert_int_equal(l->polls, 1);
    }
}

static void test_after_poll(void **state)
{
    uv_loop_t loop;
    uv_check_t check;
    (void)state;
    later = (struct later){.item.run = run_later};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(turn_get(&loop, &later.turn), E_OK);
    uv_check_init(&loop, &check);
    uv_check_start(&check, on_poll_done); /* called before those that were started before it */
    turn_add(later.turn, &later.item);
    uint64_t start = uv_hrtime();
    uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(later.runs, 2);
    assert_true(uv_hrtime() - start < 1000000000);
    uv_close((uv_handle_t *)&check, NULL);
    turn_put(later.turn);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void on_alarm(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* The loop does not wait for the timer at first, and does so when the time is over. */
static void test_stay_awake(void **state)
{
    uv_loop_t loop;
    uv_timer_t timer;
    struct turn *turn;
    bool rung = false;
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(turn_get(&loop, &turn), E_OK);
    uv_timer_init(&loop, &timer);
    timer.data = &rung;
    uv_timer_start(&timer, on_alarm, 10000, 0);
    turn_stay_awake(turn);
    uv_run(&loop, UV_RUN_ONCE);
    assert_false(rung);
    uv_timer_start(&timer, on_alarm, 20, 0);
    unsigned turns = 0;
    for (uint64_t end = uv_hrtime() + (uint64_t)TURN_AWAKE_US * 1000; uv_hrtime() < end;) {
    }
    for (; !rung; turns++) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_true(turns < 5);
    uv_close((uv_handle_t *)&timer, NULL);
    turn_put(turn);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* libuv would abort. */
static void test_no_files_left(void **state)
{
    (void)state;
    struct rlimit old;
    struct loop *l;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (rlim_t n = 0; n < 12; n++) {
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){n, old.rlim_max}), 0);
        enum err e = loop_create(&l);
        assert_true(e == E_FULL || n > 6);
        if (e == E_OK) {
            loop_destroy(l);
        }
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(loop_create(&l), E_OK);
    loop_destroy(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_files_left), /* first: the first loop of a process needs the most */
        cmocka_unit_test(test_posts_in_order),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_post_from_the_loop),
        cmocka_unit_test(test_destroy_finishes_closing),
        cmocka_unit_test(test_nap),
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_after_poll),
        cmocka_unit_test(test_stay_awake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
