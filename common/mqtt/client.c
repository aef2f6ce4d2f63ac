#include "mqtt/client.h"

#include <stdio.h>
#include <stdlib.h>

enum { LINGER_MS = 2000, DEFAULT_WRITE_MAX = 4 << 20 };

struct mqtt_client {
    struct mqtt_session session;
    struct stream *stream; /* until its on_close */
    const struct mqtt_client_events *events;
    void *ctx;
    uv_timer_t timer;
    struct mono timer_at; /* MONO_NEVER: not running */
    size_t write_max;
    enum err why; /* of the end; E_OK until it is known here */
    bool acknowledge_at_once;
    bool pull;
    bool closing;     /* stream_close has been called: nothing is sent or handled any more */
    bool window_full; /* on_writable is owed when the window has room */
    bool output_full; /* on_writable is owed when the output has drained */
};

_Static_assert(sizeof(struct mqtt_client) <= 1024, "an idle client costs under 1 KiB");

/* The loop's own time: the turn's, without a system call. */
static struct mono now_of(const struct mqtt_client *c)
{
    return (struct mono){uv_now(c->timer.loop) * 1000000u};
}

/* --- timer --- */

static void on_timer(uv_timer_t *timer);

/* Later deadlines wait for the timer to fire, so that traffic does not move it with each packet. */
static void arm(struct mqtt_client *c)
{
    struct mono deadline = c->closing ? MONO_NEVER : mqtt_session_deadline(&c->session);
    if (deadline.ns >= c->timer_at.ns) {
        return;
    }
    c->timer_at = deadline;
    uv_timer_start(&c->timer, on_timer, mono_ms_until(now_of(c), deadline), 0);
}

/* --- the end --- */

/* Ends the connection from here. `linger_ms` gives what was written last the time to leave. */
static void end(struct mqtt_client *c, enum err why, uint32_t linger_ms)
{
    if (c->closing) {
        return;
    }
    c->why = why;
    c->closing = true;
    stream_commit(c->stream);
    stream_close(c->stream, linger_ms);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct mqtt_client *c = handle->data;
    free(c);
}

static void on_stream_close(void *ctx, enum err reason, const char *detail)
{
    struct mqtt_client *c = ctx;
    c->stream = NULL;
    c->closing = true;
    if (c->why == E_OK) {
        c->why = reason;
        snprintf(c->session.end_detail, sizeof(c->session.end_detail), "%s", detail);
    }
    c->events->on_end(c->ctx, c->why, c->session.end_reason, c->session.end_detail);
    mqtt_session_finish(&c->session);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

static void on_timer(uv_timer_t *timer)
{
    struct mqtt_client *c = timer->data;
    c->timer_at = MONO_NEVER;
    struct buffer *out = c->closing ? NULL : stream_out(c->stream);
    if (!out) {
        return;
    }
    enum err err = mqtt_session_service(&c->session, now_of(c), out);
    if (err != E_OK) {
        end(c, err, 0);
        return;
    }
    stream_commit(c->stream);
    arm(c);
}

/* --- input --- */

static void dispatch(struct mqtt_client *c, const struct mqtt_event *event)
{
    const struct mqtt_client_events *on = c->events;
    switch (event->type) {
    case MQTT_EVENT_CONNECTED:
        if (on->on_connected) {
            on->on_connected(c->ctx, &event->connack);
        }
        return;
    case MQTT_EVENT_PUBLISHED:
        if (on->on_published) {
            on->on_published(c->ctx, event->published.token, event->published.reason, event->published.reason_text);
        }
        return;
    case MQTT_EVENT_MESSAGE:
        if (on->on_message) {
            on->on_message(c->ctx, &event->message);
        }
        return;
    case MQTT_EVENT_SUBSCRIBED:
        if (on->on_subscribed) {
            on->on_subscribed(c->ctx, event->subscribed.token, event->subscribed.codes.data,
                              event->subscribed.codes.len);
        }
        return;
    }
}

/* Not for every acknowledgement: a quarter of the window at once makes few large writes out of many small ones. */
static bool window_has_drained(const struct mqtt_client *c)
{
    uint32_t quarter = c->session.window / 4;
    return c->session.publishes + (quarter > 0 ? quarter : 1) <= c->session.window;
}

static void tell_writable(struct mqtt_client *c)
{
    if (c->window_full && !c->closing && window_has_drained(c)) {
        c->window_full = false;
        if (c->events->on_writable) {
            c->events->on_writable(c->ctx);
        }
    }
}

static void on_stream_open(void *ctx)
{
    struct mqtt_client *c = ctx;
    struct buffer *out = stream_out(c->stream);
    enum err err = out ? mqtt_session_start(&c->session, now_of(c), out) : E_CLOSED;
    if (err != E_OK) {
        end(c, err, 0);
        return;
    }
    stream_commit(c->stream);
    arm(c);
}

static void on_stream_data(void *ctx, struct bytes data)
{
    struct mqtt_client *c = ctx;
    enum err err = E_OK;
    while (!c->closing && err == E_OK) {
        struct mqtt_event event;
        struct buffer *out = stream_out(c->stream);
        err = out ? mqtt_session_input(&c->session, now_of(c), &data, out, &event) : E_AGAIN;
        if (err == E_OK) {
            dispatch(c, &event);
        }
    }
    if (c->closing) {
        return;
    }
    if (err != E_AGAIN) {
        end(c, err, LINGER_MS);
        return;
    }
    stream_commit(c->stream);
    arm(c);
    tell_writable(c);
    if (c->pull && !c->closing && c->window_full) {
        stream_pull(c->stream);
    }
    if (c->acknowledge_at_once && !c->closing && c->session.publishes > 0) { /* more of them is owed */
        stream_acknowledge(c->stream);
    }
}

static void on_stream_drain(void *ctx)
{
    struct mqtt_client *c = ctx;
    if (c->output_full && !c->closing) {
        c->output_full = false;
        if (c->events->on_writable) {
            c->events->on_writable(c->ctx);
        }
    }
}

static const struct stream_events stream_events = {
    .on_open = on_stream_open,
    .on_data = on_stream_data,
    .on_drain = on_stream_drain,
    .on_close = on_stream_close,
};

/* --- for the owner --- */

enum err mqtt_client_connect(uv_loop_t *loop, const struct mqtt_client_options *o,
                             const struct mqtt_client_events *events, void *ctx, struct mqtt_client **out)
{
    struct mqtt_client *c = calloc(1, sizeof(*c));
    if (!c) {
        return E_NOMEM;
    }
    c->events = events;
    c->ctx = ctx;
    c->timer_at = MONO_NEVER;
    c->acknowledge_at_once = o->acknowledge_at_once;
    c->pull = o->pull;
    c->write_max = o->stream.write_max ? o->stream.write_max : DEFAULT_WRITE_MAX;
    struct stream_options stream = o->stream;
    stream.write_max = c->write_max;
    enum err err = mqtt_session_init(&c->session, &o->session);
    if (err != E_OK) {
        free(c);
        return err;
    }
    err = stream_connect(loop, &stream, &stream_events, c, &c->stream);
    if (err != E_OK) {
        mqtt_session_finish(&c->session);
        free(c);
        return err;
    }
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    *out = c;
    return E_OK;
}

/* Room to encode into, NULL when nothing can be sent. */
static struct buffer *output(struct mqtt_client *c)
{
    return c->closing ? NULL : stream_out(c->stream);
}

enum err mqtt_client_publish(struct mqtt_client *c, const struct mqtt_publish *p, uint64_t token)
{
    struct buffer *out = output(c);
    if (!out) {
        return E_AGAIN;
    }
    enum err err = mqtt_session_publish(&c->session, now_of(c), out, p, token);
    if (err != E_FULL) {
        return err;
    }
    if (mqtt_publish_length(c->session.version, p) > c->write_max - MQTT_SESSION_RESERVE) {
        return E_TOO_LARGE;
    }
    if (p->qos > 0 && !mqtt_session_has_room(&c->session)) {
        c->window_full = true;
        stream_read_later(c->stream, 0);
    } else {
        c->output_full = true;
        stream_await_drain(c->stream);
    }
    return E_FULL;
}

enum err mqtt_client_subscribe(struct mqtt_client *c, const struct mqtt_subscription *filters, size_t count,
                               uint64_t token)
{
    struct buffer *out = output(c);
    return out ? mqtt_session_subscribe(&c->session, now_of(c), out, filters, count, token) : E_AGAIN;
}

enum err mqtt_client_unsubscribe(struct mqtt_client *c, const struct bytes *filters, size_t count, uint64_t token)
{
    struct buffer *out = output(c);
    return out ? mqtt_session_unsubscribe(&c->session, now_of(c), out, filters, count, token) : E_AGAIN;
}

enum err mqtt_client_ack(struct mqtt_client *c, uint16_t packet_id, uint8_t reason)
{
    struct buffer *out = output(c);
    return out ? mqtt_session_ack(&c->session, now_of(c), out, packet_id, reason) : E_AGAIN;
}

void mqtt_client_probe(struct mqtt_client *c)
{
    struct buffer *out = output(c);
    if (out) {
        mqtt_session_probe(&c->session, now_of(c), out);
        stream_commit(c->stream);
        arm(c);
    }
}

struct mono mqtt_client_heard(const struct mqtt_client *c)
{
    return c->session.last_in;
}

int mqtt_client_share(struct mqtt_client *c)
{
    return c->closing ? -1 : stream_share(c->stream);
}

void mqtt_client_send_through(struct mqtt_client *c, int fd)
{
    if (!c->closing) {
        stream_send_through(c->stream, fd);
    }
}

void mqtt_client_read_later(struct mqtt_client *c, uint32_t ms)
{
    if (!c->closing && !c->window_full) {
        stream_read_later(c->stream, ms);
    }
}

const char *mqtt_client_security(const struct mqtt_client *c)
{
    return c->stream ? stream_security(c->stream) : "closed";
}

void mqtt_client_close(struct mqtt_client *c, bool graceful)
{
    struct buffer *out = output(c);
    if (graceful && out) {
        mqtt_session_disconnect(&c->session, out);
    }
    end(c, E_CANCELLED, graceful ? LINGER_MS : 0);
}
