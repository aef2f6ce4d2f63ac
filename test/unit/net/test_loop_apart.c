/* A loop whose thread has a table of open files of its own. That and libuv's pool stay with a process, so each test has one. */
#define _GNU_SOURCE
#include "net/file_table.h"
#include "net/loop.h"
#include "unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared {
    struct loop *loop;
    uv_sem_t done;
    int before;  /* a pipe's end from before the loop was created */
    int between; /* ... and from before it was started */
    bool sees_before, sees_between, sees_later;
    int own;      /* opened by the loop's thread */
    ino_t inode;  /* of `own`, as the loop's thread sees it ... */
    ino_t pooled; /* ... and as the pool does */
    unsigned posts;
    uv_work_t work;
};

static int pipe_end(void)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[1]);
    return ends[0];
}

static ino_t inode_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static void in_pool(uv_work_t *work)
{
    struct shared *s = work->data;
    s->pooled = inode_of(s->own);
}

static void after_pool(uv_work_t *work, int status)
{
    struct shared *s = work->data;
    (void)status;
    uv_sem_post(&s->done);
}

static void look(void *arg)
{
    struct shared *s = arg;
    s->sees_before = fcntl(s->before, F_GETFD) >= 0;
    s->sees_between = fcntl(s->between, F_GETFD) >= 0;
    s->own = fcntl(pipe_end(), F_DUPFD_CLOEXEC, 500);
    s->inode = inode_of(s->own);
    s->work.data = s;
    s->posts++;
    uv_queue_work(loop_uv(s->loop), &s->work, in_pool, after_pool);
}

/* A thread that is apart; or is not, where the system or the sanitizer does not allow it. */
static void apart(void)
{
    struct shared s = {.before = pipe_end()};
    assert_int_equal(uv_sem_init(&s.done, 0), 0);
    assert_int_equal(loop_create_apart(&s.loop), E_OK);
    s.between = pipe_end();
    assert_int_equal(loop_post(s.loop, look, &s), E_OK); /* before there is a thread */
    assert_int_equal(loop_start(s.loop, "apart"), E_OK);
    uv_sem_wait(&s.done);
    assert_int_equal(s.posts, 1);
    assert_true(s.own >= 500 && s.inode != 0 && s.pooled == s.inode);
    assert_true(s.sees_between);
    bool split = inode_of(s.own) != s.inode;
    assert_true(split != s.sees_before);
    assert_true(fcntl(s.before, F_GETFD) >= 0); /* closed on the other side only */
    struct loop *second;
    assert_int_equal(loop_create_apart(&second), E_OK);
    enum err e = loop_start(second, "second");
    assert_int_equal(e, split ? E_BUSY : E_OK);
    if (e == E_OK) {
        loop_stop(second);
        loop_join(second);
    }
    loop_destroy(second);
    loop_stop(s.loop);
    loop_join(s.loop);
    loop_destroy(s.loop);
    uv_sem_destroy(&s.done);
}

static void nothing(uv_work_t *work)
{
    (void)work;
}

static void nothing_after(uv_work_t *work, int status)
{
    (void)work;
    (void)status;
}

/* Somebody else in the process uses libuv's pool already: there can be no split. */
static void pool_elsewhere(void)
{
    uv_loop_t other;
    uv_work_t work;
    assert_int_equal(uv_loop_init(&other), 0);
    assert_int_equal(uv_queue_work(&other, &work, nothing, nothing_after), 0);
    uv_run(&other, UV_RUN_DEFAULT);
    uv_loop_close(&other);
    struct shared s = {.before = pipe_end()};
    assert_int_equal(uv_sem_init(&s.done, 0), 0);
    assert_int_equal(loop_create_apart(&s.loop), E_OK);
    s.between = pipe_end();
    assert_int_equal(loop_post(s.loop, look, &s), E_OK);
    assert_int_equal(loop_start(s.loop, "apart"), E_OK);
    uv_sem_wait(&s.done);
    assert_int_equal(s.posts, 1);
    assert_true(s.sees_before && s.sees_between);
    assert_true(s.pooled == s.inode && inode_of(s.own) == s.inode);
    loop_stop(s.loop);
    loop_join(s.loop);
    loop_destroy(s.loop);
    uv_sem_destroy(&s.done);
}

struct lent {
    struct loop *loop;
    uv_timer_t timer;
    uv_prepare_t prepare;
    unsigned turns;
    uv_sem_t said, go_on;
    ino_t inode;
};

static void on_time(uv_timer_t *timer)
{
    struct lent *s = timer->data;
    uv_sem_post(&s->said);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct lent *s = prepare->data;
    s->turns++;
}

static void begin_lending(void *arg)
{
    struct lent *s = arg;
    int fd = pipe_end();
    s->inode = inode_of(fd);
    s->timer.data = s->prepare.data = s;
    uv_timer_init(loop_uv(s->loop), &s->timer);
    uv_prepare_init(loop_uv(s->loop), &s->prepare);
    uv_prepare_start(&s->prepare, on_prepare);
    assert_int_equal(loop_hand_over(s->loop, fd, 7), E_OK);
    close(fd);
    uv_sem_post(&s->said);
}

static void end_lending(void *arg)
{
    struct lent *s = arg;
    uv_close((uv_handle_t *)&s->timer, NULL);
    uv_close((uv_handle_t *)&s->prepare, NULL);
}

static void be_busy(void *arg)
{
    struct lent *s = arg;
    uv_sem_post(&s->said);
    uv_sem_wait(&s->go_on);
}

static void borrow_when_asleep(struct loop *l)
{
    while (!loop_borrow(l)) {
        uv_sleep(1);
    }
}

/* What a borrower does the loop's thread goes on with; and it is not woken for nothing. */
static void lend(void)
{
    struct lent s = {.inode = 0};
    assert_int_equal(uv_sem_init(&s.said, 0), 0);
    assert_int_equal(uv_sem_init(&s.go_on, 0), 0);
    assert_int_equal(loop_create_apart(&s.loop), E_OK);
    assert_int_equal(loop_start(s.loop, "lender"), E_OK);
    assert_int_equal(loop_post(s.loop, begin_lending, &s), E_OK);
    uv_sem_wait(&s.said);

    borrow_when_asleep(s.loop);
    unsigned turns = s.turns;
    loop_return(s.loop);
    uv_sleep(30);
    borrow_when_asleep(s.loop);
    assert_int_equal(s.turns, turns);
    uint64_t before = uv_now(loop_uv(s.loop));
    uv_timer_start(&s.timer, on_time, 20, 0);
    loop_return(s.loop);
    uv_sem_wait(&s.said);
    borrow_when_asleep(s.loop);
    assert_true(uv_now(loop_uv(s.loop)) >= before + 20);
    loop_return(s.loop);

    assert_int_equal(loop_post(s.loop, be_busy, &s), E_OK);
    uv_sem_wait(&s.said);
    assert_false(loop_borrow(s.loop));
    uv_sem_post(&s.go_on);

    int fd;
    uint64_t tag;
    assert_int_equal(loop_take_over(s.loop, &fd, &tag), E_OK);
    assert_int_equal(tag, 7);
    assert_true(inode_of(fd) == s.inode);
    assert_int_equal(loop_take_over(s.loop, &fd, &tag), E_NOT_FOUND);

    assert_int_equal(loop_post(s.loop, end_lending, &s), E_OK);
    loop_stop(s.loop);
    loop_join(s.loop);
    assert_false(loop_borrow(s.loop));
    loop_destroy(s.loop);
    uv_sem_destroy(&s.said);
    uv_sem_destroy(&s.go_on);
}

static void no_lender(void)
{
    struct loop *l;
    int fd;
    uint64_t tag;
    assert_int_equal(loop_create(&l), E_OK);
    assert_false(loop_borrow(l));
    assert_int_equal(loop_hand_over(l, STDIN_FILENO, 1), E_UNSUPPORTED);
    assert_int_equal(loop_take_over(l, &fd, &tag), E_NOT_FOUND);
    loop_destroy(l);
}

static void list(void)
{
    struct file_list files;
    struct rlimit limit;
    int fd = pipe_end();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(file_list_read(&files), E_OK);
    bool found = false;
    for (size_t i = 0; i < files.count; i++) {
        assert_true(files.fds[i] > STDERR_FILENO && fcntl(files.fds[i], F_GETFD) >= 0);
        found |= files.fds[i] == fd;
    }
    assert_true(found);
    for (size_t i = files.count; i < FILE_LIST_MAX + 1; i++) {
        assert_true(dup(fd) >= 0);
    }
    assert_int_equal(file_list_read(&files), E_FULL);
    struct loop *l;
    assert_int_equal(loop_create_apart(&l), E_OK); /* shares */
    loop_destroy(l);
}

static void in_child(void (*test)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        test();
        _exit(0);
    }
    int status = -1;
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

static void test_apart(void **state)
{
    (void)state;
    in_child(apart);
}

static void test_pool_elsewhere(void **state)
{
    (void)state;
    in_child(pool_elsewhere);
}

static void test_lend(void **state)
{
    (void)state;
    in_child(lend);
    in_child(no_lender);
}

static void test_list(void **state)
{
    (void)state;
    in_child(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apart),
        cmocka_unit_test(test_pool_elsewhere),
        cmocka_unit_test(test_lend),
        cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
