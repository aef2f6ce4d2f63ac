#include "net/client.h"

#include "unit.h"

#include <stdio.h>

static void on_open(void *ctx)
{
    struct client *c = ctx;
    c->opened++;
    if (c->on_open) {
        c->on_open(c);
    }
}

static void on_data(void *ctx, struct bytes data)
{
    struct client *c = ctx;
    assert_true(c->opened && !c->closed);
    if (c->on_data) {
        c->on_data(c, data);
        return;
    }
    assert_int_equal(buffer_append(&c->data, data), E_OK);
}

static void on_drain(void *ctx)
{
    struct client *c = ctx;
    c->drained++;
    if (c->on_drain) {
        c->on_drain(c);
    }
}

static void on_close(void *ctx, enum err reason, const char *detail)
{
    struct client *c = ctx;
    c->closed++;
    c->reason = reason;
    c->stream = NULL;
    snprintf(c->detail, sizeof(c->detail), "%s", detail);
}

/* Ticks, so that uv_run returns also when what is waited for did not come by a poll. */
static void on_guard(uv_timer_t *timer)
{
    struct client *c = timer->data;
    c->late = uv_hrtime() >= c->deadline;
}

static void start_guard(struct client *c, unsigned ms)
{
    c->late = false;
    c->deadline = uv_hrtime() + ms * (uint64_t)1000000;
    c->guard.data = c;
    uv_update_time(&c->loop);
    uv_timer_start(&c->guard, on_guard, 2, 2);
}

void client_init(struct client *c)
{
    memset(c, 0, sizeof(*c));
    c->loop.data = c; /* the owner's: uv_loop_init leaves it, and so must we */
    assert_int_equal(uv_loop_init(&c->loop), 0);
    uv_timer_init(&c->loop, &c->guard);
    buffer_init(&c->data, (size_t)256 * 1024 * 1024);
}

void client_finish(struct client *c)
{
    if (c->stream) {
        stream_close(c->stream, 0);
        client_run_until_closed(c);
    }
    uv_close((uv_handle_t *)&c->guard, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&c->loop), 0);
    assert_ptr_equal(c->loop.data, c);
    buffer_finish(&c->data);
}

void client_connect_with(struct client *c, const struct stream_options *o)
{
    static const struct stream_events events = {
        .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_close = on_close};
    c->opened = c->closed = 0;
    assert_int_equal(stream_connect(&c->loop, o, &events, c, &c->stream), E_OK);
    assert_int_equal(c->opened + c->closed, 0);
}

void client_connect(struct client *c, uint16_t port, struct tls_context *tls)
{
    struct stream_options o = {.host = "127.0.0.1", .port = port, .tls = tls};
    client_connect_with(c, &o);
}

static void run_until(struct client *c, bool (*done)(struct client *c, size_t n), size_t n, const char *what)
{
    start_guard(c, 20000);
    while (!done(c, n) && !c->late) {
        uv_run(&c->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&c->guard);
    if (!done(c, n)) {
        fail_msg("waited in vain: %s (opened %u, closed %u: %s %s)", what, c->opened, c->closed, err_name(c->reason),
                 c->detail);
    }
}

static bool is_open(struct client *c, size_t n)
{
    (void)n;
    return c->opened || c->closed;
}

void client_run_until_open(struct client *c)
{
    run_until(c, is_open, 0, "open");
    if (!c->opened) {
        fail_msg("not open: %s, %s", err_name(c->reason), c->detail);
    }
}

static bool is_closed(struct client *c, size_t n)
{
    (void)n;
    return c->closed;
}

void client_run_until_closed(struct client *c)
{
    run_until(c, is_closed, 0, "closed");
    assert_int_equal(c->closed, 1);
}

static bool is_received(struct client *c, size_t n)
{
    return c->data.len >= n;
}

void client_run_until_received(struct client *c, size_t bytes)
{
    run_until(c, is_received, bytes, "received");
}

void client_run_ms(struct client *c, unsigned ms)
{
    start_guard(c, ms);
    while (!c->late) {
        uv_run(&c->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&c->guard);
}
