/* Topic ids of one client: one stable id per topic, in both directions (specification 6.5).
 *
 * An id follows from the topic's name (a hash, the next free one on a collision), so that it is the same after a reconnect
 * and after a restart of the gateway: clients that keep ids longer than they should, and RIOT's, which ignore REGISTER from
 * the gateway, still mean the same topic. Once given, an id stays with its topic until topics_clear.
 *
 * Nothing is allocated for a client without topics. One thread at a time.
 */
#ifndef MQTTSN_TOPICS_H
#define MQTTSN_TOPICS_H

#include "base/bytes.h"
#include "base/err.h"

#define TOPICS_MAX 512u               /* topics of one client */
#define TOPICS_BYTES_MAX (32u * 1024) /* of their names together */

struct topics_entry {
    uint8_t *name; /* owned */
    uint16_t len;
    uint16_t id;
    bool known;   /* the client knows the id: it asked for it, or accepted our REGISTER */
    bool asked;   /* the client asked for it (REGISTER, SUBSCRIBE): it keeps the id over a reconnect */
    bool refused; /* the client refused our REGISTER: nothing is sent on this topic */
};

struct topics {
    struct topics_entry *entries; /* by id, ascending */
    uint16_t count;
    uint16_t cap;
    uint32_t bytes; /* of names */
};

/* Forgets all and frees the memory. */
void topics_clear(struct topics *t);
/* A new connection of the same session: ids stay, but only those that the client asked for are taken as known to it
 * still, and refusals are forgotten. */
void topics_reconnected(struct topics *t);

/* The topic's entry, made if there is none. `name` is a valid topic name. E_FULL at a ceiling, E_NOMEM.
 * Entries move: a pointer is valid until the next topics_add. */
MUST_CHECK enum err topics_add(struct topics *t, struct bytes name, struct topics_entry **out);
/* NULL when there is none. */
struct topics_entry *topics_by_id(const struct topics *t, uint16_t id);
struct topics_entry *topics_by_name(const struct topics *t, struct bytes name);

static inline struct bytes topics_name(const struct topics_entry *e)
{
    return bytes_make(e->name, e->len);
}

#endif
