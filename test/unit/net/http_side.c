#define _GNU_SOURCE /* strcasestr */

#include "net/http_side.h"

#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Ticks, so that uv_run returns also when what is waited for came by a timer. */
static void on_guard(uv_timer_t *timer)
{
    struct side *s = timer->data;
    s->late = uv_hrtime() >= s->deadline;
}

static void start_guard(struct side *s, unsigned ms)
{
    s->late = false;
    s->deadline = uv_hrtime() + ms * (uint64_t)1000000;
    uv_update_time(&s->loop);
    uv_timer_start(&s->guard, on_guard, 2, 2);
}

void side_init_with(struct side *s, const struct http_client_options *o)
{
    struct tls_error error;
    memset(s, 0, sizeof(*s));
    assert_int_equal(uv_loop_init(&s->loop), 0);
    uv_timer_init(&s->loop, &s->guard);
    s->guard.data = s;
    enum err e = http_client_create(&s->loop, o, &s->client, &error);
    if (e != E_OK) {
        fail_msg("%s: %s", err_name(e), error.text);
    }
}

void side_init(struct side *s)
{
    struct http_client_options o = {0};
    side_init_with(s, &o);
}

void side_run_ms(struct side *s, unsigned ms)
{
    start_guard(s, ms);
    while (!s->late) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&s->guard);
}

void side_run_until(struct side *s, const unsigned *what, unsigned count)
{
    start_guard(s, 20000);
    while (*what < count && !s->late) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&s->guard);
    assert_int_equal(*what, count);
}

void side_on_closed(void *ctx)
{
    ((struct side *)ctx)->closed++;
}

void side_finish(struct side *s)
{
    http_client_close(s->client, side_on_closed, s);
    side_run_until(s, &s->closed, 1);
    uv_close((uv_handle_t *)&s->guard, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

void side_on_done(void *ctx, const struct http_answer *a)
{
    struct result *r = ctx;
    r->done++;
    r->err = a->err;
    r->status = a->status;
    r->reached = a->reached;
    snprintf(r->detail, sizeof(r->detail), "%s", a->detail);
    struct bytes thing = http_answer_header(a, "x-THING");
    snprintf(r->thing, sizeof(r->thing), "%.*s", (int)thing.len, thing.data ? (const char *)thing.data : "");
    assert_null(http_answer_header(a, "no-such-header").data);
    buffer_init(&r->body, (size_t)64 * 1024 * 1024);
    assert_int_equal(buffer_append(&r->body, a->body), E_OK);
    assert_int_equal(buffer_append_byte(&r->body, 0), E_OK);
    if (r->then) {
        r->then(r);
    }
}

const char *side_url(uint16_t port, const char *path)
{
    static char urls[4][256];
    static unsigned next;
    char *url = urls[next++ % 4];
    snprintf(url, sizeof(urls[0]), "http://127.0.0.1:%u%s", (unsigned)port, path);
    return url;
}

void side_start(struct side *s, struct result *r, const struct http_request_options *o)
{
    memset(r, 0, sizeof(*r));
    r->side = s;
    assert_int_equal(http_request(s->client, o, side_on_done, r, NULL), E_OK);
    assert_int_equal(r->done, 0);
}

void side_ask(struct side *s, struct result *r, const struct http_request_options *o)
{
    side_start(s, r, o);
    side_run_until(s, &r->done, 1);
}

bool result_has(const struct result *r, const char *text)
{
    return strstr((const char *)r->body.data, text) != NULL;
}

void result_expect(struct result *r, enum err err, const char *words)
{
    if (r->err != err || !strcasestr(r->detail, words)) {
        fail_msg("%s instead of %s: '%s' has not '%s'", err_name(r->err), err_name(err), r->detail, words);
    }
    assert_int_equal(r->status, 0);
    assert_int_equal(r->body.len, 1);
    buffer_finish(&r->body);
}

void side_prepare_process(void)
{
    static const char *const variables[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                            "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        unsetenv(variables[i]);
    }
}
