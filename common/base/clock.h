/* Clocks. Monotonic and wall time are different types, so that one cannot be passed for the other: timers,
 * deadlines and durations use struct mono; only what is stored or shown uses struct wall. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/bytes.h"
#include "base/err.h"

/* Monotonic time in nanoseconds since an arbitrary start. Does not jump when the wall clock is set. */
struct mono {
    uint64_t ns;
};

/* Wall-clock time in milliseconds since 1970-01-01T00:00:00Z. May jump. */
struct wall {
    int64_t ms;
};

#define MONO_NEVER ((struct mono){UINT64_MAX})

struct mono mono_now(void);
struct wall wall_now(void);
/* The same as of the kernel's last tick: up to 10 ms late, at a fifth of the price. */
struct wall wall_now_coarse(void);

static inline struct mono mono_add_ms(struct mono t, uint64_t ms)
{
    uint64_t ns = ms > UINT64_MAX / 1000000u ? UINT64_MAX : ms * 1000000u;
    return (struct mono){t.ns > UINT64_MAX - ns ? UINT64_MAX : t.ns + ns};
}

/* Milliseconds from a to b, rounded up; 0 when b is not after a. */
static inline uint64_t mono_ms_until(struct mono a, struct mono b)
{
    return b.ns > a.ns ? (b.ns - a.ns + 999999u) / 1000000u : 0;
}

static inline bool mono_reached(struct mono now, struct mono deadline)
{
    return now.ns >= deadline.ns;
}

static inline struct mono mono_min(struct mono a, struct mono b)
{
    return a.ns < b.ns ? a : b;
}

/* ISO 8601 / RFC 3339 calendar date and time -> wall time: "2023-02-06T05:54:46Z" with a fraction of any length, 'T' or a
 * space, offset "+01:00", "+0100", "+01" or "Z" (none: UTC); without seconds, without a time (midnight), and in the basic form
 * "20230206T055446Z". E_MALFORMED otherwise, week and ordinal dates too. */
MUST_CHECK enum err wall_parse_iso8601(struct bytes text, struct wall *out);

/* "2023-02-06T05:54:46.123Z" and its NUL into out. Years 0000-9999; others are clamped. */
#define WALL_ISO8601_SIZE 25
#define WALL_LATEST_MS INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */
void wall_format_iso8601(struct wall t, char out[WALL_ISO8601_SIZE]);

#endif
