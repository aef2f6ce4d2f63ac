/* Which sinks a message is for: all `topic` and `store` lines compiled into one trie, so that one walk over the levels of
 * the topic answers for every filter, however many there are.
 *
 * Of the `topic` lines with direction out or both the first that matches decides, and so of the `store` lines. Topics that
 * begin with '$' match only filters that do (MQTT 5.0 section 4.7.2). Immutable once compiled; any thread. */
#ifndef PLUGIN_ROUTES_H
#define PLUGIN_ROUTES_H

#include "base/option.h"
#include "store/measurement.h"

/* Deeper filters are refused: mosquitto takes no topic of more levels. */
#define ROUTE_LEVELS_MAX 200u

enum route_direction { ROUTE_OUT, ROUTE_IN, ROUTE_BOTH };

/* `topic` FILTER [out|in|both] [QOS] [LOCAL-PREFIX [REMOTE-PREFIX]]: as in a bridge, the local topics are LOCAL-PREFIX +
 * FILTER, the remote ones REMOTE-PREFIX + FILTER. Strings owned, never NULL. */
struct topic_route {
    char *filter;
    enum route_direction direction;
    uint8_t qos;      /* towards AWS, and of the subscription for in: 0 or 1, because IoT Core knows no other */
    bool qos_lowered; /* the line said 2 */
    char *local_prefix;
    char *remote_prefix;
};

/* `store` FILTER [sensor=..] [time=..] [message=..] [table=..] */
struct store_route {
    char *filter;
    struct measurement_mapping mapping;
};

MUST_CHECK enum err topic_route_parse(struct bytes text, struct topic_route *out, struct option_error *error);
MUST_CHECK enum err topic_route_print(const struct topic_route *r, struct buffer *out);
void topic_route_finish(struct topic_route *r);
MUST_CHECK enum err store_route_parse(struct bytes text, struct store_route *out, struct option_error *error);
MUST_CHECK enum err store_route_print(const struct store_route *r, struct buffer *out);
void store_route_finish(struct store_route *r);

struct routes;

struct route_match {
    const struct topic_route *topic; /* NULL = not forwarded */
    const struct store_route *store; /* NULL = not stored */
};

/* Compiles the lines; borrows them: they must outlive the result. */
MUST_CHECK enum err routes_compile(const struct topic_route *topics, size_t topic_count,
                                   const struct store_route *stores, size_t store_count, struct routes **out);
void routes_destroy(struct routes *r); /* NULL is allowed */

/* true when at least one line matches. `topic` is a valid topic name. Allocates nothing. */
bool routes_match(const struct routes *r, struct bytes topic, struct route_match *out);

/* The topic towards AWS: LOCAL-PREFIX taken off, REMOTE-PREFIX put before. Empty bytes when it is the same as `topic`;
 * otherwise borrowed from scratch. Errors of topic_rewrite(). */
MUST_CHECK enum err topic_route_remote(const struct topic_route *r, struct bytes topic, struct buffer *scratch,
                                       struct bytes *remote);

#endif
