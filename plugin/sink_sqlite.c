/* The sink of the local store. Records are taken from the cursor, mapped and committed on a thread of libuv's pool (one job
 * at a time), and confirmed after the commit. A record that comes when nothing is to do is stored at once; after that there
 * is one commit a second, or one after the other as long as full batches wait.
 *
 * When the file cannot be written the batch is forgotten and the cursor rewound: everything stays in the spool, nothing is
 * held in memory, and the first batch is tried again after a backoff, with the file opened anew. */
#include "plugin/sink.h"

#include "base/backoff.h"
#include "base/log.h"
#include "plugin/retention_clock.h"
#include "plugin/sqlite_job.h"

#include <stdio.h>
#include <stdlib.h>

LOG_POINT(log_opened, "sqlite.opened", LOG_INFO, "local store opened");
LOG_POINT(log_waiting, "sqlite.waiting", LOG_WARNING,
          "the local store cannot be written: messages wait in the spool, it is tried again");
LOG_POINT(log_unusable, "sqlite.unusable", LOG_ERROR,
          "the local store cannot be used: messages wait in the spool until the file is repaired or moved away");
LOG_POINT(log_recovered, "sqlite.recovered", LOG_NOTICE, "the local store can be written again");
LOG_POINT(log_expired, "sqlite.expired", LOG_DEBUG, "old rows were deleted");

/* A record that comes alone waits this long for others, and a stream of them is committed once per interval. */
#define LINGER_MS 10u
#define COMMIT_INTERVAL_MS 1000u
/* Backoff after an error. A file that has to be repaired is looked at less often in the end, but as soon at first: a disk that
 * cannot read for a second looks like a damaged file, too. */
#define RETRY_BASE_MS 500u
#define RETRY_CAP_MS 30000u
#define REPAIR_CAP_MS 60000u
#define TURN_REJECTED 20u /* set aside in one turn: each one is a file */
/* Old rows are looked for every tenth of the retention, within these. */
#define EXPIRE_MIN_MS 1000u
#define EXPIRE_MAX_MS 60000u

static const struct mono at_once = {0};

struct sqlite_sink {
    struct sink base;
    struct sink_host host;
    uint64_t retention_ms; /* 0 = keep */
    struct retention_clock clock;
    struct sqlite_job job;
    uv_work_t work;

    uv_timer_t timer;      /* the next of the times below */
    struct mono commit_at; /* MONO_NEVER: nothing waits, wake will come */
    struct mono expire_at;
    struct mono retry_at;  /* nothing before then */
    struct mono started;   /* the last commit */
    struct mono failed_at; /* begin of the outage */
    struct backoff backoff;
    enum err failed; /* why we wait; E_OK = we do not */
    bool expired_last;
    bool paused;
    uint64_t seen; /* highest sequence ever handed over */

    bool stopping;
    struct mono stop_at;
    void (*on_stopped)(void *ctx);
    void *stop_ctx;
};

static void service(struct sqlite_sink *s);

static struct sqlite_sink *self(struct sink *base)
{
    return (struct sqlite_sink *)(void *)base;
}

/* Errors that nobody but a person can do something about. */
static bool needs_repair(enum err e)
{
    return e == E_CORRUPT || e == E_MALFORMED || e == E_VERSION;
}

/* --- states --- */

static void show_state(struct sqlite_sink *s)
{
    enum sink_state state = SINK_RUNNING;
    if (s->paused) {
        state = SINK_PAUSED;
    } else if (needs_repair(s->failed)) {
        state = SINK_FAILED;
    } else if (s->failed != E_OK) {
        state = SINK_WAITING;
    }
    metric_set(&s->host.stats->state, state);
}

static void enter_waiting(struct sqlite_sink *s, enum err e, const char *reason)
{
    struct mono now = mono_now();
    bool repair = needs_repair(e);
    s->backoff.cap_ms = repair ? REPAIR_CAP_MS : RETRY_CAP_MS;
    uint32_t delay = backoff_next_ms(&s->backoff);
    bool news = s->failed != e;
    if (s->failed == E_OK) {
        s->failed_at = now;
    }
    s->failed = e;
    s->retry_at = mono_add_ms(now, delay);
    if (news) {
        log_emit(repair ? &log_unusable : &log_waiting, "error=%s reason=\"%s\" retry_ms=%u", err_name(e), reason,
                 delay);
    }
    show_state(s);
}

static void leave_waiting(struct sqlite_sink *s)
{
    if (s->failed == E_OK) {
        return;
    }
    s->failed = E_OK;
    backoff_reset(&s->backoff);
    log_emit(&log_recovered, "file=%s after_ms=%llu", s->job.path,
             (unsigned long long)mono_ms_until(s->failed_at, mono_now()));
    show_state(s);
}

/* --- the end of a job --- */

static void note_latency(struct sqlite_sink *s, int64_t sum_ms, uint64_t count)
{
    uint64_t now = sum_ms > 0 && count > 0 ? (uint64_t)sum_ms / count : 0;
    uint64_t old = metric_get(&s->host.stats->latency_ms);
    metric_set(&s->host.stats->latency_ms, old ? (old * 3 + now) / 4 : now);
}

/* Every record of the batch is stored or has its reason. */
static void confirm_batch(struct sqlite_sink *s)
{
    struct sqlite_batch *b = &s->job.batch;
    int64_t now_ms = wall_now().ms;
    int64_t latency_ms = 0;
    uint64_t stored = 0;
    uint64_t rejected = 0;
    unsigned tried = 0; /* to set aside */
    bool more = false;
    bool failed = false;
    for (size_t i = 0; i < b->count; i++) {
        const struct record *r = &b->records[i];
        const char *reason = sqlite_batch_reason(b, i);
        bool later = reason && tried == TURN_REJECTED;
        tried += reason && !later ? 1 : 0;
        if (later || (reason && rejected_put(s->host.rejected, SINK_SQLITE, r, reason) != E_OK)) {
            cursor_return(s->host.cursor, r->sequence);
            more = true;
            failed = failed || !later;
            continue;
        }
        latency_ms += reason ? 0 : now_ms - r->capture_ms;
        stored += reason ? 0 : 1;
        rejected += reason ? 1 : 0;
        cursor_confirm(s->host.cursor, r->sequence);
    }
    metric_add(&s->host.stats->confirmed, stored);
    metric_add(&s->host.stats->rejected, rejected);
    if (stored > 0) {
        note_latency(s, latency_ms, stored);
    }
    sqlite_batch_clear(b);
    leave_waiting(s);
    if (more) {
        s->commit_at = at_once; /* what was not set aside comes again */
    }
    if (failed) { /* rejected_put has said why */
        s->retry_at = mono_add_ms(mono_now(), backoff_next_ms(&s->backoff));
    } else {
        backoff_reset(&s->backoff);
    }
}

static void end_expiry(struct sqlite_sink *s)
{
    if (s->job.expired > 0) {
        log_emit(&log_expired, "rows=%u", s->job.expired);
    }
    if (s->commit_at.ns == MONO_NEVER.ns) {
        leave_waiting(s); /* with a batch to be tried again, that one says whether the file is good */
    }
    if (s->job.expire_done && s->expire_at.ns != MONO_NEVER.ns) {
        uint64_t interval = s->retention_ms / 10;
        interval = interval < EXPIRE_MIN_MS ? EXPIRE_MIN_MS : interval;
        s->expire_at = mono_add_ms(mono_now(), interval < EXPIRE_MAX_MS ? interval : EXPIRE_MAX_MS);
    }
}

/* Nothing of the batch is stored: all of it comes again. */
static void forget_batch(struct sqlite_sink *s)
{
    if (s->job.batch.count > 0) {
        cursor_rewind(s->host.cursor);
        sqlite_batch_clear(&s->job.batch);
        s->commit_at = at_once;
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct sqlite_sink *s = handle->data;
    void (*on_stopped)(void *ctx) = s->on_stopped;
    void *ctx = s->stop_ctx;
    metric_set(&s->host.stats->state, SINK_STOPPED);
    sqlite_job_finish(&s->job);
    free(s);
    on_stopped(ctx);
}

static void on_job_done(uv_work_t *work, int status)
{
    struct sqlite_sink *s = work->data;
    enum sqlite_job_kind kind = s->job.kind;
    (void)status; /* jobs are never cancelled in the queue */
    s->job.kind = SQLITE_JOB_NONE;
    if (kind == SQLITE_JOB_CLOSE) {
        uv_close((uv_handle_t *)&s->timer, on_timer_closed);
        return;
    }
    if (s->job.result != E_OK) {
        forget_batch(s);
        if (kind == SQLITE_JOB_EXPIRE && needs_repair(s->job.result) && s->expire_at.ns != MONO_NEVER.ns) {
            s->expire_at = mono_add_ms(mono_now(), EXPIRE_MAX_MS); /* storing goes on meanwhile, if it can */
        }
        enter_waiting(s, s->job.result, s->job.error.text);
    } else if (kind == SQLITE_JOB_STORE) {
        confirm_batch(s);
    } else if (kind == SQLITE_JOB_EXPIRE) {
        end_expiry(s);
    } else {
        leave_waiting(s);
    }
    service(s);
}

/* --- what to do next --- */

static void on_pool(uv_work_t *work)
{
    struct sqlite_sink *s = work->data;
    sqlite_job_run(&s->job);
}

static void start_job(struct sqlite_sink *s, enum sqlite_job_kind kind)
{
    s->job.kind = kind;
    s->expired_last = kind == SQLITE_JOB_EXPIRE;
    s->work.data = s;
    /* Fails only without a work function. */
    (void)uv_queue_work(s->host.loop, &s->work, on_pool, on_job_done);
}

/* Takes what the cursor has and writes it. False: nothing is there. */
static bool start_batch(struct sqlite_sink *s)
{
    struct sqlite_batch *b = &s->job.batch;
    struct record r;
    enum err e = E_OK;
    uint64_t repeated = 0;
    while (!sqlite_batch_full(b) && (e = cursor_next(s->host.cursor, &r)) == E_OK) {
        sqlite_batch_add(b, &r);
        repeated += r.sequence <= s->seen ? 1 : 0;
        s->seen = r.sequence > s->seen ? r.sequence : s->seen;
    }
    s->commit_at = e == E_AGAIN ? MONO_NEVER : at_once;
    if (b->count == 0) {
        s->retry_at = e == E_AGAIN ? s->retry_at : mono_add_ms(mono_now(), RETRY_BASE_MS);
        return false;
    }
    metric_add(&s->host.stats->sent, b->count);
    metric_add(&s->host.stats->retried, repeated);
    s->started = mono_now();
    start_job(s, SQLITE_JOB_STORE);
    return true;
}

static bool start_expiry(struct sqlite_sink *s, struct mono now)
{
    if (!mono_reached(now, s->expire_at)) {
        return false;
    }
    uint64_t hold_ms = s->retention_ms < RETENTION_HOLD_MS ? s->retention_ms : RETENTION_HOLD_MS;
    struct wall by = retention_clock_now(&s->clock, wall_now(), now, hold_ms);
    s->job.expire_before_ms = by.ms - (int64_t)s->retention_ms;
    start_job(s, SQLITE_JOB_EXPIRE);
    return true;
}

static void on_timer(uv_timer_t *timer)
{
    struct sqlite_sink *s = timer->data;
    if (s->stopping && mono_reached(mono_now(), s->stop_at)) {
        atomic_store(&s->job.cancel, true);
    }
    service(s);
}

static void arm(struct sqlite_sink *s, struct mono now, struct mono at)
{
    if (at.ns == MONO_NEVER.ns) {
        uv_timer_stop(&s->timer);
    } else {
        uv_timer_start(&s->timer, on_timer, mono_ms_until(now, at), 0);
    }
}

/* Starts the one job that is due, or sets the timer for the one that comes next. */
static bool start_due(struct sqlite_sink *s, struct mono now)
{
    if (!mono_reached(now, s->retry_at)) {
        return false;
    }
    if (!s->expired_last && start_expiry(s, now)) {
        return true;
    }
    if (mono_reached(now, s->commit_at) && start_batch(s)) {
        return true;
    }
    if (start_expiry(s, now)) {
        return true;
    }
    if (s->failed != E_OK) {
        start_job(s, SQLITE_JOB_PROBE);
        return true;
    }
    return false;
}

static void service(struct sqlite_sink *s)
{
    struct mono now = mono_now();
    if (s->job.kind != SQLITE_JOB_NONE) {
        arm(s, now, s->stopping && !atomic_load(&s->job.cancel) ? s->stop_at : MONO_NEVER);
        return;
    }
    if (s->stopping) {
        bool drains = !s->paused && mono_reached(now, s->retry_at) && !mono_reached(now, s->stop_at);
        if (!drains || !start_batch(s)) {
            atomic_store(&s->job.cancel, true);
            start_job(s, SQLITE_JOB_CLOSE);
        }
        arm(s, now, s->job.kind == SQLITE_JOB_STORE ? s->stop_at : MONO_NEVER);
        return;
    }
    if (s->paused || start_due(s, now)) {
        arm(s, now, MONO_NEVER);
        return;
    }
    struct mono next = mono_min(s->commit_at, s->expire_at);
    arm(s, now, mono_reached(now, s->retry_at) ? next : s->retry_at);
}

/* --- what the forwarder asks for --- */

static void wake(struct sink *base)
{
    struct sqlite_sink *s = self(base);
    if (s->commit_at.ns == MONO_NEVER.ns) {
        struct mono linger = mono_add_ms(mono_now(), LINGER_MS);
        struct mono interval = mono_add_ms(s->started, COMMIT_INTERVAL_MS);
        s->commit_at = linger.ns > interval.ns ? linger : interval;
    }
    service(s);
}

static void set_retention(struct sqlite_sink *s, uint64_t retention_ms)
{
    /* Times before 1970 are in no store. */
    s->retention_ms = retention_ms < INT64_MAX / 2 ? retention_ms : INT64_MAX / 2;
    s->expire_at = retention_ms ? at_once : MONO_NEVER;
}

static void reload(struct sink *base, const struct plugin_options *o)
{
    struct sqlite_sink *s = self(base);
    if (o->sqlite_retention != s->retention_ms) {
        set_retention(s, o->sqlite_retention);
        service(s);
    }
}

static void pause_or_resume(struct sink *base, bool paused)
{
    struct sqlite_sink *s = self(base);
    s->paused = paused;
    if (!paused) {
        /* Somebody looks after it: no more waiting. */
        s->retry_at = at_once;
        s->commit_at = at_once;
    }
    show_state(s);
    service(s);
}

static void stop(struct sink *base, uint32_t drain_ms, void (*on_stopped)(void *ctx), void *ctx)
{
    struct sqlite_sink *s = self(base);
    s->stopping = true;
    s->stop_at = mono_add_ms(mono_now(), drain_ms);
    s->on_stopped = on_stopped;
    s->stop_ctx = ctx;
    service(s);
}

static const struct sink_ops ops = {.wake = wake, .reload = reload, .pause = pause_or_resume, .stop = stop};

static bool wanted(const struct plugin_options *o)
{
    return o->sqlite_file != NULL;
}

/* Errors that are a mistake in the configuration, and not the state of a disk. */
static bool is_mistake(enum err e)
{
    return e == E_INVALID || e == E_NOT_FOUND || e == E_ACCESS || e == E_MALFORMED || e == E_VERSION ||
           e == E_UNSUPPORTED;
}

static enum err create(const struct sink_host *host, const struct plugin_options *o, struct sink **out,
                       char error[static 256])
{
    struct sqlite_sink *s = calloc(1, sizeof(*s));
    if (!s || sqlite_job_init(&s->job, o->sqlite_file) != E_OK) {
        free(s);
        snprintf(error, 256, "option sqlite_file: no memory");
        return E_NOMEM;
    }
    s->base = (struct sink){.type = &sink_sqlite_type, .ops = &ops};
    s->host = *host;
    backoff_init(&s->backoff, RETRY_BASE_MS, RETRY_CAP_MS, random_seed());
    set_retention(s, o->sqlite_retention);
    retention_clock_init(&s->clock, retention_clock_seen(o->sqlite_file), wall_now(), mono_now());
    enum err e = sqlite_job_open(&s->job);
    if (is_mistake(e)) {
        snprintf(error, 256, "option sqlite_file: %.230s", s->job.error.text);
        sqlite_job_finish(&s->job);
        free(s);
        return e;
    }
    if (e == E_OK) {
        log_emit(&log_opened, "file=%s", s->job.path);
        show_state(s);
    } else {
        enter_waiting(s, e, s->job.error.text);
    }
    uv_timer_init(host->loop, &s->timer);
    s->timer.data = s;
    *out = &s->base;
    return E_OK;
}

const struct sink_type sink_sqlite_type = {
    .name = "sqlite",
    .id = SINK_SQLITE,
    .wanted = wanted,
    .create = create,
};
