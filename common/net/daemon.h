/* What every daemon of ours does around its work: options, log, a loop on the main thread, SIGHUP to reload, SIGTERM or SIGINT
 * to end. */
#ifndef NET_DAEMON_H
#define NET_DAEMON_H

#include "base/program.h"

#include <uv.h>

/* The functions run on the main thread, in this order; `work` is what create made. */
struct daemon {
    struct program program;
    /* Opens everything; on failure nothing stays open, and `error` says why (or is empty: the error's name will do). */
    enum err (*create)(uv_loop_t *loop, const void *config, void **work, struct option_error *error);
    void (*started)(const void *work); /* logs that it runs */
    void (*reload)(void *work);
    /* Ends with what is in hand, then calls on_stopped(ctx) once. A second call meanwhile changes nothing. */
    void (*stop)(void *work, void (*on_stopped)(void *ctx), void *ctx);
    void (*destroy)(void *work); /* when the loop has run out of handles */
    struct log_point *stopping;
};

/* main() of a daemon. `config`: zeroed memory of the program's struct, whose first member is a struct program_options.
 * Returns the exit code: 0, 1 (could not start) or 2 (options). */
int daemon_main(const struct daemon *d, int argc, char **argv, void *config);

#endif
