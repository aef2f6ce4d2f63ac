#include "net/http_stream.h"

#include <stdio.h>
#include <stdlib.h>

void http_client_release(struct http_client *c)
{
    if (--c->holds > 0) {
        return;
    }
    void (*on_closed)(void *ctx) = c->on_closed;
    void *ctx = c->on_closed_ctx;
    turn_put(c->turn);
    http_trust_finish(&c->trust);
    free(c->user_agent);
    free(c);
    if (on_closed) {
        on_closed(ctx);
    }
}

void http_client_wake(struct http_client *c)
{
    if (!c->item.waiting) {
        c->holds++;
        turn_add(c->turn, &c->item);
    }
}

/* --- requests --- */

static void on_deadline_closed(uv_handle_t *handle)
{
    struct http_request *r = handle->data;
    struct http_client *c = r->client;
    free(r);
    http_client_release(c);
}

/* Takes a request out of the work. */
static void detach(struct http_request *r)
{
    struct http_client *c = r->client;
    *r->link = r->next;
    if (r->next) {
        r->next->link = r->link;
    } else {
        c->last = r->link;
    }
    c->request_count--;
    c->ended_count++;
    if (r->connection) {
        r->connection->request = NULL;
        r->connection = NULL;
    }
    uv_timer_stop(&r->deadline);
}

static void request_free(struct http_request *r)
{
    buffer_finish(&r->head);
    uv_close((uv_handle_t *)&r->deadline, on_deadline_closed);
}

void http_request_end(struct http_request *r, enum err err, const char *detail, const struct http_reader *reader)
{
    struct http_answer answer = {.err = err, .detail = detail, .reached = r->reached};
    struct http_answer_headers headers = {reader};
    if (err == E_OK) {
        answer.status = http_reader_status(reader);
        answer.body = http_reader_body(reader);
        answer.headers = &headers;
    }
    detach(r);
    r->on_done(r->ctx, &answer);
    request_free(r);
}

struct bytes http_answer_header(const struct http_answer *answer, const char *name)
{
    return answer->headers ? http_reader_header(answer->headers->reader, name) : bytes_make(NULL, 0);
}

/* Ends a request in whatever it does. */
static void abort_request(struct http_request *r, enum err err, const char *detail)
{
    if (r->connection) {
        http_connection_close(r->connection);
    }
    http_request_end(r, err, detail, NULL);
}

static void on_deadline(uv_timer_t *timer)
{
    struct http_request *r = timer->data;
    char detail[400];
    const char *phase = r->connection ? http_connection_phase(r->connection) : "waiting for a free connection";
    snprintf(detail, sizeof(detail), "no complete answer within %u ms: %s", r->deadline_ms, phase);
    abort_request(r, E_TIMEOUT, detail);
}

static void append(struct http_client *c, struct http_request *r)
{
    r->link = c->last;
    *c->last = r;
    c->last = &r->next;
    c->request_count++;
}

enum err http_request(struct http_client *c, const struct http_request_options *o, http_done_fn *on_done, void *ctx,
                      struct http_request **out)
{
    if (c->closing) {
        return E_CLOSED;
    }
    enum err e = http_check_request(o);
    if (e != E_OK) {
        return e;
    }
    if (c->request_count == c->limits.requests) {
        return E_FULL;
    }
    struct http_request *r = calloc(1, sizeof(*r));
    if (!r) {
        return E_NOMEM;
    }
    r->client = c;
    e = http_request_address(r, o);
    if (e != E_OK) {
        buffer_finish(&r->head);
        free(r);
        return e;
    }
    r->body = o->method == HTTP_POST || o->method == HTTP_PUT ? o->body : bytes_make(NULL, 0);
    r->is_head = o->method == HTTP_HEAD;
    r->max_answer = o->max_answer ? o->max_answer : HTTP_ANSWER_MAX;
    r->deadline_ms = o->deadline_ms ? o->deadline_ms : HTTP_DEADLINE_MS;
    r->on_done = on_done;
    r->ctx = ctx;
    uv_timer_init(c->loop, &r->deadline);
    r->deadline.data = r;
    c->holds++;
    uv_update_time(c->loop);
    uv_timer_start(&r->deadline, on_deadline, r->deadline_ms, 0);
    append(c, r);
    http_client_wake(c);
    if (out) {
        *out = r;
    }
    return E_OK;
}

void http_cancel(struct http_request *r)
{
    if (r->connection) {
        http_connection_close(r->connection);
    }
    detach(r);
    request_free(r);
}

size_t http_client_active(const struct http_client *c)
{
    return c->request_count;
}

/* --- the queue --- */

/* What one look at the connections finds for a route. */
struct supply {
    struct http_connection *idle;
    size_t count;
};

static struct supply look_for(struct http_client *c, const struct http_route *route, struct mono now)
{
    struct supply s = {NULL, 0};
    for (struct http_connection *k = c->connections; k; k = k->next) {
        if (k->state == HTTP_CLOSED || !http_same_route(&k->route, route)) {
            continue;
        }
        if (k->state == HTTP_IDLE && mono_reached(now, mono_add_ms(k->since, c->limits.idle_timeout_ms))) {
            http_connection_close(k);
            continue;
        }
        s.count++;
        if (k->state == HTTP_IDLE && !s.idle) {
            s.idle = k;
        }
    }
    return s;
}

/* Gives a request a connection, or ends it; it waits when its host has as many as are allowed. */
static void serve(struct http_client *c, struct http_request *r)
{
    struct tls_error error = {.text = ""};
    if (r->bad_proxy) {
        snprintf(error.text, sizeof(error.text), "environment: %s is not [http://][NAME:PASSWORD@]HOST[:PORT]",
                 r->bad_proxy);
        http_request_end(r, E_INVALID, error.text, NULL);
        return;
    }
    struct supply s = look_for(c, &r->route, mono_now());
    while (s.idle) {
        if (!r->wants_new && http_connection_take(s.idle, r)) {
            return;
        }
        http_connection_close(s.idle);
        s = look_for(c, &r->route, mono_now());
    }
    if (s.count < c->limits.per_host) {
        enum err e = http_connection_open(r, &error);
        if (e != E_OK) {
            http_request_end(r, e, error.text, NULL);
        }
    }
}

/* Closes the idle connections that are too many, those first that have not been used for longest. */
static void limit_idle(struct http_client *c)
{
    size_t count = 0;
    for (struct http_connection *k = c->connections; k; k = k->next) {
        if (k->state == HTTP_IDLE && ++count > (size_t)c->limits.per_host * HTTP_IDLE_PER_HOST) {
            http_connection_close(k);
        }
    }
}

static void on_turn(struct turn_item *item)
{
    struct http_client *c = (struct http_client *)item;
    struct http_request *r = c->first;
    while (r && !c->closing) {
        /* When one ends, others may have been taken away by its owner: from the start again. */
        size_t before = c->ended_count;
        if (!r->connection) {
            serve(c, r);
        }
        r = c->ended_count == before ? r->next : c->first;
    }
    limit_idle(c);
    http_client_release(c);
}

/* --- the client --- */

enum err http_client_create(uv_loop_t *loop, const struct http_client_options *o, struct http_client **out,
                            struct tls_error *error)
{
    struct tls_context *tls = NULL;
    snprintf(error->text, sizeof(error->text), "no memory");
    struct http_client *c = calloc(1, sizeof(*c));
    if (!c) {
        return E_NOMEM;
    }
    enum err e = http_trust_init(&c->trust, o);
    c->user_agent = strdup(o->user_agent ? o->user_agent : "mosquitto-aws");
    e = e || c->user_agent ? e : E_NOMEM;
    if (e == E_OK && (o->certfile || o->keyfile || o->cafile)) {
        e = http_trust_get(&c->trust, &tls, error);
    }
    e = e ? e : turn_get(loop, &c->turn);
    if (e != E_OK) {
        http_trust_finish(&c->trust);
        free(c->user_agent);
        free(c);
        return e;
    }
    c->loop = loop;
    c->holds = 1;
    c->item.run = on_turn;
    c->limits = http_limits_of(o);
    c->last = &c->first;
    error->text[0] = '\0';
    *out = c;
    return E_OK;
}

void http_client_close(struct http_client *c, void (*on_closed)(void *ctx), void *ctx)
{
    if (!c) {
        if (on_closed) {
            on_closed(ctx);
        }
        return;
    }
    if (c->closing) {
        return;
    }
    c->closing = true;
    c->on_closed = on_closed;
    c->on_closed_ctx = ctx;
    while (c->first) {
        abort_request(c->first, E_CANCELLED, "the client was closed");
    }
    for (struct http_connection *k = c->connections; k; k = k->next) {
        http_connection_close(k);
    }
    http_client_wake(c); /* on_closed is not called before this returns */
    http_client_release(c);
}
