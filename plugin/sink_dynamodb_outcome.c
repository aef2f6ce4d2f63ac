#include "plugin/sink_dynamodb_internal.h"

#include <stdio.h>

#define UNPROCESSED_BASE_MS 50u
#define UNPROCESSED_CAP_MS 5000u /* others of the same request were taken: no reason to stay away for long */
#define THROTTLED_BASE_MS 1000u
#define THROTTLED_CAP_MS 20000u
#define ASIDE_AGAIN_MS 5000u
#define QUIET_MS 10000u    /* trouble is over after so long without any */
#define POISON_ROW_MAX 50u /* more than these in a row are no poison: something else is wrong */

LOG_POINT(log_ready, "dynamodb.ready", LOG_NOTICE, "DynamoDB stores measurements");
LOG_POINT(log_trouble, "dynamodb.trouble", LOG_WARNING, "requests to DynamoDB fail; they are tried again");
LOG_POINT(log_recovered, "dynamodb.recovered", LOG_NOTICE, "requests to DynamoDB succeed again");
LOG_POINT(log_throttled, "dynamodb.throttled", LOG_WARNING,
          "DynamoDB takes items more slowly than they come; they wait");
LOG_POINT(log_unthrottled, "dynamodb.unthrottled", LOG_NOTICE, "DynamoDB takes items as fast as they come again");
LOG_POINT(log_refused, "dynamodb.refused", LOG_ERROR,
          "DynamoDB refuses this table's items until something is changed there or here; all are kept");
LOG_POINT(log_accepted, "dynamodb.accepted", LOG_NOTICE, "DynamoDB takes this table's items again");

uint32_t ddb_hold(struct ddb_sink *s, struct mono now)
{
    uint32_t ms = backoff_next_ms(&s->failing);
    s->hold = mono_add_ms(now, ms);
    return ms;
}

/* Full jitter: up to base * 2^n, and the cap. */
static struct mono jitter(struct ddb_sink *s, uint32_t base_ms, uint32_t cap_ms, uint32_t n, struct mono from)
{
    s->refusing.base_ms = base_ms;
    s->refusing.cap_ms = cap_ms;
    s->refusing.tries = n;
    return mono_add_ms(from, backoff_next_ms(&s->refusing));
}

/* What goes wrong, told at its beginning and end. */

static bool is_told(struct ddb_episode *t, const char *what)
{
    for (size_t i = 0; i < t->told_count; i++) {
        if (strncmp(t->told[i], what, sizeof(t->told[i]) - 1) == 0) {
            return true;
        }
    }
    if (t->told_count == DDB_TOLD_MAX) {
        return true;
    }
    snprintf(t->told[t->told_count++], sizeof(t->told[0]), "%.*s", (int)sizeof(t->told[0]) - 1, what);
    return false;
}

void ddb_note_trouble(struct ddb_sink *s, const struct dynamodb_answer *a, struct mono now)
{
    struct ddb_episode *t = &s->trouble;
    if (!t->active) {
        *t = (struct ddb_episode){.active = true, .since = now};
    }
    t->last = now;
    t->failures++;
    const char *what = a->type[0] ? a->type : "status";
    if (!is_told(t, what)) {
        log_emit(&log_trouble, "endpoint=%s status=%d type=%s text=\"%s\"", dynamodb_endpoint(s->dynamodb), a->status,
                 what, a->text);
    }
}

static void note_success(struct ddb_sink *s, struct table *t)
{
    s->failures = 0;
    backoff_reset(&s->failing);
    backoff_reset(&t->mistake);
    if (!s->ever_stored) {
        s->ever_stored = true;
        log_emit(&log_ready, "endpoint=%s table=%s credentials=%s", dynamodb_endpoint(s->dynamodb), t->name,
                 credentials_source(s->credentials));
    }
    if (t->broken) {
        t->broken = false;
        t->hold = (struct mono){0};
        t->told[0] = '\0';
        log_emit(&log_accepted, "table=%s", t->name);
    }
}

struct mono ddb_end_episodes(struct ddb_sink *s, struct mono now)
{
    struct mono next = MONO_NEVER;
    struct ddb_episode *trouble = &s->trouble;
    struct mono quiet = mono_add_ms(trouble->last, QUIET_MS);
    if (trouble->active && s->failures == 0 && mono_reached(now, quiet)) {
        trouble->active = false;
        log_emit(&log_recovered, "failures=%llu seconds=%llu", (unsigned long long)trouble->failures,
                 (unsigned long long)mono_ms_until(trouble->since, trouble->last) / 1000);
    } else if (trouble->active && s->failures == 0) {
        next = quiet;
    }
    for (struct table *t = s->window.tables; t; t = t->next) {
        quiet = mono_add_ms(t->refused_at, QUIET_MS);
        if (t->refused && mono_reached(now, quiet)) {
            log_emit(&log_unthrottled, "table=%s refused=%llu seconds=%llu", t->name, (unsigned long long)t->refused,
                     (unsigned long long)mono_ms_until(t->refused_since, t->refused_at) / 1000);
            t->refused = 0;
        } else if (t->refused) {
            next = mono_min(next, quiet);
        }
    }
    return next;
}

static void note_refused(struct table *t, size_t refused, const char *type, struct mono now)
{
    if (t->refused == 0) {
        t->refused_since = now;
        log_emit(&log_throttled, "table=%s type=%s items=%zu rate=%.0f", t->name, type, refused, t->pace.rate);
    }
    t->refused_at = now;
    t->refused += refused;
}

/* Outcomes. Each one gives every entry of the slot back to the window. */

struct outcome {
    struct ddb_sink *sink;
    struct ddb_slot *slot;
    struct mono now;
    size_t unprocessed;
    bool unknown; /* an unprocessed item that we did not send */
};

static void on_stored(void *ctx, const struct record *record, bool covered)
{
    (void)covered;
    ddb_confirm(ctx, record);
}

/* The record itself is in rejected/ and confirmed. What it covered was never sent: that gets its own try. */
static void on_set_aside(void *ctx, const struct record *record, bool covered)
{
    struct ddb_sink *s = ctx;
    if (covered) {
        cursor_return(s->host.cursor, record->sequence);
        s->drained = false;
    }
}

static void return_all(struct outcome *o)
{
    /* the last one first, so that the queue's order stays */
    struct entry *reversed = NULL;
    while (o->slot->entries) {
        struct entry *e = o->slot->entries;
        o->slot->entries = e->next;
        e->next = reversed;
        reversed = e;
    }
    while (reversed) {
        struct entry *e = reversed;
        reversed = e->next;
        window_return(&o->sink->window, e, o->now);
    }
}

static void finish_transient(struct outcome *o, const struct dynamodb_answer *a)
{
    struct ddb_sink *s = o->sink;
    ddb_note_trouble(s, a, o->now);
    return_all(o);
    if (o->slot->sent_at.ns >= s->failed_at.ns) { /* not one of several that were under way together */
        s->failures++;
        s->failed_at = o->now;
        ddb_hold(s, o->now);
    }
}

static void on_unprocessed(void *ctx, struct bytes sensor, int64_t timestamp_ms)
{
    struct outcome *o = ctx;
    struct entry *e = window_find_sent(o->slot->entries, sensor, timestamp_ms);
    if (!e) {
        o->unknown = true;
    } else if (!e->unprocessed) {
        e->unprocessed = true;
        o->unprocessed++;
    }
}

/* How often the unprocessed items of a request have come back already. */
static uint32_t most_refusals(const struct ddb_slot *slot)
{
    uint32_t most = 0;
    for (const struct entry *e = slot->entries; e; e = e->next) {
        most = e->unprocessed && e->refusals > most ? e->refusals : most;
    }
    return most;
}

/* They come back together, and so go out together. What is left in the slot was stored. */
static void delay_unprocessed(struct outcome *o, struct mono due)
{
    struct entry **at = &o->slot->entries;
    while (*at) {
        struct entry *e = *at;
        if (!e->unprocessed) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        e->refusals++;
        window_delay(&o->sink->window, e, due);
    }
}

static void finish_ok(struct outcome *o, const struct dynamodb_answer *a)
{
    struct ddb_sink *s = o->sink;
    struct ddb_slot *slot = o->slot;
    enum err e = dynamodb_unprocessed(&s->layout, a->body, on_unprocessed, o);
    if (e || o->unknown) {
        struct dynamodb_answer strange = {
            .status = a->status, .type = "malformed", .text = "the answer makes no sense"};
        finish_transient(o, &strange);
        return;
    }
    struct table *t = slot->table;
    size_t stored = slot->count - o->unprocessed;
    pace_result(&t->pace, stored, o->unprocessed, o->now);
    if (o->unprocessed) {
        note_refused(t, o->unprocessed, "UnprocessedItems", o->now);
    }
    delay_unprocessed(o, jitter(s, UNPROCESSED_BASE_MS, UNPROCESSED_CAP_MS, most_refusals(slot), o->now));
    while (slot->entries) {
        struct entry *entry = slot->entries;
        slot->entries = entry->next;
        window_done(&s->window, entry, on_stored, s, o->now);
    }
    if (stored) {
        s->poison_row = 0;
    }
    note_success(s, t);
}

static void finish_throttled(struct outcome *o, const struct dynamodb_answer *a)
{
    struct ddb_slot *slot = o->slot;
    for (struct entry *e = slot->entries; e; e = e->next) {
        e->unprocessed = true;
    }
    pace_result(&slot->table->pace, 0, slot->count, o->now);
    note_refused(slot->table, slot->count, a->type, o->now);
    struct mono from = mono_add_ms(o->now, a->retry_after_ms);
    delay_unprocessed(o, jitter(o->sink, THROTTLED_BASE_MS, THROTTLED_CAP_MS, most_refusals(slot), from));
}

/* What to do about it, in plain words. */
static const char *hint(const struct dynamodb_answer *a)
{
    static const struct {
        const char *type;
        const char *text;
    } hints[] = {
        {"ResourceNotFoundException", "create the table, or correct dynamodb_table, table= or aws_region"},
        {"ValidationException",
         "the table's keys are others: see dynamodb_sensor_key, dynamodb_time_key, dynamodb_time_type"},
        {"AccessDeniedException", "the policy of this identity must allow dynamodb:BatchWriteItem on the table"},
        {"UnrecognizedClientException", "AWS does not know these access keys"},
        {"InvalidSignatureException", "the secret access key does not belong to the access key"},
        {"tls-verify", "the endpoint's certificate is not trusted: see dynamodb_endpoint and AWS_CA_BUNDLE"},
    };
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if (strcmp(a->type, hints[i].type) == 0) {
            return hints[i].text;
        }
    }
    return "see docs/dynamodb.md";
}

static void finish_configuration(struct outcome *o, const struct dynamodb_answer *a)
{
    struct table *t = o->slot->table;
    t->broken = true;
    t->hold = mono_add_ms(o->now, backoff_next_ms(&t->mistake) + 1000);
    char reason[sizeof(t->told)];
    snprintf(reason, sizeof(reason), "%s: %.48s", a->type, a->text); /* behind that texts have times and ids in them */
    if (strcmp(t->told, reason) != 0) {
        memcpy(t->told, reason, sizeof(reason));
        log_emit(&log_refused, "table=%s type=%s status=%d text=\"%s\" hint=\"%s\"", t->name, a->type, a->status,
                 a->text, hint(a));
    }
    return_all(o);
}

/* One item alone is refused: it is poison, unless that has happened to many in a row. */
static void finish_poison(struct outcome *o, const struct dynamodb_answer *a)
{
    struct ddb_sink *s = o->sink;
    struct entry *e = o->slot->entries;
    char reason[512];
    if (s->poison_row >= POISON_ROW_MAX) {
        finish_configuration(o, a);
        return;
    }
    o->slot->entries = NULL;
    snprintf(reason, sizeof(reason), "DynamoDB refused it: %s: %s", a->type, a->text);
    if (!ddb_reject(s, &e->record, reason)) {
        window_delay(&s->window, e, mono_add_ms(o->now, ASIDE_AGAIN_MS));
        return;
    }
    s->poison_row++;
    window_done(&s->window, e, on_set_aside, s, o->now);
}

/* A batch is refused for something in it: its halves are tried apart. */
static void finish_invalid(struct outcome *o, const struct dynamodb_answer *a)
{
    struct ddb_slot *slot = o->slot;
    if (slot->count == 1) {
        finish_poison(o, a);
        return;
    }
    size_t half = slot->count / 2;
    struct entry *first = slot->entries;
    struct entry *last = first;
    for (size_t i = 1; i < half; i++) {
        last = last->next;
    }
    struct entry *second = last->next;
    last->next = NULL;
    slot->entries = NULL;
    window_suspect(&o->sink->window, slot->table, first, half, o->now);
    window_suspect(&o->sink->window, slot->table, second, slot->count - half, o->now);
}

void ddb_finish(struct ddb_slot *slot, const struct dynamodb_answer *a, struct mono now)
{
    struct outcome o = {.sink = slot->sink, .slot = slot, .now = now};
    switch (a->outcome) {
    case DYNAMODB_OK:
        finish_ok(&o, a);
        break;
    case DYNAMODB_THROTTLED:
        finish_throttled(&o, a);
        break;
    case DYNAMODB_TRANSIENT:
    case DYNAMODB_CREDENTIALS:
        finish_transient(&o, a);
        break;
    case DYNAMODB_CLOCK:
        return_all(&o);
        break;
    case DYNAMODB_INVALID:
        finish_invalid(&o, a);
        break;
    case DYNAMODB_CONFIGURATION:
        finish_configuration(&o, a);
        break;
    }
    slot->table = NULL;
}

void ddb_give_back(struct ddb_slot *slot, struct mono now)
{
    struct outcome o = {.sink = slot->sink, .slot = slot, .now = now};
    return_all(&o);
    slot->table = NULL;
}
