#include "net/http_stream.h"

#include <stdio.h>
#include <stdlib.h>

#define WRITE_MAX (256u * 1024u) /* of a body, waiting for the kernel */
#define PIECE 65536u             /* of a body, at a time */

static void unlink_connection(struct http_connection *k)
{
    struct http_connection **link = &k->client->connections;
    while (*link != k) {
        link = &(*link)->next;
    }
    *link = k->next;
}

static void to_front(struct http_connection *k)
{
    unlink_connection(k);
    k->next = k->client->connections;
    k->client->connections = k;
}

static void release(struct http_connection *k)
{
    if (--k->holds == 0) {
        struct http_client *c = k->client;
        http_reader_destroy(k->reader);
        free(k);
        http_client_release(c);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void enter_closed(struct http_connection *k)
{
    k->state = HTTP_CLOSED;
    uv_close((uv_handle_t *)&k->timer, on_timer_closed);
}

void http_connection_close(struct http_connection *k)
{
    if (k->state == HTTP_CLOSED) {
        return;
    }
    enter_closed(k);
    stream_close(k->stream, 0);
}

/* --- failing --- */

/* Closes the connection and ends its request. */
static void fail(struct http_connection *k, enum err err, const char *detail)
{
    struct http_request *r = k->request;
    http_connection_close(k);
    if (r) {
        http_request_end(r, err, detail, NULL);
    }
}

/* When nothing came back on a kept-alive connection, the server had most likely closed it before it saw the request. RFC 9112 section
 * 9.3.1 lets idempotent ones be sent again; like curl we take all for such (http.h says so). */
static bool may_try_again(const struct http_connection *k, enum err reason)
{
    return k->state == HTTP_BUSY && k->has_served && !http_reader_began(k->reader) &&
           (reason == E_CLOSED || reason == E_RESET);
}

/* Reasons of a stream as http.h has them. */
static enum err err_of_stream(const struct http_connection *k, enum err reason)
{
    if (k->state == HTTP_BUSY && (reason == E_CLOSED || reason == E_IO)) {
        return E_RESET;
    }
    switch (reason) {
    case E_CLOSED:
    case E_RESET:
        return k->state == HTTP_CONNECTING && !k->route.server.tls ? E_UNREACHABLE : E_RESET;
    case E_IO:
    case E_ACCESS: /* of the network, by a filter: E_ACCESS is for files */
        return E_UNREACHABLE;
    default:
        return reason;
    }
}

/* --- a request and its answer --- */

static void send_body(struct http_connection *k)
{
    const struct http_request *r = k->request;
    enum err e = E_OK;
    while (e == E_OK && k->body_sent < r->body.len) {
        struct bytes piece = bytes_sub(r->body, k->body_sent, PIECE);
        e = stream_write(k->stream, piece);
        k->body_sent += e == E_OK ? piece.len : 0;
    }
    if (e != E_OK && e != E_FULL && e != E_CLOSED) { /* after E_FULL on_drain follows, after E_CLOSED on_close */
        fail(k, e, "no memory to send the request");
    }
}

static void enter_busy(struct http_connection *k)
{
    struct http_request *r = k->request;
    uv_timer_stop(&k->timer);
    k->state = HTTP_BUSY;
    k->body_sent = 0;
    http_reader_start(k->reader, r->is_head ? HTTP_READER_HEAD : HTTP_READER_BODY, r->max_answer);
    enum err e = stream_write(k->stream, buffer_bytes(&r->head));
    if (e != E_OK) {
        fail(k, e, "no memory to send the request");
        return;
    }
    r->reached = true;
    send_body(k);
}

static void enter_idle(struct http_connection *k)
{
    k->state = HTTP_IDLE;
    k->has_served = true;
    http_reader_start(k->reader, HTTP_READER_BODY, HTTP_SPARE_ANSWER_MAX); /* lets go of a large answer's memory */
    k->since = mono_now();
    to_front(k);
    http_client_wake(k->client);
}

/* `rest`: more has come than the answer. */
static void answer_complete(struct http_connection *k, bool rest)
{
    struct http_request *r = k->request;
    bool keep = http_reader_keeps_alive(k->reader) && !rest && k->body_sent == r->body.len;
    http_request_end(r, E_OK, "", k->reader);
    if (k->state == HTTP_CLOSED) {
        return; /* by the request's owner, who has closed the client */
    }
    if (keep) {
        enter_idle(k);
    } else {
        http_connection_close(k);
    }
}

static void take_answer(struct http_connection *k, struct bytes data)
{
    size_t taken = 0;
    enum err e = http_reader_feed(k->reader, data, &taken);
    if (e == E_OK) {
        answer_complete(k, taken < data.len);
    } else if (e != E_AGAIN) {
        fail(k, e, http_reader_detail(k->reader));
    }
}

/* --- the tunnel of a proxy (RFC 9110 section 9.3.6) --- */

static uint64_t time_left(const struct http_connection *k)
{
    return mono_ms_until(mono_now(), mono_add_ms(k->since, k->client->limits.connect_timeout_ms));
}

static void on_connect_timeout(uv_timer_t *timer)
{
    struct http_connection *k = timer->data;
    char detail[320];
    snprintf(detail, sizeof(detail), "not connected after %u ms: %s", k->client->limits.connect_timeout_ms,
             http_connection_phase(k));
    fail(k, E_TIMEOUT, detail);
}

static void enter_tunnelling(struct http_connection *k)
{
    k->state = HTTP_TUNNELLING;
    uv_update_time(k->client->loop);
    uv_timer_start(&k->timer, on_connect_timeout, time_left(k), 0);
    http_reader_start(k->reader, HTTP_READER_CONNECT, 0);
    struct buffer *out = stream_out(k->stream);
    enum err e = out ? http_append_connect(&k->route, k->client->user_agent, out) : E_RESET;
    if (e != E_OK) {
        fail(k, e, "no memory to ask the proxy");
    }
}

/* What is wrong with the files is E_ACCESS in http.h. */
static enum err get_tls(struct http_client *c, struct tls_context **out, struct tls_error *error)
{
    enum err e = http_trust_get(&c->trust, out, error);
    return e == E_OK || e == E_NOMEM ? e : E_ACCESS;
}

static void enter_securing(struct http_connection *k)
{
    struct tls_context *tls = NULL;
    struct tls_error error = {.text = "no memory"};
    k->state = HTTP_SECURING;
    enum err e = get_tls(k->client, &tls, &error);
    e = e ? e : stream_start_tls(k->stream, tls, k->route.server.host);
    if (e != E_OK) {
        fail(k, e, error.text);
    }
}

static void take_tunnel(struct http_connection *k, struct bytes data)
{
    size_t taken = 0;
    char detail[96];
    enum err e = http_reader_feed(k->reader, data, &taken);
    if (e == E_AGAIN) {
        return;
    }
    int status = e == E_OK ? http_reader_status(k->reader) : 0;
    if (e != E_OK) {
        fail(k, e, http_reader_detail(k->reader));
    } else if (status / 100 != 2) {
        snprintf(detail, sizeof(detail), "the proxy answered CONNECT with status %d", status);
        fail(k, E_UNREACHABLE, detail);
    } else if (taken < data.len) {
        fail(k, E_PROTOCOL, "the proxy sends before TLS has begun");
    } else {
        enter_securing(k);
    }
}

/* --- events of the stream --- */

static void on_open(void *ctx)
{
    struct http_connection *k = ctx;
    if (k->state == HTTP_CONNECTING && k->route.proxy.host[0] && k->route.server.tls) {
        enter_tunnelling(k);
    } else {
        enter_busy(k);
    }
}

static void on_data(void *ctx, struct bytes data)
{
    struct http_connection *k = ctx;
    if (k->state == HTTP_BUSY) {
        take_answer(k, data);
    } else if (k->state == HTTP_TUNNELLING) {
        take_tunnel(k, data);
    } else {
        http_connection_close(k); /* nobody asked */
    }
}

static void on_drain(void *ctx)
{
    struct http_connection *k = ctx;
    if (k->state == HTTP_BUSY) {
        send_body(k);
    }
}

/* The connection has ended with a request on it. */
static void request_lost(struct http_connection *k, enum err reason, const char *detail)
{
    struct http_request *r = k->request;
    bool is_end = reason == E_CLOSED && !detail[0];
    if (may_try_again(k, reason)) {
        r->connection = NULL;
        r->wants_new = true;
        k->request = NULL;
        http_client_wake(k->client);
    } else if (k->state == HTTP_BUSY && is_end && http_reader_end(k->reader) == E_OK) {
        http_request_end(r, E_OK, "", k->reader);
    } else {
        const char *words = detail[0] ? detail : http_reader_detail(k->reader);
        http_request_end(r, err_of_stream(k, reason), words[0] ? words : "the connection was closed", NULL);
    }
}

static void on_close(void *ctx, enum err reason, const char *detail)
{
    struct http_connection *k = ctx;
    struct http_client *c = k->client;
    if (k->request) {
        request_lost(k, reason, detail);
    }
    if (k->state != HTTP_CLOSED) {
        enter_closed(k);
    }
    if (!c->closing) {
        http_client_wake(c);
    }
    unlink_connection(k);
    release(k);
}

static const struct stream_events events = {
    .on_open = on_open,
    .on_data = on_data,
    .on_drain = on_drain,
    .on_close = on_close,
};

/* --- */

static enum err start(struct http_connection *k, struct tls_error *error)
{
    struct http_client *c = k->client;
    const struct http_route *route = &k->route;
    bool is_proxied = route->proxy.host[0] != '\0';
    struct stream_options o = {.host = is_proxied ? route->proxy.host : route->server.host,
                               .port = is_proxied ? route->proxy.port : route->server.port,
                               .connect_timeout_ms = c->limits.connect_timeout_ms,
                               .write_max = WRITE_MAX};
    enum err e = route->server.tls && !is_proxied ? get_tls(c, &o.tls, error) : E_OK;
    if (e != E_OK) {
        return e;
    }
    e = stream_connect(c->loop, &o, &events, k, &k->stream);
    if (e == E_INVALID) {
        snprintf(error->text, sizeof(error->text), "%.200s is no name of a host", o.host);
    }
    return e;
}

enum err http_connection_open(struct http_request *r, struct tls_error *error)
{
    struct http_client *c = r->client;
    snprintf(error->text, sizeof(error->text), "no memory");
    struct http_connection *k = calloc(1, sizeof(*k));
    if (!k) {
        return E_NOMEM;
    }
    k->client = c;
    k->route = r->route;
    k->since = mono_now();
    k->reader = http_reader_create();
    enum err e = k->reader ? start(k, error) : E_NOMEM;
    if (e != E_OK) {
        http_reader_destroy(k->reader);
        free(k);
        return e;
    }
    uv_timer_init(c->loop, &k->timer);
    k->timer.data = k;
    k->holds = 2;
    c->holds++;
    k->next = c->connections;
    c->connections = k;
    k->request = r;
    r->connection = k;
    return E_OK;
}

bool http_connection_take(struct http_connection *k, struct http_request *r)
{
    if (!stream_look(k->stream) || k->state != HTTP_IDLE) {
        return false;
    }
    k->request = r;
    r->connection = k;
    to_front(k);
    enter_busy(k);
    return true;
}

const char *http_connection_phase(struct http_connection *k)
{
    switch (k->state) {
    case HTTP_CONNECTING:
    case HTTP_SECURING:
        return stream_progress(k->stream);
    case HTTP_TUNNELLING:
        return "waiting for the proxy's tunnel";
    case HTTP_BUSY:
        break;
    case HTTP_IDLE:
    case HTTP_CLOSED:
        return "";
    }
    if (http_reader_began(k->reader)) {
        return "in the answer";
    }
    return k->body_sent < k->request->body.len ? "sending the request" : "waiting for the answer";
}
