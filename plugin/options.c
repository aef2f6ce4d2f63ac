#include "plugin/options.h"

#include "aws/options.h"
#include "mqtt/topic.h"
#include "plugin/iotcore_limits.h"
#include "plugin/option_lists.h"
#include "plugin/spool.h"
#include "store/measurement.h"

#include <stdlib.h>
#include <unistd.h>

static const struct option_word protocol_words[] = {{"mqttv5", IOT_MQTT_V5}, {"mqttv311", IOT_MQTT_V311}, {NULL, 0}};
static const struct option_word spool_full_words[] = {
    {"drop_oldest", SPOOL_DROP_OLDEST}, {"reject", SPOOL_REJECT}, {NULL, 0}};
static const struct option_word spool_sync_words[] = {
    {"always", SPOOL_SYNC_ALWAYS}, {"never", SPOOL_SYNC_NEVER}, {NULL, 0}};

#define AT(field) .offset = offsetof(struct plugin_options, field)
#define DAY_MS (86400u * 1000u)

static const struct option_row rows[] = {
    {.name = "topic",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = option_add_topic,
     .print = option_print_topics,
     .finish = option_finish_topics,
     .arg = "FILTER [out|in|both] [QOS] [LOCAL-PREFIX [REMOTE-PREFIX]]",
     .text = "Forward matching messages to AWS IoT Core (out), take commands from there (in), or both."},
    {.name = "store",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = option_add_store,
     .print = option_print_stores,
     .finish = option_finish_stores,
     .arg = "FILTER [sensor=..] [time=..] [message=..] [table=..]",
     .text = "Store matching messages as measurements in every store that is configured."},
    {.name = "iot_endpoint",
     .type = OPTION_HOSTPORT,
     AT(iot_endpoint),
     .max = 8883,
     .arg = "HOST[:PORT]",
     .text = "AWS IoT Core's endpoint; with port 443 ALPN is used."},
    AWS_IDENTITY_OPTION_ROWS(struct plugin_options),
    {.name = "iot_client_id",
     .type = OPTION_STRING,
     AT(iot_client_id),
     .min = 1,
     .max = IOTCORE_CLIENT_ID_MAX,
     .arg = "ID",
     .text = "MQTT client id; mosquitto-aws-<hostname> by default; -1, -2 ... is appended with several connections."},
    {.name = "iot_connections",
     .type = OPTION_UINT,
     AT(iot_connections),
     .min = 1,
     .max = IOT_CONNECTIONS_MAX,
     .initial = "1",
     .arg = "N",
     .text = "Parallel connections; a topic always uses the same one."},
    {.name = "iot_publish_rate",
     .type = OPTION_UINT,
     AT(iot_publish_rate),
     .max = 1000000,
     .initial = "100",
     .arg = "N",
     .text = "Publishes per second and connection, 0 = no limit."},
    {.name = "iot_byte_rate",
     .type = OPTION_SIZE,
     AT(iot_byte_rate),
     .max = 1u << 30,
     .initial = "512k",
     .arg = "SIZE",
     .text = "Payload bytes per second and connection, 0 = no limit."},
    {.name = "iot_max_inflight",
     .type = OPTION_UINT,
     AT(iot_max_inflight),
     .min = 1,
     .max = 8192,
     .initial = "100",
     .arg = "N",
     .text = "Unacknowledged publishes per connection, and never above the server's Receive Maximum."},
    {.name = "iot_max_payload",
     .type = OPTION_SIZE,
     AT(iot_max_payload),
     .min = 1,
     .max = 268435455,
     .initial = "128k",
     .arg = "SIZE",
     .text = "Larger messages are set aside in rejected/."},
    {.name = "iot_keepalive",
     .type = OPTION_DURATION,
     AT(iot_keepalive),
     .min = 5000,
     .max = 1200000,
     .initial = "60s",
     .arg = "TIME",
     .text = "MQTT keep-alive."},
    {.name = "iot_protocol",
     .type = OPTION_ENUM,
     AT(iot_protocol),
     .words = protocol_words,
     .initial = "mqttv5",
     .arg = "mqttv5|mqttv311",
     .text = "MQTT version towards AWS."},
    {.name = "iot_notifications",
     .type = OPTION_STRING,
     AT(iot_notifications),
     .min = 1,
     .max = 65535,
     .arg = "TOPIC",
     .text = "Retained 1 or 0 on this topic of the local broker as the uplink comes and goes."},
    AWS_ACCOUNT_OPTION_ROWS(struct plugin_options),
    DYNAMODB_TABLE_OPTION_ROWS(struct plugin_options, "DynamoDB table of store lines that name no other."),
    {.name = "dynamodb_ttl",
     .type = OPTION_DURATION,
     AT(dynamodb_ttl),
     .needs_unit = true,
     .max = UINT64_C(36500) * DAY_MS,
     .initial = "0",
     .arg = "TIME",
     .text = "Adds attribute ttl = time of the measurement + this; 0 = none."},
    {.name = "sqlite_file", .type = OPTION_PATH, AT(sqlite_file), .arg = "FILE", .text = "Local store."},
    {.name = "sqlite_retention",
     .type = OPTION_DURATION,
     AT(sqlite_retention),
     .needs_unit = true,
     .max = UINT64_C(36500) * DAY_MS,
     .initial = "0",
     .arg = "TIME",
     .text = "Rows older than this are deleted; 0 = keep."},
    {.name = "config_file",
     .type = OPTION_PATH,
     AT(config_file),
     .arg = "FILE",
     .text = "More of these options, without the prefix; read again on SIGHUP."},
    {.name = "will",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = option_add_will,
     .print = option_print_wills,
     .finish = option_finish_wills,
     .arg = "FILTER",
     .text = "Topics on which last wills are expected: they are watched through a session at local_broker."},
    {.name = "local_broker",
     .type = OPTION_HOSTPORT,
     AT(local_broker),
     .max = 1883,
     .initial = "127.0.0.1:1883",
     .arg = "HOST[:PORT]",
     .text = "A listener of this broker without TLS, for will."},
    {.name = "local_username", .type = OPTION_STRING, AT(local_username), .arg = "NAME", .text = "User name there."},
    {.name = "local_password", .type = OPTION_STRING, AT(local_password), .arg = "TEXT", .text = "Password there."},
    {.name = "spool_dir",
     .type = OPTION_PATH,
     AT(spool_dir),
     .initial = "/var/lib/mosquitto/aws-spool",
     .arg = "DIR",
     .text = "Where captured messages wait; created if missing."},
    {.name = "spool_max_size",
     .type = OPTION_SIZE,
     AT(spool_max_size),
     .min = 1u << 20,
     .max = UINT64_C(1) << 44,
     .initial = "1G",
     .arg = "SIZE",
     .text = "Ceiling of the spool on disk."},
    {.name = "spool_full",
     .type = OPTION_ENUM,
     AT(spool_full),
     .words = spool_full_words,
     .initial = "drop_oldest",
     .arg = "drop_oldest|reject",
     .text = "At the ceiling: drop the oldest messages, or close the publisher's connection unacknowledged."},
    {.name = "spool_sync",
     .type = OPTION_DURATION,
     AT(spool_sync),
     .min = 10,
     .max = 3600u * 1000u,
     .words = spool_sync_words,
     .initial = "1s",
     .arg = "TIME|always|never",
     .text = "Interval of fdatasync; always: before each acknowledgement."},
    {.name = "sys_interval",
     .type = OPTION_DURATION,
     AT(sys_interval),
     .max = DAY_MS,
     .initial = "10s",
     .arg = "TIME",
     .text = "Interval of the metrics under $SYS/broker/aws/, 0 = off."},
};

const struct option_table plugin_option_table = {rows, sizeof(rows) / sizeof(rows[0])};

/* Options that are only read at start. */
static const char *const fixed[] = {
    "iot_endpoint",
    "iot_client_id",
    "iot_connections",
    "iot_protocol",
    "iot_notifications",
    "aws_region",
    "aws_profile",
    "aws_role_alias",
    "aws_credentials_endpoint",
    "dynamodb_table",
    "dynamodb_endpoint",
    "dynamodb_sensor_key",
    "dynamodb_time_key",
    "dynamodb_time_type",
    "dynamodb_connections",
    "sqlite_file",
    "config_file",
    "spool_dir",
    "will",
    "local_broker",
    "local_username",
    "local_password",
};

static enum err default_client_id(struct plugin_options *o, struct option_error *error)
{
    if (o->iot_client_id) {
        return E_OK;
    }
    char host[96];
    if (gethostname(host, sizeof(host)) != 0) {
        host[0] = '\0';
    }
    host[sizeof(host) - 1] = '\0';
    struct buffer id;
    buffer_init(&id, 128);
    if (buffer_appendf(&id, "mosquitto-aws-%s", host) == E_OK) {
        o->iot_client_id = bytes_dup_str(buffer_bytes(&id));
    }
    buffer_finish(&id);
    return o->iot_client_id ? E_OK : option_no_memory(error);
}

static enum err wrong(struct option_error *error, const char *text)
{
    option_error_set(error, "%s", text);
    return E_INVALID;
}

/* What the rows cannot say about one option. */
static enum err check_values(const struct plugin_options *o, struct option_error *error)
{
    char suffix[OPTION_NUMBER_SIZE] = "";
    if (o->iot_connections > 1) {
        snprintf(suffix, sizeof(suffix), "-%u", (unsigned)o->iot_connections);
    }
    if (o->iot_client_id && o->iot_client_id[0] == '$') {
        return wrong(error, "option iot_client_id must not begin with '$' (AWS IoT Core limits)");
    }
    if (o->iot_client_id && strlen(o->iot_client_id) + strlen(suffix) > IOTCORE_CLIENT_ID_MAX) {
        option_error_set(error, "option iot_client_id: with \"%s\" behind it more than %u bytes (AWS IoT Core limits)",
                         suffix, IOTCORE_CLIENT_ID_MAX);
        return E_INVALID;
    }
    if (o->iot_notifications && !topic_name_valid(bytes_str(o->iot_notifications))) {
        return wrong(error, "option iot_notifications is no topic that can be published to");
    }
    if (o->dynamodb_table && !measurement_table_valid(bytes_str(o->dynamodb_table))) {
        return wrong(error, "option dynamodb_table is not the name or ARN of a DynamoDB table");
    }
    return E_OK;
}

/* What options say together. */
static enum err check_together(const struct plugin_options *o, struct option_error *error)
{
    if (o->topic_count > 0 && !o->iot_endpoint.host) {
        return wrong(error, "option topic: it forwards to AWS IoT Core, but iot_endpoint is not set");
    }
    if (o->store_count > 0 && !o->sqlite_file && !o->dynamodb_table) {
        return wrong(error, "option store: there is nowhere to store: set sqlite_file, dynamodb_table or both");
    }
    if (o->iot_endpoint.host && (!o->iot_certfile || !o->iot_keyfile)) {
        return wrong(error, "option iot_endpoint needs iot_certfile and iot_keyfile");
    }
    if (!o->iot_certfile != !o->iot_keyfile) {
        return wrong(error, "options iot_certfile and iot_keyfile go together");
    }
    if (!o->aws_role_alias != !o->aws_credentials_endpoint) {
        return wrong(error, "options aws_role_alias and aws_credentials_endpoint go together");
    }
    if (o->aws_role_alias && !o->iot_certfile) {
        return wrong(error, "option aws_role_alias needs iot_certfile and iot_keyfile");
    }
    if (o->local_password && !o->local_username) {
        return wrong(error, "option local_password needs local_username");
    }
    return check_values(o, error);
}

static enum err read_lines(struct plugin_options *o, const struct plugin_option *lines, size_t count,
                           struct option_error *error)
{
    bool seen[sizeof(rows) / sizeof(rows[0])] = {false};
    for (size_t i = 0; i < count; i++) {
        enum err e = options_set(&plugin_option_table, o, seen, lines[i].name, bytes_str(lines[i].value), error);
        if (e) {
            return e;
        }
    }
    if (o->config_file) {
        char *path = strdup(o->config_file);
        if (!path) {
            return option_no_memory(error);
        }
        struct option_error why = {""};
        enum err e = options_read_file(&plugin_option_table, o, path, &why);
        if (e) {
            bool prefixed = strstr(why.text, "unknown option plugin_opt_") != NULL;
            option_error_set(error, "option config_file: %s%s", why.text,
                             prefixed ? " (in this file options stand without plugin_opt_)" : "");
        }
        if (!e && strcmp(path, o->config_file) != 0) {
            e = wrong(error, "option config_file must not stand in the file that it names");
        }
        free(path);
        return e;
    }
    return E_OK;
}

void plugin_options_locate(const struct plugin_options *o, struct option_error *error)
{
    if (o && o->config_file) {
        option_error_locate(error, o->config_file);
    }
}

enum err plugin_options_create(const struct plugin_option *lines, size_t count, const struct plugin_options **out,
                               struct option_error *error)
{
    struct plugin_options *o = calloc(1, sizeof(*o));
    if (!o) {
        return option_no_memory(error);
    }
    atomic_init(&o->references, 1);
    enum err e = options_init(&plugin_option_table, o);
    if (e) {
        option_error_set(error, "no memory");
    }
    e = e ? e : read_lines(o, lines, count, error);
    if (!e && (e = check_together(o, error)) != E_OK) {
        plugin_options_locate(o, error);
    }
    e = e ? e : default_client_id(o, error);
    if (e) {
        plugin_options_unref(o);
        return e;
    }
    *out = o;
    return E_OK;
}

const struct plugin_options *plugin_options_ref(const struct plugin_options *o)
{
    atomic_fetch_add(&((struct plugin_options *)(uintptr_t)o)->references, 1);
    return o;
}

void plugin_options_unref(const struct plugin_options *o)
{
    struct plugin_options *mine = (struct plugin_options *)(uintptr_t)o;
    if (mine && atomic_fetch_sub(&mine->references, 1) == 1) {
        options_finish(&plugin_option_table, mine);
        free(mine);
    }
}

static const struct option_row *find_row(const char *name)
{
    size_t i = 0;
    while (strcmp(rows[i].name, name) != 0) {
        i++;
    }
    return &rows[i];
}

static bool row_differs(const struct option_row *row, const void *a, const void *b)
{
    const struct option_table one = {row, 1};
    struct buffer left;
    struct buffer right;
    buffer_init(&left, 8192);
    buffer_init(&right, 8192);
    bool differs = options_print(&one, a, &left) != E_OK || options_print(&one, b, &right) != E_OK ||
                   !bytes_equal(buffer_bytes(&left), buffer_bytes(&right));
    buffer_finish(&left);
    buffer_finish(&right);
    return differs;
}

void plugin_options_fixed_changes(const struct plugin_options *from, const struct plugin_options *to,
                                  struct buffer *out)
{
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (row_differs(find_row(fixed[i]), from, to) &&
            buffer_appendf(out, "%s%s", out->len ? " " : "", fixed[i]) != E_OK) {
            return;
        }
    }
}
