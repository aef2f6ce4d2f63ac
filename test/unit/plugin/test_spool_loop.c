/* The spool with its loop: appending and reading on two threads, waking, the next segment, deletion, cursor files, stopping. Run
 * under TSan, too. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/log.h"
#include "plugin/spool_internal.h"
#include "spool_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define SQLITE SINK_BIT(SINK_SQLITE)
#define IOTCORE SINK_BIT(SINK_IOTCORE)

/* In place of libc's: a disk that cannot write, and how often pages were given to it again. */
static atomic_bool disk_fails;
static atomic_uint failed_syncs, populated;

int msync(void *start, size_t size, int flags)
{
    if (atomic_load(&disk_fails)) {
        atomic_fetch_add(&failed_syncs, 1);
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_msync, start, size, flags);
}

int madvise(void *start, size_t size, int advice)
{
    atomic_fetch_add(&populated, advice == MADV_POPULATE_WRITE);
    return (int)syscall(SYS_madvise, start, size, advice);
}

static atomic_uint beside_syncs;
static atomic_bool beside_fails;

int syncfs(int fd)
{
    (void)fd;
    atomic_fetch_add(&beside_syncs, 1);
    errno = EIO;
    return atomic_load(&beside_fails) ? -1 : 0;
}

/* The loop's side: both sinks read what there is whenever they are woken. */
struct reader {
    struct fixture f;
    uv_loop_t loop;
    uv_async_t stop;
    pthread_t thread;
    uint64_t next[SINK_COUNT]; /* number expected next */
    atomic_uint wakes;
    _Atomic uint64_t read[SINK_COUNT];
    bool may_fail;      /* errors in the log are expected */
    bool gaps;          /* records may be dropped */
    atomic_bool beside; /* each record is set aside in a file of its own */
    bool stopped;
    uint64_t rng;
};

static atomic_uint errors; /* lines of level error since the test began */

static void count_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    if (level == LOG_ERROR) {
        atomic_fetch_add(&errors, 1);
        fprintf(stderr, "%s\n", line);
    }
}

static bool dice(struct reader *r, unsigned one_in)
{
    r->rng = r->rng * 6364136223846793005u + 1442695040888963407u;
    return (r->rng >> 33) % one_in == 0;
}

static void take(struct reader *r, enum sink_id sink, const struct record *record)
{
    uint64_t n = fixture_number(record);
    if (r->gaps) {
        assert_true(n >= r->next[sink]);
    } else {
        assert_int_equal(n, r->next[sink]);
    }
    r->next[sink] = n + 1;
    atomic_fetch_add(&r->read[sink], 1);
}

/* False once there is nothing left. */
static bool read_some(struct reader *r, enum sink_id sink)
{
    struct cursor *c = spool_cursor(r->f.spool, sink);
    struct record held[64];
    unsigned count = 0;
    enum err e = E_OK;
    while (count < 64 && (e = cursor_next(c, &held[count])) == E_OK) {
        if (dice(r, 20)) {
            cursor_return(c, held[count].sequence);
            continue;
        }
        take(r, sink, &held[count]);
        count++;
        if (atomic_load(&r->beside)) {
            spool_written_beside(r->f.spool);
        }
    }
    while (count > 0) {
        count--;
        cursor_confirm(c, held[count].sequence);
    }
    return e == E_OK;
}

static void on_wake(void *ctx, enum sink_id sink)
{
    struct reader *r = ctx;
    atomic_fetch_add(&r->wakes, 1);
    while (read_some(r, sink)) {
    }
}

static void on_spool_stopped(void *ctx)
{
    struct reader *r = ctx;
    r->stopped = true;
    uv_close((uv_handle_t *)&r->stop, NULL);
}

static void on_stop(uv_async_t *async)
{
    struct reader *r = async->data;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if (r->f.options.sinks & SINK_BIT(k)) {
            on_wake(r, (enum sink_id)k);
        }
    }
    spool_stop(r->f.spool, on_spool_stopped, r);
}

static void *run(void *arg)
{
    struct reader *r = arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    assert_false(sigismember(&now, SIGBUS));
    return NULL;
}

static void start(struct reader *r)
{
    struct record record;
    fixture_open(&r->f);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    r->stop.data = r;
    assert_int_equal(uv_async_init(&r->loop, &r->stop, on_stop), 0);
    /* As sinks do that are created before the loop runs. */
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if (r->f.options.sinks & SINK_BIT(k)) {
            assert_int_equal(cursor_next(spool_cursor(r->f.spool, (enum sink_id)k), &record), E_AGAIN);
        }
    }
    assert_int_equal(spool_start(r->f.spool, &r->loop, on_wake, r), E_OK);
    assert_int_equal(pthread_create(&r->thread, NULL, run, r), 0);
}

static void stop(struct reader *r)
{
    uv_async_send(&r->stop);
    pthread_join(r->thread, NULL);
    assert_true(r->stopped);
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

static int set_up(void **state)
{
    struct reader *r = calloc(1, sizeof(*r));
    fixture_init(&r->f);
    r->f.options.sinks = SQLITE | IOTCORE;
    r->f.options.sync_ms = 10;
    r->rng = 7;
    atomic_store(&errors, 0);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct reader *r = *state;
    assert_true(r->may_fail || atomic_load(&errors) == 0);
    fixture_finish(&r->f);
    free(r);
    return 0;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Until fn says so, 10 s at most. */
static bool wait_for(bool (*fn)(struct reader *r), struct reader *r)
{
    for (int i = 0; i < 2000 && !fn(r); i++) {
        pause_ms(5);
    }
    return fn(r);
}

static bool all_read(struct reader *r)
{
    return cursor_lag(spool_cursor(r->f.spool, SINK_SQLITE)) == 0 &&
           cursor_lag(spool_cursor(r->f.spool, SINK_IOTCORE)) == 0;
}

static void every_record_reaches_both_sinks(void **state)
{
    struct reader *r = *state;
    const uint64_t count = 20000;
    start(r);
    for (uint64_t n = 0; n < count; n++) {
        while (fixture_append(&r->f, n, 200, SQLITE | IOTCORE) == E_FULL) {
            pause_ms(1);
        }
        if (n % 5000 == 0) {
            pause_ms(20); /* lets the readers run dry */
        }
    }
    assert_true(wait_for(all_read, r));
    assert_int_equal(atomic_load(&r->read[SINK_SQLITE]), count);
    assert_int_equal(atomic_load(&r->read[SINK_IOTCORE]), count);
    stop(r);
    fixture_close(&r->f);
    assert_int_equal(fixture_count_files(&r->f, ".seg"), 1);
    assert_int_equal(fixture_count_files(&r->f, ".tmp"), 0);
}

/* One at a time: each must wake the loop. */
static void no_wake_is_lost(void **state)
{
    struct reader *r = *state;
    start(r);
    for (uint64_t n = 0; n < 2000; n++) {
        assert_int_equal(fixture_append(&r->f, n, 100, SQLITE), E_OK);
        for (int i = 0; i < 100000 && atomic_load(&r->read[SINK_SQLITE]) <= n; i++) {
            if (i > 1000) {
                pause_ms(1);
            }
        }
        assert_int_equal(atomic_load(&r->read[SINK_SQLITE]), n + 1);
    }
    stop(r);
}

/* Nobody is woken for records of others. */
static void sinks_are_woken_for_their_own(void **state)
{
    struct reader *r = *state;
    start(r);
    pause_ms(50);
    unsigned before = atomic_load(&r->wakes);
    for (uint64_t n = 0; n < 50; n++) {
        assert_int_equal(fixture_append(&r->f, n, 100, IOTCORE), E_OK);
    }
    assert_true(wait_for(all_read, r));
    assert_int_equal(atomic_load(&r->read[SINK_SQLITE]), 0);
    assert_true(atomic_load(&r->wakes) - before <= 50);
    stop(r);
}

static void dropping_while_both_read(void **state)
{
    struct reader *r = *state;
    const uint64_t count = 30000;
    r->gaps = true;
    r->f.options.full = SPOOL_DROP_OLDEST;
    r->f.options.max_size = 4 * SPOOL_SEGMENT_MIN;
    start(r);
    for (uint64_t n = 0; n < count; n++) {
        assert_int_equal(fixture_append(&r->f, n, 300, SQLITE | IOTCORE), E_OK);
    }
    assert_true(wait_for(all_read, r));
    stop(r);
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        if (r->f.options.sinks & SINK_BIT(k)) {
            uint64_t dropped = cursor_dropped(spool_cursor(r->f.spool, (enum sink_id)k));
            assert_int_equal(atomic_load(&r->read[k]) + dropped, count);
        }
    }
}

static void cursors_are_written_while_running(void **state)
{
    struct reader *r = *state;
    start(r);
    for (uint64_t n = 0; n < 100; n++) {
        assert_int_equal(fixture_append(&r->f, n, 100, SQLITE | IOTCORE), E_OK);
    }
    assert_true(wait_for(all_read, r));
    pause_ms(SPOOL_TICK_MS * 2 + 500);
    struct fixture copy;
    fixture_snapshot(&r->f, &copy);
    stop(r);
    fixture_open(&copy);
    assert_int_equal(cursor_lag(spool_cursor(copy.spool, SINK_SQLITE)), 0);
    assert_int_equal(cursor_lag(spool_cursor(copy.spool, SINK_IOTCORE)), 0);
    fixture_close(&copy);
}

static bool folder_is_back(struct reader *r)
{
    return access(r->f.dir, F_OK) == 0;
}

/* Somebody removes the folder under us: noticed, made again, and from then on everything is as it should be. */
static void folder_removed(void **state)
{
    struct reader *r = *state;
    char path[FIXTURE_PATH_SIZE];
    r->gaps = true;
    r->may_fail = true;
    start(r);
    assert_int_equal(fixture_append(&r->f, 0, 100, SQLITE | IOTCORE), E_OK);
    assert_true(wait_for(all_read, r));
    while (fixture_count_files(&r->f, "") > 0) {
        fixture_find(&r->f, "", 0, path);
        unlink(path);
    }
    assert_int_equal(rmdir(r->f.dir), 0);
    uint64_t n = 1;
    for (int i = 0; i < 1000 && !folder_is_back(r); i++, n++) {
        fixture_append(&r->f, n, 100, SQLITE | IOTCORE);
        pause_ms(10);
    }
    assert_true(folder_is_back(r));
    for (; fixture_append(&r->f, n, 100, SQLITE | IOTCORE) != E_OK; n++) {
        pause_ms(100);
    }
    assert_true(wait_for(all_read, r));
    pause_ms(2 * SPOOL_TICK_MS);
    stop(r);
    fixture_close(&r->f);
    assert_int_equal(fixture_count_files(&r->f, "cursor-"), 2);
    fixture_open(&r->f);
    assert_int_equal(cursor_lag(spool_cursor(r->f.spool, SINK_SQLITE)), 0);
}

static bool sync_has_failed(struct reader *r)
{
    (void)r;
    return atomic_load(&failed_syncs) > 0;
}

static bool pages_are_written_again(struct reader *r)
{
    (void)r;
    return atomic_load(&populated) > 0;
}

/* After an error the kernel takes the pages for clean: they have to be made dirty before they are synced again. */
static void failed_sync_is_made_good(void **state)
{
    struct reader *r = *state;
    r->may_fail = true;
    r->f.options.sync_ms = 20;
    start(r);
    atomic_store(&populated, 0);
    atomic_store(&failed_syncs, 0);
    atomic_store(&disk_fails, true);
    assert_int_equal(fixture_append(&r->f, 0, 100, SQLITE | IOTCORE), E_OK);
    assert_true(wait_for(sync_has_failed, r));
    atomic_store(&disk_fails, false);
    assert_true(wait_for(pages_are_written_again, r));
    pause_ms(200);
    atomic_store(&populated, 0);
    assert_int_equal(fixture_append(&r->f, 1, 100, SQLITE | IOTCORE), E_OK);
    pause_ms(200);
    assert_int_equal(atomic_load(&populated), 0);
    assert_true(wait_for(all_read, r));
    stop(r);
}

static bool beside_was_tried(struct reader *r)
{
    (void)r;
    return atomic_load(&beside_syncs) > 0;
}

static bool one_segment_is_left(struct reader *r)
{
    return fixture_count_files(&r->f, ".seg") == 1;
}

/* What was set aside in other files must be on disk before the record is noted as finished, or its segment deleted. */
static void files_beside_come_first(void **state)
{
    struct reader *r = *state;
    char cursor[FIXTURE_PATH_SIZE];
    size_t size;
    r->may_fail = true;
    r->f.options.sync_ms = 20;
    start(r);
    fixture_find(&r->f, "cursor-sqlite", 0, cursor);
    uint8_t *before = fixture_read(cursor, &size);
    atomic_store(&beside_syncs, 0);
    atomic_store(&beside_fails, true);
    atomic_store(&r->beside, true);
    for (uint64_t n = 0; n < 10; n++) {
        assert_int_equal(fixture_append(&r->f, n, 20000, SQLITE | IOTCORE), E_OK);
    }
    assert_true(wait_for(all_read, r));
    assert_true(wait_for(beside_was_tried, r));
    pause_ms(SPOOL_TICK_MS + 200);
    uint8_t *during = fixture_read(cursor, &size);
    assert_memory_equal(before, during, size);
    assert_true(fixture_count_files(&r->f, ".seg") > 1);
    atomic_store(&r->beside, false);
    atomic_store(&beside_fails, false);
    assert_true(wait_for(one_segment_is_left, r));
    free(before);
    free(during);
    stop(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(every_record_reaches_both_sinks),   TEST(no_wake_is_lost),
        TEST(sinks_are_woken_for_their_own),     TEST(dropping_while_both_read),
        TEST(cursors_are_written_while_running), TEST(folder_removed),
        TEST(failed_sync_is_made_good),          TEST(files_beside_come_first),
    };
    log_init(count_line, NULL, LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
