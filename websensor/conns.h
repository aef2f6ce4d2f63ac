/* The HTTP connections that are open: deadlines for each phase, ceilings for all and per client address, and which one has to go
 * when there are too many. A connection that is to end has its socket shut down; the HTTP library then sees the end and
 * closes it. One thread.
 *
 *   HEAD --headers--> BODY --body--> WORK --answer--> ANSWER --sent--> IDLE --next request--> HEAD
 */
#ifndef WEBSENSOR_CONNS_H
#define WEBSENSOR_CONNS_H

#include "base/backoff.h"
#include "base/bytes.h"

#include <sys/socket.h>

struct conns;
struct conn;

enum conn_phase {
    CONN_HEAD,   /* TLS handshake and headers of the first request */
    CONN_BODY,   /* the request's body */
    CONN_WORK,   /* the broker's turn: no deadline here */
    CONN_ANSWER, /* the answer is being sent */
    CONN_IDLE,   /* between two requests, and headers of the next */
    CONN_PHASES,
};

/* How long a phase may last, in ms; the time of one phase does not begin anew with each byte. 0 = as long as it takes. */
extern const uint32_t conn_phase_ms[CONN_PHASES];

struct conns_options {
    size_t max;         /* connections */
    double rate;        /* requests per second and address; 0 = no limit */
    bool rate_loopback; /* also for loopback */
};

MUST_CHECK enum err conns_create(const struct conns_options *o, struct conns **out);
/* No connection may be left. NULL is allowed. */
void conns_destroy(struct conns *c);

/* A connection has come. NULL: no memory, close it. When there are too many, the one in HEAD that is oldest is ended (with
 * too many from one address: of that address), or else the one that is idle longest, has sent its body longest, takes its
 * answer longest. */
struct conn *conn_open(struct conns *c, int fd, const struct sockaddr *address, struct mono now);
void conn_close(struct conns *c, struct conn *conn);

void conn_enter(struct conns *c, struct conn *conn, enum conn_phase phase, struct mono now);
/* May it have one more request now? false: over the rate of its address. */
bool conn_take_request(struct conns *c, struct conn *conn, struct mono now);
bool conn_is_loopback(const struct conn *conn);
/* A hash of the client's address, to tell clients apart. */
uint64_t conn_address_hash(const struct conn *conn);

/* Ends connections whose phase has lasted too long (returns how many), and those that the client has closed in the middle of a
 * request. About once a second. */
size_t conns_tick(struct conns *c, struct mono now);
/* Bodies take too much memory: ends the connection that has been sending its body longest. */
void conns_end_slowest_body(struct conns *c);
/* Ends all that are idle. */
void conns_end_idle(struct conns *c);

size_t conns_count(const struct conns *c);
/* How many were ended to make room. */
uint64_t conns_evicted(const struct conns *c);

#endif
