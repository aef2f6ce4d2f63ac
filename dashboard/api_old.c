/* The URLs of the original dashboard: messages as it gave them, newest first, with the time of day added and numbers as text. */
#include "dashboard/api.h"

#include "base/json.h"

#include <time.h>

enum { OLD_LIST_ROWS = 100 };

/* Offsets of local time change at quarters of an hour only. */
#define OFFSET_HOLDS_S 900

struct old {
    struct buffer out;
    size_t count;
    enum err failed;
    int64_t offset_quarter; /* which one the offset is known for, in OFFSET_HOLDS_S; meaningless before the first row */
    long offset_s;
};

/* One token, numbers as text. *comma: it follows another value. */
static enum err append_token(struct buffer *out, const struct json_token *t, bool *comma)
{
    struct bytes raw = json_raw(t);
    bool closes = t->type == JSON_OBJECT_END || t->type == JSON_ARRAY_END;
    enum err e = buffer_reserve(out, raw.len + 3);
    if (e) {
        return e;
    }
    uint8_t *to = out->data + out->len;
    if (*comma && !closes) {
        *to++ = ',';
    }
    if (t->type == JSON_NUMBER) {
        *to++ = '"';
    }
    memcpy(to, raw.data, raw.len);
    to += raw.len;
    if (t->type == JSON_NUMBER) {
        *to++ = '"';
    } else if (t->type == JSON_NAME) {
        *to++ = ':';
    }
    out->len = (size_t)(to - out->data);
    *comma = t->type != JSON_OBJECT && t->type != JSON_ARRAY && t->type != JSON_NAME;
    return E_OK;
}

static enum err append_time(struct old *o, int64_t time_ms)
{
    int64_t seconds = time_ms / 1000;
    struct tm tm;
    if (o->count == 0 || seconds / OFFSET_HOLDS_S != o->offset_quarter) {
        o->offset_quarter = seconds / OFFSET_HOLDS_S;
        time_t known = (time_t)seconds;
        o->offset_s = known == seconds && localtime_r(&known, &tm) ? tm.tm_gmtoff : 0;
    }
    int of_day = (int)(((seconds + o->offset_s) % 86400 + 86400) % 86400);
    const int parts[] = {of_day / 3600, of_day / 60 % 60, of_day % 60};
    char text[] = "\"timestamp\":\"00:00:00\"}";
    char *at = text + sizeof("\"timestamp\":\"") - 1;
    for (size_t i = 0; i < 3; i++, at += 3) {
        at[0] = (char)('0' + parts[i] / 10);
        at[1] = (char)('0' + parts[i] % 10);
    }
    return buffer_append_str(&o->out, text);
}

/* The message without its closing bracket; a member of ours that it has too is left out. */
static enum err append_message(struct buffer *out, struct bytes message, bool *comma)
{
    struct json_reader r;
    struct json_token t;
    *comma = false;
    json_reader_init(&r, message, JSON_DEPTH_MAX);
    enum err e = json_next(&r, &t);
    if (e == E_OK && t.type != JSON_OBJECT) {
        return E_MALFORMED;
    }
    e = e ? e : append_token(out, &t, comma);
    while (e == E_OK && (e = json_next(&r, &t)) == E_OK && r.depth > 0) {
        bool own = r.depth == 1 && t.type == JSON_NAME && json_text_equal(&t, BYTES("timestamp"));
        e = own ? json_next_whole(&r, &t) : append_token(out, &t, comma);
    }
    return e ? e : json_next(&r, &t);
}

static enum err append_row(struct old *o, const struct source_row *row)
{
    bool comma;
    enum err e = append_message(&o->out, row->message, &comma);
    e = e == E_OK && comma ? buffer_append_byte(&o->out, ',') : e;
    return e ? e : append_time(o, row->time_ms);
}

static bool add_row(void *ctx, const struct source_row *row)
{
    struct old *o = ctx;
    size_t start = o->out.len;
    enum err e = o->count > 0 ? buffer_append_byte(&o->out, ',') : E_OK;
    e = e ? e : append_row(o, row);
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
