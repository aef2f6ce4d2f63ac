/* plugin/map_guard.h: no SIGBUS from guarded mappings, and everybody else's as before. */
#define _GNU_SOURCE
#include "unit.h"

#include "plugin/map_guard.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 4u

static size_t page;

/* A mapping of PAGES pages of a file that has only `there` of them. */
static uint8_t *map_short(unsigned there, int protection)
{
    char path[] = "/tmp/map-guard-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(ftruncate(fd, (off_t)(there * page)), 0);
    uint8_t *map = mmap(NULL, PAGES * page, protection, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    close(fd);
    return map;
}

static void reads_give_zeros(void **state)
{
    (void)state;
    struct map_guard *g;
    uint8_t *map = map_short(1, PROT_READ);
    assert_int_equal(map_guard_install(), E_OK);
    assert_int_equal(map_guard_add(map, PAGES * page, &g), E_OK);
    assert_int_equal(map[10], 0);
    assert_false(map_guard_hit(g));
    assert_int_equal(map[2 * page + 5], 0);
    assert_true(map_guard_hit(g));
    assert_int_equal(map[page], 0);
    map_guard_remove(g);
    munmap(map, PAGES * page);
    map_guard_uninstall();
}

static void writes_are_noticed(void **state)
{
    (void)state;
    struct map_guard *g;
    uint8_t *map = map_short(2, PROT_READ | PROT_WRITE);
    assert_int_equal(map_guard_install(), E_OK);
    assert_int_equal(map_guard_add(map, PAGES * page, &g), E_OK);
    memset(map, 1, 2 * page);
    assert_false(map_guard_hit(g));
    memset(map, 2, PAGES * page);
    assert_true(map_guard_hit(g));
    assert_int_equal(map[0], 2);
    map_guard_remove(g);
    munmap(map, PAGES * page);
    map_guard_uninstall();
}

static void every_place_can_be_used_again(void **state)
{
    (void)state;
    struct map_guard *all[MAP_GUARD_MAX];
    struct map_guard *more;
    static uint8_t memory[8192];
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < MAP_GUARD_MAX; i++) {
            assert_int_equal(map_guard_add(memory, sizeof(memory), &all[i]), E_OK);
            assert_false(map_guard_hit(all[i]));
        }
        assert_int_equal(map_guard_add(memory, sizeof(memory), &more), E_FULL);
        for (unsigned i = 0; i < MAP_GUARD_MAX; i++) {
            map_guard_remove(all[i]);
        }
    }
    map_guard_remove(NULL);
}

static sigjmp_buf back;

static void earlier_handler(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

static void others_get_theirs(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = earlier_handler};
    struct sigaction before;
    struct sigaction now;
    volatile bool passed_on = false;
    sigaction(SIGBUS, &action, &before);
    uint8_t *volatile map = map_short(1, PROT_READ);
    assert_int_equal(map_guard_install(), E_OK);
    assert_int_equal(map_guard_install(), E_OK);
    if (sigsetjmp(back, 1) == 0) {
        (void)*(volatile uint8_t *)(map + page);
    } else {
        passed_on = true;
    }
    assert_true(passed_on);
    map_guard_uninstall();
    map_guard_uninstall();
    sigaction(SIGBUS, &before, &now);
    assert_ptr_equal(now.sa_handler, earlier_handler);
    munmap(map, PAGES * page);
}

/* Where nobody else handles it, a fault outside still ends the process, as it should. */
static void without_other_handlers_the_process_ends(void **state)
{
    (void)state;
    uint8_t *map = map_short(1, PROT_READ);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigaction(SIGBUS, &action, NULL);
        if (map_guard_install() == E_OK) {
            (void)*(volatile uint8_t *)(map + page);
        }
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    munmap(map, PAGES * page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_give_zeros),
        cmocka_unit_test(writes_are_noticed),
        cmocka_unit_test(every_place_can_be_used_again),
        cmocka_unit_test(others_get_theirs),
        cmocka_unit_test(without_other_handlers_the_process_ends),
    };
    page = (size_t)sysconf(_SC_PAGESIZE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
