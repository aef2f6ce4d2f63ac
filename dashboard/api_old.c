/* The URLs of the original dashboard: messages as it gave them, newest first, with the time of day added and numbers as text. */
#include "dashboard/api.h"

#include "base/json.h"

#include <time.h>

enum { OLD_LIST_ROWS = 100 };

struct old {
    struct buffer out;
    size_t count;
    enum err failed;
};

/* The value of a member, numbers as text. */
static enum err append_value(struct buffer *out, struct bytes json)
{
    struct json_reader r;
    struct json_token t;
    bool comma = false;
    json_reader_init(&r, json, JSON_DEPTH_MAX);
    enum err e = json_next(&r, &t);
    while (e == E_OK && t.type != JSON_END) {
        bool closes = t.type == JSON_OBJECT_END || t.type == JSON_ARRAY_END;
        e = comma && !closes ? buffer_append_byte(out, ',') : E_OK;
        e = e || t.type != JSON_NUMBER ? e : buffer_append_byte(out, '"');
        e = e ? e : buffer_append(out, json_raw(&t));
        e = e || t.type != JSON_NUMBER ? e : buffer_append_byte(out, '"');
        e = e || t.type != JSON_NAME ? e : buffer_append_byte(out, ':');
        comma = t.type != JSON_OBJECT && t.type != JSON_ARRAY && t.type != JSON_NAME;
        e = e ? e : json_next(&r, &t);
    }
    return e;
}

static enum err append_time(struct buffer *out, int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm tm;
    char text[16] = "";
    if (localtime_r(&seconds, &tm)) {
        (void)strftime(text, sizeof(text), "%H:%M:%S", &tm);
    }
    return buffer_appendf(out, "\"timestamp\":\"%s\"}", text);
}

static enum err append_message(struct buffer *out, const struct source_row *row)
{
    struct json_reader r;
    struct json_token t;
    json_reader_init(&r, row->message, JSON_DEPTH_MAX);
    enum err e = json_next(&r, &t);
    if (e != E_OK || t.type != JSON_OBJECT) {
        return e ? e : E_MALFORMED;
    }
    e = buffer_append_byte(out, '{');
    e = e ? e : json_next(&r, &t);
    while (e == E_OK && t.type == JSON_NAME) {
        bool own = json_text_equal(&t, BYTES("timestamp"));
        e = own ? E_OK : buffer_append(out, json_raw(&t));
        e = e || own ? e : buffer_append_byte(out, ':');
        e = e ? e : json_next_whole(&r, &t);
        e = e || own ? e : append_value(out, json_raw(&t));
        e = e || own ? e : buffer_append_byte(out, ',');
        e = e ? e : json_next(&r, &t);
    }
    return e ? e : append_time(out, row->time_ms);
}

static bool add_row(void *ctx, const struct source_row *row)
{
    struct old *o = ctx;
    size_t start = o->out.len;
    enum err e = o->count > 0 ? buffer_append_byte(&o->out, ',') : E_OK;
    e = e ? e : append_message(&o->out, row);
    if (e == E_MALFORMED || e == E_TOO_LARGE) {
        o->out.len = start;
        return true;
    }
    o->count++;
    o->failed = e;
    return e == E_OK;
}

static enum err answer(const struct api *a, const struct request *r, const struct exchange *x, bool list)
{
    struct old o = {.count = 0};
    struct source_error error;
    struct source_range newest = {
        .sensor = r->sensor, .to_ms = REQUEST_TIME_MAX, .limit = list ? OLD_LIST_ROWS : 1, .newest_first = true};
    bool complete;
    buffer_init(&o.out, API_ANSWER_MAX);
    o.failed = list ? buffer_append_byte(&o.out, '[') : E_OK;
    if (o.failed == E_OK && !source_range(a->source, &newest, add_row, &o, &complete, &error)) {
        buffer_finish(&o.out);
        return reply_fault(x, error.fault);
    }
    if (o.count == 0 && o.failed == E_OK) {
        buffer_finish(&o.out);
        return api_no_measurements(x);
    }
    enum err e = o.failed ? o.failed : buffer_append_str(&o.out, list ? "]\n" : "\n");
    return api_finish(x, e, &o.out);
}

enum err api_old_list(const struct api *a, const struct request *r, const struct exchange *x)
{
    return answer(a, r, x, true);
}

enum err api_old_last(const struct api *a, const struct request *r, const struct exchange *x)
{
    return answer(a, r, x, false);
}
