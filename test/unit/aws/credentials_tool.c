/* Asks the chain of credentials once and prints "ready SOURCE ACCESS-KEY-ID" or "failed TRIED". The environment decides, and the
 * arguments: [ROLE-ALIAS ENDPOINT CERTFILE KEYFILE CAFILE]. */
#include "aws/credentials.h"
#include "net/loop.h"

#include <stdio.h>
#include <stdlib.h>

struct tool {
    struct loop *loop;
    struct credentials *credentials;
    int result;
};

static void on_closed(void *ctx)
{
    struct tool *t = ctx;
    loop_stop(t->loop);
}

static void on_ready(void *ctx)
{
    struct tool *t = ctx;
    struct sigv4_identity identity;
    if (credentials_get(t->credentials, &identity) == E_OK) {
        printf("ready %s %.*s\n", credentials_source(t->credentials), (int)identity.access_key.len,
               (const char *)identity.access_key.data);
        t->result = EXIT_SUCCESS;
    }
    credentials_close(t->credentials, on_closed, t);
}

static void on_failed(void *ctx, const char *tried)
{
    struct tool *t = ctx;
    printf("failed %s\n", tried);
    credentials_close(t->credentials, on_closed, t);
}

int main(int argc, char **argv)
{
    struct tool t = {.result = EXIT_FAILURE};
    struct credentials_options options = {0};
    struct credentials_events events = {on_ready, on_failed};
    struct aws_error error;
    if (argc == 6) {
        options = (struct credentials_options){NULL, argv[1], argv[2], argv[3], argv[4], argv[5]};
    }
    if (loop_create(&t.loop) != E_OK) {
        return EXIT_FAILURE;
    }
    if (credentials_create(loop_uv(t.loop), &options, &events, &t, &t.credentials, &error) == E_OK) {
        loop_run(t.loop);
    } else {
        printf("refused %s\n", error.text);
    }
    loop_destroy(t.loop);
    return t.result;
}
