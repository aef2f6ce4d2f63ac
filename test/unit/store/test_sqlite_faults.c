/* The SQLite store when the disk is full or read-only, and when the process is killed. */
#include "store_world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

static bool can_mount;

static void test_disk_full(void **state)
{
    struct world *w = *state;
    if (!can_mount) {
        skip();
    }
    world_mount(w, 600);
    assert_int_equal(world_open(w), E_OK);
    unsigned stored = 0;
    enum err e = E_OK;
    while (stored < 1000 && (e = world_store(w, "a", (int64_t)stored * 100000, 100)) == E_OK) {
        stored++;
    }
    assert_int_equal(e, E_NO_SPACE);
    assert_in_range(stored, 1, 100);
    /* Again and again the same answer, and nothing is lost of what was committed. */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(world_store(w, "a", (int64_t)stored * 100000, 100), E_NO_SPACE);
    }
    assert_int_equal(world_ask(w, "SELECT count(*) FROM measurement"), stored * 100);
    world_check_counts(w);
    /* Room again: it goes on with the connection that it has. */
    world_remount(w, 20000);
    assert_int_equal(world_store(w, "a", (int64_t)stored * 100000, 100), E_OK);
    assert_int_equal(world_ask(w, "SELECT count(*) FROM measurement"), (stored + 1) * 100);
    world_check_counts(w);
    assert_int_equal(world_ask(w, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
}

/* A disk that is too full for an empty store, at any point of its making. */
static void test_no_room_to_create(void **state)
{
    struct world *w = *state;
    if (!can_mount) {
        skip();
    }
    world_mount(w, 4);
    for (unsigned kilobytes = 4; kilobytes <= 200; kilobytes += 4) {
        world_remount(w, kilobytes);
        enum err e = world_open(w);
        if (e == E_OK) {
            e = world_store(w, "a", 0, 1);
        }
        world_close(w);
        if (e == E_OK) {
            world_check_counts(w);
            return;
        }
        assert_int_equal(e, E_NO_SPACE);
    }
    fail_msg("200 kB should be enough");
}

static void test_read_only(void **state)
{
    struct world *w = *state;
    if (!can_mount) {
        skip();
    }
    world_mount(w, 2000);
    assert_int_equal(world_open(w), E_OK);
    assert_int_equal(world_store(w, "a", 0, 10), E_OK);
    world_close(w);
    world_remount_read_only(w);
    assert_int_equal(world_open(w), E_READ_ONLY);
    assert_non_null(strstr(w->error.text, "the file system is read-only"));
    snprintf(w->path, sizeof(w->path), "%s/new.db", w->dir);
    assert_int_equal(world_open(w), E_READ_ONLY);
}

/* Stores for ever and writes the number of each batch to the pipe once it is committed. */
static void child(struct world *w, int out, unsigned batch)
{
    if (world_open(w) != E_OK) {
        _exit(2);
    }
    for (;; batch++) {
        if (world_store(w, "a", (int64_t)batch * 100000, 50) != E_OK || world_store(w, "b", 0, 50) != E_OK ||
            write(out, &batch, sizeof(batch)) != (ssize_t)sizeof(batch)) {
            _exit(3);
        }
    }
}

static void test_kill(void **state)
{
    struct world *w = *state;
    unsigned next = 0;
    for (unsigned round = 0; round < 20; round++) {
        int pipe_ends[2];
        assert_int_equal(pipe(pipe_ends), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(pipe_ends[0]);
            child(w, pipe_ends[1], next);
        }
        close(pipe_ends[1]);
        unsigned committed = next;
        unsigned batch;
        for (unsigned i = 0; i < 1 + round % 7 && read(pipe_ends[0], &batch, sizeof(batch)) > 0; i++) {
            committed = batch + 1;
        }
        usleep(round * 137 % 3000);
        assert_int_equal(kill(pid, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(pipe_ends[0], &batch, sizeof(batch)) > 0) {
            committed = batch + 1;
        }
        close(pipe_ends[0]);
        assert_true(committed > next);
        next = committed;
        int64_t rows = world_ask(w, "SELECT count(*) FROM measurement WHERE sensor = 'a'");
        assert_true(rows >= (int64_t)next * 50);
        assert_int_equal(rows % 50, 0);
        world_check_counts(w);
    }
    assert_int_equal(world_ask(w, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
}

int main(void)
{
    can_mount = world_can_mount();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_disk_full, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_no_room_to_create, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_read_only, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_kill, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
