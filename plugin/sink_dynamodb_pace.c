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

void pace_take(struct pace *p, size_t n, struct mono now)
{
    if (p->rate != 0) {
        (void)token_bucket_take(&p->bucket, (double)n, now);
    }
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
    double now = p->rate != 0 ? p->rate : (p->taken + p->refused) / seconds;
    double seen = p->taken / seconds;
    double rate = seen > now / 2 ? seen : now / 2;
    return rate > PACE_MIN ? rate : PACE_MIN;
}

/* Longer without a result is a pause: what was before says nothing about now. At a low rate batches are far apart. */
static uint64_t pause_ms(const struct pace *p)
{
    double apart = p->rate != 0 ? 3 * PACE_MIN * 1000 / p->rate : 0;
    return apart > PACE_WINDOW_MS ? (uint64_t)apart : PACE_WINDOW_MS;
}

void pace_result(struct pace *p, size_t taken, size_t refused, struct mono now)
{
    if (mono_reached(now, mono_add_ms(p->last, pause_ms(p)))) {
        p->window = now;
        p->taken = p->refused = 0;
    }
    p->last = now;
    p->taken += (double)taken;
    p->refused += (double)refused;
    double items = p->taken + p->refused;
    double share = p->taken / items;
    bool bad = share < PACE_BAD;
    if (!mono_reached(now, mono_add_ms(p->window, bad ? PACE_BAD_MS : PACE_WINDOW_MS)) ||
        (bad && items < PACE_BAD_ITEMS)) {
        return;
    }
    if (bad) {
        set_rate(p, lowered(p, (double)(now.ns - p->window.ns) / 1e9), now);
    } else if (share >= PACE_GOOD && p->rate != 0) {
        set_rate(p, p->rate * PACE_RAISE, now);
    }
    p->window = now;
    p->taken = p->refused = 0;
}
