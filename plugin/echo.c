#include "plugin/downlink_echo.h"

#include <stdlib.h>

void echo_init(struct echo *e, uint64_t seed)
{
    *e = (struct echo){.seed = seed};
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

void echo_sent(struct echo *e, uint32_t link, struct bytes topic, struct bytes payload, struct mono now)
{
    if (!e->slots) {
        e->slots = calloc(ECHO_SLOTS, sizeof(*e->slots));
        if (!e->slots) {
            return; /* as if it had been overwritten */
        }
    }
    uint64_t hash = hash_of(e, topic, payload);
    struct echo_slot *slot = &e->slots[hash % ECHO_SLOTS];
    if (slot->hash != hash || slot->link != link || !is_recent(slot, ECHO_WINDOW_MS, now)) {
        *slot = (struct echo_slot){.hash = hash, .link = link};
    }
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
    struct echo_slot *slot = &e->slots[hash % ECHO_SLOTS];
    uint32_t window = slot->link == link ? same_link_ms : ECHO_WINDOW_MS;
    if (slot->hash != hash || !is_recent(slot, window, now)) {
        return false;
    }
    slot->expected--;
    *same_link = slot->link == link;
    return true;
}
