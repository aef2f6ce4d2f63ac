/* mqttsn-gateway: see mqttsn-gateway(8). */
#include "mqttsn/gateway.h"
#include "net/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const struct program program = {
    .name = "mqttsn-gateway",
    .version = MQA_VERSION,
    .summary = "MQTT-SN 1.2 gateway to an MQTT broker",
    .table = &mqttsn_option_table,
    .check = mqttsn_config_check,
};

LOG_POINT(log_started, "mqttsn.started", LOG_NOTICE, "gateway started");
LOG_POINT(log_stopping, "mqttsn.stopping", LOG_NOTICE, "gateway stops");

struct daemon {
    struct loop *loop;
    struct gateway *gateway;
    uv_signal_t signals[3];
};

static void on_stopped(void *ctx)
{
    struct daemon *d = ctx;
    for (size_t i = 0; i < sizeof(d->signals) / sizeof(d->signals[0]); i++) {
        uv_close((uv_handle_t *)&d->signals[i], NULL);
    }
    loop_stop(d->loop);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;
    if (number == SIGHUP) {
        program_log_reopen();
        gateway_reload(d->gateway);
        return;
    }
    log_emit(&log_stopping, "signal=%d", number);
    gateway_stop(d->gateway, on_stopped, d);
}

static void watch_signals(struct daemon *d)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uv_signal_init(loop_uv(d->loop), &d->signals[i]);
        d->signals[i].data = d;
        uv_signal_start(&d->signals[i], on_signal, numbers[i]);
    }
}

static int run(const struct mqttsn_config *config)
{
    struct daemon d = {0};
    struct option_error error = {""};
    enum err e = loop_create(&d.loop);
    if (e == E_OK) {
        e = gateway_create(loop_uv(d.loop), config, &d.gateway, &error);
    }
    if (e != E_OK) {
        fprintf(stderr, "%s: %s\n", program.name, error.text[0] ? error.text : err_name(e));
        loop_destroy(d.loop);
        return EXIT_FAILURE;
    }
    watch_signals(&d);
    log_emit(&log_started, "version=%s port=%u", program.version, gateway_port(d.gateway));
    loop_run(d.loop);
    gateway_destroy(d.gateway);
    loop_destroy(d.loop);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct mqttsn_config config = {0};
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
    options_finish(&mqttsn_option_table, &config);
    return exit_code;
}
