/* A bound UDP socket on a uv loop that moves datagrams in batches (recvmmsg, sendmmsg).
 *
 * Answers leave from the address that the question came to, also on a wildcard socket of a host with several addresses.
 * Loop thread only.
 */
#ifndef MQTTSN_UDP_H
#define MQTTSN_UDP_H

#include "base/option.h"
#include "mqttsn/address.h"

#include <uv.h>

struct udp;

#define UDP_DATAGRAM_MAX 65507u

struct udp_events {
    /* `to` is the address that it was sent to (port: ours; family 0 where that is not known). Valid during the call. */
    void (*on_datagram)(void *ctx, const struct address *from, const struct address *to, struct bytes datagram);
};

struct udp_options {
    struct address bind;
    size_t buffer_size;   /* asked of the kernel for both directions; 0 = leave */
    bool shared;          /* SO_REUSEADDR: others on this host may bind it, too (multicast groups) */
    struct address group; /* multicast group to join, or family 0 */
};

struct udp_stats {
    uint64_t received, sent;
    uint64_t unsent; /* dropped: the output was full, or the kernel refused them */
};

/* `events` must outlive the socket. E_ACCESS, E_BUSY (address in use), ...; `error` says more. */
MUST_CHECK enum err udp_open(uv_loop_t *loop, const struct udp_options *o, const struct udp_events *events, void *ctx,
                             struct udp **out, struct option_error *error);
/* Sends what is waiting, closes; frees itself when libuv has let go. NULL is allowed. */
void udp_close(struct udp *u);

/* Hears a multicast group, too. IPv6: on the interface of its scope; without one, and for IPv4, the system chooses. */
MUST_CHECK enum err udp_join(struct udp *u, const struct address *group);

/* The bound address, with the port that was chosen where 0 was asked for. */
const struct address *udp_address(const struct udp *u);

/* Room for one datagram to be written in place; NULL when the output is full (the datagram is counted as unsent). Then
 * udp_commit with what was written; it leaves at the end of this turn. `from`: our address to send from, as on_datagram's `to`, NULL or
 * family 0 = the system's choice. */
uint8_t *udp_reserve(struct udp *u, size_t size);
void udp_commit(struct udp *u, const struct address *to, const struct address *from, size_t size);
/* Both in one. */
void udp_send(struct udp *u, const struct address *to, const struct address *from, struct bytes datagram);
/* Sends what is waiting now. */
void udp_flush(struct udp *u);

void udp_stats(const struct udp *u, struct udp_stats *out);
/* Bytes that the kernel gave for receiving. */
size_t udp_receive_buffer(const struct udp *u);

#endif
