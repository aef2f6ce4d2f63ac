/* Limits per source address, so that one of them cannot take the gateway from the others. A table of fixed size: addresses
 * that share a place share its limits. */
#ifndef MQTTSN_FLOOD_H
#define MQTTSN_FLOOD_H

#include "base/clock.h"
#include "mqttsn/address.h"

struct flood;

/* What an address may do: a rate per second, and so many at once. */
enum flood_kind {
    FLOOD_CONNECT, /* CONNECT that needs a new session: FLOOD_CONNECT_RATE a second, FLOOD_CONNECT_BURST at once */
    FLOOD_ANSWER,  /* answers to those who are no clients (SEARCHGW, packets without a connection), QoS -1 */
    FLOOD_ECHO,    /* DISCONNECT in answer to DISCONNECT */
};

#define FLOOD_CONNECT_RATE 1000
#define FLOOD_CONNECT_BURST 10000 /* all devices behind one forwarder after a power cut */
#define FLOOD_ANSWER_RATE 1000
#define FLOOD_ANSWER_BURST 2000
/* With a false source address two gateways, or a gateway and an echo service, would answer each other for ever. */
#define FLOOD_ECHO_RATE 10
#define FLOOD_ECHO_BURST 100

MUST_CHECK enum err flood_create(uint64_t seed, struct flood **out);
void flood_destroy(struct flood *f); /* NULL is allowed */

/* false: over the limit. Loopback addresses have none but that of FLOOD_ECHO: who sends from there could do worse. */
bool flood_allows(struct flood *f, enum flood_kind kind, const struct address *from, struct mono now);

#endif
