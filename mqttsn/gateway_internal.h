/* The parts of the gateway: gateway.c (life, timers, reload, status), gateway_input.c (datagrams in and out), gateway_dtls.c,
 * clients.c (tables), links.c and shared.c (the broker's side). */
#ifndef MQTTSN_GATEWAY_INTERNAL_H
#define MQTTSN_GATEWAY_INTERNAL_H

#include "base/log.h"
#include "mqttsn/credentials.h"
#include "mqttsn/deadlines.h"
#include "mqttsn/flood.h"
#include "mqttsn/gateway.h"
#include "mqttsn/predefined.h"
#include "mqttsn/session.h"
#include "mqttsn/table.h"
#include "mqttsn/udp.h"
#include "net/tls_dates.h"
#include "net/turn.h"

struct dtls_server;
struct dtls_peer;
struct shared;

/* A socket that devices talk to. */
struct endpoint {
    struct gateway *gateway;
    struct udp *udp;
    struct dtls_server *dtls;  /* NULL = plain */
    struct address dtls_local; /* our address that DTLS answers from just now; family 0 = the system's choice */
    bool group_only;           /* hears SEARCHGW for a group; answers leave by another endpoint */
};

#define ENDPOINTS_MAX (4 * LISTENERS_MAX + 1)

/* An open DTLS session. */
struct secure {
    struct endpoint *endpoint;
    struct dtls_peer *peer;
    struct address address;
    struct address local;
    const char *identity;
    struct client *client; /* that is there now, or NULL */
    struct mono heard;
    struct secure *next, *previous; /* links those of all endpoints */
};

/* Where a device is: what an answer needs to get there, and what it is recognised by. */
struct place {
    struct endpoint *endpoint;
    struct secure *secure; /* NULL = plain */
    struct address address;
    struct address local; /* our address that it speaks to */
    uint8_t node_len;     /* behind a forwarder: its node id; 0 = not */
    uint8_t node[MQTTSN_NODE_ID_MAX];
};

struct client {
    struct gateway *gateway;
    struct session *session;
    struct table_node by_id;
    struct table_node by_place; /* in its table while `placed` */
    struct place place;
    char *dtls_identity; /* owned; NULL = came without DTLS */
    struct deadline deadline;
    struct link *link; /* links.c: NULL = none */
    struct link
        *old_link; /* closed, and the broker has not seen the end: no new one before that, nor the client's end */
    struct client *next_waiting, *previous_waiting; /* for the link that the session has asked for */
    struct client *next_kept, *previous_kept;       /* sessions of clients that are away, oldest first */
    uint32_t *filters;                              /* shared.c: ids of what it has subscribed to */
    uint16_t filter_count;
    uint32_t slot; /* shared.c */
    uint32_t generation;
    bool placed;
    bool online;     /* counts against max_clients */
    bool kept;       /* in the list of those that are away */
    bool waiting;    /* in the list of those */
    bool wants_link; /* when the old one has ended */
    bool shared_up;  /* shared.c: has the link */
};

struct gateway_metrics {
    struct session_metrics session;
    metric_value refused;   /* CONNECT refused by the gateway itself: full, flood, identity, broker away */
    metric_value malformed; /* datagrams */
    metric_value strangers; /* packets of those who are no clients */
    metric_value minus_one; /* PUBLISH of QoS -1 taken */
};

struct gateway {
    uv_loop_t *loop;
    const struct mqttsn_config *config;
    struct session_env env;
    struct gateway_metrics metrics;
    struct turn *turn;
    uv_timer_t timer; /* the earliest of: clients' deadlines, DTLS, housekeeping */
    struct mono timer_at;
    uv_timer_t house; /* ADVERTISE and other things that come once in a while */
    struct mono next_advertise;
    struct tls_dates_plan dates;
    struct mono next_group_answer;

    struct endpoint endpoints[ENDPOINTS_MAX];
    size_t endpoint_count;
    struct address advertise; /* family 0 = none */
    struct secure *secures;

    struct table clients; /* by id */
    struct table places;
    uint64_t seed;
    struct deadlines deadlines;
    size_t online;
    uint64_t crowd;      /* the host (address_host_hash) that has more than half of max_clients */
    size_t crowd_excess; /* how many more; 0 = no host has */
    struct mono crowd_until;
    size_t kept;
    bool visiting; /* clients_each is under way */
    struct client *first_kept, *last_kept;
    struct flood *flood;

    struct predefined *predefined;
    struct credentials *credentials;
    struct psk_table *psk;
    struct tls_context *tls; /* for the broker */

    struct uplink *uplink; /* status, QoS -1, aggregate; NULL when none of them is wanted */
    char uplink_id[128];
    struct shared *shared; /* aggregate */

    /* The broker's side. */
    struct client *first_waiting, *last_waiting; /* for a link, oldest first */
    struct turn_item links_item;                 /* looks after them at the end of the turn */
    size_t opening, links;                       /* links.c: being made; all */
    struct mono broker_retry;                    /* the broker was away: no attempt before this */
    bool broker_away;                            /* the last attempt failed: one at a time until one succeeds */

    bool stopping;
    bool uplink_closed;
    unsigned handles; /* of the loop, not closed yet */
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
};

/* --- gateway.c */
/* Time of this turn. */
struct mono gateway_now(const struct gateway *g);
/* A deadline may be earlier than the timer now. */
void gateway_arm(struct gateway *g);
/* Something has ended: is that all? */
void gateway_check_stopped(struct gateway *g);

/* --- gateway_input.c */
extern const struct udp_events gateway_udp_events; /* ctx: struct endpoint */
/* A whole datagram from a device, DTLS taken off. */
void gateway_input(struct gateway *g, const struct place *from, struct bytes datagram);
void gateway_send(struct gateway *g, const struct place *to, const struct mqttsn_packet *p);
void gateway_advertise(struct gateway *g);

/* --- gateway_dtls.c */
MUST_CHECK enum err gateway_dtls_open(struct endpoint *e, struct option_error *error);
void gateway_dtls_feed(struct endpoint *e, const struct address *from, const struct address *to, struct bytes datagram);
void gateway_dtls_send(struct secure *s, struct bytes packet);
MUST_CHECK enum err gateway_dtls_reload(struct endpoint *e, struct option_error *error);
struct mono gateway_dtls_deadline(const struct gateway *g);
void gateway_dtls_tick(struct gateway *g, struct mono now);
/* Closes sessions that no client uses and nothing was heard of for a while. */
void gateway_dtls_sweep(struct gateway *g, struct mono now);

/* --- clients.c */
struct client *client_by_id(struct gateway *g, struct bytes id);
struct client *client_by_place(struct gateway *g, const struct place *p);
/* A new client, offline, without a place. E_NOMEM. */
MUST_CHECK enum err client_create(struct gateway *g, struct bytes id, struct client **out);
/* Puts it there; another client that was there has no place any more. E_NOMEM: it keeps its old place. */
MUST_CHECK enum err client_move(struct client *c, const struct place *p);
void client_displace(struct client *c);
/* After every call into its session: counts it as online or away, sets its deadline, destroys it when its session is over, and lets
 * the loop nap under load.
 * The client may be gone afterwards. */
void client_settle(struct client *c);
/* max_clients are connected, and one from `host` wants to be: if another host has more than half of them, one of its clients is ended,
 * so that a single host cannot keep everybody out. Any client that is away may be gone then. false: no room. */
bool clients_make_room(struct gateway *g, const struct address *host);
/* For every client; `visit` may destroy it. */
void clients_each(struct gateway *g, void (*visit)(struct client *c));
/* Waits for a link (oldest first), or no longer. */
void client_wait(struct client *c);
void client_wait_no_longer(struct client *c);
/* Destroys all. */
void clients_finish(struct gateway *g);

/* --- links.c */
extern const struct session_ops links_session_ops; /* owner: struct client */
void links_turn_end(struct turn_item *item);
/* The client is going before its old link. */
void links_forget(struct client *c);
/* --- shared.c */
extern const struct session_ops shared_session_ops; /* owner: struct client */
struct uplink_events;
extern const struct uplink_events shared_uplink_events; /* ctx: struct gateway */
MUST_CHECK enum err shared_create(struct gateway *g, struct shared **out);
void shared_destroy(struct shared *s); /* NULL is allowed */
void shared_turn_end(struct turn_item *item);
/* Publishes wait for room in the broker's window. */
bool shared_is_full(const struct shared *s);
/* The client is going: what it has subscribed to is given up. */
void shared_forget(struct client *c);
/* Appends the gateway's members of the status. */
enum err gateway_status(void *ctx, struct buffer *out);

#endif
