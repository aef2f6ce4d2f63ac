#include "plugin/echo.h"

#include <stdlib.h>

void echo_init(struct echo *e, uint64_t seed, size_t slot_count)
{
    *e = (struct echo){.seed = seed, .slot_count = slot_count};
}

void echo_finish(struct echo *e)
{
    free(e->slots);
    e->slots = NULL;
}

static uint64_t hash_of(const struct echo *e, struct bytes topic, struct bytes payload)
{
    return bytes_hash(payload, bytes_hash(topic, e->seed));
}

static bool is_recent(const struct echo_slot *slot, uint32_t window_ms, struct mono now)
{
    return slot->expected > 0 && !mono_reached(now, mono_add_ms(slot->sent, window_ms));
}

/* The ECHO_WAYS slots that a message of this hash may be in. */
static struct echo_slot *set_of(const struct echo *e, uint64_t hash)
{
    return &e->slots[hash % (e->slot_count / ECHO_WAYS) * ECHO_WAYS];
}

/* Where the message stands, or what it may overwrite: a slot that is over, else the oldest. */
static struct echo_slot *slot_for(const struct echo *e, uint64_t hash, uint32_t link, struct mono now)
{
    struct echo_slot *set = set_of(e, hash);
    struct echo_slot *free_slot = NULL;
    struct echo_slot *oldest = set;
    for (unsigned i = 0; i < ECHO_WAYS; i++) {
        if (!is_recent(&set[i], ECHO_WINDOW_MS, now)) {
            free_slot = &set[i];
        } else if (set[i].hash == hash && set[i].link == link) {
            return &set[i];
        }
        oldest = set[i].sent.ns < oldest->sent.ns ? &set[i] : oldest;
    }
    struct echo_slot *slot = free_slot ? free_slot : oldest;
    *slot = (struct echo_slot){.hash = hash, .link = link};
    return slot;
}

void echo_sent(struct echo *e, uint32_t link, struct bytes topic, struct bytes payload, struct mono now)
{
    if (!e->slots) {
        e->slots = calloc(e->slot_count, sizeof(*e->slots));
        if (!e->slots) {
            return; /* as if it had been overwritten */
        }
    }
    struct echo_slot *slot = slot_for(e, hash_of(e, topic, payload), link, now);
    slot->sent = now;
    slot->expected++;
}

bool echo_came_back(struct echo *e, uint32_t link, struct bytes topic, struct bytes payload, uint32_t same_link_ms,
                    struct mono now, bool *same_link)
{
    if (!e->slots) {
        return false;
    }
    uint64_t hash = hash_of(e, topic, payload);
    struct echo_slot *set = set_of(e, hash);
    for (unsigned i = 0; i < ECHO_WAYS; i++) {
        uint32_t window = set[i].link == link ? same_link_ms : ECHO_WINDOW_MS;
        if (set[i].hash == hash && is_recent(&set[i], window, now)) {
            set[i].expected--;
            *same_link = set[i].link == link;
            return true;
        }
    }
    return false;
}
