/* Messages from IoT Core to the local broker: the `topic` lines with direction in and both.
 *
 * Each filter is subscribed on one connection ("link"), at most 8 in a SUBSCRIBE and 50 on a link; each answer is checked. A message
 * goes with its prefixes exchanged into the outbox, and is acknowledged to IoT Core when the local broker has taken it. What the
 * outbox has no room for is not acknowledged: the link is renewed once the broker has caught up, and IoT Core sends it again from
 * the persistent session.
 *
 * A message that we sent up and that comes back down is dropped: 5.0 servers are asked not to send it (No Local), and for those
 * that do, for 3.1.1 and for messages sent on another link, a bounded table remembers what was sent in the last seconds.
 *
 * All on the loop's thread; the broker's thread only calls back what was given to the outbox.
 */
#ifndef PLUGIN_DOWNLINK_H
#define PLUGIN_DOWNLINK_H

#include "mqtt/client.h"
#include "plugin/sink.h"

struct downlink;

struct downlink_events {
    /* This link should be replaced by a new connection, because of `why`. */
    void (*on_renew)(void *ctx, unsigned link, const char *why);
};

/* E_INVALID with a text that names the option: more filters than the links take, or one that IoT Core refuses. `events` must
 * outlive it. Before the loop runs. */
MUST_CHECK enum err downlink_create(const struct sink_host *host, const struct plugin_options *o,
                                    const struct downlink_events *events, void *ctx, struct downlink **out,
                                    char error[static 256]);
/* Lets go of the loop, then calls on_stopped(ctx). The links must be closed. NULL is allowed and calls back at once. */
void downlink_stop(struct downlink *d, void (*on_stopped)(void *ctx), void *ctx);

/* Takes over new lines: subscribes to what is new, unsubscribes from what is gone. On a mistake the old stay, and it is logged. */
void downlink_reload(struct downlink *d, const struct plugin_options *o, struct mono now);

/* Are there any filters? Then the sessions must be persistent. */
bool downlink_wanted(const struct downlink *d);
/* Receive Maximum for the links, so that what is not acknowledged yet fits the outbox. */
uint16_t downlink_receive_max(const struct downlink *d);

/* The link's connection is open: subscribes. `client` is used until downlink_lost. */
void downlink_opened(struct downlink *d, unsigned link, struct mqtt_client *client, struct mono now);
void downlink_lost(struct downlink *d, unsigned link);
/* mqtt_client_events.on_subscribed */
void downlink_subscribed(struct downlink *d, unsigned link, uint64_t token, const uint8_t *codes, size_t count);
/* mqtt_client_events.on_message */
void downlink_message(struct downlink *d, unsigned link, const struct mqtt_publish *m, struct mono now);
/* A publish has been sent on this link: it may come back. */
void downlink_sent(struct downlink *d, unsigned link, struct bytes topic, struct bytes payload, struct mono now);

/* Is a SUBSCRIBE without answer? */
bool downlink_subscribing(const struct downlink *d, unsigned link);
/* Does what is due. */
void downlink_service(struct downlink *d, unsigned link, struct mono now);
struct mono downlink_deadline(const struct downlink *d, unsigned link);

#endif
