#include "plugin/iotcore_pace.h"

/* A twentieth of the rate may be saved up, and the rate is that much lower, so that no second of any window sees more than the
 * limit. */
#define BURST_SHARE 0.05
#define BYTE_BURST_SHARE 0.25
#define RAISE_FACTOR 1.1
#define SLOWEST 1.0

static void set_rate(struct iotcore_pace *p, double rate, struct mono now)
{
    double burst = rate * BURST_SHARE;
    p->rate = rate;
    token_bucket_set_rate(&p->publishes, rate - burst, burst > 1 ? burst : 1, now);
}

void iotcore_pace_init(struct iotcore_pace *p, uint64_t publishes, uint64_t bytes, struct mono now)
{
    *p = (struct iotcore_pace){.limit = (double)publishes, .raise_at = MONO_NEVER, .second = now};
    token_bucket_init(&p->publishes, 0, 1, now);
    token_bucket_init(&p->bytes, (double)bytes, (double)bytes * BYTE_BURST_SHARE, now);
    set_rate(p, p->limit, now);
}

void iotcore_pace_configure(struct iotcore_pace *p, uint64_t publishes, uint64_t bytes, struct mono now)
{
    bool learned = p->raise_at.ns != MONO_NEVER.ns;
    p->limit = (double)publishes;
    token_bucket_set_rate(&p->bytes, (double)bytes, (double)bytes * BYTE_BURST_SHARE, now);
    if (!learned || (p->limit > 0 && p->rate >= p->limit)) {
        p->raise_at = MONO_NEVER;
        set_rate(p, p->limit, now);
    }
}

static void raise_rate(struct iotcore_pace *p, struct mono now)
{
    double rate = p->rate * RAISE_FACTOR;
    double enough = p->limit > 0 ? p->limit : p->free_at;
    p->raise_at = mono_add_ms(now, IOTCORE_PACE_RAISE_MS);
    if (rate >= enough) {
        rate = p->limit;
        p->raise_at = MONO_NEVER;
    }
    set_rate(p, rate, now);
}

static void count(struct iotcore_pace *p, struct mono now)
{
    if (mono_reached(now, mono_add_ms(p->second, 1000))) {
        p->second = now;
        p->in_second = 0;
    }
    p->in_second++;
    p->busiest = p->in_second > p->busiest ? p->in_second : p->busiest;
}

bool iotcore_pace_take(struct iotcore_pace *p, size_t size, struct mono now)
{
    if (mono_reached(now, p->raise_at)) {
        raise_rate(p, now);
    }
    if (token_bucket_ready(&p->bytes, (double)size, now).ns > now.ns || !token_bucket_take(&p->publishes, 1, now)) {
        return false;
    }
    count(p, now);
    return token_bucket_take(&p->bytes, (double)size, now);
}

struct mono iotcore_pace_ready(const struct iotcore_pace *p, size_t size, struct mono now)
{
    struct mono publish = token_bucket_ready(&p->publishes, 1, now);
    struct mono bytes = token_bucket_ready(&p->bytes, (double)size, now);
    return publish.ns > bytes.ns ? publish : bytes;
}

double iotcore_pace_slow(struct iotcore_pace *p, struct mono now)
{
    double from = p->rate > 0 ? p->rate : (double)p->busiest;
    if (p->rate <= 0) {
        p->free_at = 2 * from;
    }
    double rate = from / 2 > SLOWEST ? from / 2 : SLOWEST;
    p->busiest = 0;
    p->raise_at = mono_add_ms(now, IOTCORE_PACE_RAISE_MS);
    set_rate(p, rate, now);
    return rate;
}
