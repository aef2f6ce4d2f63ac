#include "dashboard/api.h"

#include "base/clock.h"
#include "base/json.h"
#include "dashboard/downsample.h"
#include "dashboard/flatten.h"
#include "dashboard/page.h"

enum { DAY_MS = 86400000 };

void api_times(const struct request *r, int64_t *from_ms, int64_t *to_ms)
{
    int64_t now = wall_now().ms;
    *to_ms = r->has_to ? r->to_ms : now;
    *from_ms = r->has_from ? r->from_ms : *to_ms > DAY_MS ? *to_ms - DAY_MS : 0;
    if (*from_ms > *to_ms) {
        *to_ms = *from_ms;
    }
}

enum err api_no_measurements(const struct exchange *x)
{
    return reply_error(x, 404, "no-measurements", "This sensor has no measurements.");
}

enum err api_finish(const struct exchange *x, enum err e, struct buffer *body)
{
    static const struct reply json = {.status = 200, .type = "application/json", .cache = REPLY_REVALIDATE};
    e = e == E_OK ? reply_send(x, &json, buffer_bytes(body)) : reply_fault(x, SOURCE_MEMORY);
    buffer_finish(body);
    return e;
}

/* --- /api/config --- */

static enum err append_member(struct buffer *out, const char *name, const char *value, bool is_number, bool *first)
{
    if (!value) {
        return E_OK;
    }
    enum err e = buffer_appendf(out, "%s\"%s\":", *first ? "" : ",", name);
    *first = false;
    e = e ? e : (is_number ? buffer_append_str(out, value) : json_append_string(out, bytes_str(value)));
    return e;
}

static enum err append_config(const struct dashboard_config *c, struct buffer *out)
{
    enum err e = buffer_append_str(out, "{\"title\":");
    e = e ? e : json_append_string(out, bytes_str(c->title));
    e = e ? e
          : buffer_appendf(out, ",\"refresh\":%llu,\"points\":%llu,\"metrics\":{", (unsigned long long)c->refresh,
                           (unsigned long long)c->points);
    for (size_t i = 0; e == E_OK && i < c->metric_count; i++) {
        const struct config_metric *m = &c->metrics[i];
        bool first = true;
        e = i > 0 ? buffer_append_byte(out, ',') : E_OK;
        e = e ? e : json_append_string(out, bytes_str(m->name));
        e = e ? e : buffer_append_str(out, ":{");
        e = e ? e : append_member(out, "unit", m->unit, false, &first);
        e = e ? e : append_member(out, "min", m->min, true, &first);
        e = e ? e : append_member(out, "max", m->max, true, &first);
        e = e ? e : buffer_append_byte(out, '}');
    }
    return e ? e : buffer_append_str(out, "}}");
}

/* --- /api/sensors --- */

struct sensor_list {
    struct buffer out;
    struct buffer values; /* of the sensor that is being written */
    struct flatten flatten;
    const struct request *request;
    enum err failed;
};

static bool add_value(void *ctx, const struct flatten_value *value)
{
    struct sensor_list *l = ctx;
    const char *comma = l->values.len > 0 ? "," : "";
    enum err e = buffer_append_str(&l->out, comma);
    e = e ? e : json_append_string(&l->out, value->name);
    e = e ? e : buffer_append_str(&l->values, comma);
    e = e ? e : json_append_string(&l->values, value->name);
    e = e ? e : buffer_append_byte(&l->values, ':');
    e = e ? e
          : (value->is_number ? buffer_append(&l->values, value->text) : json_append_string(&l->values, value->text));
    l->failed = e;
    return e == E_OK;
}

static bool add_sensor(void *ctx, const struct source_sensor *sensor)
{
    struct sensor_list *l = ctx;
    if (l->request->has_since && sensor->last_ms <= l->request->since_ms) {
        return true;
    }
    buffer_clear(&l->values);
    enum err e = buffer_append_str(&l->out, l->out.len > 1 ? ",\n{\"sensor\":" : "{\"sensor\":");
    e = e ? e : json_append_string(&l->out, sensor->sensor);
    e = e ? e : buffer_appendf(&l->out, ",\"last\":%lld,\"metrics\":[", (long long)sensor->last_ms);
    if (e == E_OK) {
        e = flatten_message(&l->flatten, sensor->message, add_value, l);
        e = e == E_MALFORMED ? E_OK : e;
        e = e ? e : l->failed;
    }
    e = e ? e : buffer_append_str(&l->out, "],\"values\":{");
    e = e ? e : buffer_append(&l->out, buffer_bytes(&l->values));
    e = e ? e : buffer_append_str(&l->out, "}}");
    l->failed = e;
    return e == E_OK;
}

static enum err answer_sensors(const struct api *a, const struct request *r, const struct exchange *x)
{
    struct sensor_list l = {.request = r};
    struct source_error error = {SOURCE_OK, ""};
    buffer_init(&l.out, API_ANSWER_MAX);
    buffer_init(&l.values, API_ANSWER_MAX);
    flatten_init(&l.flatten);
    l.failed = buffer_append_byte(&l.out, '[');
    bool read = l.failed == E_OK && source_sensors(a->source, add_sensor, &l, &error);
    flatten_finish(&l.flatten);
    buffer_finish(&l.values);
    if (!read && l.failed == E_OK) {
        buffer_finish(&l.out);
        return reply_fault(x, error.fault);
    }
    enum err e = l.failed ? l.failed : buffer_append_str(&l.out, "]\n");
    return api_finish(x, e, &l.out);
}

/* --- /api/sensors/ID/last --- */

struct last {
    struct buffer out;
    struct bytes sensor;
    enum err failed;
};

static bool add_last(void *ctx, const struct source_row *row)
{
    struct last *l = ctx;
    enum err e = buffer_append_str(&l->out, "{\"sensor\":");
    e = e ? e : json_append_string(&l->out, l->sensor);
    e = e ? e : buffer_appendf(&l->out, ",\"timestamp\":%lld,\"message\":", (long long)row->time_ms);
    e = e ? e : buffer_append(&l->out, row->message);
    l->failed = e ? e : buffer_append_str(&l->out, "}\n");
    return false;
}

static enum err answer_last(const struct api *a, const struct request *r, const struct exchange *x)
{
    struct last l = {.sensor = r->sensor};
    struct source_error error;
    struct source_range newest = {.sensor = r->sensor, .to_ms = REQUEST_TIME_MAX, .limit = 1, .newest_first = true};
    bool complete;
    buffer_init(&l.out, API_ANSWER_MAX);
    if (!source_range(a->source, &newest, add_last, &l, &complete, &error)) {
        buffer_finish(&l.out);
        return reply_fault(x, error.fault);
    }
    if (l.out.len == 0 && l.failed == E_OK) {
        return api_no_measurements(x);
    }
    return api_finish(x, l.failed, &l.out);
}

/* --- /api/sensors/ID/range --- */

struct feed {
    struct downsample *downsample;
    enum err failed;
};

static bool feed_row(void *ctx, const struct source_row *row)
{
    struct feed *f = ctx;
    f->failed = downsample_add(f->downsample, row->time_ms, row->message);
    return f->failed == E_OK;
}

static enum err answer_range(const struct api *a, const struct request *r, const struct exchange *x)
{
    struct downsample_options o = {.points = r->has_points ? r->points : (uint32_t)a->config->points,
                                   .metric = r->metric};
    struct feed f = {NULL, E_OK};
    struct source_error error;
    struct buffer out;
    bool complete = true;
    api_times(r, &o.from_ms, &o.to_ms);
    if (downsample_create(&o, &f.downsample) != E_OK) {
        return reply_fault(x, SOURCE_MEMORY);
    }
    struct source_range range = {.sensor = r->sensor, .from_ms = o.from_ms, .to_ms = o.to_ms};
    if (r->has_since && r->since_ms > o.from_ms) {
        int64_t start = downsample_bucket_start(f.downsample, r->since_ms);
        range.from_ms = start > o.from_ms ? start : o.from_ms;
    }
    bool read = range.from_ms > range.to_ms || source_range(a->source, &range, feed_row, &f, &complete, &error);
    if (!read) {
        downsample_destroy(f.downsample);
        return reply_fault(x, error.fault);
    }
    buffer_init(&out, API_ANSWER_MAX);
    enum err e = f.failed ? f.failed : downsample_write(f.downsample, complete, &out);
    downsample_destroy(f.downsample);
    return api_finish(x, e, &out);
}

enum err api_answer(const struct api *a, const struct request *r, const struct exchange *x)
{
    struct buffer out;
    switch (r->route) {
    case ROUTE_PAGE:
        return page_send(x, BYTES("index.html"), false);
    case ROUTE_FILE:
        return page_send(x, r->file, r->has_version);
    case ROUTE_CONFIG:
        buffer_init(&out, API_ANSWER_MAX);
        return api_finish(x, append_config(a->config, &out), &out);
    case ROUTE_SENSORS:
        return answer_sensors(a, r, x);
    case ROUTE_RANGE:
        return answer_range(a, r, x);
    case ROUTE_LAST:
        return answer_last(a, r, x);
    case ROUTE_CSV:
        return api_csv(a, r, x);
    case ROUTE_OLD_LIST:
        return api_old_list(a, r, x);
    case ROUTE_OLD_LAST:
        return api_old_last(a, r, x);
    }
    return reply_error(x, 404, "not-found", "there is no such page");
}
