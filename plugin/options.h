/* The plugin's options (docs/man/mosquitto_aws.5, CONFIG.md): one table, parsed from the broker's plugin_opt_ lines and
 * from the file named by `config_file`, whose values win over the lines. The result never changes after parsing and is
 * reference counted, so that the broker's thread and the loop's thread can each hold it while a reload replaces it. */
#ifndef PLUGIN_OPTIONS_H
#define PLUGIN_OPTIONS_H

#include "base/option.h"
#include "plugin/routes.h"

#include <stdatomic.h>

#define IOT_CONNECTIONS_MAX 32u

enum iot_protocol { IOT_MQTT_V311, IOT_MQTT_V5 };

struct plugin_options {
    struct topic_route *topics; /* `topic` lines in order */
    size_t topic_count;
    struct store_route *stores; /* `store` lines in order */
    size_t store_count;

    struct option_hostport iot_endpoint; /* host NULL = no uplink */
    char *iot_certfile;
    char *iot_keyfile;
    char *iot_cafile;    /* NULL = system CAs */
    char *iot_client_id; /* set after parsing: mosquitto-aws-<hostname> by default */
    uint64_t iot_connections;
    uint64_t iot_publish_rate; /* publishes/s per connection, 0 = no limit */
    uint64_t iot_byte_rate;    /* payload bytes/s per connection, 0 = no limit */
    uint64_t iot_max_inflight;
    uint64_t iot_max_payload; /* bytes */
    uint64_t iot_keepalive;   /* ms */
    int iot_protocol;         /* enum iot_protocol */
    char *iot_notifications;  /* local topic, NULL = none */

    char *aws_region; /* NULL = environment, shared config, endpoint */
    char *aws_profile;
    char *aws_role_alias;
    char *aws_credentials_endpoint; /* host of the IoT credential provider */
    char *dynamodb_table;           /* NULL = no DynamoDB */
    char *dynamodb_endpoint;        /* URL, NULL = AWS's for the region */
    char *dynamodb_sensor_key;
    char *dynamodb_time_key;
    int dynamodb_time_type; /* 'S' or 'N' */
    uint64_t dynamodb_ttl;  /* ms, 0 = no ttl attribute */
    uint64_t dynamodb_connections;

    char *sqlite_file;         /* NULL = no local store */
    uint64_t sqlite_retention; /* ms, 0 = keep */

    char **wills; /* filters, which do not overlap */
    size_t will_count;
    struct option_hostport local_broker;
    char *local_username; /* NULL = none */
    char *local_password;

    char *config_file;
    char *spool_dir;
    uint64_t spool_max_size;
    int spool_full;        /* enum spool_full */
    uint64_t spool_sync;   /* ms, SPOOL_SYNC_ALWAYS or SPOOL_SYNC_NEVER */
    uint64_t sys_interval; /* ms, 0 = off */

    atomic_uint references;
};

extern const struct option_table plugin_option_table;

/* One plugin_opt_ line without its prefix. Borrowed. */
struct plugin_option {
    const char *name;
    const char *value;
};

/* Parses the lines, then config_file if it is set, then checks what options say together. On error one line of text that names
 * the option. The caller holds the one reference. Any thread. */
MUST_CHECK enum err plugin_options_create(const struct plugin_option *lines, size_t count,
                                          const struct plugin_options **out, struct option_error *error);
/* Says where config_file has the option that an error is about (option_error_locate). `o` may be NULL. */
void plugin_options_locate(const struct plugin_options *o, struct option_error *error);
const struct plugin_options *plugin_options_ref(const struct plugin_options *o);
void plugin_options_unref(const struct plugin_options *o); /* NULL is allowed */

/* Names of options that differ between the two and are only read at start (directories, endpoints ...), as text for the log;
 * empty when none does. */
void plugin_options_fixed_changes(const struct plugin_options *from, const struct plugin_options *to,
                                  struct buffer *out);

#endif
