/* Which messages went out a moment ago, so that they are known when they come back by another way: what was sent up to IoT Core and comes
 * down, what a client published and a session at the same broker receives. A table of fixed size: what is overwritten costs a repeated
 * message, nothing else. One thread at a time. */
#ifndef PLUGIN_ECHO_H
#define PLUGIN_ECHO_H

#include "base/clock.h"

/* A message has this many places; the oldest makes room. */
#define ECHO_WAYS 4u
/* How long a message may take to come back. */
#define ECHO_WINDOW_MS 30000u
/* The same where the server was asked not to send it back: an equal message of somebody else's must not be taken for it. */
#define ECHO_WINDOW_NO_LOCAL_MS 2000u

struct echo_slot {
    uint64_t hash;
    struct mono sent;
    uint32_t link;
    uint32_t expected; /* times that it may still come back */
};

struct echo {
    uint64_t seed;
    size_t slot_count;
    struct echo_slot *slots; /* owned; NULL until the first message */
};

/* `slot_count`: a multiple of ECHO_WAYS; a slot takes 32 bytes. */
void echo_init(struct echo *e, uint64_t seed, size_t slot_count);
void echo_finish(struct echo *e);

/* This message was sent on `link`. */
void echo_sent(struct echo *e, uint32_t link, struct bytes topic, struct bytes payload, struct mono now);

/* Is this message one that was sent within the window and has not come back yet? `same_link_ms` is the window for what was
 * sent on the same link. Takes it off; *same_link tells where it was sent. */
bool echo_came_back(struct echo *e, uint32_t link, struct bytes topic, struct bytes payload, uint32_t same_link_ms,
                    struct mono now, bool *same_link);

#endif
