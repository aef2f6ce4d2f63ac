/* kill -9 at random instants of a process that appends, reads and confirms: what spool_append has accepted is there, once, and
 * as it was; the spool always opens and is never damaged. test_spool_kill [ROUNDS] */
#define _GNU_SOURCE
#include "unit.h"

#include "base/backoff.h"
#include "base/log.h"
#include "plugin/spool_internal.h"
#include "spool_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SQLITE SINK_BIT(SINK_SQLITE)
/* Records that lie in fewer segments than a cursor holds: each has room for more than 20 of the largest. */
#define HELD_MAX (10u * CURSOR_SEGMENTS_MAX)

static unsigned rounds = 60;

/* Shared with the child; a store is done before the next thing happens. */
struct progress {
    _Atomic uint64_t appended; /* records whose append has returned */
    _Atomic uint64_t confirmed;
};

static void ignore_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

struct child {
    struct fixture *f;
    struct progress *p;
    uv_loop_t loop;
    uint64_t first;
};

static void on_wake(void *ctx, enum sink_id sink)
{
    struct child *c = ctx;
    struct record r;
    while (cursor_next(spool_cursor(c->f->spool, sink), &r) == E_OK) {
        cursor_confirm(spool_cursor(c->f->spool, sink), r.sequence);
        atomic_fetch_add(&c->p->confirmed, 1);
    }
}

static void *run_loop(void *arg)
{
    struct child *c = arg;
    on_wake(c, SINK_SQLITE);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* Appends for ever. Half of the children read, too; so the rest has a backlog to recover. */
static void child(struct fixture *f, struct progress *p, bool reads, uint64_t seed)
{
    struct child c = {.f = f, .p = p, .first = atomic_load(&p->appended)};
    pthread_t thread;
    fixture_open(f);
    uv_loop_init(&c.loop);
    if (spool_start(f->spool, &c.loop, on_wake, &c) != E_OK ||
        (reads && pthread_create(&thread, NULL, run_loop, &c) != 0)) {
        _exit(1);
    }
    for (uint64_t n = c.first;; n++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        enum err e;
        while ((e = fixture_append(f, n, 20 + (size_t)(seed >> 40) % 3000, SQLITE)) == E_FULL) {
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        }
        if (e != E_OK) {
            _exit(2);
        }
        atomic_store(&p->appended, n + 1);
    }
}

/* Opens after the kill and compares with what the child had got done. */
static void check(struct fixture *f, struct progress *p)
{
    struct record r;
    uint64_t appended = atomic_load(&p->appended);
    fixture_open(f);
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    assert_int_equal(metric_get(&spool_stats(f->spool)->damaged), 0);
    assert_int_equal(cursor_dropped(c), 0);
    uint64_t lag = cursor_lag(c);
    uint64_t next = 0;
    for (uint64_t i = 0; i < lag; i++) {
        assert_int_equal(cursor_next(c, &r), E_OK);
        uint64_t n = fixture_number(&r);
        assert_true(i == 0 || n == next);
        assert_int_equal(r.sequence, n + 1);
        next = n + 1;
        if (i % 2 == 0 || i < lag / 2 || i + HELD_MAX < lag) {
            cursor_confirm(c, r.sequence);
        }
    }
    assert_int_equal(cursor_next(c, &r), E_AGAIN);
    if (lag > 0) {
        assert_true(next - lag <= atomic_load(&p->confirmed));
        /* The one whose append had not returned may be there or not. */
        assert_true(next == appended || next == appended + 1);
    } else {
        assert_true(f->spool->next_sequence == appended + 1 || f->spool->next_sequence == appended + 2);
    }
    atomic_store(&p->appended, f->spool->next_sequence - 1);
    atomic_store(&p->confirmed, cursor_position(c) - 1);
    fixture_close(f);
}

static void killed_at_random(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t seed = random_seed();
    struct progress *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    print_message("seed %llu\n", (unsigned long long)seed);
    fixture_init(&f);
    f.options.sync_ms = 20;
    f.options.max_size = 64 * SPOOL_SEGMENT_MIN;
    fixture_open(&f);
    fixture_close(&f);
    for (unsigned round = 0; round < rounds; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            child(&f, p, round % 2 == 1, seed);
        }
        nanosleep(&(struct timespec){.tv_nsec = (long)((seed >> 33) % 40000) * 1000}, NULL);
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        check(&f, p);
    }
    print_message("%llu records appended\n", (unsigned long long)atomic_load(&p->appended));
    assert_true(atomic_load(&p->appended) > rounds);
    munmap(p, sizeof(*p));
    fixture_finish(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_random)};
    if (argc == 2) {
        rounds = (unsigned)strtoul(argv[1], NULL, 10);
    }
    log_init(ignore_line, NULL, LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
