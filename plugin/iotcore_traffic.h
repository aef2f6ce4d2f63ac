/* How much goes up to IoT Core of late, which decides how it goes: few messages one by one, by the broker's thread; many in batches, by
 * the loop's thread, which naps in between. No I/O; who has the loop calls. Times are the loop's, in milliseconds.
 */
#ifndef PLUGIN_IOTCORE_TRAFFIC_H
#define PLUGIN_IOTCORE_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>

/* All zero at the start. */
struct iotcore_traffic {
    uint64_t ms;    /* a millisecond ... */
    uint64_t count; /* ... in which so many messages were sent ... */
    uint64_t rate;  /* ... and how many in each before */
};

void traffic_sent(struct iotcore_traffic *t, uint64_t now_ms);
/* So few (some 2,500 a second) that sending each by itself is best. */
bool traffic_is_low(const struct iotcore_traffic *t, uint64_t now_ms);
/* So many (some 8,000 a second) that batches pay. As of the last message that was sent. */
bool traffic_is_high(const struct iotcore_traffic *t);

/* PUBACKs of messages that were sent one by one, of a connection. All zero at the start. */
struct iotcore_acks {
    uint64_t since_ms;
    unsigned count; /* from then on */
};

#define ACKS_LATER_MS 10u /* PUBACKs, and a command that comes down, wait for each other so long at most */

/* Another one. True when so many come (from 300 a second on) that those of the next ACKS_LATER_MS had better be read together. */
bool acks_come_often(struct iotcore_acks *a, uint64_t now_ms);

#endif
