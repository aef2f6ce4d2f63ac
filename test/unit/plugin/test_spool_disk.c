/* Disks in trouble, on a small tmpfs in a mount namespace of our own: full, read-only, blocks that vanish under a mapping. Never a
 * crash; what was acknowledged stays; it goes on by itself. Skipped where mounting is not allowed. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/log.h"
#include "plugin/spool_internal.h"
#include "spool_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SQLITE SINK_BIT(SINK_SQLITE)
#define DISK_SIZE "3m"

static bool may_mount;

struct disk {
    struct fixture f;
    char path[FIXTURE_PATH_SIZE];
    char hog[FIXTURE_PATH_SIZE + 8];
};

static void ignore_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static int set_up(void **state)
{
    struct disk *d = calloc(1, sizeof(*d));
    fixture_init(&d->f);
    snprintf(d->path, sizeof(d->path), "%s", d->f.dir);
    *strrchr(d->path, '/') = '\0';
    snprintf(d->hog, sizeof(d->hog), "%s/hog", d->path);
    *state = d;
    if (may_mount) {
        assert_int_equal(mount("tmpfs", d->path, "tmpfs", 0, "size=" DISK_SIZE), 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    struct disk *d = *state;
    fixture_close(&d->f);
    if (may_mount) {
        umount2(d->path, MNT_DETACH);
    }
    fixture_finish(&d->f);
    free(d);
    return 0;
}

static void need_mount(void)
{
    if (!may_mount) {
        skip();
    }
}

/* Fills the disk to the last page. */
static void hog(struct disk *d)
{
    static const uint8_t block[4096];
    int fd = open(d->hog, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof(block)) == sizeof(block)) {
    }
    close(fd);
}

/* Appends from `first` until it is refused; the number that was. */
static uint64_t append_until_refused(struct disk *d, uint64_t first, enum err *why)
{
    uint64_t n = first;
    while ((*why = fixture_append(&d->f, n, 500, SQLITE)) == E_OK) {
        n++;
    }
    return n;
}

static void append_within(struct disk *d, uint64_t n, int ms)
{
    while (fixture_append(&d->f, n, 500, SQLITE) != E_OK) {
        assert_true(ms > 0);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        ms -= 50;
    }
}

static void expect_drain(struct disk *d, uint64_t first, size_t count)
{
    uint64_t *numbers = calloc(count + 1, sizeof(*numbers));
    assert_int_equal(fixture_drain(&d->f, SINK_SQLITE, count + 1, numbers), count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(numbers[i], first + i);
    }
    free(numbers);
}

static void full_disk_rejects(void **state)
{
    struct disk *d = *state;
    enum err why;
    need_mount();
    d->f.options.max_size = UINT64_C(100) << 20;
    d->f.options.segment_size = 0; /* 16 MiB: does not fit at all, smaller ones are made */
    fixture_open(&d->f);
    uint64_t n = append_until_refused(d, 0, &why);
    assert_int_equal(why, E_NO_SPACE);
    assert_true(n > 3000);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(fixture_append(&d->f, n, 500, SQLITE), E_NO_SPACE);
    }
    expect_drain(d, 0, (size_t)n);
    fixture_close(&d->f); /* what was delivered is deleted */
    fixture_open(&d->f);
    append_within(d, n, 2000);
    expect_drain(d, n, 1);
}

static void somebody_else_fills_the_disk(void **state)
{
    struct disk *d = *state;
    enum err why;
    need_mount();
    d->f.options.max_size = UINT64_C(100) << 20;
    fixture_open(&d->f);
    hog(d);
    uint64_t n = append_until_refused(d, 0, &why);
    assert_int_equal(why, E_NO_SPACE);
    assert_true(n > 50); /* what the segment that is there takes */
    unlink(d->hog);
    append_within(d, n, 2000);
    expect_drain(d, 0, (size_t)n + 1);
}

/* drop_oldest makes room for one segment at a time, and not again and again when somebody else takes it. */
static void full_disk_drops_the_oldest(void **state)
{
    struct disk *d = *state;
    enum err why;
    need_mount();
    d->f.options.max_size = UINT64_C(100) << 20;
    d->f.options.full = SPOOL_DROP_OLDEST;
    fixture_open(&d->f);
    for (uint64_t n = 0; n < 10000; n++) {
        assert_int_equal(fixture_append(&d->f, n, 500, SQLITE), E_OK);
        spool_collect(d->f.spool); /* as the loop does: unmaps what is full */
    }
    uint64_t dropped = cursor_dropped(spool_cursor(d->f.spool, SINK_SQLITE));
    uint64_t count = fixture_drain(&d->f, SINK_SQLITE, 10000, NULL);
    dropped = cursor_dropped(spool_cursor(d->f.spool, SINK_SQLITE));
    assert_int_equal(count + dropped, 10000);
    assert_true(count > 3000);
    hog(d);
    append_until_refused(d, 10000, &why);
    assert_int_equal(why, E_NO_SPACE);
    dropped = cursor_dropped(spool_cursor(d->f.spool, SINK_SQLITE));
    for (unsigned i = 0; i < 30; i++) {
        hog(d);
        fixture_append(&d->f, 0, 500, SQLITE);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    assert_true(cursor_dropped(spool_cursor(d->f.spool, SINK_SQLITE)) - dropped < 500);
}

static void opening_on_a_full_disk(void **state)
{
    struct disk *d = *state;
    need_mount();
    d->f.options.max_size = UINT64_C(100) << 20;
    fixture_open(&d->f);
    for (uint64_t n = 0; n < 500; n++) {
        assert_int_equal(fixture_append(&d->f, n, 500, SQLITE), E_OK);
    }
    fixture_close(&d->f);
    hog(d);
    fixture_open(&d->f);
    expect_drain(d, 0, 500);
    fixture_close(&d->f);
    fixture_open(&d->f);
    assert_int_equal(cursor_lag(spool_cursor(d->f.spool, SINK_SQLITE)), 0); /* cursors are written nevertheless */
}

static void damage_on_a_full_disk(void **state)
{
    struct disk *d = *state;
    char path[FIXTURE_PATH_SIZE];
    need_mount();
    fixture_open(&d->f);
    for (uint64_t n = 0; n < 500; n++) {
        assert_int_equal(fixture_append(&d->f, n, 500, SQLITE), E_OK);
    }
    fixture_close(&d->f);
    fixture_find(&d->f, ".seg", 1, path);
    fixture_poke(path, SEGMENT_HEADER_SIZE + 40, "?", 1);
    hog(d);
    fixture_open(&d->f);
    assert_int_equal(metric_get(&spool_stats(d->f.spool)->damaged), 1);
    assert_int_equal(fixture_drain(&d->f, SINK_SQLITE, 600, NULL), 499);
    assert_int_equal(cursor_dropped(spool_cursor(d->f.spool, SINK_SQLITE)), 1);
    fixture_close(&d->f);
    assert_int_equal(fixture_count_files(&d->f, ".damaged"), 1);
}

/* The blocks behind the mapping vanish and cannot be had again: no SIGBUS, no lie. */
static void blocks_taken_away(void **state)
{
    struct disk *d = *state;
    char path[FIXTURE_PATH_SIZE];
    enum err why = E_OK;
    need_mount();
    d->f.options.max_size = UINT64_C(100) << 20;
    fixture_open(&d->f);
    for (uint64_t n = 0; n < 10; n++) {
        assert_int_equal(fixture_append(&d->f, n, 500, SQLITE), E_OK);
    }
    fixture_find(&d->f, ".seg", 0, path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, SPOOL_SEGMENT_MIN - 8192), 0);
    close(fd);
    hog(d);
    uint64_t n = append_until_refused(d, 10, &why);
    assert_int_equal(why, E_NO_SPACE);
    assert_true(n < 20);
    assert_int_equal(fixture_append(&d->f, n, 500, SQLITE), E_NO_SPACE);
    unlink(d->hog);
    append_within(d, n, 2000);
    fixture_crash(&d->f);
    fixture_open(&d->f);
    expect_drain(d, 0, (size_t)n + 1);
}

static void read_only(void **state)
{
    struct disk *d = *state;
    struct spool *s;
    struct spool_error error;
    need_mount();
    fixture_open(&d->f);
    assert_int_equal(fixture_append(&d->f, 0, 100, SQLITE), E_OK);
    fixture_close(&d->f);
    assert_int_equal(mount(NULL, d->path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_int_equal(spool_open(&d->f.options, &s, &error), E_READ_ONLY);
    assert_non_null(strstr(error.text, "ead-only"));
    assert_int_equal(mount(NULL, d->path, NULL, MS_REMOUNT, NULL), 0);
    fixture_open(&d->f);
    expect_drain(d, 0, 1);
}

/* A folder that takes no new files any more: what is open goes on, then messages are refused, then it goes on. */
static void no_new_files(void **state)
{
    struct disk *d = *state;
    enum err why;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(chmod(d->path, 0755), 0);
    fixture_open(&d->f);
    assert_int_equal(chown(d->f.dir, 65534, 65534), 0);
    assert_int_equal(chmod(d->f.dir, 0500), 0);
    assert_int_equal(seteuid(65534), 0);
    uint64_t n = append_until_refused(d, 0, &why);
    assert_int_equal(chmod(d->f.dir, 0700), 0);
    append_within(d, n, 2000);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(why, E_ACCESS);
    assert_true(n > 50);
    expect_drain(d, 0, (size_t)n + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(full_disk_rejects),
        TEST(somebody_else_fills_the_disk),
        TEST(full_disk_drops_the_oldest),
        TEST(opening_on_a_full_disk),
        TEST(damage_on_a_full_disk),
        TEST(blocks_taken_away),
        TEST(read_only),
        TEST(no_new_files),
    };
    log_init(ignore_line, NULL, LOG_ERROR);
    may_mount = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
