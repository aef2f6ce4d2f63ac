#include "plugin/iotcore_traffic.h"

enum {
    LOW_PER_MS = 3,  /* below */
    HIGH_PER_MS = 8, /* from here on */
    ACKS_OFTEN = 3,  /* in ACKS_LATER_MS */
};

void traffic_sent(struct iotcore_traffic *t, uint64_t now_ms)
{
    if (now_ms != t->ms) {
        t->rate = t->count / (now_ms - t->ms);
        t->count = 0;
        t->ms = now_ms;
    }
    t->count++;
}

bool traffic_is_low(const struct iotcore_traffic *t, uint64_t now_ms)
{
    if (now_ms != t->ms) {
        return t->count / (now_ms - t->ms) < LOW_PER_MS;
    }
    return t->count < LOW_PER_MS && t->rate < LOW_PER_MS;
}

bool traffic_is_high(const struct iotcore_traffic *t)
{
    return t->count >= HIGH_PER_MS || t->rate >= HIGH_PER_MS;
}

bool acks_come_often(struct iotcore_acks *a, uint64_t now_ms)
{
    if (now_ms - a->since_ms >= ACKS_LATER_MS) {
        a->since_ms = now_ms;
        a->count = 0;
    }
    a->count++;
    return a->count >= ACKS_OFTEN;
}
