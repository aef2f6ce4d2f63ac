#include "plugin/retention_clock.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

LOG_POINT(log_leap, "sqlite.clock-ahead", LOG_NOTICE,
          "much time has passed at once, or the clock is wrong: old rows are deleted by the time before for a while");

/* No file system is right about more. */
#define SECONDS_MAX INT64_C(253402300800) /* the year 10000 */

static int64_t mono_ms(struct mono now)
{
    return (int64_t)(now.ns / 1000000u);
}

void retention_clock_init(struct retention_clock *c, struct wall seen, struct wall wall, struct mono now)
{
    int64_t from = seen.ms < wall.ms ? seen.ms : wall.ms;
    *c = (struct retention_clock){.offset_ms = from - mono_ms(now), .until = MONO_NEVER};
}

static void note_leap(struct retention_clock *c, int64_t offset_ms, struct wall wall, struct mono now, uint64_t hold_ms)
{
    char from[WALL_ISO8601_SIZE];
    char to[WALL_ISO8601_SIZE];
    wall_format_iso8601((struct wall){c->offset_ms + mono_ms(now)}, from);
    wall_format_iso8601(wall, to);
    c->leapt_ms = offset_ms;
    c->until = mono_add_ms(now, hold_ms);
    log_emit(&log_leap, "from=%.19sZ to=%.19sZ believed_in_s=%llu", from, to, (unsigned long long)hold_ms / 1000);
}

struct wall retention_clock_now(struct retention_clock *c, struct wall wall, struct mono now, uint64_t hold_ms)
{
    int64_t offset_ms = wall.ms - mono_ms(now);
    bool leapt = c->until.ns != MONO_NEVER.ns;
    if (offset_ms - c->offset_ms <= RETENTION_LEAP_MS || (leapt && mono_reached(now, c->until))) {
        c->offset_ms = offset_ms;
        c->until = MONO_NEVER;
    } else if (!leapt || llabs(offset_ms - c->leapt_ms) > RETENTION_LEAP_MS) {
        note_leap(c, offset_ms, wall, now, hold_ms);
    }
    return (struct wall){c->offset_ms + mono_ms(now)};
}

static int64_t written_ms(const char *path)
{
    struct stat st;
    bool known = stat(path, &st) == 0 && llabs((long long)st.st_mtim.tv_sec) < SECONDS_MAX;
    return known ? (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000 : INT64_MIN;
}

struct wall retention_clock_seen(const char *path)
{
    int64_t file = written_ms(path);
    int64_t log = INT64_MIN;
    size_t size = strlen(path) + sizeof("-wal");
    char *wal = malloc(size);
    if (wal) {
        snprintf(wal, size, "%s-wal", path);
        log = written_ms(wal);
        free(wal);
    }
    int64_t last = file > log ? file : log;
    return (struct wall){last == INT64_MIN ? INT64_MAX : last};
}
