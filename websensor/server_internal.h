/* Between server.c and the files of a request. */
#ifndef WEBSENSOR_SERVER_INTERNAL_H
#define WEBSENSOR_SERVER_INTERNAL_H

#include "base/metrics.h"
#include "net/tls_dates.h"
#include "websensor/conns.h"
#include "websensor/delivery.h"
#include "websensor/devices.h"
#include "websensor/front.h"
#include "websensor/reply.h"
#include "websensor/seen.h"
#include "websensor/server.h"
#include "websensor/tokens.h"

struct server_metrics {
    metric_value requests;
    metric_value published;
    metric_value repeated;
    metric_value refused;
    metric_value unauthorized;
    metric_value limited;
    metric_value unavailable;
    metric_value evicted;
    metric_value timeouts;
    metric_value connections;
    metric_value waiting;
    metric_value broker_up;
};

struct server {
    uv_loop_t *loop;
    const struct websensor_config *config;
    struct front *fronts[2 * LISTENERS_MAX * FRONT_SOCKETS_MAX];
    bool front_is_tls[2 * LISTENERS_MAX * FRONT_SOCKETS_MAX];
    size_t front_count;
    struct conns *conns;
    struct tokens *tokens; /* NULL: none are configured */
    struct uplink *uplink;
    struct tls_context *uplink_tls;
    char client_id[32];
    struct delivery *delivery;
    struct devices *devices;
    struct seen *seen;
    size_t body_bytes; /* memory of the bodies of all requests */
    struct server_metrics metrics;
    uint64_t trace; /* of answers */
    struct reply_stock replies;
    uv_timer_t timer;
    struct tls_dates_plan dates;
    bool stopping;
    struct mono stop_by;
    void (*on_stopped)(void *ctx);
    void *ctx;
};

/* Prometheus text and the members of the status; gauges are brought up to date. */
MUST_CHECK enum err server_print_metrics(struct server *s, struct buffer *out);

/* The callbacks of libmicrohttpd. cls is a front_daemon. */
enum MHD_Result exchange_on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                    const char *version, const char *upload_data, size_t *upload_data_size,
                                    void **request);
void *exchange_on_uri(void *cls, const char *uri, struct MHD_Connection *connection);
void exchange_on_completed(void *cls, struct MHD_Connection *connection, void **request,
                           enum MHD_RequestTerminationCode code);
void exchange_on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                            enum MHD_ConnectionNotificationCode code);

#endif
