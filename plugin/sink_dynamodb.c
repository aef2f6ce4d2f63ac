#include "plugin/sink_dynamodb_internal.h"

#include "aws/profile.h"

#include <stdio.h>
#include <stdlib.h>

#define FAILING_BASE_MS 50u
#define FAILING_CAP_MS 20000u
#define HURRY_MS 200u /* nothing else can be done before these records are stored: they need not wait for longer */
#define MESSAGE_MAX (24u << 20) /* a payload of half a segment as base64 */
#define BODY_MAX (16u << 20)

LOG_POINT(log_kept, "dynamodb.reload-kept", LOG_ERROR, "the new credentials options cannot be used; the old ones stay");

static bool wanted(const struct plugin_options *o)
{
    return o->dynamodb_table != NULL;
}

static void set_state(struct ddb_sink *s, struct mono now)
{
    enum sink_state state = s->ever_stored ? SINK_RUNNING : SINK_CONNECTING;
    if (s->paused) {
        state = SINK_PAUSED;
    } else if (s->no_credentials || s->failures || !mono_reached(now, s->hold)) {
        state = SINK_WAITING;
    }
    for (const struct table *t = s->window.tables; t && !s->paused; t = t->next) {
        state = t->broken ? SINK_FAILED : state;
    }
    metric_set(&s->host.stats->state, state);
}

/* The end: timer, requests, credentials, memory, in this order. */

static void on_credentials_closed(void *ctx)
{
    struct ddb_sink *s = ctx;
    void (*on_stopped)(void *) = s->on_stopped;
    void *stopped_ctx = s->stopped_ctx;
    window_finish(&s->window);
    attribute_encoder_finish(&s->encoder);
    buffer_finish(&s->message);
    buffer_finish(&s->item);
    for (size_t i = 0; i < DYNAMODB_CONNECTIONS_MAX; i++) {
        buffer_finish(&s->slots[i].body);
    }
    metric_set(&s->host.stats->state, SINK_STOPPED);
    plugin_options_unref(s->options);
    plugin_options_unref(s->start_options);
    free(s);
    on_stopped(stopped_ctx);
}

static void on_dynamodb_closed(void *ctx)
{
    struct ddb_sink *s = ctx;
    credentials_close(s->credentials, on_credentials_closed, s);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct ddb_sink *s = handle->data;
    dynamodb_close(s->dynamodb, on_dynamodb_closed, s);
}

static void end(struct ddb_sink *s)
{
    ddb_cancel_all(s);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

/* What to do and when. */

static void on_timer(uv_timer_t *timer)
{
    ddb_work(timer->data);
}

static void set_timer(struct ddb_sink *s, struct mono now, struct mono next)
{
    if (next.ns == MONO_NEVER.ns) {
        uv_timer_stop(&s->timer);
    } else {
        uint64_t ms = mono_ms_until(now, next);
        uv_timer_start(&s->timer, on_timer, ms ? ms : 1, 0);
    }
}

void ddb_work(struct ddb_sink *s)
{
    struct mono now = mono_now();
    if (s->stopping && (s->in_flight == 0 || mono_reached(now, s->stop_at))) {
        end(s);
        return;
    }
    window_release(&s->window, now);
    do {
        if (!s->paused && !s->stopping && mono_reached(now, s->hold)) {
            ddb_fill(s, now);
        }
    } while (ddb_dispatch(s, now));
    if (s->stuck && s->window.ready == 0 && s->in_flight == 0) {
        window_hurry(&s->window, mono_add_ms(now, HURRY_MS));
    }
    struct mono next = mono_min(window_next_due(&s->window), ddb_end_episodes(s, now));
    if (ddb_can_send(s)) {
        next = mono_min(next, ddb_next_dispatch(s, now));
        if (!s->drained && !mono_reached(now, s->hold)) {
            next = mono_min(next, s->hold);
        }
        if (!s->drained && !mono_reached(now, s->fill_at)) {
            next = mono_min(next, s->fill_at);
        }
    }
    set_timer(s, now, s->stopping ? s->stop_at : next);
    set_state(s, now);
}

static void on_credentials_ready(void *ctx)
{
    struct ddb_sink *s = ctx;
    s->no_credentials = false;
    s->hold = (struct mono){0};
    for (struct table *t = s->window.tables; t; t = t->next) {
        t->hold = (struct mono){0}; /* what was not permitted may be now */
    }
    if (!s->stopping) {
        ddb_work(s);
    }
}

static void on_credentials_failed(void *ctx, const char *tried)
{
    struct ddb_sink *s = ctx;
    (void)tried; /* the credentials have told it */
    set_state(s, mono_now());
}

static const struct credentials_events credentials_events = {on_credentials_ready, on_credentials_failed};

/* Operations. */

static void wake(struct sink *base)
{
    struct ddb_sink *s = (struct ddb_sink *)base;
    s->drained = false;
    if (!s->stopping) {
        ddb_work(s);
    }
}

static struct credentials_options credentials_options(const struct plugin_options *o)
{
    return (struct credentials_options){.profile = o->aws_profile,
                                        .role_alias = o->aws_role_alias,
                                        .endpoint = o->aws_credentials_endpoint,
                                        .certfile = o->iot_certfile,
                                        .keyfile = o->iot_keyfile,
                                        .cafile = o->iot_cafile};
}

static void reload(struct sink *base, const struct plugin_options *o)
{
    struct ddb_sink *s = (struct ddb_sink *)base;
    struct credentials_options options = credentials_options(o);
    struct aws_error error;
    enum err e = credentials_reload(s->credentials, &options, &error);
    if (e) {
        log_emit(&log_kept, "reason=\"%s\"", error.text);
    }
    s->layout.ttl_ms = o->dynamodb_ttl;
    s->connections = (size_t)o->dynamodb_connections;
    plugin_options_unref(s->options);
    s->options = plugin_options_ref(o);
    ddb_work(s);
}

static void pause_sink(struct sink *base, bool paused)
{
    struct ddb_sink *s = (struct ddb_sink *)base;
    s->paused = paused;
    ddb_work(s);
}

static void stop(struct sink *base, uint32_t drain_ms, void (*on_stopped)(void *ctx), void *ctx)
{
    struct ddb_sink *s = (struct ddb_sink *)base;
    s->stopping = true;
    s->stop_at = mono_add_ms(mono_now(), drain_ms);
    s->on_stopped = on_stopped;
    s->stopped_ctx = ctx;
    ddb_work(s);
}

static const struct sink_ops ops = {.wake = wake, .reload = reload, .pause = pause_sink, .stop = stop};

/* Creation. */

/* Region and CA bundle may stand in the shared config file. */
static enum err find_region(const struct plugin_options *o, struct aws_profile *profile,
                            char region[static AWS_REGION_SIZE], struct aws_error *error)
{
    const char *const hosts[] = {o->dynamodb_endpoint, o->iot_endpoint.host, o->aws_credentials_endpoint};
    struct aws_error why;
    enum err loaded = aws_profile_load(o->aws_profile, profile, &why);
    enum err e = aws_region_find(o->aws_region, profile, hosts, sizeof(hosts) / sizeof(hosts[0]), region, error);
    if (e && loaded) {
        *error = why;
    }
    return e;
}

static enum err create_parts(struct ddb_sink *s, const struct plugin_options *o, struct aws_error *error)
{
    char region[AWS_REGION_SIZE];
    struct aws_profile profile = {0};
    struct dynamodb_reason reason;
    s->layout = (struct dynamodb_layout){o->dynamodb_sensor_key, o->dynamodb_time_key, (char)o->dynamodb_time_type,
                                         o->dynamodb_ttl};
    enum err e = dynamodb_layout_check(&s->layout, &reason);
    if (e) {
        aws_error_set(error, "%s", reason.text);
        return e;
    }
    e = find_region(o, &profile, region, error);
    struct credentials_options options = credentials_options(o);
    e = e ? e : credentials_create(s->host.loop, &options, &credentials_events, s, &s->credentials, error);
    if (!e) {
        const char *bundle = getenv("AWS_CA_BUNDLE");
        struct dynamodb_options d = {.region = region,
                                     .endpoint = o->dynamodb_endpoint,
                                     .cafile = bundle && bundle[0] ? bundle : profile.ca_bundle,
                                     .connections = DYNAMODB_CONNECTIONS_MAX,
                                     .credentials = s->credentials};
        e = dynamodb_create(s->host.loop, &d, &s->dynamodb, error);
        if (e) {
            credentials_close(s->credentials, NULL, NULL);
        }
    }
    aws_profile_finish(&profile);
    return e;
}

static void init_fields(struct ddb_sink *s, const struct sink_host *host, const struct plugin_options *o)
{
    s->base = (struct sink){&sink_dynamodb_type, &ops};
    s->host = *host;
    s->connections = (size_t)o->dynamodb_connections;
    attribute_encoder_init(&s->encoder);
    buffer_init(&s->message, MESSAGE_MAX);
    buffer_init(&s->item, DYNAMODB_ITEM_TEXT_MAX);
    backoff_init(&s->failing, FAILING_BASE_MS, FAILING_CAP_MS, random_seed());
    backoff_init(&s->refusing, FAILING_BASE_MS, FAILING_CAP_MS, random_seed());
    for (size_t i = 0; i < DYNAMODB_CONNECTIONS_MAX; i++) {
        s->slots[i].sink = s;
        buffer_init(&s->slots[i].body, BODY_MAX);
    }
}

static enum err create(const struct sink_host *host, const struct plugin_options *o, struct sink **out,
                       char error[static 256])
{
    struct ddb_sink *s = calloc(1, sizeof(*s));
    struct aws_error why = {"no memory"};
    if (!s || window_init(&s->window) != E_OK) {
        snprintf(error, 256, "no memory");
        free(s);
        return E_NOMEM;
    }
    init_fields(s, host, o);
    enum err e = create_parts(s, o, &why);
    if (e) {
        bool named = strncmp(why.text, "aws_", 4) == 0 || strncmp(why.text, "dynamodb_", 9) == 0 ||
                     strncmp(why.text, "iot_", 4) == 0;
        snprintf(error, 256, "option %s%.230s", named ? "" : "dynamodb_table: ", why.text);
        window_finish(&s->window);
        free(s);
        return e;
    }
    s->options = plugin_options_ref(o);
    s->start_options = plugin_options_ref(o);
    uv_timer_init(host->loop, &s->timer);
    s->timer.data = s;
    s->no_credentials = true; /* credentials will tell */
    metric_set(&host->stats->state, SINK_CONNECTING);
    *out = &s->base;
    return E_OK;
}

const struct sink_type sink_dynamodb_type = {
    .name = "dynamodb", .id = SINK_DYNAMODB, .wanted = wanted, .create = create};
