/* Packet ids in use and what each waits for: a hash table indexed by the id itself, that grows on demand. Ids are given out in
 * turn, so that a late or repeated acknowledgement does not meet a new packet of the same id. For the session's own files. */
#ifndef MQTT_FLIGHTS_H
#define MQTT_FLIGHTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flight_state {
    FLIGHT_FREE,
    FLIGHT_PUBACK,  /* QoS 1 sent */
    FLIGHT_PUBREC,  /* QoS 2 sent */
    FLIGHT_PUBCOMP, /* QoS 2: PUBREL sent */
    FLIGHT_SUBACK,
    FLIGHT_UNSUBACK,
};

struct flight {
    uint64_t token;
    uint16_t id;
    uint8_t state;    /* enum flight_state */
    uint32_t filters; /* SUBSCRIBE, UNSUBSCRIBE: how many */
};

/* Half of the ids, so that a free one is always near. */
#define FLIGHTS_MAX 32768u

struct flights {
    struct flight *slots; /* owned; NULL until the first is taken */
    uint32_t size;        /* power of two; slot of an id = id modulo size */
    uint32_t used;
    uint16_t last_id;
};

/* The first id is `first`, 0 = 1. Allocates nothing. */
void flights_init(struct flights *f, uint16_t first);
void flights_finish(struct flights *f);

/* A new entry with an id of its own. E_FULL at FLIGHTS_MAX, E_NOMEM. The pointer is valid until the next take. */
MUST_CHECK enum err flights_take(struct flights *f, enum flight_state state, uint64_t token, struct flight **out);
/* NULL when the id is not in use. */
struct flight *flights_find(struct flights *f, uint16_t id);
void flights_release(struct flights *f, struct flight *flight);

#endif
