#include "mqttsn/flood.h"

#include "base/backoff.h"

#include <stdlib.h>

enum { PLACES = 4096, KINDS = 3 };

struct place {
    struct token_bucket buckets[KINDS];
};

struct flood {
    uint64_t seed;
    struct place places[PLACES];
};

enum err flood_create(uint64_t seed, struct flood **out)
{
    struct flood *f = calloc(1, sizeof(*f));
    if (!f) {
        return E_NOMEM;
    }
    f->seed = seed;
    for (size_t i = 0; i < PLACES; i++) {
        struct mono zero = {0};
        token_bucket_init(&f->places[i].buckets[FLOOD_CONNECT], FLOOD_CONNECT_RATE, FLOOD_CONNECT_BURST, zero);
        token_bucket_init(&f->places[i].buckets[FLOOD_ANSWER], FLOOD_ANSWER_RATE, FLOOD_ANSWER_BURST, zero);
        token_bucket_init(&f->places[i].buckets[FLOOD_ECHO], FLOOD_ECHO_RATE, FLOOD_ECHO_BURST, zero);
    }
    *out = f;
    return E_OK;
}

void flood_destroy(struct flood *f)
{
    free(f);
}

static bool is_loopback(const struct address *a)
{
    static const uint8_t one[16] = {[15] = 1};
    return a->family == AF_INET ? a->ip[0] == 127 : memcmp(a->ip, one, 16) == 0;
}

bool flood_allows(struct flood *f, enum flood_kind kind, const struct address *from, struct mono now)
{
    if (kind != FLOOD_ECHO && is_loopback(from)) {
        return true;
    }
    struct place *p = &f->places[address_host_hash(from, f->seed) % PLACES];
    return token_bucket_take(&p->buckets[kind], 1, now);
}
