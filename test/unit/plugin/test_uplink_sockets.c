#define _GNU_SOURCE /* pipe2 */
#include "plugin/uplink_sockets.h"
#include "unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* While set, the broker's thread looks just when a descriptor has been handed over. */
static struct {
    bool wanted;
    uv_sem_t handed, looked;
} glance;

enum err __real_loop_hand_over(struct loop *l, int fd, uint64_t tag);
enum err __wrap_loop_hand_over(struct loop *l, int fd, uint64_t tag);

enum err __wrap_loop_hand_over(struct loop *l, int fd, uint64_t tag)
{
    enum err e = __real_loop_hand_over(l, fd, tag);
    if (glance.wanted) {
        uv_sem_post(&glance.handed);
        uv_sem_wait(&glance.looked);
    }
    return e;
}

struct scene {
    struct loop *loop;
    struct uplink_sockets *sockets;
    uv_sem_t done;
    unsigned index;
    ino_t inode; /* of what was opened last */
};

static ino_t inode_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static void open_one(void *arg)
{
    struct scene *s = arg;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    s->inode = inode_of(ends[0]);
    uplink_sockets_opened(s->sockets, s->index, ends[0]);
    close(ends[0]);
    close(ends[1]);
    uv_sem_post(&s->done);
}

static void close_one(void *arg)
{
    struct scene *s = arg;
    uplink_sockets_closed(s->sockets, s->index);
    uv_sem_post(&s->done);
}

static void on_loop(struct scene *s, void (*fn)(void *), unsigned index)
{
    s->index = index;
    assert_int_equal(loop_post(s->loop, fn, s), E_OK);
    uv_sem_wait(&s->done);
}

/* The broker's thread looks at any moment: here in the middle. */
static void looked_at_while_opening(struct scene *s, unsigned index)
{
    assert_int_equal(uv_sem_init(&glance.handed, 0), 0);
    assert_int_equal(uv_sem_init(&glance.looked, 0), 0);
    glance.wanted = true;
    on_loop(s, close_one, index);
    s->index = index;
    assert_int_equal(loop_post(s->loop, open_one, s), E_OK);
    uv_sem_wait(&glance.handed);
    uplink_sockets_tidy(s->sockets);
    uv_sem_post(&glance.looked);
    uv_sem_wait(&s->done);
    glance.wanted = false;
    int fd = uplink_sockets_get(s->sockets, index);
    assert_true(fd >= 0 && inode_of(fd) == s->inode);
    uv_sem_destroy(&glance.handed);
    uv_sem_destroy(&glance.looked);
}

/* The broker may open no more files for a while: what it could not take comes again. */
static void too_many_files(struct scene *s)
{
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
    on_loop(s, open_one, 4);
    on_loop(s, open_one, 5);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(uplink_sockets_get(s->sockets, 4), -1);
    assert_false(uplink_sockets_wanted(s->sockets, 4));
    uplink_sockets_tidy(s->sockets);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (unsigned i = 0; i < IOT_CONNECTIONS_MAX; i++) {
        assert_int_equal(uplink_sockets_wanted(s->sockets, i), i == 4 || i == 5);
    }
    on_loop(s, open_one, 5);
    assert_false(uplink_sockets_wanted(s->sockets, 5));
    int fd = uplink_sockets_get(s->sockets, 5);
    assert_true(fd >= 0 && inode_of(fd) == s->inode);
    on_loop(s, close_one, 4);
    on_loop(s, close_one, 5);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* One test, because a process has one loop apart. */
static void test_copies(void **state)
{
    struct scene s;
    (void)state;
    assert_int_equal(uv_sem_init(&s.done, 0), 0);
    assert_int_equal(loop_create_apart(&s.loop), E_OK);
    assert_int_equal(loop_start(s.loop, "apart"), E_OK);
    assert_int_equal(uplink_sockets_create(s.loop, &s.sockets), E_OK);
    assert_int_equal(uplink_sockets_get(s.sockets, 0), -1);

    on_loop(&s, open_one, 0);
    int first = uplink_sockets_get(s.sockets, 0);
    assert_true(first >= 0 && inode_of(first) == s.inode);
    assert_int_equal(uplink_sockets_get(s.sockets, 0), first);
    on_loop(&s, open_one, IOT_CONNECTIONS_MAX - 1);
    int last = uplink_sockets_get(s.sockets, IOT_CONNECTIONS_MAX - 1);
    assert_true(last >= 0 && last != first && inode_of(last) == s.inode);

    on_loop(&s, close_one, 0);
    uplink_sockets_tidy(s.sockets);
    assert_false(is_open(first));
    assert_true(is_open(last));
    assert_int_equal(uplink_sockets_get(s.sockets, 0), -1);

    /* Several came and went before anybody looked: the last one counts. */
    on_loop(&s, open_one, 1);
    on_loop(&s, close_one, 1);
    on_loop(&s, open_one, 1);
    int now = uplink_sockets_get(s.sockets, 1);
    assert_true(now >= 0 && inode_of(now) == s.inode);
    on_loop(&s, open_one, 2);
    on_loop(&s, close_one, 2);
    assert_int_equal(uplink_sockets_get(s.sockets, 2), -1);

    looked_at_while_opening(&s, 2);
    too_many_files(&s);

    on_loop(&s, open_one, 3); /* never taken */
    loop_stop(s.loop);
    loop_join(s.loop);
    uplink_sockets_destroy(s.sockets);
    assert_false(is_open(last));
    assert_false(is_open(now));
    uplink_sockets_destroy(NULL);
    loop_destroy(s.loop);
    uv_sem_destroy(&s.done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
