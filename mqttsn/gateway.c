#include "mqttsn/gateway_internal.h"

#include "base/backoff.h"
#include "mqtt/uplink.h"
#include "net/dtls.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    SOCKET_BUFFER = 8 * 1024 * 1024,
    HOUSE_MS = 1000,
    SHARED_INFLIGHT = 1000,
    SPARE_FILES = 64, /* besides one for each client */
};

LOG_POINT(log_listening, "mqttsn.listening", LOG_NOTICE, "listening");
LOG_POINT(log_few_files, "mqttsn.files", LOG_WARNING, "the limit of open files is lower than max_clients needs");
LOG_POINT(log_reloaded, "mqttsn.reloaded", LOG_NOTICE, "files were read again");
LOG_POINT(log_kept, "mqttsn.kept", LOG_ERROR, "a file was not read again, the old content stays in use");

struct mono gateway_now(const struct gateway *g)
{
    return (struct mono){uv_now(g->loop) * 1000000u};
}

uint16_t gateway_port(const struct gateway *g)
{
    return udp_address(g->endpoints[0].udp)->port;
}

/* --- status */

static const struct metric_row rows[] = {
#define ROW(name_, kind_, member)                                                                                      \
    {                                                                                                                  \
        .name = name_, .kind = kind_, .offset = offsetof(struct gateway_metrics, member)                               \
    }
    ROW("connected_total", METRIC_COUNTER, session.accepted),
    ROW("refused", METRIC_COUNTER, refused),
    ROW("received", METRIC_COUNTER, session.received),
    ROW("received_minus_one", METRIC_COUNTER, minus_one),
    ROW("rejected", METRIC_COUNTER, session.rejected),
    ROW("delivered", METRIC_COUNTER, session.delivered),
    ROW("retransmitted", METRIC_COUNTER, session.retransmitted),
    ROW("dropped", METRIC_COUNTER, session.dropped),
    ROW("lost", METRIC_COUNTER, session.lost),
    ROW("queued_bytes", METRIC_GAUGE, session.queued_bytes),
    ROW("awaited", METRIC_GAUGE, session.awaited),
    ROW("malformed", METRIC_COUNTER, malformed),
    ROW("strangers", METRIC_COUNTER, strangers),
#undef ROW
};

enum err gateway_status(void *ctx, struct buffer *out)
{
    struct gateway *g = ctx;
    struct udp_stats total = {0};
    for (size_t i = 0; i < g->endpoint_count; i++) {
        struct udp_stats one;
        udp_stats(g->endpoints[i].udp, &one);
        total.received += one.received;
        total.sent += one.sent;
        total.unsent += one.unsent;
    }
    enum err e = buffer_appendf(out,
                                ",\"gateway_id\":%u,\"clients\":%zu,\"away\":%zu,\"links\":%zu,"
                                "\"datagrams_received\":%llu,\"datagrams_sent\":%llu,\"datagrams_unsent\":%llu",
                                (unsigned)g->config->gateway_id, g->online, g->kept, g->links,
                                (unsigned long long)total.received, (unsigned long long)total.sent,
                                (unsigned long long)total.unsent);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && e == E_OK; i++) {
        e = buffer_appendf(out, ",\"%s\":%llu", rows[i].name,
                           (unsigned long long)metric_row_get(&rows[i], &g->metrics));
    }
    return e;
}

static const struct uplink_events own_uplink_events = {.status = gateway_status};

/* --- timers */

static void on_timer(uv_timer_t *timer);

void gateway_arm(struct gateway *g)
{
    const struct deadline *first = deadlines_first(&g->deadlines);
    struct mono at = mono_min(first ? first->at : MONO_NEVER, gateway_dtls_deadline(g));
    if (at.ns < g->timer_at.ns && !uv_is_closing((uv_handle_t *)&g->timer)) {
        g->timer_at = at;
        uv_timer_start(&g->timer, on_timer, mono_ms_until(gateway_now(g), at), 0);
    }
}

static void serve_deadlines(struct gateway *g, struct mono now)
{
    for (struct deadline *d; (d = deadlines_first(&g->deadlines)) && mono_reached(now, d->at);) {
        struct client *c = (struct client *)(void *)((char *)d - offsetof(struct client, deadline));
        deadlines_remove(&g->deadlines, d);
        if (mono_reached(now, session_deadline(c->session))) {
            session_on_time(c->session, now);
        }
        client_settle(c);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct gateway *g = timer->data;
    struct mono now = gateway_now(g);
    g->timer_at = MONO_NEVER;
    serve_deadlines(g, now);
    gateway_dtls_tick(g, now);
    gateway_arm(g);
}

static void on_house(uv_timer_t *timer)
{
    struct gateway *g = timer->data;
    struct mono now = gateway_now(g);
    log_flush_suppressed();
    gateway_dtls_sweep(g, now);
    struct wall wall = wall_now();
    if (tls_dates_due(&g->dates, now, wall)) {
        (void)tls_dates_check("dtls_certfile", g->config->dtls_certfile, TLS_DATES_IDENTITY, wall);
        uplink_config_dates(&g->config->uplink, wall);
    }
    if (g->advertise.family != 0 && mono_reached(now, g->next_advertise)) {
        gateway_advertise(g);
        g->next_advertise = mono_add_ms(now, g->config->advertise_interval_ms);
    }
}

/* --- the files */

static enum err read_predefined(const struct mqttsn_config *c, struct predefined **out, struct option_error *error)
{
    enum err e = c->predefined_topics ? predefined_read_file(c->predefined_topics, out, error) : E_OK;
    if (e != E_OK) {
        option_error_name(error, "predefined_topics", e);
    }
    return e;
}

static enum err read_clients(const struct mqttsn_config *c, struct credentials **out, struct option_error *error)
{
    enum err e = c->clients_file ? credentials_read_file(c->clients_file, out, error) : E_OK;
    if (e != E_OK) {
        option_error_name(error, "clients_file", e);
    }
    return e;
}

static enum err read_psk(const struct mqttsn_config *c, struct psk_table **out, struct option_error *error)
{
    enum err e = c->dtls_psk_file ? psk_read_file(c->dtls_psk_file, out, error) : E_OK;
    if (e != E_OK) {
        option_error_name(error, "dtls_psk_file", e);
    }
    return e;
}

static enum err read_files(const struct mqttsn_config *c, struct predefined **predefined,
                           struct credentials **credentials, struct psk_table **psk, struct tls_context **tls,
                           struct option_error *error)
{
    enum err e = read_predefined(c, predefined, error);
    e = e ? e : read_clients(c, credentials, error);
    e = e ? e : read_psk(c, psk, error);
    return e ? e : uplink_config_tls(&c->uplink, tls, error);
}

static void kept(const struct option_error *error)
{
    log_emit(&log_kept, "reason=\"%s\"", error->text);
}

void gateway_reload(struct gateway *g)
{
    const struct mqttsn_config *c = g->config;
    struct option_error error = {""};
    struct predefined *predefined = NULL;
    struct credentials *credentials = NULL;
    struct psk_table *psk = NULL;
    struct tls_context *tls = NULL;
    if (read_predefined(c, &predefined, &error) != E_OK) {
        kept(&error);
    } else if (c->predefined_topics) {
        predefined_destroy(g->predefined);
        g->env.predefined = g->predefined = predefined;
    }
    if (read_clients(c, &credentials, &error) != E_OK) {
        kept(&error);
    } else if (c->clients_file) {
        credentials_destroy(g->credentials);
        g->credentials = credentials;
    }
    if (read_psk(c, &psk, &error) != E_OK) {
        kept(&error);
    } else if (c->dtls_psk_file) {
        psk_destroy(g->psk);
        g->psk = psk;
    }
    if (uplink_config_tls(&c->uplink, &tls, &error) != E_OK) {
        kept(&error);
    } else {
        tls_unref(g->tls);
        g->tls = tls;
        if (g->uplink) {
            uplink_set_tls(g->uplink, tls);
        }
    }
    for (size_t i = 0; i < g->endpoint_count; i++) {
        if (g->endpoints[i].dtls && gateway_dtls_reload(&g->endpoints[i], &error) != E_OK) {
            kept(&error);
        }
    }
    g->dates = (struct tls_dates_plan){0};
    log_emit(&log_reloaded, "clients=%zu", g->online);
}

/* --- sockets */

static enum err open_endpoint(struct gateway *g, const struct udp_options *o, bool dtls, struct option_error *error)
{
    struct endpoint *e = &g->endpoints[g->endpoint_count];
    char text[ADDRESS_TEXT_SIZE];
    *e = (struct endpoint){.gateway = g, .group_only = o->shared};
    enum err err = udp_open(g->loop, o, &gateway_udp_events, e, &e->udp, error);
    if (err != E_OK) {
        option_error_name(error, dtls ? "dtls_listener" : o->shared ? "advertise_address" : "listener", err);
        return err;
    }
    g->endpoint_count++;
    if (dtls) {
        err = gateway_dtls_open(e, error);
    }
    if (err == E_OK) {
        log_emit(&log_listening, "address=%s transport=%s receive_buffer=%zu",
                 address_format(udp_address(e->udp), text),
                 dtls        ? "dtls"
                 : o->shared ? "group"
                             : "udp",
                 udp_receive_buffer(e->udp));
    }
    return err;
}

static enum err open_listener(struct gateway *g, const struct listener *l, bool dtls, struct option_error *error)
{
    struct udp_options o = {.bind = {.family = AF_INET, .port = l->port}, .buffer_size = SOCKET_BUFFER};
    if (l->address[0] && address_parse(l->address, l->port, &o.bind) != E_OK) {
        option_error_set(error, "option %s: %s is no address of this host", dtls ? "dtls_listener" : "listener",
                         l->address);
        return E_INVALID;
    }
    if (o.bind.family == AF_INET6 && o.bind.scope == 0 && o.bind.ip[0] == 0xfe && (o.bind.ip[1] & 0xc0) == 0x80) {
        option_error_set(error, "option %s: %s is link-local and needs its interface, such as %s%%eth0",
                         dtls ? "dtls_listener" : "listener", l->address, l->address);
        return E_INVALID;
    }
    enum err e = open_endpoint(g, &o, dtls, error);
    if (e == E_OK && !l->address[0]) {
        o.bind.family = AF_INET6;
        e = open_endpoint(g, &o, dtls, error);
        if (e == E_UNSUPPORTED || e == E_IO || e == E_UNREACHABLE) {
            e = E_OK; /* a host without IPv6 */
        }
    }
    return e;
}

static enum err open_listeners(struct gateway *g, struct option_error *error)
{
    struct listeners plain = mqttsn_config_plain(g->config);
    const struct listeners *dtls = &g->config->dtls;
    enum err e = E_OK;
    for (size_t i = 0; i < plain.count && e == E_OK; i++) {
        e = open_listener(g, &plain.items[i], false, error);
    }
    for (size_t i = 0; i < dtls->count && e == E_OK; i++) {
        e = open_listener(g, &dtls->items[i], true, error);
    }
    return e;
}

/* Hears SEARCHGW on the advertised address: on a listener that has its port, else on a socket of its own. */
static enum err open_group(struct gateway *g, struct option_error *error)
{
    enum err e = mqttsn_config_advertise(g->config, &g->advertise, error);
    if (e != E_OK) {
        return e == E_NOT_FOUND ? E_OK : e;
    }
    bool multicast = address_is_multicast(&g->advertise);
    for (size_t i = 0; i < g->endpoint_count; i++) {
        const struct address *bound = udp_address(g->endpoints[i].udp);
        if (!g->endpoints[i].dtls && bound->family == g->advertise.family && bound->port == g->advertise.port &&
            address_is_any(bound)) {
            e = multicast ? udp_join(g->endpoints[i].udp, &g->advertise) : E_OK;
            if (e != E_OK) {
                option_error_set(error, "option advertise_address: joining the group: %s", err_name(e));
            }
            return e;
        }
    }
    struct udp_options o = {.bind = g->advertise, .shared = true};
    if (multicast) {
        o.group = g->advertise;
    }
    return open_endpoint(g, &o, false, error);
}

/* --- life */

static void raise_file_limit(const struct mqttsn_config *c)
{
    struct rlimit limit;
    if (c->aggregate || getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < c->max_clients + SPARE_FILES) {
        log_emit(&log_few_files, "limit=%llu max_clients=%llu", (unsigned long long)limit.rlim_cur,
                 (unsigned long long)c->max_clients);
    }
}

static enum err start_uplink(struct gateway *g)
{
    const struct mqttsn_config *c = g->config;
    if (!c->aggregate && !c->qos_minus_one && !c->uplink.status_topic) {
        return E_OK;
    }
    struct uplink_options o = {.config = &c->uplink,
                               .tls = g->tls,
                               .pull = c->aggregate,
                               .session = {.version = MQTT_V5,
                                           .client_id = bytes_str(g->uplink_id),
                                           .clean_start = true,
                                           .keepalive_s = 60,
                                           .overrun_ok = true,
                                           .max_inflight = SHARED_INFLIGHT}};
    return uplink_create(g->loop, &o, c->aggregate ? &shared_uplink_events : &own_uplink_events, g, &g->uplink);
}

static void init(struct gateway *g, uv_loop_t *loop, const struct mqttsn_config *c)
{
    char host[65] = "localhost";
    (void)gethostname(host, sizeof(host) - 1);
    g->loop = loop;
    g->config = c;
    g->seed = random_seed();
    g->timer_at = MONO_NEVER;
    g->uplink_closed = true;
    snprintf(g->uplink_id, sizeof(g->uplink_id), "mqttsn-gateway-%s-%u", host, (unsigned)c->gateway_id);
    g->env = (struct session_env){.ops = c->aggregate ? &shared_session_ops : &links_session_ops,
                                  .retry_interval_ms = (uint32_t)c->retry_interval_ms,
                                  .retry_count = (uint32_t)c->retry_count,
                                  .queue_max = (uint32_t)c->sleep_queue,
                                  .gateway_wills = c->aggregate,
                                  .keep_link = c->aggregate,
                                  .metrics = &g->metrics.session,
                                  .rng = random_seed() | 1};
    g->links_item.run = c->aggregate ? shared_turn_end : links_turn_end;
    uv_timer_init(loop, &g->timer);
    uv_timer_init(loop, &g->house);
    g->timer.data = g->house.data = g;
    g->handles = 2;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct gateway *g = handle->data;
    if (--g->handles == 0 && g->on_stopped) {
        g->on_stopped(g->stopped_ctx);
    }
}

static void close_handles(struct gateway *g)
{
    for (size_t i = 0; i < g->endpoint_count; i++) {
        dtls_server_destroy(g->endpoints[i].dtls);
        g->endpoints[i].dtls = NULL;
        udp_close(g->endpoints[i].udp);
    }
    g->endpoint_count = 0;
    uv_close((uv_handle_t *)&g->timer, on_handle_closed);
    uv_close((uv_handle_t *)&g->house, on_handle_closed);
    if (g->turn) {
        turn_put(g->turn);
        g->turn = NULL;
    }
}

enum err gateway_create(uv_loop_t *loop, const struct mqttsn_config *c, struct gateway **out,
                        struct option_error *error)
{
    struct gateway *g = calloc(1, sizeof(*g));
    if (!g) {
        option_error_set(error, "no memory");
        return E_NOMEM;
    }
    init(g, loop, c);
    enum err e = turn_get(loop, &g->turn);
    if (e == E_OK) {
        e = flood_create(g->seed, &g->flood);
    }
    if (e == E_OK) {
        e = read_files(c, &g->predefined, &g->credentials, &g->psk, &g->tls, error);
        g->env.predefined = g->predefined;
    }
    if (e == E_OK && c->aggregate) {
        e = shared_create(g, &g->shared);
    }
    if (e == E_OK) {
        e = open_listeners(g, error);
    }
    if (e == E_OK) {
        e = open_group(g, error);
    }
    if (e == E_OK) {
        raise_file_limit(c);
        e = start_uplink(g);
    }
    if (e != E_OK) {
        if (error->text[0] == '\0') {
            option_error_set(error, "cannot start: %s", err_name(e));
        }
        close_handles(g);
        while (g->handles > 0) {
            uv_run(loop, UV_RUN_NOWAIT);
        }
        gateway_destroy(g);
        return e;
    }
    g->uplink_closed = g->uplink == NULL;
    uv_timer_start(&g->house, on_house, 0, HOUSE_MS);
    *out = g;
    return E_OK;
}

void gateway_destroy(struct gateway *g)
{
    if (!g) {
        return;
    }
    clients_finish(g);
    shared_destroy(g->shared);
    flood_destroy(g->flood);
    predefined_destroy(g->predefined);
    credentials_destroy(g->credentials);
    psk_destroy(g->psk);
    tls_unref(g->tls);
    free(g);
}

/* --- the end */

static void end_session(struct client *c)
{
    session_end(c->session, gateway_now(c->gateway));
}

void gateway_check_stopped(struct gateway *g)
{
    bool ended = g->stopping && g->uplink_closed && g->links == 0;
    if (ended && !uv_is_closing((uv_handle_t *)&g->timer)) {
        close_handles(g);
    }
}

static void on_uplink_closed(void *ctx)
{
    struct gateway *g = ctx;
    g->uplink_closed = true;
    g->uplink = NULL;
    gateway_check_stopped(g);
}

void gateway_stop(struct gateway *g, void (*on_stopped)(void *ctx), void *ctx)
{
    if (g->stopping) {
        return;
    }
    g->stopping = true;
    g->on_stopped = on_stopped;
    g->stopped_ctx = ctx;
    uv_timer_stop(&g->house);
    clients_each(g, end_session);
    if (g->uplink) {
        uplink_close(g->uplink, on_uplink_closed);
    }
    gateway_check_stopped(g);
}
