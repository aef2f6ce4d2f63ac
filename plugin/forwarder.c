#include "plugin/forwarder.h"

#include "plugin/iotcore_identity.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

LOG_POINT(log_no_tick, "broker.no-tick", LOG_ERROR,
          "the broker gives no ticks: metrics, commands and log lines wait. Mosquitto 2.0.11 with "
          "per_listener_settings true? "
          "Set it to false, or update; there it captures nothing if the plugin line stands before the first listener");
LOG_POINT(log_post, "forwarder.post", LOG_ERROR, "the loop thread does not take requests");

#define HOUSEKEEPING_MS 1000u
#define POST_TRIES 2000u

static const struct sink_type *const sink_types[SINK_COUNT] = {
    [SINK_IOTCORE] = &sink_iotcore_type,
    [SINK_DYNAMODB] = &sink_dynamodb_type,
    [SINK_SQLITE] = &sink_sqlite_type,
};

struct slot {
    struct sink *sink; /* NULL = not configured; loop's thread once the loop runs */
    struct sink_host host;
    struct sink_stats stats;
    struct forwarder *forwarder;
};

struct forwarder {
    struct spool *spool;
    struct rejected *rejected;
    struct loop *loop;
    struct wills *wills; /* NULL: none are wanted */
    struct uplink_sockets *sockets;
    uint8_t sinks; /* SINK_BIT()s; fixed after create */
    struct slot slots[SINK_COUNT];
    atomic_bool ticked;
    metric_value certificate_days; /* TLS_DATES_UNKNOWN: there is no certificate */
    bool started;                  /* the loop's thread runs */
    /* The loop's thread from here on. */
    uv_timer_t housekeeping;
    uint32_t seconds;
    const struct plugin_options *options; /* a reference; NULL before begin() */
    struct tls_dates_plan dates;
    uint32_t drain_ms;
    unsigned stopping; /* parts that have not stopped yet */
};

static void on_records(void *ctx, enum sink_id id)
{
    struct forwarder *f = ctx;
    struct sink *s = f->slots[id].sink;
    if (s) {
        s->ops->wake(s);
    }
}

static void complain_no_tick(void)
{
    log_emit(&log_no_tick, "waited_ms=%u", FORWARDER_TICK_DEADLINE_MS);
    fprintf(stderr, "mosquitto-aws: %s: %s\n", log_no_tick.id, log_no_tick.text);
}

static void on_housekeeping(uv_timer_t *timer)
{
    struct forwarder *f = timer->data;
    log_flush_suppressed();
    struct wall wall = wall_now();
    if (tls_dates_due(&f->dates, mono_now(), wall)) {
        metric_set(&f->certificate_days, iotcore_identity_dates(f->options, wall));
    }
    if (f->seconds < UINT32_MAX) {
        f->seconds++;
    }
    if (f->seconds == FORWARDER_TICK_DEADLINE_MS / HOUSEKEEPING_MS && !atomic_load(&f->ticked)) {
        complain_no_tick();
    }
}

static enum err open_spool(struct forwarder *f, const struct plugin_options *o, struct option_error *error)
{
    const struct spool_options options = {
        .dir = o->spool_dir,
        .max_size = o->spool_max_size,
        .full = (enum spool_full)o->spool_full,
        .sync_ms = o->spool_sync,
        .sinks = f->sinks,
    };
    struct spool_error why = {""};
    enum err e = spool_open(&options, &f->spool, &why);
    if (e) {
        option_error_set(error, "option spool_dir: %s", why.text);
    }
    return e;
}

/* --- on the loop's thread --- */

static void on_rejected_written(void *ctx)
{
    struct forwarder *f = ctx;
    spool_written_beside(f->spool);
}

static enum err open_rejected(struct forwarder *f, const struct plugin_options *o, struct option_error *error)
{
    enum err e = rejected_open(o->spool_dir, &f->rejected);
    if (e) {
        option_error_set(error, "option spool_dir: cannot use %s/rejected: %s", o->spool_dir, err_name(e));
    } else {
        rejected_watch(f->rejected, on_rejected_written, f);
    }
    return e;
}

static enum err create_sinks(struct forwarder *f, const struct plugin_options *o, struct outbox *outbox,
                             struct option_error *error)
{
    for (unsigned id = 0; id < SINK_COUNT; id++) {
        struct slot *slot = &f->slots[id];
        slot->forwarder = f;
        if (!(f->sinks & SINK_BIT(id))) {
            continue;
        }
        slot->host = (struct sink_host){
            .loop = loop_uv(f->loop),
            .outbox = outbox,
            .cursor = spool_cursor(f->spool, (enum sink_id)id),
            .rejected = f->rejected,
            .stats = &slot->stats,
            .sockets = f->sockets,
        };
        char why[256] = "";
        enum err e = sink_types[id]->create(&slot->host, o, &slot->sink, why);
        if (e) {
            option_error_set(error, "%s", why[0] ? why : err_name(e));
            return e;
        }
    }
    return E_OK;
}

static enum err create_wills(struct forwarder *f, const struct plugin_options *o, struct outbox *outbox,
                             struct option_error *error)
{
    if (o->will_count == 0) {
        return E_OK;
    }
    enum err e = wills_create(loop_uv(f->loop), outbox, o, &f->wills);
    if (e) {
        option_error_set(error, "option will: %s", err_name(e));
    }
    return e;
}

static enum err start_spool(struct forwarder *f, struct option_error *error)
{
    enum err e = spool_start(f->spool, loop_uv(f->loop), on_records, f);
    if (e) {
        option_error_set(error, "option spool_dir: %s", err_name(e));
    }
    return e;
}

/* forwarder_create's part on the loop's thread: that thread may have a table of open files of its own, and there everything must
 * be opened that it uses. */
struct beginning {
    struct forwarder *forwarder;
    const struct plugin_options *options;
    struct outbox *outbox;
    struct option_error *error;
    enum err result;
    uv_sem_t done;
};

static void begin(void *arg)
{
    struct beginning *b = arg;
    struct forwarder *f = b->forwarder;
    f->options = plugin_options_ref(b->options);
    uv_timer_init(loop_uv(f->loop), &f->housekeeping);
    f->housekeeping.data = f;
    enum err e = open_rejected(f, b->options, b->error);
    e = e ? e : create_sinks(f, b->options, b->outbox, b->error);
    e = e ? e : create_wills(f, b->options, b->outbox, b->error);
    e = e ? e : start_spool(f, b->error);
    if (!e) {
        uv_timer_start(&f->housekeeping, on_housekeeping, HOUSEKEEPING_MS, HOUSEKEEPING_MS);
        for (unsigned id = 0; id < SINK_COUNT; id++) {
            on_records(f, (enum sink_id)id);
        }
    }
    b->result = e;
    uv_sem_post(&b->done); /* `b` is gone */
}

/* --- on the broker's thread --- */

static enum err start_loop(struct forwarder *f, struct option_error *error)
{
    enum err e = loop_create_apart(&f->loop);
    if (e == E_FULL) {
        option_error_set(error, LOOP_FULL_TEXT);
        return e;
    }
    if (e) {
        option_error_set(error, "cannot create the event loop: %s", err_name(e));
        return e;
    }
    e = loop_start(f->loop, "mosquitto-aws");
    if (e == E_BUSY) {
        option_error_set(error, "the plugin ran before in this process: it takes a new one");
    } else if (e) {
        option_error_set(error, "cannot start the loop thread: %s", err_name(e));
    }
    f->started = !e;
    return e;
}

/* The spool's shortcut: a record that comes alone is sent from here, if the loop's thread sleeps. */
static uint32_t send_alone(void *ctx, const struct record *r, uint32_t sinks)
{
    struct forwarder *f = ctx;
    uint32_t taken = 0;
    if ((sinks & SINK_BIT(SINK_IOTCORE)) && loop_borrow(f->loop)) {
        struct sink *s = f->slots[SINK_IOTCORE].sink;
        if (s && s->ops->send_alone && s->ops->send_alone(s, r)) {
            taken = SINK_BIT(SINK_IOTCORE);
        }
        loop_return(f->loop);
    }
    return taken;
}

/* Returns once begin() has run. */
static enum err begin_and_wait(struct forwarder *f, const struct plugin_options *o, struct outbox *outbox,
                               struct option_error *error)
{
    struct beginning b = {.forwarder = f, .options = o, .outbox = outbox, .error = error};
    if (uv_sem_init(&b.done, 0) != 0) {
        option_error_set(error, "no memory");
        return E_NOMEM;
    }
    enum err e = forwarder_post(f, begin, &b);
    if (!e) {
        uv_sem_wait(&b.done);
        e = b.result;
    }
    uv_sem_destroy(&b.done);
    return e;
}

enum err forwarder_create(const struct plugin_options *o, struct outbox *outbox, struct forwarder **out,
                          struct option_error *error)
{
    struct forwarder *f = calloc(1, sizeof(*f));
    if (!f) {
        option_error_set(error, "no memory");
        return E_NOMEM;
    }
    metric_set(&f->certificate_days, TLS_DATES_UNKNOWN);
    for (unsigned id = 0; id < SINK_COUNT; id++) {
        f->sinks |= (uint8_t)(sink_types[id]->wanted(o) ? SINK_BIT(id) : 0u);
    }
    enum err e = open_spool(f, o, error);
    e = e ? e : start_loop(f, error);
    if (!e && uplink_sockets_create(f->loop, &f->sockets) != E_OK) {
        option_error_set(error, "no memory");
        e = E_NOMEM;
    }
    e = e ? e : begin_and_wait(f, o, outbox, error);
    if (e) {
        forwarder_destroy(f, 0);
        return e;
    }
    spool_set_shortcut(f->spool, send_alone, f);
    *out = f;
    return E_OK;
}

/* --- the end, on the loop's thread --- */

static void on_part_stopped(struct forwarder *f)
{
    if (--f->stopping == 0) {
        rejected_close(f->rejected);
        f->rejected = NULL;
        loop_stop(f->loop);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_part_stopped(handle->data);
}

static void on_spool_stopped(void *ctx)
{
    on_part_stopped(ctx);
}

static void end_spool(struct forwarder *f)
{
    f->stopping = 2;
    if (f->housekeeping.data) {
        uv_close((uv_handle_t *)&f->housekeeping, on_timer_closed);
    } else {
        f->stopping--; /* it has never begun */
    }
    spool_stop(f->spool, on_spool_stopped, f);
}

static void on_sink_stopped(void *ctx)
{
    struct forwarder *f = ctx;
    if (--f->stopping == 0) {
        end_spool(f);
    }
}

static void end(void *arg)
{
    struct forwarder *f = arg;
    f->stopping = 2; /* the wills' and ours, so that a sink that stops at once does not end the rest early */
    for (unsigned id = 0; id < SINK_COUNT; id++) {
        struct sink *s = f->slots[id].sink;
        f->slots[id].sink = NULL;
        if (s) {
            f->stopping++;
            s->ops->stop(s, f->drain_ms, on_sink_stopped, f);
        }
    }
    wills_stop(f->wills, on_sink_stopped, f);
    f->wills = NULL;
    on_sink_stopped(f);
}

/* --- on the broker's thread --- */

enum err forwarder_post(struct forwarder *f, void (*fn)(void *arg), void *arg)
{
    enum err e = loop_post(f->loop, fn, arg);
    for (unsigned tries = 0; e == E_FULL && tries < POST_TRIES; tries++) {
        uv_sleep(1);
        e = loop_post(f->loop, fn, arg);
    }
    if (e) {
        log_emit(&log_post, "error=%s", err_name(e));
    }
    return e;
}

void forwarder_destroy(struct forwarder *f, uint32_t drain_ms)
{
    if (!f) {
        return;
    }
    f->drain_ms = drain_ms;
    if (f->started && forwarder_post(f, end, f) == E_OK) {
        loop_join(f->loop);
    }
    uplink_sockets_destroy(f->sockets);
    loop_destroy(f->loop);
    spool_close(f->spool);
    plugin_options_unref(f->options);
    free(f);
}

/* New options on their way to the loop. */
struct reload {
    struct forwarder *forwarder;
    const struct plugin_options *options; /* a reference */
};

static void reload_sinks(void *arg)
{
    struct reload *r = arg;
    for (unsigned id = 0; id < SINK_COUNT; id++) {
        struct sink *s = r->forwarder->slots[id].sink;
        if (s) {
            s->ops->reload(s, r->options);
        }
    }
    plugin_options_unref(r->forwarder->options);
    r->forwarder->options = r->options;
    r->forwarder->dates = (struct tls_dates_plan){0};
    free(r);
}

void forwarder_reload(struct forwarder *f, const struct plugin_options *o)
{
    struct reload *r = malloc(sizeof(*r));
    if (!r) {
        log_emit(&log_post, "error=%s", err_name(E_NOMEM));
        return;
    }
    *r = (struct reload){.forwarder = f, .options = plugin_options_ref(o)};
    if (forwarder_post(f, reload_sinks, r) != E_OK) {
        plugin_options_unref(o);
        free(r);
    }
}

enum err forwarder_pause(struct forwarder *f, enum sink_id id, bool paused)
{
    struct sink *s = f->slots[id].sink;
    if (!s) {
        return E_NOT_FOUND;
    }
    s->ops->pause(s, paused);
    return E_OK;
}

struct rejected *forwarder_rejected(struct forwarder *f)
{
    return f->rejected;
}

void forwarder_tick(struct forwarder *f)
{
    atomic_store_explicit(&f->ticked, true, memory_order_relaxed);
    uplink_sockets_tidy(f->sockets);
}

struct spool *forwarder_spool(struct forwarder *f)
{
    return f->spool;
}

struct wills *forwarder_wills(struct forwarder *f)
{
    return f->wills;
}

uint8_t forwarder_sinks(const struct forwarder *f)
{
    return f->sinks;
}

const struct sink_stats *forwarder_sink_stats(const struct forwarder *f, enum sink_id id)
{
    return f->sinks & SINK_BIT(id) ? &f->slots[id].stats : NULL;
}

const metric_value *forwarder_certificate_days(const struct forwarder *f)
{
    return &f->certificate_days;
}

const struct sink_type *forwarder_sink_type(enum sink_id id)
{
    return sink_types[id];
}
