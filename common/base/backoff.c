#include "base/backoff.h"

#include <errno.h>
#include <sys/random.h>

/* Sums of small refills miss the exact value by a little; what is this close counts as there. */
#define TOKEN_SLACK 1e-6

void backoff_init(struct backoff *b, uint32_t base_ms, uint32_t cap_ms, uint64_t seed)
{
    *b = (struct backoff){.base_ms = base_ms, .cap_ms = cap_ms, .rng = seed};
}

/* A Weyl sequence with a mixed output (SplitMix64): any seed will do, 0 included. */
static uint64_t next_random(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint32_t backoff_next_ms(struct backoff *b)
{
    uint64_t limit = (uint64_t)b->base_ms << (b->tries < 32 ? b->tries : 32);
    if (limit > b->cap_ms) {
        limit = b->cap_ms;
    }
    if (b->tries < UINT32_MAX) {
        b->tries++;
    }
    /* The high half of a 32 x 33 bit product: even to 1 in 2^31. */
    return (uint32_t)(((next_random(&b->rng) >> 32) * (limit + 1)) >> 32);
}

void backoff_reset(struct backoff *b)
{
    b->tries = 0;
}

static void refill(struct token_bucket *t, struct mono now)
{
    if (now.ns > t->last.ns) {
        double tokens = t->tokens + (double)(now.ns - t->last.ns) * t->rate / 1e9;
        t->tokens = tokens < t->burst ? tokens : t->burst;
        t->last = now;
    }
}

void token_bucket_init(struct token_bucket *t, double rate, double burst, struct mono now)
{
    *t = (struct token_bucket){.rate = rate, .burst = burst, .tokens = burst, .last = now};
}

void token_bucket_set_rate(struct token_bucket *t, double rate, double burst, struct mono now)
{
    refill(t, now);
    if (t->rate <= 0 || t->tokens > burst) {
        t->tokens = burst;
    }
    t->rate = rate;
    t->burst = burst;
}

static double needed(const struct token_bucket *t, double n)
{
    return (n < t->burst ? n : t->burst) - TOKEN_SLACK;
}

bool token_bucket_take(struct token_bucket *t, double n, struct mono now)
{
    if (t->rate <= 0) {
        return true;
    }
    refill(t, now);
    if (t->tokens < needed(t, n)) {
        return false;
    }
    t->tokens -= n;
    return true;
}

struct mono token_bucket_ready(const struct token_bucket *t, double n, struct mono now)
{
    struct token_bucket copy = *t;
    refill(&copy, now);
    double missing = needed(&copy, n) - copy.tokens;
    if (t->rate <= 0 || missing <= 0) {
        return now;
    }
    double wait_ns = missing / t->rate * 1e9;
    uint64_t from = copy.last.ns; /* not before `now` */
    if (wait_ns >= (double)(UINT64_MAX - from)) {
        return MONO_NEVER;
    }
    return (struct mono){from + (uint64_t)wait_ns + 1};
}

uint64_t random_seed(void)
{
    uint64_t seed = 0;
    ssize_t n;
    do {
        n = getrandom(&seed, sizeof(seed), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(seed)) {
        /* Only a kernel older than 3.17 gets here. Different from run to run, and not secret. */
        seed = mono_now().ns ^ (uint64_t)wall_now().ms << 20 ^ (uint64_t)(uintptr_t)&seed;
        seed = next_random(&seed);
    }
    return seed;
}
