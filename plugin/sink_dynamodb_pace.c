#include "plugin/sink_dynamodb_pace.h"

static double burst_of(double rate)
{
    return rate / 4 > PACE_MIN ? rate / 4 : PACE_MIN;
}

void pace_init(struct pace *p, struct mono now)
{
    *p = (struct pace){.window = now};
    token_bucket_init(&p->bucket, 0, 0, now);
}

bool pace_take(struct pace *p, size_t n, struct mono now)
{
    return p->rate == 0 || token_bucket_take(&p->bucket, (double)n, now);
}

struct mono pace_ready(const struct pace *p, size_t n, struct mono now)
{
    return p->rate == 0 ? now : token_bucket_ready(&p->bucket, (double)n, now);
}

static void set_rate(struct pace *p, double rate, struct mono now)
{
    bool was_limited = p->rate != 0;
    p->rate = rate > PACE_UNLIMITED ? 0 : rate;
    if (p->rate == 0) {
        return;
    }
    if (was_limited) {
        token_bucket_set_rate(&p->bucket, p->rate, burst_of(p->rate), now);
    } else {
        token_bucket_init(&p->bucket, p->rate, burst_of(p->rate), now);
    }
}

static double lowered(const struct pace *p, double seconds)
{
    double seen = p->taken / seconds;
    if (p->taken == 0 && p->rate != 0) {
        seen = p->rate / 2;
    }
    if (p->rate != 0 && seen > p->rate) {
        seen = p->rate;
    }
    return seen > PACE_MIN ? seen : PACE_MIN;
}

void pace_result(struct pace *p, size_t taken, size_t refused, struct mono now)
{
    p->taken += (double)taken;
    p->refused += (double)refused;
    if (!mono_reached(now, mono_add_ms(p->window, PACE_WINDOW_MS))) {
        return;
    }
    double seconds = (double)(now.ns - p->window.ns) / 1e9;
    double share = p->taken / (p->taken + p->refused);
    if (share < PACE_BAD) {
        set_rate(p, lowered(p, seconds), now);
    } else if (share >= PACE_GOOD && p->rate != 0) {
        set_rate(p, p->rate * PACE_RAISE, now);
    }
    p->window = now;
    p->taken = p->refused = 0;
}
