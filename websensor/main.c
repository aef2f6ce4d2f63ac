/* websensor: see websensor(8). */
#include "net/loop.h"
#include "websensor/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const struct program program = {
    .name = "websensor",
    .version = MQA_VERSION,
    .summary = "phones, webhooks and scripts into an MQTT broker over HTTPS",
    .table = &websensor_option_table,
    .check = websensor_config_check,
};

LOG_POINT(log_started, "websensor.started", LOG_NOTICE, "websensor started");
LOG_POINT(log_stopping, "websensor.stopping", LOG_NOTICE, "websensor stops");

struct websensor_daemon {
    struct loop *loop;
    struct server *server;
    uv_signal_t signals[3];
};

static void on_stopped(void *ctx)
{
    struct websensor_daemon *d = ctx;
    for (size_t i = 0; i < sizeof(d->signals) / sizeof(d->signals[0]); i++) {
        uv_close((uv_handle_t *)&d->signals[i], NULL);
    }
    loop_stop(d->loop);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct websensor_daemon *d = handle->data;
    if (number == SIGHUP) {
        program_log_reopen();
        server_reload(d->server);
        return;
    }
    log_emit(&log_stopping, "signal=%d", number);
    server_stop(d->server, on_stopped, d);
}

static void watch_signals(struct websensor_daemon *d)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uv_signal_init(loop_uv(d->loop), &d->signals[i]);
        d->signals[i].data = d;
        uv_signal_start(&d->signals[i], on_signal, numbers[i]);
    }
}

static int run(const struct websensor_config *config)
{
    struct websensor_daemon d = {0};
    struct option_error error = {""};
    enum err e = loop_create(&d.loop);
    if (e == E_OK) {
        e = server_create(loop_uv(d.loop), config, &d.server, &error);
    }
    if (e != E_OK) {
        fprintf(stderr, "%s: %s\n", program.name, error.text[0] ? error.text : err_name(e));
        loop_destroy(d.loop);
        return EXIT_FAILURE;
    }
    watch_signals(&d);
    log_emit(&log_started, "version=%s", program.version);
    loop_run(d.loop);
    server_destroy(d.server);
    loop_destroy(d.loop);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct websensor_config config = {0};
    bool ready;
    int exit_code;
    program_configure(&program, argc, argv, &config, &ready, &exit_code);
    if (!ready) {
        return exit_code;
    }
    exit_code = EXIT_FAILURE;
    if (program_log_open(&program, &config.program) == E_OK) {
        exit_code = run(&config);
        program_log_close();
    }
    options_finish(&websensor_option_table, &config);
    return exit_code;
}
