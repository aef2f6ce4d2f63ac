#include "dashboard/flatten.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>

enum { STATE_TEXT_MAX = 1 << 20, NUMBER_TEXT_MAX = 400 };

void flatten_init(struct flatten *f)
{
    buffer_init(&f->name, FLATTEN_NAME_MAX);
    buffer_init(&f->text, STATE_TEXT_MAX);
}

void flatten_finish(struct flatten *f)
{
    buffer_finish(&f->name);
    buffer_finish(&f->text);
}

/* --- numbers --- */

/* The common case without strtod: both the digits and the power of ten are exact doubles, so one division rounds once. */
static bool short_decimal(struct bytes text, double *out)
{
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    uint64_t digits = 0;
    size_t after_point = 0;
    bool point = false;
    bool negative = text.len > 0 && text.data[0] == '-';
    if (text.len > 16) {
        return false;
    }
    for (size_t i = negative ? 1 : 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '.') {
            point = true;
        } else if (c >= '0' && c <= '9') {
            digits = digits * 10 + (uint64_t)(c - '0');
            after_point += point ? 1 : 0;
        } else {
            return false;
        }
    }
    if (digits > UINT64_C(1) << 53) {
        return false;
    }
    double value = (double)digits / powers[after_point];
    *out = negative ? -value : value;
    return true;
}

bool flatten_number(struct bytes text, double *out)
{
    char copy[NUMBER_TEXT_MAX];
    if (short_decimal(text, out)) {
        return true;
    }
    if (text.len >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    *out = strtod(copy, NULL);
    return isfinite(*out);
}

/* --- walking through the object --- */

struct walk {
    struct flatten *f;
    struct json_reader reader;
    size_t lens[FLATTEN_DEPTH_MAX]; /* of the name when each open object began */
    size_t depth;                   /* open objects */
    bool named;                     /* the name of the next value fits */
    bool (*fn)(void *ctx, const struct flatten_value *value);
    void *ctx;
};

/* The name of the next value: the enclosing objects' names and this one. */
static enum err take_name(struct walk *w, const struct json_token *t)
{
    struct buffer *name = &w->f->name;
    name->len = w->lens[w->depth - 1];
    enum err e = name->len > 0 ? buffer_append_byte(name, '.') : E_OK;
    e = e ? e : (t->escaped ? json_unescape(t, name) : buffer_append(name, t->text));
    w->named = e == E_OK;
    return e == E_FULL ? E_OK : e;
}

static enum err give(struct walk *w, const struct json_token *t, bool *more)
{
    struct flatten_value value = {.name = buffer_bytes(&w->f->name), .text = t->text};
    value.is_number = t->type == JSON_NUMBER && flatten_number(t->text, &value.number);
    if (t->escaped) {
        buffer_clear(&w->f->text);
        enum err e = json_unescape(t, &w->f->text);
        if (e != E_OK) {
            return e == E_FULL ? E_OK : e;
        }
        value.text = buffer_bytes(&w->f->text);
    }
    *more = w->fn(w->ctx, &value);
    return E_OK;
}

/* An object begins: it is walked through, or skipped when it lies too deep or its name is too long. */
static enum err enter_object(struct walk *w)
{
    struct json_token t;
    if (w->depth < FLATTEN_DEPTH_MAX && w->named) {
        w->lens[w->depth++] = w->f->name.len;
        return E_OK;
    }
    uint32_t outside = w->reader.depth - 1;
    enum err e = E_OK;
    while (e == E_OK && w->reader.depth > outside) {
        e = json_next(&w->reader, &t);
    }
    return e;
}

static enum err step(struct walk *w, const struct json_token *t, bool *more)
{
    switch (t->type) {
    case JSON_NAME:
        return take_name(w, t);
    case JSON_OBJECT:
        return enter_object(w);
    case JSON_OBJECT_END:
        w->depth--;
        return E_OK;
    case JSON_ARRAY: {
        struct json_token skipped;
        uint32_t outside = w->reader.depth - 1;
        enum err e = E_OK;
        while (e == E_OK && w->reader.depth > outside) {
            e = json_next(&w->reader, &skipped);
        }
        return e;
    }
    case JSON_STRING:
    case JSON_NUMBER:
    case JSON_TRUE:
    case JSON_FALSE:
        return w->named ? give(w, t, more) : E_OK;
    default:
        return E_OK;
    }
}

enum err flatten_message(struct flatten *f, struct bytes message,
                         bool (*fn)(void *ctx, const struct flatten_value *value), void *ctx)
{
    struct walk w = {.f = f, .named = true, .fn = fn, .ctx = ctx};
    struct json_token t;
    bool more = true;
    buffer_clear(&f->name);
    json_reader_init(&w.reader, message, JSON_DEPTH_MAX);
    enum err e = json_next(&w.reader, &t);
    if (e == E_OK && t.type != JSON_OBJECT) {
        return E_MALFORMED;
    }
    while (e == E_OK && t.type != JSON_END && more) {
        e = step(&w, &t, &more);
        if (e == E_OK && more) {
            e = json_next(&w.reader, &t);
        }
    }
    return e == E_TOO_LARGE ? E_MALFORMED : e;
}
