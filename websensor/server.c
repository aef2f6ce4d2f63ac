#include "websensor/server_internal.h"

#include "base/log.h"
#include "net/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { TICK_MS = 1000, STOP_MS = 3000, SEEN_MAX = 16384, DEVICES_MAX = 1024, PEM_MAX = 1 << 20, SPARE_FILES = 64 };

LOG_POINT(log_reloaded, "server.reloaded", LOG_NOTICE, "tokens and certificates were read again");
LOG_POINT(log_kept, "server.kept", LOG_ERROR, "a file has a mistake: the old content stays in use");
LOG_POINT(log_timeouts, "http.timeouts", LOG_INFO, "connections were ended that were too slow or idle");
LOG_POINT(log_files, "server.files", LOG_WARNING, "too few open files allowed for max_connections");

#define ROW(member, kind_, text)                                                                                       \
    {                                                                                                                  \
#member, kind_, offsetof(struct server_metrics, member), text                                                  \
    }

static const struct metric_row metric_rows[] = {
    ROW(requests, METRIC_COUNTER, "HTTP requests."),
    ROW(published, METRIC_COUNTER, "Messages acknowledged by the broker (QoS 0: handed to it)."),
    ROW(repeated, METRIC_COUNTER, "Requests that a client sent again, not published twice."),
    ROW(refused, METRIC_COUNTER, "Requests answered with an error that is the client's."),
    ROW(unauthorized, METRIC_COUNTER, "Requests answered with 401 or 403."),
    ROW(limited, METRIC_COUNTER, "Requests over rate_limit."),
    ROW(unavailable, METRIC_COUNTER, "Requests answered with 503."),
    ROW(evicted, METRIC_COUNTER, "Connections ended to make room for others."),
    ROW(timeouts, METRIC_COUNTER, "Connections ended because they were too slow or idle."),
    ROW(connections, METRIC_GAUGE, "Open connections."),
    ROW(waiting, METRIC_GAUGE, "Requests that wait for the broker."),
    ROW(broker_up, METRIC_GAUGE, "1 while the broker answers."),
};

#define METRIC_ROWS (sizeof(metric_rows) / sizeof(metric_rows[0]))

static void update_gauges(struct server *s)
{
    metric_set(&s->metrics.connections, conns_count(s->conns));
    metric_set(&s->metrics.evicted, conns_evicted(s->conns));
    metric_set(&s->metrics.waiting, delivery_waiting(s->delivery));
    metric_set(&s->metrics.broker_up, uplink_is_up(s->uplink));
}

enum err server_print_metrics(struct server *s, struct buffer *out)
{
    update_gauges(s);
    return metrics_print_prometheus(metric_rows, METRIC_ROWS, &s->metrics, "websensor_", out);
}

/* --- the uplink's events */

static void on_down(void *ctx, bool refused)
{
    struct server *s = ctx;
    (void)refused;
    delivery_on_down(s->delivery);
}

static void on_published(void *ctx, uint64_t token, uint8_t reason, struct bytes reason_text)
{
    struct server *s = ctx;
    (void)reason_text;
    delivery_on_published(s->delivery, token, reason);
}

static void on_writable(void *ctx)
{
    struct server *s = ctx;
    delivery_on_writable(s->delivery);
}

static enum err status(void *ctx, struct buffer *out)
{
    struct server *s = ctx;
    enum err e = E_OK;
    update_gauges(s);
    for (size_t i = 0; i < METRIC_ROWS && e == E_OK; i++) {
        e = buffer_appendf(out, ",\"%s\":%llu", metric_rows[i].name,
                           (unsigned long long)metric_row_get(&metric_rows[i], &s->metrics));
    }
    return e;
}

static const struct uplink_events uplink_events = {
    .on_down = on_down, .on_published = on_published, .on_writable = on_writable, .status = status};

static enum err start_uplink(struct server *s, struct option_error *error)
{
    struct uplink_options o = {
        .config = &s->config->uplink,
        .session = {.version = MQTT_V5, .clean_start = true, .keepalive_s = 30, .max_inflight = 512},
        .acknowledge_at_once = true,
        .gather = true};
    enum err e = uplink_config_tls(&s->config->uplink, &s->uplink_tls, error);
    if (e != E_OK) {
        return e;
    }
    snprintf(s->client_id, sizeof(s->client_id), "websensor-%08llx", (unsigned long long)(random_seed() & 0xffffffffu));
    o.session.client_id = bytes_str(s->client_id);
    o.tls = s->uplink_tls;
    e = uplink_create(s->loop, &o, &uplink_events, s, &s->uplink);
    if (e == E_OK) {
        delivery_set_uplink(s->delivery, s->uplink);
    }
    return e;
}

/* --- files */

/* A whole file as a string into *out (owned). */
static enum err read_pem(const char *option, const char *path, char **out, struct option_error *error)
{
    struct buffer text;
    buffer_init(&text, PEM_MAX + 1);
    FILE *f = fopen(path, "re");
    enum err e = f ? buffer_reserve(&text, PEM_MAX + 1) : err_from_errno(errno);
    if (e == E_OK) {
        text.len = fread(text.data, 1, PEM_MAX + 1, f);
        e = ferror(f) ? E_IO : text.len > PEM_MAX ? E_TOO_LARGE : E_OK;
    }
    int errnum = f && !ferror(f) ? 0 : errno;
    if (f) {
        fclose(f);
    }
    if (e == E_OK) {
        *out = bytes_dup_str(buffer_bytes(&text));
        e = *out ? E_OK : E_NOMEM;
    }
    if (e != E_OK) {
        option_error_set(error, "option %s: %.200s: %s", option, path, errnum != 0 ? strerror(errnum) : err_name(e));
    }
    buffer_finish(&text);
    return e;
}

static enum err read_certificate(const struct websensor_config *c, char **cert, char **key, struct option_error *error)
{
    *cert = NULL;
    *key = NULL;
    enum err e = c->certfile ? read_pem("certfile", c->certfile, cert, error) : E_OK;
    return e == E_OK && c->keyfile ? read_pem("keyfile", c->keyfile, key, error) : e;
}

static void free_certificate(char *cert, char *key)
{
    if (key) {
        explicit_bzero(key, strlen(key));
    }
    free(cert);
    free(key);
}

static void reload_tokens(struct server *s)
{
    struct option_error error = {""};
    struct tokens *fresh;
    if (!s->config->tokens) {
        return;
    }
    if (tokens_read(s->config->tokens, &fresh, &error) == E_OK) {
        tokens_destroy(s->tokens);
        s->tokens = fresh;
    } else {
        log_emit(&log_kept, "reason=\"%s\"", error.text);
    }
}

static void reload_certificate(struct server *s)
{
    struct option_error error = {""};
    char *cert, *key;
    enum err e = read_certificate(s->config, &cert, &key, &error);
    for (size_t i = 0; e == E_OK && i < s->front_count; i++) {
        if (s->front_is_tls[i]) {
            e = front_set_certificate(s->fronts[i], cert, key);
            option_error_set(&error, "options certfile and keyfile: not a certificate and its key");
        }
    }
    if (e != E_OK) {
        log_emit(&log_kept, "reason=\"%s\"", error.text);
    }
    free_certificate(cert, key);
}

static void reload_uplink_tls(struct server *s)
{
    struct option_error error = {""};
    struct tls_context *fresh;
    if (uplink_config_tls(&s->config->uplink, &fresh, &error) == E_OK) {
        uplink_set_tls(s->uplink, fresh);
        tls_unref(s->uplink_tls);
        s->uplink_tls = fresh;
    } else {
        log_emit(&log_kept, "reason=\"%s\"", error.text);
    }
}

void server_reload(struct server *s)
{
    reload_tokens(s);
    reload_certificate(s);
    reload_uplink_tls(s);
    s->dates = (struct tls_dates_plan){0};
    log_emit_plain(&log_reloaded);
}

/* --- life */

static void on_uplink_closed(void *ctx)
{
    struct server *s = ctx;
    s->uplink = NULL;
    s->on_stopped(s->ctx);
}

static size_t open_connections(const struct server *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->front_count; i++) {
        n += front_connections(s->fronts[i]);
    }
    return n;
}

static void finish_stopping(struct server *s)
{
    delivery_on_down(s->delivery); /* resumes what is suspended */
    for (size_t i = 0; i < s->front_count; i++) {
        front_destroy(s->fronts[i]);
    }
    s->front_count = 0;
    uv_close((uv_handle_t *)&s->timer, NULL);
    uplink_close(s->uplink, on_uplink_closed);
}

static void on_tick(uv_timer_t *timer)
{
    struct server *s = timer->data;
    struct mono now = mono_now();
    size_t ended = conns_tick(s->conns, now);
    if (ended > 0) {
        metric_add(&s->metrics.timeouts, ended);
        log_emit(&log_timeouts, "count=%zu", ended);
    }
    delivery_tick(s->delivery, now);
    for (size_t i = 0; i < s->front_count; i++) {
        front_tick(s->fronts[i]);
    }
    struct wall wall = wall_now();
    if (tls_dates_due(&s->dates, now, wall)) {
        (void)tls_dates_check("certfile", s->config->certfile, TLS_DATES_IDENTITY, wall);
        uplink_config_dates(&s->config->uplink, wall);
    }
    log_flush_suppressed();
    if (s->stopping && (mono_reached(now, s->stop_by) || open_connections(s) == 0)) {
        finish_stopping(s);
    }
}

void server_stop(struct server *s, void (*on_stopped)(void *ctx), void *ctx)
{
    if (s->stopping) {
        return;
    }
    s->stopping = true;
    s->on_stopped = on_stopped;
    s->ctx = ctx;
    s->stop_by = mono_add_ms(mono_now(), STOP_MS);
    for (size_t i = 0; i < s->front_count; i++) {
        front_quiesce(s->fronts[i]);
    }
    conns_end_idle(s->conns);
    uv_timer_start(&s->timer, on_tick, 50, 50);
}

static enum err open_fronts(struct server *s, const struct listeners *list, bool tls, const char *cert, const char *key,
                            struct option_error *error)
{
    struct front_options o = {.tls = tls,
                              .max_connections = (size_t)s->config->max_connections,
                              .cert = cert,
                              .key = key,
                              .ctx = s,
                              .on_request = exchange_on_request,
                              .on_uri = exchange_on_uri,
                              .on_completed = exchange_on_completed,
                              .on_connection = exchange_on_connection};
    enum err e = E_OK;
    for (size_t i = 0; i < list->count && e == E_OK; i++) {
        size_t count;
        o.listener = list->items[i];
        e = front_create(s->loop, &o, s->fronts + s->front_count, &count, error);
        for (size_t j = 0; j < count; j++) {
            s->front_is_tls[s->front_count++] = tls;
        }
    }
    return e;
}

static enum err open_all_fronts(struct server *s, struct option_error *error)
{
    char *cert, *key;
    struct listeners tls = websensor_config_tls(s->config);
    enum err e = read_certificate(s->config, &cert, &key, error);
    if (e == E_OK) {
        e = open_fronts(s, &tls, true, cert, key, error);
    }
    if (e == E_OK) {
        e = open_fronts(s, &s->config->plain, false, NULL, NULL, error);
    }
    free_certificate(cert, key);
    return e;
}

/* Each connection needs a descriptor. */
static void allow_files(const struct websensor_config *c)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)c->max_connections * 2 + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return;
    }
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
        log_emit(&log_files, "allowed=%llu wanted=%llu", (unsigned long long)limit.rlim_cur,
                 (unsigned long long)wanted);
    }
}

static enum err create_parts(struct server *s, struct option_error *error)
{
    const struct websensor_config *c = s->config;
    struct conns_options o = {.max = (size_t)c->max_connections,
                              .rate = c->rate_limit == RATE_LIMIT_AUTO ? 100 : (double)c->rate_limit,
                              .rate_loopback = c->rate_limit != RATE_LIMIT_AUTO};
    enum err e = conns_create(&o, &s->conns);
    if (e == E_OK) {
        e = delivery_create(&s->delivery);
    }
    if (e == E_OK) {
        e = devices_create(DEVICES_MAX, &s->devices);
    }
    if (e == E_OK) {
        e = seen_create(SEEN_MAX, &s->seen);
    }
    return e == E_OK && c->tokens ? tokens_read(c->tokens, &s->tokens, error) : e;
}

enum err server_create(uv_loop_t *loop, const struct websensor_config *c, struct server **out,
                       struct option_error *error)
{
    struct server *s = calloc(1, sizeof(*s));
    if (!s) {
        return E_NOMEM;
    }
    s->loop = loop;
    s->config = c;
    s->trace = random_seed();
    allow_files(c);
    enum err e = create_parts(s, error);
    if (e == E_OK) {
        e = open_all_fronts(s, error);
    }
    if (e == E_OK) {
        e = start_uplink(s, error);
    }
    if (e != E_OK) {
        for (size_t i = 0; i < s->front_count; i++) {
            front_destroy(s->fronts[i]);
        }
        server_destroy(s);
        return e;
    }
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    uv_timer_start(&s->timer, on_tick, TICK_MS, TICK_MS);
    *out = s;
    return E_OK;
}

void server_destroy(struct server *s)
{
    if (!s) {
        return;
    }
    conns_destroy(s->conns);
    delivery_destroy(s->delivery);
    devices_destroy(s->devices);
    seen_destroy(s->seen);
    tokens_destroy(s->tokens);
    reply_stock_finish(&s->replies);
    tls_unref(s->uplink_tls);
    free(s);
}
