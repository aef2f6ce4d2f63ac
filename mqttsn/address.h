/* A UDP address, IPv4 or IPv6 with scope, small enough to keep one per client. Plain values; any thread. */
#ifndef MQTTSN_ADDRESS_H
#define MQTTSN_ADDRESS_H

#include "base/bytes.h"
#include "base/err.h"

#include <sys/socket.h>

struct address {
    uint8_t ip[16];  /* network order; IPv4 in the first 4 */
    uint32_t scope;  /* IPv6 link-local: interface index, else 0 */
    uint16_t port;   /* host order */
    uint16_t family; /* AF_INET, AF_INET6; 0 = none */
};

/* From what the kernel gives; family 0 for anything but IPv4 and IPv6. */
struct address address_from_sockaddr(const struct sockaddr *sa);
socklen_t address_to_sockaddr(const struct address *a, struct sockaddr_storage *out);

/* An address in numbers ("192.0.2.1", "::1", "fe80::1%eth0"). E_MALFORMED. */
MUST_CHECK enum err address_parse(const char *ip, uint16_t port, struct address *out);

#define ADDRESS_TEXT_SIZE 80
/* "192.0.2.1:1883", "[fe80::1%eth0]:1883". Returns out. */
const char *address_format(const struct address *a, char out[ADDRESS_TEXT_SIZE]);

bool address_equal(const struct address *a, const struct address *b);
bool address_is_multicast(const struct address *a);
bool address_is_broadcast(const struct address *a); /* 255.255.255.255 */
bool address_is_any(const struct address *a);
/* Of the host alone, without port (IPv6: of its /64), for limits per address. */
uint64_t address_host_hash(const struct address *a, uint64_t seed);

#endif
