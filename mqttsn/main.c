/* mqttsn-gateway: see mqttsn-gateway(8). */
#include "mqttsn/gateway.h"
#include "net/daemon.h"

LOG_POINT(log_started, "mqttsn.started", LOG_NOTICE, "gateway started");
LOG_POINT(log_stopping, "mqttsn.stopping", LOG_NOTICE, "gateway stops");

static enum err create(uv_loop_t *loop, const void *config, void **work, struct option_error *error)
{
    struct gateway *g = NULL;
    enum err e = gateway_create(loop, config, &g, error);
    *work = g;
    return e;
}

static void started(const void *work)
{
    log_emit(&log_started, "version=%s port=%u", MQA_VERSION, gateway_port(work));
}

static void reload(void *work)
{
    gateway_reload(work);
}

static void stop(void *work, void (*on_stopped)(void *ctx), void *ctx)
{
    gateway_stop(work, on_stopped, ctx);
}

static void destroy(void *work)
{
    gateway_destroy(work);
}

static const struct daemon mqttsn_gateway = {
    .program = {.name = "mqttsn-gateway",
                .version = MQA_VERSION,
                .summary = "MQTT-SN 1.2 gateway to an MQTT broker",
                .table = &mqttsn_option_table,
                .check = mqttsn_config_check},
    .create = create,
    .started = started,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .stopping = &log_stopping,
};

int main(int argc, char **argv)
{
    struct mqttsn_config config = {0};
    return daemon_main(&mqttsn_gateway, argc, argv, &config);
}
