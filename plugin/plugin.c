/* The broker's entry points: nothing but translation between mosquitto's structures and ours. Everything here runs on
 * the broker's thread. */
#include "plugin/capture.h"
#include "plugin/control.h"
#include "plugin/forwarder.h"
#include "plugin/option_notes.h"
#include "plugin/properties.h"
#include "plugin/status.h"

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#include <stdio.h>
#include <stdlib.h>

#define PLUGIN_API_VERSION 5
#define DRAIN_MS 2000u
#define OUTBOX_PER_TURN 200u

LOG_POINT(log_config, "config.invalid", LOG_ERROR, "the configuration is wrong:");
LOG_POINT(log_twice, "plugin.twice", LOG_ERROR, "the plugin is loaded twice; one plugin line is enough");
LOG_POINT(log_started, "plugin.started", LOG_NOTICE, "running");
LOG_POINT(log_stopped, "plugin.stopped", LOG_NOTICE, "stopped");
LOG_POINT(log_reloaded, "config.reloaded", LOG_NOTICE, "options read again");
LOG_POINT(log_kept, "config.kept", LOG_ERROR, "options not taken over, the old ones stay");
LOG_POINT(log_restart, "config.restart", LOG_WARNING,
          "options changed that are read at start only; restart the broker");
LOG_POINT(log_refused, "capture.refused", LOG_ERROR,
          "the spool does not take messages; publishers of QoS 1 and 2 are disconnected and send again");
LOG_POINT(log_lost, "capture.dropped", LOG_ERROR, "a message did not get into the spool and is lost to the sinks");

struct plugin {
    mosquitto_plugin_id_t *id;
    struct plugin_option *lines; /* our copies, for reload; strings owned */
    size_t line_count;
    const struct plugin_options *options;
    struct outbox *outbox;
    struct outbox_broker broker; /* what the outbox is emptied into */
    struct forwarder *forwarder;
    struct capture *capture;
    struct wills *wills; /* the forwarder's; NULL without `will` lines */
    struct status *status;
    struct control *control;
    struct mono next_status;
    struct property_reader *properties;
};

/* The broker maps the image once however often it is named: a second init must be told from the first. */
static struct plugin *loaded;

static int broker_level(enum log_level level)
{
    static const int levels[] = {
        [LOG_ERROR] = MOSQ_LOG_ERR, [LOG_WARNING] = MOSQ_LOG_WARNING, [LOG_NOTICE] = MOSQ_LOG_NOTICE,
        [LOG_INFO] = MOSQ_LOG_INFO, [LOG_DEBUG] = MOSQ_LOG_DEBUG,
    };
    return levels[level];
}

static void write_broker_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    mosquitto_log_printf(broker_level(level), "mosquitto-aws: %s", line);
}

/* ---- what waits for the broker ---- */

static enum err publish_local(void *ctx, const struct outbox_message *m)
{
    const struct plugin *p = ctx;
    mosquitto_property *properties = NULL;
    char *topic = bytes_dup_str(m->topic);
    if (p->wills) {
        wills_passed(p->wills, m->topic, m->payload);
    }
    int rc = topic ? properties_make(m, &properties) : MOSQ_ERR_NOMEM;
    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_broker_publish_copy(NULL, topic, (int)m->payload.len, m->payload.data, m->qos, m->retain,
                                           properties);
    }
    if (rc != MOSQ_ERR_SUCCESS) {
        mosquitto_property_free_all(&properties);
    }
    free(topic);
    return rc == MOSQ_ERR_SUCCESS ? E_OK : rc == MOSQ_ERR_NOMEM ? E_NOMEM : E_INVALID;
}

static void drain_outbox(struct plugin *p, size_t max)
{
    outbox_drain(p->outbox, &p->broker, max);
}

static enum err publish_status(void *ctx, const char *topic, const char *value)
{
    const struct outbox_message m = {.topic = bytes_str(topic), .payload = bytes_str(value), .retain = true};
    return publish_local(ctx, &m);
}

/* ---- events ---- */

/* Not a part of on_message, so that topics that no route wants do not pay for the room on the stack. */
static __attribute__((noinline)) enum err take_message(struct plugin *p, const struct mosquitto_evt_message *m,
                                                       struct bytes topic, const struct route_match *match)
{
    struct record r;
    record_init(&r);
    r.topic = topic;
    r.payload = bytes_make(m->payload, m->payloadlen);
    r.qos = m->qos;
    r.retain = m->retain;
    r.client_id = bytes_str(mosquitto_client_id(m->client));
    enum err e = m->properties ? property_reader_take(p->properties, m->properties, &r) : E_OK;
    return e ? e : capture_take(p->capture, match, &r);
}

static __attribute__((cold)) int not_taken(const struct mosquitto_evt_message *m, enum err e)
{
    if (e != E_TOO_LARGE && m->qos > 0) {
        /* The only answer that loses nothing: the connection closes without acknowledgement (MOSQUITTO.md). */
        log_emit(&log_refused, "error=%s", err_name(e));
        return MOSQ_ERR_NOMEM;
    }
    log_emit(&log_lost, "error=%s qos=%u bytes=%u", err_name(e), m->qos, m->payloadlen);
    return MOSQ_ERR_SUCCESS;
}

static int on_message(int event, void *event_data, void *userdata)
{
    (void)event;
    struct plugin *p = userdata;
    const struct mosquitto_evt_message *m = event_data;
    struct route_match match;
    const struct bytes topic = bytes_str(m->topic);
    bool wanted = capture_wants(p->capture, topic, &match);
    enum err e = wanted ? take_message(p, m, topic, &match) : E_OK;
    drain_outbox(p, OUTBOX_PER_TURN);
    int answer = e ? not_taken(m, e) : MOSQ_ERR_SUCCESS;
    if (wanted && p->wills && answer == MOSQ_ERR_SUCCESS) {
        wills_passed(p->wills, topic, bytes_make(m->payload, m->payloadlen));
    }
    return answer;
}

static int on_tick(int event, void *event_data, void *userdata)
{
    (void)event;
    (void)event_data;
    struct plugin *p = userdata;
    forwarder_tick(p->forwarder);
    drain_outbox(p, OUTBOX_PER_TURN);
    if (p->options->sys_interval > 0) {
        struct mono now = mono_now();
        if (mono_reached(now, p->next_status)) {
            status_publish(p->status, publish_status, p);
            p->next_status = mono_add_ms(now, p->options->sys_interval);
        }
    }
    return MOSQ_ERR_SUCCESS;
}

static int on_control(int event, void *event_data, void *userdata)
{
    (void)event;
    struct plugin *p = userdata;
    const struct mosquitto_evt_control *c = event_data;
    control_request(p->control, mosquitto_client_id(c->client), bytes_make(c->payload, c->payloadlen));
    return MOSQ_ERR_SUCCESS;
}

static void warn_fixed_changes(const struct plugin_options *from, const struct plugin_options *to)
{
    struct buffer names;
    buffer_init(&names, 512);
    plugin_options_fixed_changes(from, to, &names);
    if (names.len > 0) {
        log_emit(&log_restart, "options='%.*s'", (int)names.len, (const char *)names.data);
    }
    buffer_finish(&names);
}

static int on_reload(int event, void *event_data, void *userdata)
{
    (void)event;
    (void)event_data;
    struct plugin *p = userdata;
    const struct plugin_options *fresh;
    struct option_error why = {""};
    enum err e = plugin_options_create(p->lines, p->line_count, &fresh, &why);
    if (!e) {
        e = capture_reload(p->capture, fresh);
        if (e) {
            option_error_set(&why, "%s", err_name(e));
            plugin_options_unref(fresh);
        }
    }
    if (e) {
        log_emit(&log_kept, "reason='%s'", why.text);
        /* Certificates may have been renewed all the same. */
        forwarder_reload(p->forwarder, p->options);
        return MOSQ_ERR_PLUGIN_DEFER;
    }
    warn_fixed_changes(p->options, fresh);
    spool_set_limits(forwarder_spool(p->forwarder), fresh->spool_max_size, (enum spool_full)fresh->spool_full,
                     fresh->spool_sync);
    forwarder_reload(p->forwarder, fresh);
    plugin_options_unref(p->options);
    p->options = fresh;
    option_notes_log(fresh);
    log_emit(&log_reloaded, "topics=%zu stores=%zu", fresh->topic_count, fresh->store_count);
    return MOSQ_ERR_PLUGIN_DEFER;
}

/* ---- start and end ---- */

static const struct {
    int event;
    MOSQ_FUNC_generic_callback callback;
    const char *data;
} events[] = {
    {MOSQ_EVT_MESSAGE, on_message, NULL},
    {MOSQ_EVT_TICK, on_tick, NULL},
    {MOSQ_EVT_RELOAD, on_reload, NULL},
    {MOSQ_EVT_CONTROL, on_control, CONTROL_TOPIC},
};

static enum err keep_lines(struct plugin *p, const struct mosquitto_opt *options, int count)
{
    p->lines = calloc(count > 0 ? (size_t)count : 1, sizeof(*p->lines));
    if (!p->lines) {
        return E_NOMEM;
    }
    for (int i = 0; i < count; i++) {
        struct plugin_option *line = &p->lines[p->line_count++];
        line->name = strdup(options[i].key);
        line->value = strdup(options[i].value ? options[i].value : "");
        if (!line->name || !line->value) {
            return E_NOMEM;
        }
    }
    return E_OK;
}

static void free_lines(struct plugin *p)
{
    for (size_t i = 0; i < p->line_count; i++) {
        free((char *)(uintptr_t)p->lines[i].name);
        free((char *)(uintptr_t)p->lines[i].value);
    }
    free(p->lines);
}

static enum err register_events(struct plugin *p)
{
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (mosquitto_callback_register(p->id, events[i].event, events[i].callback, events[i].data, p) !=
            MOSQ_ERR_SUCCESS) {
            return E_NOMEM;
        }
    }
    return E_OK;
}

static enum err start(struct plugin *p, const struct mosquitto_opt *options, int count, struct option_error *why)
{
    option_error_set(why, "no memory");
    enum err e = keep_lines(p, options, count);
    e = e ? e : plugin_options_create(p->lines, p->line_count, &p->options, why);
    e = e ? e : forwarder_create(p->options, p->outbox, &p->forwarder, why);
    if (e) {
        return e;
    }
    option_error_set(why, "no memory");
    e = capture_create(p->options, forwarder_sinks(p->forwarder), forwarder_spool(p->forwarder), &p->capture);
    if (!e && (p->wills = forwarder_wills(p->forwarder)) != NULL) {
        wills_attach(p->wills, p->capture);
    }
    e = e ? e : status_create(p->forwarder, &p->status);
    e = e ? e : control_create(p->forwarder, p->outbox, &p->control);
    return e ? e : register_events(p);
}

static void stop(struct plugin *p)
{
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        mosquitto_callback_unregister(p->id, events[i].event, events[i].callback, events[i].data);
    }
    forwarder_destroy(p->forwarder, DRAIN_MS);
    control_destroy(p->control);
    status_destroy(p->status);
    capture_destroy(p->capture);
    drain_outbox(p, 0); /* the last lines; nobody is left for the rest */
    log_init(NULL, NULL, LOG_INFO);
    outbox_destroy(p->outbox);
    plugin_options_unref(p->options);
    property_reader_destroy(p->properties);
    free_lines(p);
    free(p);
}

/* The broker ends without cleanup when it cannot open a listener. Our threads must not run on while libraries are torn down. */
static void on_exit_of_process(void)
{
    if (loaded) {
        forwarder_destroy(loaded->forwarder, 0);
        loaded->forwarder = NULL;
    }
}

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
    for (int i = 0; i < supported_version_count; i++) {
        if (supported_versions[i] == PLUGIN_API_VERSION) {
            return PLUGIN_API_VERSION;
        }
    }
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options,
                          int option_count)
{
    if (loaded) {
        mosquitto_log_printf(MOSQ_LOG_ERR, "mosquitto-aws: %s: %s", log_twice.id, log_twice.text);
        return MOSQ_ERR_INVAL;
    }
    struct plugin *p = calloc(1, sizeof(*p));
    if (!p) {
        return MOSQ_ERR_NOMEM;
    }
    p->id = identifier;
    p->broker = (struct outbox_broker){.log = write_broker_log, .publish = publish_local, .ctx = p};
    if (outbox_create(&p->outbox) != E_OK) {
        free(p);
        return MOSQ_ERR_NOMEM;
    }
    log_init(outbox_log, p->outbox, LOG_DEBUG);
    if (property_reader_create(&p->properties) != E_OK) {
        stop(p);
        return MOSQ_ERR_NOT_SUPPORTED;
    }
    struct option_error why = {""};
    enum err e = start(p, options, option_count, &why);
    if (e) {
        plugin_options_locate(p->options, &why);
        option_notes_add_process(&why);
        log_emit(&log_config, "%s", why.text);
        stop(p);
        return MOSQ_ERR_INVAL;
    }
    log_emit(&log_started, "topics=%zu stores=%zu spool='%s'", p->options->topic_count, p->options->store_count,
             p->options->spool_dir);
    option_notes_log(p->options);
    option_notes_places(p->options);
    drain_outbox(p, OUTBOX_PER_TURN);
    loaded = p;
    *userdata = p;
    /* Now, so that it runs before what OpenSSL has registered. */
    (void)atexit(on_exit_of_process);
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count)
{
    (void)options;
    (void)option_count;
    struct plugin *p = userdata;
    log_emit(&log_stopped, "waiting=%llu",
             (unsigned long long)metric_get(&spool_stats(forwarder_spool(p->forwarder))->records));
    stop(p);
    loaded = NULL;
    return MOSQ_ERR_SUCCESS;
}
