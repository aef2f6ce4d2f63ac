/* The connection of a companion program (mqttsn-gateway, websensor) to its broker: kept up with backoff, with the program's
 * status on a retained topic, whose will says that the program is gone.
 *
 *   down --backoff--> connecting --CONNACK--> up --connection lost--> down
 *
 * The events and calls are those of mqtt/client.h; what was not settled when on_down comes is the owner's to send again. All
 * on the loop's thread.
 */
#ifndef MQTT_UPLINK_H
#define MQTT_UPLINK_H

#include "base/option.h"
#include "mqtt/client.h"

/* The options that these programs share; embedded in the program's configuration struct, with its rows. */
struct uplink_config {
    struct option_hostport broker;
    char *username;
    char *password;
    char *cafile;
    char *certfile;
    char *keyfile;
    char *status_topic;
    uint64_t status_interval_ms;
};

/* Rows for `struct uplink_config member` in struct `config_type`. */
#define UPLINK_OPTION_ROWS(config_type, member)                                                                        \
    {.name = "broker",                                                                                                 \
     .type = OPTION_HOSTPORT,                                                                                          \
     .offset = offsetof(config_type, member.broker),                                                                   \
     .max = 1883,                                                                                                      \
     .initial = "127.0.0.1:1883",                                                                                      \
     .text = "The MQTT broker to publish to."},                                                                        \
        {.name = "broker_username",                                                                                    \
         .type = OPTION_STRING,                                                                                        \
         .offset = offsetof(config_type, member.username),                                                             \
         .text = "User name at the broker."},                                                                          \
        {.name = "broker_password",                                                                                    \
         .type = OPTION_STRING,                                                                                        \
         .offset = offsetof(config_type, member.password),                                                             \
         .secret = true,                                                                                               \
         .text = "Password at the broker."},                                                                           \
        {.name = "broker_cafile",                                                                                      \
         .type = OPTION_PATH,                                                                                          \
         .offset = offsetof(config_type, member.cafile),                                                               \
         .text = "PEM file with the CAs that may have signed the broker's certificate. This, or broker_certfile, "     \
                 "turns TLS on; without it the system's CAs are used."},                                               \
        {.name = "broker_certfile",                                                                                    \
         .type = OPTION_PATH,                                                                                          \
         .offset = offsetof(config_type, member.certfile),                                                             \
         .text = "PEM file with our certificate for the broker. Turns TLS on."},                                       \
        {.name = "broker_keyfile",                                                                                     \
         .type = OPTION_PATH,                                                                                          \
         .offset = offsetof(config_type, member.keyfile),                                                              \
         .secret = true,                                                                                               \
         .text = "PEM file with the key of broker_certfile."},                                                         \
        {.name = "status_topic",                                                                                       \
         .type = OPTION_STRING,                                                                                        \
         .offset = offsetof(config_type, member.status_topic),                                                         \
         .text = "Topic of the retained status (JSON); its will says offline. Not set: no status."},                   \
    {                                                                                                                  \
        .name = "status_interval", .type = OPTION_DURATION,                                                            \
        .offset = offsetof(config_type, member.status_interval_ms), .min = 100, .max = 86400000, .initial = "10s",     \
        .text = "How often the status is published."                                                                   \
    }

/* What the rows cannot check: E_INVALID with a text that names the option. */
MUST_CHECK enum err uplink_config_check(const struct uplink_config *c, struct option_error *error);
/* The TLS context for the broker; *out NULL without TLS. `error` says what is wrong with which file. */
MUST_CHECK enum err uplink_config_tls(const struct uplink_config *c, struct tls_context **out,
                                      struct option_error *error);
/* Logs what has to be said about the dates of the files of that context (net/tls_dates.h). */
void uplink_config_dates(const struct uplink_config *c, struct wall now);
/* Where to connect to; borrows from the config. */
struct stream_options uplink_config_stream(const struct uplink_config *c, struct tls_context *tls);

struct uplink;

struct uplink_events { /* each may be NULL */
    void (*on_up)(void *ctx, const struct mqtt_connack *connack);
    /* Also after an attempt that failed. refused: the broker said no (credentials, client id). */
    void (*on_down)(void *ctx, bool refused);
    void (*on_published)(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text);
    void (*on_writable)(void *ctx);
    void (*on_message)(void *ctx, const struct mqtt_publish *message);
    void (*on_subscribed)(void *ctx, uint64_t token, const uint8_t *codes, size_t count);
    /* Appends the program's members of the status object, each preceded by a comma: `,"clients":5`. */
    enum err (*status)(void *ctx, struct buffer *out);
};

struct uplink_options {
    const struct uplink_config *config; /* must outlive the uplink */
    /* Takes client id, clean start, session expiry, inflight ... from here; user name, password and will are set by the uplink.
     * Borrowed slices must outlive it. */
    struct mqtt_session_options session;
    struct tls_context *tls;  /* referenced; NULL = none */
    bool acknowledge_at_once; /* these two as in mqtt_client_options */
    bool pull;
    bool gather; /* as in stream_options */
    bool resume; /* session.clean_start is for the first connection only */
};

#define UPLINK_PROGRAM_TOKEN_MAX (UINT64_MAX - 1) /* larger tokens are the uplink's own */

/* Starts connecting at once. `events` must outlive the uplink. */
MUST_CHECK enum err uplink_create(uv_loop_t *loop, const struct uplink_options *o, const struct uplink_events *events,
                                  void *ctx, struct uplink **out);
/* Publishes the offline status, disconnects and frees; on_closed (may be NULL) follows, later. No other event comes. */
void uplink_close(struct uplink *u, void (*on_closed)(void *ctx));

/* Disconnects in good order and connects again after a while: on_down, then on_up. What is not acknowledged comes again from a session
 * that outlives the connection. Nothing while down. */
void uplink_renew(struct uplink *u);

bool uplink_is_up(const struct uplink *u);
/* An attempt is under way: on_up or on_down follows. */
bool uplink_is_trying(const struct uplink *u);
/* For the next connection: certificates were read again. */
void uplink_set_tls(struct uplink *u, struct tls_context *tls);

/* As mqtt/client.h; E_AGAIN while down. */
MUST_CHECK enum err uplink_publish(struct uplink *u, const struct mqtt_publish *p, uint64_t token);
MUST_CHECK enum err uplink_subscribe(struct uplink *u, const struct mqtt_subscription *filters, size_t count,
                                     uint64_t token);
MUST_CHECK enum err uplink_unsubscribe(struct uplink *u, const struct bytes *filters, size_t count, uint64_t token);
MUST_CHECK enum err uplink_ack(struct uplink *u, uint16_t packet_id, uint8_t reason);

#endif
