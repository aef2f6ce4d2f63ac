/* What a request is answered with: its formats' answers, errors, the page, health, metrics. */
#include "websensor/exchange_internal.h"

#include "base/json.h"

#include <stdio.h>

enum { ERROR_TEXT_MAX = 4096 };

/* Is the connection to be ended behind the answer? */
static bool is_last(const struct exchange *x)
{
    return front_is_draining(x->front) || x->server->stopping;
}

static void enter_answered(struct exchange *x)
{
    x->state = EXCHANGE_ANSWERED;
    front_answer(x->front);
    if (x->conn) {
        conn_enter(x->server->conns, x->conn, CONN_ANSWER, mono_now());
    }
}

static enum MHD_Result send_reply(struct exchange *x, unsigned status, const char *type, struct bytes body,
                                  struct reply_extra extra)
{
    enter_answered(x);
    extra.close |= is_last(x);
    return reply_send(x->connection, status, type, body, &extra);
}

enum MHD_Result exchange_refuse(struct exchange *x, int status, const char *reason, struct reply_extra extra)
{
    struct buffer text;
    struct server_metrics *m = &x->server->metrics;
    buffer_init(&text, ERROR_TEXT_MAX);
    enum err e = buffer_append_str(&text, "{\"error\":");
    e = e ? e : json_append_string(&text, bytes_str(reason));
    e = e ? e : buffer_append_str(&text, "}\n");
    metric_add(status == 503                    ? &m->unavailable
               : status == 429                  ? &m->limited
               : status == 401 || status == 403 ? &m->unauthorized
                                                : &m->refused,
               1);
    if (status == 401 && !extra.authenticate) {
        extra.authenticate = "Bearer realm=\"websensor\"";
    }
    enum MHD_Result r = send_reply(x, (unsigned)status, "application/json",
                                   e ? BYTES("{\"error\":\"no memory\"}\n") : buffer_bytes(&text), extra);
    buffer_finish(&text);
    return r;
}

enum MHD_Result exchange_unavailable(struct exchange *x, const char *reason, unsigned retry_after_s)
{
    return exchange_refuse(x, 503, reason, (struct reply_extra){.retry_after_s = retry_after_s});
}

/* What AWS IoT's own HTTPS API answers. */
static enum MHD_Result send_message(struct exchange *x, uint64_t id)
{
    static const char start[] = "{\"message\":\"OK\",\"traceId\":\"", end[] = "\"}\n";
    char text[sizeof(start) - 1 + 16 + sizeof(end)];
    memcpy(text, start, sizeof(start) - 1);
    for (size_t i = 16; i > 0; i--, id >>= 4) {
        text[sizeof(start) - 2 + i] = "0123456789abcdef"[id & 15];
    }
    memcpy(text + sizeof(start) - 1 + 16, end, sizeof(end));
    _Static_assert(sizeof(text) == sizeof(x->kept->text), "the length of what is kept");
    x->kept = is_last(x) ? NULL : reply_take(&x->server->replies);
    if (!x->kept) {
        return send_reply(x, 200, "application/json", bytes_make(text, REPLY_KEPT_LENGTH), (struct reply_extra){0});
    }
    memcpy(x->kept->text, text, sizeof(text));
    enter_answered(x);
    return reply_send_kept(x->connection, x->kept);
}

enum MHD_Result exchange_accept(struct exchange *x)
{
    struct server *s = x->server;
    char text[160];
    int n = 0;
    unsigned long long id = s->trace++;
    const char *type = "application/json";
    switch (x->in.reply) {
    case INGEST_REPLY_MESSAGE:
        return send_message(x, id);
    case INGEST_REPLY_OK:
        n = snprintf(text, sizeof(text), "OK");
        type = "text/plain; charset=utf-8";
        break;
    case INGEST_REPLY_VERDICT:
        n = snprintf(text, sizeof(text), "{\"walking\":%s,\"cadence\":%.1f,\"confidence\":%.2f}\n",
                     x->verdict.walking ? "true" : "false", x->verdict.cadence, x->verdict.confidence);
        break;
    case INGEST_REPLY_LIST:
        n = snprintf(text, sizeof(text), "[]");
        break;
    case INGEST_REPLY_ID:
        n = snprintf(text, sizeof(text), "{\"id\":\"%016llX\"}\n", id);
        break;
    case INGEST_REPLY_NO_CONTENT:
        return send_reply(x, 204, NULL, (struct bytes){0}, (struct reply_extra){0});
    }
    return send_reply(x, 200, type, bytes_make(text, (size_t)n), (struct reply_extra){0});
}

enum MHD_Result exchange_answer_delivery(struct exchange *x)
{
    struct server *s = x->server;
    bool ok = x->job.result == DELIVERY_OK;
    if (x->begun) {
        seen_end(s->seen, x->in.key, ok ? SEEN_DONE : SEEN_FAILED);
        x->begun = false;
    }
    switch (x->job.result) {
    case DELIVERY_OK:
        metric_add(&s->metrics.published, x->in.count);
        return exchange_accept(x);
    case DELIVERY_FORBIDDEN:
        return exchange_refuse(x, 403, "the broker does not allow this topic", (struct reply_extra){0});
    case DELIVERY_TOO_LARGE:
        return exchange_refuse(x, 413, "larger than the broker takes", (struct reply_extra){0});
    case DELIVERY_REFUSED:
        return exchange_refuse(x, 502, "the broker refused the message", (struct reply_extra){0});
    case DELIVERY_AWAY:
        break;
    }
    return exchange_unavailable(x, "the broker is away", RETRY_AWAY_S);
}

/* --- requests that do not publish */

static enum MHD_Result answer_health(struct exchange *x)
{
    if (!uplink_is_up(x->server->uplink)) {
        return exchange_unavailable(x, "the broker is away", RETRY_AWAY_S);
    }
    return send_reply(x, 200, "application/json", BYTES("{\"status\":\"ok\"}\n"), (struct reply_extra){0});
}

static enum MHD_Result answer_metrics(struct exchange *x)
{
    struct buffer text;
    buffer_init(&text, 65536);
    enum err e = server_print_metrics(x->server, &text);
    enum MHD_Result r = e == E_OK ? send_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", buffer_bytes(&text),
                                               (struct reply_extra){0})
                                  : exchange_unavailable(x, "no memory", RETRY_SOON_S);
    buffer_finish(&text);
    return r;
}

bool exchange_only_gets(struct bytes path)
{
    return page_find(path) || bytes_equal(path, BYTES("/healthz")) || bytes_equal(path, BYTES("/metrics")) ||
           bytes_equal(path, BYTES("/ping"));
}

enum MHD_Result exchange_answer_get(struct exchange *x, struct bytes path, bool *known)
{
    const struct page_file *f = page_find(path);
    *known = true;
    if (f) {
        enter_answered(x);
        return reply_page(x->connection, f, front_is_draining(x->front));
    }
    if (bytes_equal(path, BYTES("/healthz"))) {
        return answer_health(x);
    }
    if (bytes_equal(path, BYTES("/metrics"))) {
        return answer_metrics(x);
    }
    if (bytes_equal(path, BYTES("/walk-sensor/raw")) || bytes_equal(path, BYTES("/walk-sensor/proc"))) {
        return send_reply(x, 200, "text/plain; charset=utf-8", BYTES("OK"), (struct reply_extra){0});
    }
    if (bytes_equal(path, BYTES("/ping")) || bytes_equal(path, BYTES("/write"))) { /* InfluxDB's clients ask first */
        return send_reply(x, 204, NULL, (struct bytes){0}, (struct reply_extra){0});
    }
    *known = false;
    return MHD_NO;
}
