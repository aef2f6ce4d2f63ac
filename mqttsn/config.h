/* The options of mqttsn-gateway: one table is the master copy (man page and sample are compared with it). */
#ifndef MQTTSN_CONFIG_H
#define MQTTSN_CONFIG_H

#include "base/program.h"
#include "mqtt/uplink.h"
#include "mqttsn/address.h"
#include "net/listeners.h"

struct mqttsn_config {
    struct program_options program; /* first member */
    struct uplink_config uplink;
    struct listeners plain;
    struct listeners dtls;
    char *dtls_certfile;
    char *dtls_keyfile;
    char *dtls_cafile;
    char *dtls_psk_file;
    uint64_t gateway_id;
    struct option_hostport advertise_address; /* host NULL = none */
    uint64_t advertise_interval_ms;
    char *predefined_topics;
    uint64_t max_clients;
    uint64_t retry_interval_ms;
    uint64_t retry_count;
    uint64_t sleep_queue;
    bool qos_minus_one;
    bool forwarder;
    char *clients_file;
    bool aggregate;
};

extern const struct option_table mqttsn_option_table;

/* What the rows alone cannot check; for struct program. */
enum err mqttsn_config_check(const void *config, struct option_error *error);

/* The listeners that are meant: UDP port 10000 when none of either kind is configured. */
struct listeners mqttsn_config_plain(const struct mqttsn_config *c);

/* The address to advertise to; E_INVALID with a text when it is no multicast or broadcast address. E_NOT_FOUND: none is
 * configured. */
MUST_CHECK enum err mqttsn_config_advertise(const struct mqttsn_config *c, struct address *out,
                                            struct option_error *error);

#endif
