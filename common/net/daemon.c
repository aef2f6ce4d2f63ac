#include "net/daemon.h"

#include "net/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct running {
    const struct daemon *daemon;
    const void *config;
    struct loop *loop;
    void *work;
    uv_signal_t signals[3];
};

static void on_stopped(void *ctx)
{
    struct running *r = ctx;
    for (size_t i = 0; i < sizeof(r->signals) / sizeof(r->signals[0]); i++) {
        uv_close((uv_handle_t *)&r->signals[i], NULL);
    }
    loop_stop(r->loop);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct running *r = handle->data;
    if (number == SIGHUP) {
        program_log_reopen();
        r->daemon->reload(r->work);
        program_note_secrets(&r->daemon->program, r->config);
        return;
    }
    log_emit(r->daemon->stopping, "signal=%d", number);
    r->daemon->stop(r->work, on_stopped, r);
}

static void watch_signals(struct running *r)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uv_signal_init(loop_uv(r->loop), &r->signals[i]);
        r->signals[i].data = r;
        uv_signal_start(&r->signals[i], on_signal, numbers[i]);
    }
}

static int run(const struct daemon *d, const void *config)
{
    struct running r = {.daemon = d, .config = config};
    struct option_error error = {""};
    enum err e = loop_create(&r.loop);
    if (e == E_FULL) {
        option_error_set(&error, LOOP_FULL_TEXT);
    } else if (e == E_OK) {
        e = d->create(loop_uv(r.loop), config, &r.work, &error);
    }
    if (e != E_OK) {
        program_complain(&d->program, config, e, &error);
        loop_destroy(r.loop);
        return EXIT_FAILURE;
    }
    watch_signals(&r);
    d->started(r.work);
    program_note_secrets(&d->program, config);
    loop_run(r.loop);
    d->destroy(r.work);
    loop_destroy(r.loop);
    return EXIT_SUCCESS;
}

int daemon_main(const struct daemon *d, int argc, char **argv, void *config)
{
    bool ready;
    int exit_code;
    program_configure(&d->program, argc, argv, config, &ready, &exit_code);
    if (!ready) {
        return exit_code;
    }
    exit_code = EXIT_FAILURE;
    if (program_log_open(&d->program, config) == E_OK) {
        exit_code = run(d, config);
        program_log_close();
    }
    options_finish(d->program.table, config);
    return exit_code;
}
