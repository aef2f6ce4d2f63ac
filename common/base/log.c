#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define COUNT_BITS 16
#define COUNT_MASK UINT64_C(0xFFFF)
#define SUFFIX_SIZE 24 /* " suppressed=4294967295" and NUL */

static void write_stderr(void *ctx, enum log_level level, const char *line);

/* Set before any thread starts, only read from then on. */
static struct {
    log_write_fn *write;
    void *ctx;
    enum log_level most_detailed;
    struct mono (*now)(void);
} out = {.write = write_stderr, .most_detailed = LOG_INFO, .now = mono_now};

/* Every point that ever suppressed a line, latest first. Points have static storage: once linked they stay. */
static struct log_point *_Atomic linked_points;

static void write_stderr(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

void log_init(log_write_fn *write, void *ctx, enum log_level most_detailed)
{
    out.write = write ? write : write_stderr;
    out.ctx = ctx;
    out.most_detailed = most_detailed;
}

bool log_wants(enum log_level level)
{
    return level <= out.most_detailed;
}

void log_set_clock(struct mono (*now)(void))
{
    out.now = now ? now : mono_now;
}

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = {
        [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice",
        [LOG_INFO] = "info",   [LOG_DEBUG] = "debug",
    };
    return (unsigned)level < sizeof(names) / sizeof(names[0]) ? names[level] : "unknown";
}

static uint64_t now_ms(void)
{
    return out.now().ns / 1000000u;
}

/* Counts a line in the point's window; false when the window is full. */
static bool admit(struct log_point *point)
{
    uint64_t now = now_ms();
    uint64_t old = atomic_load_explicit(&point->window, memory_order_relaxed);
    uint64_t new;
    do {
        uint64_t start = old >> COUNT_BITS;
        uint64_t count = old & COUNT_MASK;
        if (count == 0 || now >= start + LOG_WINDOW_MS) {
            new = now << COUNT_BITS | 1;
        } else if (count < LOG_BURST) {
            new = old + 1;
        } else {
            return false;
        }
    } while (
        !atomic_compare_exchange_weak_explicit(&point->window, &old, new, memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void suppress(struct log_point *point)
{
    atomic_fetch_add_explicit(&point->suppressed, 1, memory_order_relaxed);
    if (atomic_flag_test_and_set_explicit(&point->linked, memory_order_relaxed)) {
        return;
    }
    struct log_point *head = atomic_load_explicit(&linked_points, memory_order_relaxed);
    do {
        atomic_store_explicit(&point->next, head, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&linked_points, &head, point, memory_order_release,
                                                    memory_order_relaxed));
}

/* A line in the making. */
struct line {
    char text[LOG_LINE_MAX + 1];
    char suffix[SUFFIX_SIZE];
    size_t len;
    size_t suffix_len;
};

/* Takes over `wanted` bytes that printf put behind len, or would have if there had been room; ends in "..." what leaves no
 * room for the suffix, never in the middle of a UTF-8 sequence. */
static void line_extend(struct line *line, int wanted)
{
    size_t max = LOG_LINE_MAX - line->suffix_len;
    line->len += wanted > 0 ? (size_t)wanted : 0;
    if (line->len > max) {
        size_t end = max - 3;
        while (end > 0 && ((uint8_t)line->text[end] & 0xC0) == 0x80) {
            end--;
        }
        memcpy(line->text + end, "...", 4);
        line->len = end + 3;
    }
}

static void line_begin(struct line *line, const struct log_point *point, uint32_t suppressed)
{
    line->len = 0;
    line->suffix[0] = '\0';
    line->suffix_len = 0;
    if (suppressed > 0) {
        line->suffix_len = (size_t)snprintf(line->suffix, SUFFIX_SIZE, " suppressed=%u", suppressed);
    }
    line_extend(line, snprintf(line->text, sizeof(line->text), "%s: %s", point->id, point->text));
}

static void line_write(struct line *line, enum log_level level)
{
    for (size_t i = 0; i < line->len; i++) {
        if ((uint8_t)line->text[i] < 0x20 || line->text[i] == 0x7F) {
            line->text[i] = '?';
        }
    }
    memcpy(line->text + line->len, line->suffix, line->suffix_len + 1);
    out.write(out.ctx, level, line->text);
}

/* True when the point may write a line now; takes the count of those suppressed before it. */
static bool may_write(struct log_point *point, uint32_t *suppressed)
{
    *suppressed = 0;
    if (!log_wants(point->level)) {
        return false;
    }
    if (point->level == LOG_DEBUG) {
        return true;
    }
    if (!admit(point)) {
        suppress(point);
        return false;
    }
    *suppressed = atomic_exchange_explicit(&point->suppressed, 0, memory_order_relaxed);
    return true;
}

void log_emit(struct log_point *point, const char *details, ...)
{
    int saved = errno;
    uint32_t suppressed;
    if (!may_write(point, &suppressed)) {
        return;
    }
    struct line line;
    line_begin(&line, point, suppressed);
    if (line.len + 1 < LOG_LINE_MAX - line.suffix_len) {
        va_list args;
        line.text[line.len++] = ' ';
        errno = saved; /* for %m */
        va_start(args, details);
        line_extend(&line, vsnprintf(line.text + line.len, sizeof(line.text) - line.len, details, args));
        va_end(args);
    }
    line_write(&line, point->level);
    errno = saved;
}

void log_emit_plain(struct log_point *point)
{
    int saved = errno;
    uint32_t suppressed;
    if (may_write(point, &suppressed)) {
        struct line line;
        line_begin(&line, point, suppressed);
        line_write(&line, point->level);
    }
    errno = saved;
}

void log_flush_suppressed(void)
{
    uint64_t now = now_ms();
    struct log_point *point = atomic_load_explicit(&linked_points, memory_order_acquire);
    for (; point; point = atomic_load_explicit(&point->next, memory_order_relaxed)) {
        uint64_t start = atomic_load_explicit(&point->window, memory_order_relaxed) >> COUNT_BITS;
        if (now < start + LOG_WINDOW_MS) {
            continue;
        }
        uint32_t suppressed = atomic_exchange_explicit(&point->suppressed, 0, memory_order_relaxed);
        if (suppressed > 0) {
            struct line line;
            line_begin(&line, point, suppressed);
            line_write(&line, point->level);
        }
    }
}
