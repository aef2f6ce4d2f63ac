#include "aws/attribute.h"

#include "base/json.h"

/* Deepest AttributeValue: each level is an object that names the type, around an object or array. */
#define DECODE_DEPTH (2 * ATTRIBUTE_NESTING_MAX + 2)

/* Types by what their content becomes. */
enum attribute_kind {
    KIND_TEXT,
    KIND_NUMBER,
    KIND_BOOL,
    KIND_NULL,
    KIND_MAP,
    KIND_LIST,
    KIND_TEXT_SET,
    KIND_NUMBER_SET
};

#define KIND(name, kind)                                                                                               \
    {                                                                                                                  \
        sizeof(name) - 1, name, kind                                                                                   \
    }

static const struct {
    size_t len;
    char name[5];
    enum attribute_kind kind;
} kinds[] = {
    KIND("N", KIND_NUMBER),      KIND("S", KIND_TEXT),      KIND("BOOL", KIND_BOOL), KIND("NULL", KIND_NULL),
    KIND("M", KIND_MAP),         KIND("L", KIND_LIST),      KIND("B", KIND_TEXT),    KIND("SS", KIND_TEXT_SET),
    KIND("NS", KIND_NUMBER_SET), KIND("BS", KIND_TEXT_SET),
};

static enum err take(struct json_reader *r, enum json_type type, struct json_token *t)
{
    enum err e = json_next(r, t);
    return e ? e : t->type == type ? E_OK : E_MALFORMED;
}

/* DynamoDB's numbers are JSON numbers; anything else stays a string. */
static enum err append_number(const struct json_token *t, struct buffer *out)
{
    return buffer_append(out, json_is_number(t->text) ? t->text : json_raw(t));
}

static enum err append_set(struct json_reader *r, bool numbers, struct buffer *out)
{
    struct json_token t;
    enum err e = take(r, JSON_ARRAY, &t);
    e = e ? e : buffer_append_byte(out, '[');
    for (bool first = true; !e; first = false) {
        e = json_next(r, &t);
        if (e || t.type == JSON_ARRAY_END) {
            break;
        }
        e = t.type == JSON_STRING ? E_OK : E_MALFORMED;
        e = e || first ? e : buffer_append_byte(out, ',');
        e = e ? e : numbers ? append_number(&t, out) : buffer_append(out, json_raw(&t));
    }
    return e ? e : buffer_append_byte(out, ']');
}

static enum err append_value(struct json_reader *r, struct buffer *out);

static enum err append_map(struct json_reader *r, struct buffer *out)
{
    struct json_token t;
    enum err e = take(r, JSON_OBJECT, &t);
    e = e ? e : buffer_append_byte(out, '{');
    for (bool first = true; !e; first = false) {
        e = json_next(r, &t);
        if (e || t.type == JSON_OBJECT_END) {
            break;
        }
        e = first ? E_OK : buffer_append_byte(out, ',');
        e = e ? e : buffer_append(out, json_raw(&t));
        e = e ? e : buffer_append_byte(out, ':');
        e = e ? e : take(r, JSON_OBJECT, &t);
        e = e ? e : append_value(r, out);
    }
    return e ? e : buffer_append_byte(out, '}');
}

static enum err append_list(struct json_reader *r, struct buffer *out)
{
    struct json_token t;
    enum err e = take(r, JSON_ARRAY, &t);
    e = e ? e : buffer_append_byte(out, '[');
    for (bool first = true; !e; first = false) {
        e = json_next(r, &t);
        if (e || t.type == JSON_ARRAY_END) {
            break;
        }
        e = t.type == JSON_OBJECT ? E_OK : E_MALFORMED;
        e = e || first ? e : buffer_append_byte(out, ',');
        e = e ? e : append_value(r, out);
    }
    return e ? e : buffer_append_byte(out, ']');
}

static enum err append_content(struct json_reader *r, enum attribute_kind kind, struct buffer *out)
{
    struct json_token t;
    enum err e = E_OK;
    switch (kind) {
    case KIND_MAP:
        return append_map(r, out);
    case KIND_LIST:
        return append_list(r, out);
    case KIND_TEXT_SET:
    case KIND_NUMBER_SET:
        return append_set(r, kind == KIND_NUMBER_SET, out);
    case KIND_TEXT:
        e = take(r, JSON_STRING, &t);
        return e ? e : buffer_append(out, json_raw(&t));
    case KIND_NUMBER:
        e = take(r, JSON_STRING, &t);
        return e ? e : append_number(&t, out);
    case KIND_BOOL:
    case KIND_NULL:
        e = json_next(r, &t);
        e = e ? e : t.type == JSON_TRUE || (t.type == JSON_FALSE && kind == KIND_BOOL) ? E_OK : E_MALFORMED;
        return e ? e : buffer_append(out, kind == KIND_BOOL ? t.text : BYTES("null"));
    }
    return E_MALFORMED;
}

/* Behind the opening bracket of {"TYPE": content}. Nested calls are as deep as the reader allows. */
static enum err append_value(struct json_reader *r, struct buffer *out)
{
    struct json_token t;
    enum err e = take(r, JSON_NAME, &t);
    if (e) {
        return e;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (json_text_equal(&t, bytes_make(kinds[i].name, kinds[i].len))) {
            e = append_content(r, kinds[i].kind, out);
            return e ? e : take(r, JSON_OBJECT_END, &t);
        }
    }
    return E_MALFORMED;
}

enum err attribute_decode_next(struct json_reader *r, struct buffer *out)
{
    size_t before = out->len;
    struct json_token t;
    enum err e = take(r, JSON_OBJECT, &t);
    e = e ? e : append_value(r, out);
    if (e) {
        out->len = before;
    }
    return e == E_TOO_LARGE ? E_MALFORMED : e;
}

enum err attribute_decode(struct bytes attribute_value, struct buffer *out)
{
    size_t before = out->len;
    struct json_reader r;
    struct json_token t;
    json_reader_init(&r, attribute_value, DECODE_DEPTH);
    enum err e = attribute_decode_next(&r, out);
    e = e ? e : take(&r, JSON_END, &t);
    if (e) {
        out->len = before;
    }
    return e;
}
