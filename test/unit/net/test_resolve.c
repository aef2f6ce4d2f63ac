/* Names that are resolved, and a resolver that does not answer. */
#include "unit.h"

#include "base/clock.h"
#include "net/resolve.h"

#include <semaphore.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static sem_t asked, answers;

/* In place of libc's: "hangs" gets no answer before the test says so. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    (void)service;
    if (strcmp(host, "hangs") == 0) {
        sem_post(&asked);
        sem_wait(&answers);
        return EAI_AGAIN;
    }
    if (strcmp(host, "unknown") == 0) {
        return EAI_NONAME;
    }
    *out = calloc(1, sizeof(**out));
    assert_non_null(*out);
    (*out)->ai_family = AF_INET;
    (*out)->ai_socktype = hints->ai_socktype;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    free(list);
}

struct answer {
    unsigned count;
    int code;
    bool list;
};

static void on_done(void *ctx, int code, struct addrinfo *list)
{
    struct answer *a = ctx;
    a->count++;
    a->code = code;
    a->list = list != NULL;
    if (list) {
        freeaddrinfo(list);
    }
}

static void answers_come(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct resolve *r;
    struct answer known = {0};
    struct answer unknown = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(resolve_start(&loop, "known", 8883, on_done, &known, &r), E_OK);
    assert_int_equal(resolve_start(&loop, "unknown", 8883, on_done, &unknown, &r), E_OK);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(known.count == 1 && known.code == 0 && known.list);
    assert_true(unknown.count == 1 && unknown.code == EAI_NONAME && !unknown.list);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Left behind: the loop ends, and the answer comes to nobody. Others wait, until there is a thread for them or nobody wants them. */
static void queries_are_left_behind(void **state)
{
    (void)state;
    enum { WAITING = 50 };
    uv_loop_t loop;
    struct resolve *r[WAITING];
    struct answer none = {0};
    struct answer some = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    for (unsigned i = 0; i < RESOLVE_THREADS; i++) {
        assert_int_equal(resolve_start(&loop, "hangs", 1, on_done, &none, &r[0]), E_OK);
        sem_wait(&asked); /* a thread has taken it */
        resolve_cancel(r[0]);
    }
    for (unsigned i = 0; i < WAITING; i++) {
        assert_int_equal(resolve_start(&loop, "known", 1, on_done, i % 2 ? &some : &none, &r[i]), E_OK);
    }
    for (unsigned i = 0; i < WAITING; i += 2) {
        resolve_cancel(r[i]);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(some.count, 0);
    for (unsigned i = 0; i < RESOLVE_THREADS; i++) {
        sem_post(&answers);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(some.count, WAITING / 2);
    assert_int_equal(none.count, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void count_handle(uv_handle_t *handle, void *count)
{
    (void)handle;
    ++*(unsigned *)count;
}

/* libuv looks at each handle of this kind whenever one of them is used. */
static void one_handle_is_enough(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    uv_loop_t loop;
    struct resolve *r;
    struct answer known = {0};
    unsigned handles = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(resolve_start(&loop, "known", 1, on_done, &known, &r), E_OK);
    }
    uv_walk(&loop, count_handle, &handles);
    assert_int_equal(handles, 1);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(known.count, MANY);
    assert_int_equal(uv_loop_close(&loop), 0);
}

struct pair {
    struct resolve *queries[2];
    unsigned count;
};

static void on_done_give_up(void *ctx, int code, struct addrinfo *list)
{
    struct pair *p = ctx;
    (void)code;
    freeaddrinfo(list);
    if (p->count++ == 0) {
        resolve_cancel(p->queries[1]);
    }
}

/* The first to be answered gives up the other one, which is answered too but not told yet. */
static void given_up_by_an_answer(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct pair p = {.count = 0};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(resolve_start(&loop, "known", 1, on_done_give_up, &p, &p.queries[0]), E_OK);
    usleep(20000);
    assert_int_equal(resolve_start(&loop, "known", 1, on_done_give_up, &p, &p.queries[1]), E_OK);
    usleep(20000);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(p.count, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void too_many_wait(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct resolve **all = calloc(RESOLVE_THREADS + RESOLVE_WAITING_MAX, sizeof(struct resolve *));
    struct resolve *more;
    struct answer none = {0};
    assert_non_null(all);
    assert_int_equal(uv_loop_init(&loop), 0);
    for (unsigned i = 0; i < RESOLVE_THREADS + RESOLVE_WAITING_MAX; i++) {
        assert_int_equal(resolve_start(&loop, "hangs", 1, on_done, &none, &all[i]), E_OK);
        if (i < RESOLVE_THREADS) {
            sem_wait(&asked);
        }
    }
    assert_int_equal(resolve_start(&loop, "known", 1, on_done, &none, &more), E_BUSY);
    for (unsigned i = 0; i < RESOLVE_THREADS + RESOLVE_WAITING_MAX; i++) {
        resolve_cancel(all[i]);
    }
    for (unsigned i = 0; i < RESOLVE_THREADS; i++) {
        sem_post(&answers);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(none.count, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    free(all);
}

static void the_process_does_not_wait(void **state)
{
    (void)state;
    struct mono start = mono_now();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        uv_loop_t loop;
        struct resolve *r;
        struct answer none = {0};
        alarm(20);
        bool started = uv_loop_init(&loop) == 0 && resolve_start(&loop, "hangs", 1, on_done, &none, &r) == E_OK;
        if (started) {
            resolve_cancel(r);
            uv_run(&loop, UV_RUN_DEFAULT);
        }
        exit(started && uv_loop_close(&loop) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(mono_ms_until(start, mono_now()) < 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_process_does_not_wait), /* it forks: before there are threads */
        cmocka_unit_test(answers_come),
        cmocka_unit_test(queries_are_left_behind),
        cmocka_unit_test(one_handle_is_enough),
        cmocka_unit_test(given_up_by_an_answer),
        cmocka_unit_test(too_many_wait),
    };
    sem_init(&asked, 0, 0);
    sem_init(&answers, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
