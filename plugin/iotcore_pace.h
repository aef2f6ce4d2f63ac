/* How fast one connection may publish: two token buckets, and the lesson from losses. IoT Core discards what exceeds its rate without
 * a word, so a publish that stays unacknowledged is taken as "too fast": the rate is halved and rises again slowly while all goes
 * well. One thread at a time. */
#ifndef PLUGIN_IOTCORE_PACE_H
#define PLUGIN_IOTCORE_PACE_H

#include "base/backoff.h"

/* After slowing down the rate rises by a tenth this often. */
#define IOTCORE_PACE_RAISE_MS 10000u

struct iotcore_pace {
    double limit;   /* publishes/s configured, 0 = none */
    double rate;    /* in force, <= limit; 0 = none */
    double free_at; /* without a limit: the rate at which none is needed any more */
    struct token_bucket publishes;
    struct token_bucket bytes;
    struct mono raise_at;
    /* Busiest second so far, as the measure of "fast" where no limit is configured. */
    struct mono second;
    uint32_t in_second;
    uint32_t busiest;
};

/* publishes/s and payload bytes/s, 0 = no limit. */
void iotcore_pace_init(struct iotcore_pace *p, uint64_t publishes, uint64_t bytes, struct mono now);
/* New limits; what was learned stays as far as it is below them. */
void iotcore_pace_configure(struct iotcore_pace *p, uint64_t publishes, uint64_t bytes, struct mono now);

/* May a message of `size` payload bytes go now? Takes its tokens if so. */
bool iotcore_pace_take(struct iotcore_pace *p, size_t size, struct mono now);
/* When it may; `now` if it may already. */
struct mono iotcore_pace_ready(const struct iotcore_pace *p, size_t size, struct mono now);

/* The server lost or refused messages for their number. Returns the new rate in publishes/s. */
double iotcore_pace_slow(struct iotcore_pace *p, struct mono now);

#endif
