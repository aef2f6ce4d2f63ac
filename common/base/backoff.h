/* Exponential backoff with full jitter, and a token bucket. One thread at a time; randomness and clock come in. */
#ifndef BASE_BACKOFF_H
#define BASE_BACKOFF_H

#include "base/clock.h"

/* Delay before try n (from 0): uniform in [0, min(cap, base * 2^n)] ("Exponential Backoff And Jitter", AWS
 * Architecture Blog: full jitter). */
struct backoff {
    uint32_t base_ms;
    uint32_t cap_ms;
    uint32_t tries; /* since the last reset */
    uint64_t rng;   /* state of the generator; any seed */
};

void backoff_init(struct backoff *b, uint32_t base_ms, uint32_t cap_ms, uint64_t seed);
uint32_t backoff_next_ms(struct backoff *b);
void backoff_reset(struct backoff *b);

/* Token bucket: `rate` tokens a second, at most `burst` saved up. rate 0 = no limit. */
struct token_bucket {
    double rate;
    double burst;
    double tokens; /* may go below 0 after a take larger than the burst */
    struct mono last;
};

void token_bucket_init(struct token_bucket *t, double rate, double burst, struct mono now);
/* New rate and burst; tokens saved up are kept up to the new burst. */
void token_bucket_set_rate(struct token_bucket *t, double rate, double burst, struct mono now);
/* Takes n tokens if there is at least min(n, burst); false otherwise, and nothing is taken. */
bool token_bucket_take(struct token_bucket *t, double n, struct mono now);
/* When a take of n will succeed; `now` if it would already. */
struct mono token_bucket_ready(const struct token_bucket *t, double n, struct mono now);

/* 64 random bits from the system, for seeds and ids. */
uint64_t random_seed(void);

#endif
