#include "plugin/capture_clock.h"

#include "base/log.h"

LOG_POINT(log_set_back, "spool.clock-set-back", LOG_WARNING,
          "the wall clock was set back: times of capture follow it, and may repeat those of before");

static void restart_from(struct capture_clock *c, int64_t high, int64_t wall)
{
    for (unsigned i = 0; i < CAPTURE_SLOTS; i++) {
        c->last[i] = high;
    }
    c->high = high;
    c->wall_high = wall;
}

void capture_clock_init(struct capture_clock *c, struct wall now, int64_t high)
{
    if (high > now.ms + CAPTURE_STEP_MAX_MS) {
        log_emit(&log_set_back, "from_ms=%lld to_ms=%lld", (long long)high, (long long)now.ms);
        high = INT64_MIN;
    }
    restart_from(c, high, now.ms);
}

int64_t capture_clock_high(int64_t high, int64_t next)
{
    bool set_back = next > INT64_MIN && next < INT64_MAX - CAPTURE_STEP_MAX_MS && high > next + CAPTURE_STEP_MAX_MS;
    return next > high || set_back ? next : high;
}

int64_t capture_clock_next(struct capture_clock *c, struct bytes sensor, struct wall now)
{
    if (sensor.len == 0) {
        return now.ms;
    }
    if (now.ms > c->wall_high) {
        c->wall_high = now.ms;
    } else if (c->wall_high - now.ms > CAPTURE_STEP_MAX_MS) {
        log_emit(&log_set_back, "from_ms=%lld to_ms=%lld", (long long)c->wall_high, (long long)now.ms);
        restart_from(c, INT64_MIN, now.ms);
    }
    int64_t *last = &c->last[bytes_hash(sensor, 0) % CAPTURE_SLOTS];
    *last = now.ms > *last ? now.ms : *last + 1;
    c->high = *last > c->high ? *last : c->high;
    return *last;
}
