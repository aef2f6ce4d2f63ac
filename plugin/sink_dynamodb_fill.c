#include "plugin/sink_dynamodb_internal.h"
#include "store/measurement.h"

#define FILL_AGAIN_MS 1000u
#define TURN_RECORDS 1000u /* taken in one turn of the loop */
#define TURN_REJECTED 20u  /* set aside in one turn: each one is a file */

LOG_POINT(log_rejected, "dynamodb.rejected", LOG_WARNING,
          "a message that DynamoDB cannot hold was set aside in rejected/");
LOG_POINT(log_aside, "dynamodb.set-aside-failed", LOG_ERROR,
          "a message could not be set aside in rejected/; it stays in the spool");

bool ddb_reject(struct ddb_sink *s, const struct record *record, const char *reason)
{
    char topic[200];
    enum err e = rejected_put(s->host.rejected, SINK_DYNAMODB, record, reason);
    if (e) {
        log_emit(&log_aside, "sequence=%llu error=%s", (unsigned long long)record->sequence, err_name(e));
        return false;
    }
    log_emit(&log_rejected, "sequence=%llu topic=\"%s\" reason=\"%s\"", (unsigned long long)record->sequence,
             log_escape(record->topic, topic, sizeof(topic)), reason);
    metric_add(&s->host.stats->rejected, 1);
    cursor_confirm(s->host.cursor, record->sequence);
    return true;
}

void ddb_confirm(struct ddb_sink *s, const struct record *record)
{
    struct sink_stats *stats = s->host.stats;
    int64_t took = wall_now().ms - record->capture_ms;
    uint64_t latency = took > 0 ? (uint64_t)took : 0;
    uint64_t average = metric_get(&stats->latency_ms);
    metric_set(&stats->latency_ms, average ? (average * 15 + latency) / 16 : latency);
    metric_add(&stats->confirmed, 1);
    cursor_confirm(s->host.cursor, record->sequence);
}

/* The item of a record into s->item. E_INVALID with a reason: it can never be stored. */
static enum err make_item(struct ddb_sink *s, const struct record *r, struct dynamodb_measurement *m,
                          struct dynamodb_reason *reason)
{
    const struct measurement_source source = {.topic = r->topic,
                                              .payload = r->payload,
                                              .sensor = r->sensor,
                                              .capture_ms = r->capture_ms,
                                              .time_path = r->time_path,
                                              .message_path = r->message_path};
    struct measurement made;
    struct measurement_error why = {""};

    enum err e = measurement_make(&source, &s->message, &made, &why);
    if (e == E_INVALID || e == E_TOO_LARGE) {
        snprintf(reason->text, sizeof(reason->text), "%s", why.text);
        return E_INVALID;
    }
    if (e) {
        return e;
    }
    *m = (struct dynamodb_measurement){r->sensor, made.timestamp_ms, made.message};
    buffer_clear(&s->item);
    return dynamodb_item_build(&s->layout, &s->encoder, m, &s->item, reason);
}

static enum err add_record(struct ddb_sink *s, const struct record *r, struct mono now)
{
    struct dynamodb_measurement m;
    struct dynamodb_reason reason = {""};
    struct table *table;
    enum err e = make_item(s, r, &m, &reason);
    if (e == E_INVALID) {
        return ddb_reject(s, r, reason.text) ? E_OK : E_AGAIN;
    }
    struct bytes name = r->table.len ? r->table : bytes_str(s->start_options->dynamodb_table);
    e = e ? e : window_table(&s->window, name, now, &table);
    return e ? e : window_add(&s->window, table, r, &m, buffer_bytes(&s->item), now);
}

void ddb_fill(struct ddb_sink *s, struct mono now)
{
    s->stuck = false;
    if (!mono_reached(now, s->fill_at)) {
        return;
    }
    uint64_t rejected = metric_get(&s->host.stats->rejected);
    for (size_t taken = 0;
         !s->drained && s->window.ready < s->connections * DDB_READY_MAX && window_has_room(&s->window); taken++) {
        if (taken == TURN_RECORDS || metric_get(&s->host.stats->rejected) - rejected == TURN_REJECTED) {
            s->fill_at = mono_add_ms(now, 1); /* the other sinks have their turn */
            return;
        }
        struct record r;
        enum err e = cursor_next(s->host.cursor, &r);
        if (e) {
            s->drained = e == E_AGAIN;
            s->stuck = e == E_FULL;
            return;
        }
        e = add_record(s, &r, now);
        if (e) {
            /* no memory, too many tables, or rejected/ cannot be written: this record again, a little later */
            cursor_return(s->host.cursor, r.sequence);
            s->fill_at = mono_add_ms(now, FILL_AGAIN_MS);
            return;
        }
    }
}
