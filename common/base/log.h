/* Logging with stable ids, key=value details and a rate limit per place.
 *
 * A line reads `<id>: <text> key=value ... [suppressed=N]`. Ids are documented in docs/log-ids.md (a test compares).
 * Never log payloads, passwords, tokens or keys.
 *
 *   LOG_POINT(log_damaged, "spool.damaged", LOG_ERROR, "segment set aside");
 *   log_emit(&log_damaged, "segment=%s offset=%zu", name, offset);
 *
 * Every function here may be called from any thread; where lines go is set once by the program.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/bytes.h"
#include "base/clock.h"

#include <stdatomic.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

/* One place that logs. Static storage; made by LOG_POINT. */
struct log_point {
    const char *id; /* "<module>.<what>", lower case, stable */
    enum log_level level;
    const char *text;        /* what happened, in plain words */
    _Atomic uint64_t window; /* its start in monotonic ms (upper 48 bits), lines written in it (lower 16) */
    _Atomic uint32_t suppressed;
    struct log_point *_Atomic next; /* links the points that ever suppressed a line */
    atomic_flag linked;
};

#define LOG_POINT(var, id_, level_, text_)                                                                             \
    static struct log_point var = {.id = (id_), .level = (level_), .text = (text_), .linked = ATOMIC_FLAG_INIT}

/* Lines that one point may write per window; more are counted and told as suppressed=N with the next line of
 * that point, or by log_flush_suppressed(). LOG_DEBUG is not limited. */
#define LOG_BURST 10u
#define LOG_WINDOW_MS 10000u

/* Longest line, without NUL. Details of longer ones are cut and end in "...". Control characters become '?'. */
#define LOG_LINE_MAX 1023

/* Receives finished lines (NUL-terminated, no newline). Called on the logging thread, concurrently. */
typedef void log_write_fn(void *ctx, enum log_level level, const char *line);

/* Sets where lines go and the most detailed level written. Before any thread starts; NULL: standard error. */
void log_init(log_write_fn *write, void *ctx, enum log_level most_detailed);
bool log_wants(enum log_level level);
/* The clock of the rate limit; NULL: mono_now. For tests. */
void log_set_clock(struct mono (*now)(void));

void log_emit(struct log_point *point, const char *details, ...) __attribute__((format(printf, 2, 3)));
/* The same without details. */
void log_emit_plain(struct log_point *point);

/* Tells `suppressed=N` for points whose window has passed. Call about once a second from one thread. */
void log_flush_suppressed(void);

const char *log_level_name(enum log_level level);

/* Bytes from outside made fit for a log line: control characters, quotes, backslashes and bytes that are not UTF-8 escaped
 * as in C; cut to `size` (NUL included), then ending in "...". Returns out. */
const char *log_escape(struct bytes b, char *out, size_t size);

#endif
