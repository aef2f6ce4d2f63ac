#include "tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tally_init(struct tally *t, uint64_t count, const char *file)
{
    *t = (struct tally){.count = count};
    t->marks = file ? wire_map(file, count) : count <= SIZE_MAX ? calloc(1, (size_t)count) : NULL;
    return t->marks != NULL;
}

/* The decimal number behind `name` in the payload. */
static bool member(const uint8_t *payload, size_t len, const char *name, uint64_t *out)
{
    const uint8_t *at = memmem(payload, len, name, strlen(name));
    if (!at) {
        return false;
    }
    uint64_t value = 0;
    for (at += strlen(name); at < payload + len && *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (uint64_t)(*at - '0');
    }
    *out = value;
    return true;
}

void tally_add(struct tally *t, const uint8_t *payload, size_t len, uint64_t now)
{
    uint64_t seq;
    uint64_t sent;
    if (!member(payload, len, "\"seq\":", &seq) || seq >= t->count) {
        return;
    }
    t->received++;
    t->last_ns = now;
    if (t->marks[seq] == 0) {
        t->distinct++;
    }
    if (t->marks[seq] < 255) {
        t->marks[seq]++;
    }
    if (seq < t->highest) {
        t->backwards++;
    } else {
        t->highest = seq;
    }
    if (member(payload, len, "\"t\":", &sent) && sent <= now) {
        wire_histogram_add(&t->latency, now - sent);
        if (!t->first_sent_ns || sent < t->first_sent_ns) {
            t->first_sent_ns = sent;
        }
    }
}

void tally_print(const struct tally *t)
{
    double span = t->received ? (double)(t->last_ns - t->first_sent_ns) / 1e9 : 0;
    printf("{\"received\": %llu, \"distinct\": %llu, \"twice\": %llu, \"backwards\": %llu, \"span_s\": %.6f, "
           "\"rate\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
           (unsigned long long)t->received, (unsigned long long)t->distinct,
           (unsigned long long)(t->received - t->distinct), (unsigned long long)t->backwards, span,
           span > 0 ? (double)t->distinct / span : 0, wire_histogram_us(&t->latency, 0.5),
           wire_histogram_us(&t->latency, 0.99), (double)t->latency.max_ns / 1000);
    fflush(stdout);
}
