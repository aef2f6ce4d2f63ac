/* websensor: see websensor(8). */
#include "net/daemon.h"
#include "websensor/server.h"

LOG_POINT(log_started, "websensor.started", LOG_NOTICE, "websensor started");
LOG_POINT(log_stopping, "websensor.stopping", LOG_NOTICE, "websensor stops");

static enum err create(uv_loop_t *loop, const void *config, void **work, struct option_error *error)
{
    struct server *s = NULL;
    enum err e = server_create(loop, config, &s, error);
    *work = s;
    return e;
}

static void started(const void *work)
{
    (void)work;
    log_emit(&log_started, "version=%s", MQA_VERSION);
}

static void reload(void *work)
{
    server_reload(work);
}

static void stop(void *work, void (*on_stopped)(void *ctx), void *ctx)
{
    server_stop(work, on_stopped, ctx);
}

static void destroy(void *work)
{
    server_destroy(work);
}

static const struct daemon websensor = {
    .program = {.name = "websensor",
                .version = MQA_VERSION,
                .summary = "phones, webhooks and scripts into an MQTT broker over HTTPS",
                .table = &websensor_option_table,
                .check = websensor_config_check},
    .create = create,
    .started = started,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .stopping = &log_stopping,
};

int main(int argc, char **argv)
{
    struct websensor_config config = {0};
    return daemon_main(&websensor, argc, argv, &config);
}
