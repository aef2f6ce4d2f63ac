#include "unit.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>

/* Lines that were written, newest last; the rest only counts. */
static struct {
    pthread_mutex_t lock;
    unsigned count;
    enum log_level level;
    char line[LOG_LINE_MAX + 2];
    unsigned long told; /* sum of suppressed=N */
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct mono clock_now;

static struct mono fake_clock(void)
{
    return clock_now;
}

static void remember(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    pthread_mutex_lock(&seen.lock);
    seen.count++;
    seen.level = level;
    snprintf(seen.line, sizeof(seen.line), "%s", line);
    const char *suppressed = strstr(line, " suppressed=");
    if (suppressed) {
        unsigned n = 0;
        assert_int_equal(sscanf(suppressed, " suppressed=%u", &n), 1);
        seen.told += n;
    }
    pthread_mutex_unlock(&seen.lock);
}

static void advance_ms(uint64_t ms)
{
    clock_now = mono_add_ms(clock_now, ms);
}

static int setup(void **state)
{
    (void)state;
    advance_ms(LOG_WINDOW_MS * 2);
    log_init(remember, NULL, LOG_DEBUG);
    log_set_clock(fake_clock);
    log_flush_suppressed(); /* what the test before left */
    seen.count = 0;
    seen.told = 0;
    seen.line[0] = '\0';
    return 0;
}

static void test_line(void **state)
{
    (void)state;
    LOG_POINT(point, "test.line", LOG_WARNING, "segment set aside");
    log_emit(&point, "segment=%s offset=%d", "000001.seg", 42);
    assert_string_equal(seen.line, "test.line: segment set aside segment=000001.seg offset=42");
    assert_int_equal(seen.level, LOG_WARNING);
    log_emit_plain(&point);
    assert_string_equal(seen.line, "test.line: segment set aside");
    assert_int_equal(seen.count, 2);
}

static void test_level(void **state)
{
    (void)state;
    LOG_POINT(notice, "test.notice", LOG_NOTICE, "n");
    LOG_POINT(info, "test.info", LOG_INFO, "i");
    log_init(remember, NULL, LOG_NOTICE);
    log_emit_plain(&info);
    assert_int_equal(seen.count, 0);
    log_emit_plain(&notice);
    assert_int_equal(seen.count, 1);
    assert_true(log_wants(LOG_ERROR));
    assert_true(log_wants(LOG_NOTICE));
    assert_false(log_wants(LOG_INFO));
    assert_string_equal(log_level_name(LOG_ERROR), "error");
    assert_string_equal(log_level_name(LOG_DEBUG), "debug");
    assert_string_equal(log_level_name((enum log_level)17), "unknown");
}

static void test_keeps_errno(void **state)
{
    (void)state;
    LOG_POINT(point, "test.errno", LOG_ERROR, "x");
    errno = ENOSPC;
    log_emit(&point, "why=%m");
    assert_int_equal(errno, ENOSPC);
    assert_string_equal(seen.line, "test.errno: x why=No space left on device");
}

static void test_rate_limit(void **state)
{
    (void)state;
    LOG_POINT(point, "test.rate", LOG_ERROR, "again");
    for (unsigned i = 0; i < LOG_BURST + 7; i++) {
        log_emit(&point, "n=%u", i);
    }
    assert_int_equal(seen.count, LOG_BURST);
    assert_string_equal(seen.line, "test.rate: again n=9");
    advance_ms(LOG_WINDOW_MS - 1);
    log_emit_plain(&point);
    log_flush_suppressed();
    assert_int_equal(seen.count, LOG_BURST);
    advance_ms(1);
    log_emit(&point, "n=%u", 100u);
    assert_int_equal(seen.count, LOG_BURST + 1);
    assert_string_equal(seen.line, "test.rate: again n=100 suppressed=8");
    log_emit(&point, "n=%u", 101u);
    assert_string_equal(seen.line, "test.rate: again n=101");
}

static void test_flush(void **state)
{
    (void)state;
    LOG_POINT(one, "test.one", LOG_ERROR, "one");
    LOG_POINT(two, "test.two", LOG_INFO, "two");
    for (unsigned i = 0; i < LOG_BURST + 3; i++) {
        log_emit_plain(&one);
        log_emit_plain(&two);
    }
    assert_int_equal(seen.count, 2 * LOG_BURST);
    log_flush_suppressed();
    assert_int_equal(seen.count, 2 * LOG_BURST);
    advance_ms(LOG_WINDOW_MS);
    log_flush_suppressed();
    assert_int_equal(seen.count, 2 * LOG_BURST + 2);
    assert_int_equal(seen.told, 6);
    log_flush_suppressed();
    assert_int_equal(seen.count, 2 * LOG_BURST + 2);
    /* Points are linked once only: a second burst is told once too. */
    for (unsigned i = 0; i < LOG_BURST + 1; i++) {
        log_emit_plain(&one);
    }
    advance_ms(LOG_WINDOW_MS);
    log_flush_suppressed();
    assert_string_equal(seen.line, "test.one: one suppressed=1");
    assert_int_equal(seen.told, 7);
}

static void test_points_do_not_share(void **state)
{
    (void)state;
    LOG_POINT(noisy, "test.noisy", LOG_ERROR, "noisy");
    LOG_POINT(quiet, "test.quiet", LOG_ERROR, "quiet");
    for (unsigned i = 0; i < 100; i++) {
        log_emit_plain(&noisy);
    }
    log_emit_plain(&quiet);
    assert_string_equal(seen.line, "test.quiet: quiet");
}

static void test_debug_is_not_limited(void **state)
{
    (void)state;
    LOG_POINT(point, "test.debug", LOG_DEBUG, "d");
    for (unsigned i = 0; i < 100; i++) {
        log_emit_plain(&point);
    }
    assert_int_equal(seen.count, 100);
}

static void test_long_line(void **state)
{
    (void)state;
    LOG_POINT(point, "test.long", LOG_ERROR, "long");
    char details[LOG_LINE_MAX * 2];
    memset(details, 'x', sizeof(details) - 1);
    details[sizeof(details) - 1] = '\0';
    log_emit(&point, "d=%s", details);
    assert_int_equal(strlen(seen.line), LOG_LINE_MAX);
    assert_string_equal(seen.line + LOG_LINE_MAX - 4, "x...");
    /* One that just fits is whole. */
    details[LOG_LINE_MAX - strlen("test.long: long d=")] = '\0';
    log_emit(&point, "d=%s", details);
    assert_int_equal(strlen(seen.line), LOG_LINE_MAX);
    assert_string_equal(seen.line + LOG_LINE_MAX - 4, "xxxx");
    /* The count of suppressed lines is never cut off. */
    for (unsigned i = 0; i < LOG_BURST; i++) {
        log_emit_plain(&point);
    }
    advance_ms(LOG_WINDOW_MS);
    log_emit(&point, "d=%s", details);
    assert_int_equal(strlen(seen.line), LOG_LINE_MAX);
    assert_non_null(strstr(seen.line, "x... suppressed=2"));
}

static void test_cut_between_characters(void **state)
{
    (void)state;
    LOG_POINT(point, "test.utf8", LOG_DEBUG, "u");
    char details[LOG_LINE_MAX * 2 + 1];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(details, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof(details); i += 3) {
            memcpy(details + i, "\xe2\x82\xac", 4);
        }
        log_emit(&point, "%s", details);
        assert_true(strlen(seen.line) <= LOG_LINE_MAX);
        assert_true(strlen(seen.line) > LOG_LINE_MAX - 3);
        assert_true(bytes_is_utf8(bytes_str(seen.line)));
        assert_string_equal(seen.line + strlen(seen.line) - 3, "...");
    }
}

static void test_no_line_breaks(void **state)
{
    (void)state;
    LOG_POINT(point, "test.break", LOG_ERROR, "b");
    log_emit(&point, "d=%s", "one\r\ntwo\x1b[0m\x7f");
    assert_string_equal(seen.line, "test.break: b d=one??two?[0m?");
}

LOG_POINT(shared, "test.shared", LOG_ERROR, "shared");
enum { THREADS = 4, LINES = 2000 };

static void *hammer(void *arg)
{
    (void)arg;
    for (int i = 0; i < LINES; i++) {
        log_emit(&shared, "n=%d", i);
        if (i % 100 == 0) {
            log_flush_suppressed();
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(seen.count, LOG_BURST);
    advance_ms(LOG_WINDOW_MS);
    log_flush_suppressed();
    assert_int_equal(seen.told, THREADS * LINES - LOG_BURST);
}

static void test_escape(void **state)
{
    (void)state;
    char out[256];
    assert_string_equal(log_escape(BYTES("plain text/+#"), out, sizeof(out)), "plain text/+#");
    assert_string_equal(log_escape(BYTES("a\"b\\c\r\n\t"), out, sizeof(out)), "a\\\"b\\\\c\\r\\n\\t");
    assert_string_equal(log_escape(BYTES("\0\x1f\x7f"), out, sizeof(out)), "\\x00\\x1f\\x7f");
    assert_string_equal(log_escape(BYTES("na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80"), out, sizeof(out)),
                        "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_string_equal(log_escape(BYTES("\xff\xc3"), out, sizeof(out)), "\\xff\\xc3");
    assert_string_equal(log_escape(BYTES("\xe2\x82"), out, sizeof(out)), "\\xe2\\x82");
    assert_string_equal(log_escape(BYTES("\xed\xa0\x80"), out, sizeof(out)), "\\xed\\xa0\\x80");
    assert_string_equal(log_escape(BYTES("\xc2\x85"), out, sizeof(out)), "\\xc2\\x85"); /* NEL, a control character */
    assert_string_equal(log_escape((struct bytes){NULL, 0}, out, sizeof(out)), "");
}

static void test_escape_cut(void **state)
{
    (void)state;
    char out[16];
    assert_string_equal(log_escape(BYTES("123456789"), out, 10), "123456789");
    assert_string_equal(log_escape(BYTES("1234567890"), out, 10), "123456...");
    assert_string_equal(log_escape(BYTES("12345\n\n\n"), out, 10), "12345...");
    assert_string_equal(log_escape(BYTES("12345\xe2\x82\xac\xe2\x82\xac"), out, 10), "12345...");
    assert_string_equal(log_escape(BYTES("12345678"), out, 4), "...");
    assert_string_equal(log_escape(BYTES("12345678"), out, 3), "..");
    assert_string_equal(log_escape(BYTES("12345678"), out, 1), "");
    out[0] = 'k';
    log_escape(BYTES("1"), out, 0);
    assert_int_equal(out[0], 'k');
    /* Every size: ends in NUL, within bounds, never half an escape. */
    for (size_t size = 1; size <= sizeof(out); size++) {
        memset(out, 'Z', sizeof(out));
        log_escape(BYTES("\x01\x02\x03\x04\x05"), out, size);
        size_t len = strlen(out);
        assert_true(len < size);
        size_t dots = len >= 3 && strcmp(out + len - 3, "...") == 0 ? 3 : 0;
        assert_true(size < 5 || (len - dots) % 4 == 0);
    }
}

static void test_default_writer(void **state)
{
    (void)state;
    LOG_POINT(point, "test.default", LOG_INFO, "to standard error");
    log_init(NULL, NULL, LOG_INFO);
    log_set_clock(NULL);
    log_emit_plain(&point);
    assert_int_equal(seen.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_line, setup),
        cmocka_unit_test_setup(test_level, setup),
        cmocka_unit_test_setup(test_keeps_errno, setup),
        cmocka_unit_test_setup(test_rate_limit, setup),
        cmocka_unit_test_setup(test_flush, setup),
        cmocka_unit_test_setup(test_points_do_not_share, setup),
        cmocka_unit_test_setup(test_debug_is_not_limited, setup),
        cmocka_unit_test_setup(test_long_line, setup),
        cmocka_unit_test_setup(test_cut_between_characters, setup),
        cmocka_unit_test_setup(test_no_line_breaks, setup),
        cmocka_unit_test_setup(test_threads, setup),
        cmocka_unit_test_setup(test_escape, setup),
        cmocka_unit_test_setup(test_escape_cut, setup),
        cmocka_unit_test_setup(test_default_writer, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
