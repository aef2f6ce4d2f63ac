/* The options of websensor: one table is the master copy (man page and sample are compared with it). */
#ifndef WEBSENSOR_CONFIG_H
#define WEBSENSOR_CONFIG_H

#include "base/program.h"
#include "mqtt/uplink.h"
#include "net/listeners.h"

/* rate_limit: 100 a second, and no limit for loopback. */
#define RATE_LIMIT_AUTO UINT64_MAX

struct websensor_config {
    struct program_options program; /* first member */
    struct uplink_config uplink;
    struct listeners tls;
    struct listeners plain;
    char *certfile;
    char *keyfile;
    char *tokens;
    bool allow_anonymous;
    uint64_t max_body;
    uint64_t max_connections;
    uint64_t rate_limit;
    char *walk_topic;
    char *ttn_secret;
};

extern const struct option_table websensor_option_table;

/* What the rows alone cannot check; for struct program. */
enum err websensor_config_check(const void *config, struct option_error *error);

/* The HTTPS listeners that are meant: port 8443 when there is a certificate and none is configured. */
struct listeners websensor_config_tls(const struct websensor_config *c);

/* The topic of a thing: walk_topic with its %s replaced by the name. Appends to out. */
MUST_CHECK enum err websensor_walk_topic(const char *walk_topic, struct bytes thing, struct buffer *out);

#endif
