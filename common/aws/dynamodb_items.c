/* Items of a Query or Scan: one pass over the answer, so that reading a page costs little more than checking it. */
#include "aws/dynamodb_item_internal.h"

#define KEY_TEXT_MAX (ATTRIBUTE_HASH_KEY_MAX + 1)
#define MESSAGE_TEXT_MAX (4u << 20)

/* An attribute that is S or N; the text of another type is empty. */
struct scalar {
    struct bytes name;
    char type;
    bool found;
    struct json_token value; /* a string */
};

/* What an item holds, by its layout. */
enum { SENSOR, TIME, TTL, SCALARS };

struct items {
    struct json_reader reader;
    struct scalar scalars[SCALARS];
    struct buffer message; /* plain JSON */
    struct buffer sensor;  /* memory of what was escaped */
    struct buffer number;
    struct wall now;
    bool (*fn)(void *ctx, const struct dynamodb_item *item);
    void *ctx;
};

static void items_init(struct items *s, const struct dynamodb_layout *l, struct bytes body)
{
    json_reader_init(&s->reader, body, DYNAMODB_DEPTH_MAX);
    s->scalars[SENSOR] = (struct scalar){.name = bytes_str(l->sensor_key), .type = 'S'};
    s->scalars[TIME] = (struct scalar){.name = bytes_str(l->time_key), .type = l->time_type};
    s->scalars[TTL] = (struct scalar){.name = BYTES(DYNAMODB_TTL_ATTRIBUTE), .type = 'N'};
    buffer_init(&s->message, MESSAGE_TEXT_MAX);
    buffer_init(&s->sensor, KEY_TEXT_MAX);
    buffer_init(&s->number, KEY_TEXT_MAX);
}

static void items_finish(struct items *s)
{
    buffer_finish(&s->message);
    buffer_finish(&s->sensor);
    buffer_finish(&s->number);
}

bool dynamodb_read_integer(struct bytes text, int64_t *out)
{
    bool negative = text.len && text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t value = 0;
    if (i == text.len || text.len - i > 18) {
        return false;
    }
    for (; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (text.data[i] - '0');
    }
    *out = negative ? -value : value;
    return true;
}

/* {"TYPE": value}; anything else is passed over. */
static enum err read_scalar(struct json_reader *r, struct scalar *s)
{
    struct json_token t;
    s->found = false;
    enum err e = json_next(r, &t);
    if (e || t.type != JSON_OBJECT) {
        return e ? e : E_MALFORMED;
    }
    while (!(e = json_next(r, &t)) && t.type == JSON_NAME) {
        bool wanted = json_text_equal(&t, bytes_make(&s->type, 1));
        e = json_next_whole(r, &t);
        if (e) {
            break;
        }
        if (wanted) {
            s->found = t.type == JSON_STRING;
            s->value = t;
        }
    }
    return e;
}

/* The text of an attribute that was found; unescaped into memory. */
static bool get_text(const struct scalar *s, struct buffer *memory, struct bytes *out)
{
    if (!s->found) {
        return false;
    }
    *out = s->value.text;
    if (s->value.escaped) {
        buffer_clear(memory);
        if (json_unescape(&s->value, memory) != E_OK) {
            return false;
        }
        *out = buffer_bytes(memory);
    }
    return true;
}

static bool get_integer(struct items *s, const struct scalar *scalar, int64_t *out)
{
    struct bytes text;
    return get_text(scalar, &s->number, &text) && dynamodb_read_integer(text, out);
}

static bool is_expired(struct items *s)
{
    int64_t ttl_s;
    return get_integer(s, &s->scalars[TTL], &ttl_s) && ttl_s <= s->now.ms / 1000;
}

/* Hands out what was read. */
static enum err give_item(struct items *s)
{
    struct dynamodb_item item = {.message = bytes_make(NULL, 0)};
    if (is_expired(s) || !get_text(&s->scalars[SENSOR], &s->sensor, &item.sensor) ||
        !get_integer(s, &s->scalars[TIME], &item.timestamp_ms)) {
        return E_OK;
    }
    if (s->message.len && s->message.data[0] == '{') {
        item.message = buffer_bytes(&s->message);
    }
    return s->fn(s->ctx, &item) ? E_OK : E_CANCELLED;
}

/* Of attributes with the same name the last one counts. */
static enum err read_attribute(struct items *s, const struct json_token *name)
{
    struct json_token ignored;
    for (size_t i = 0; i < SCALARS; i++) {
        if (json_text_equal(name, s->scalars[i].name)) {
            return read_scalar(&s->reader, &s->scalars[i]);
        }
    }
    if (json_text_equal(name, BYTES(DYNAMODB_MESSAGE_ATTRIBUTE))) {
        buffer_clear(&s->message);
        return attribute_decode_next(&s->reader, &s->message);
    }
    return json_next_whole(&s->reader, &ignored);
}

/* Behind the bracket of an item. */
static enum err read_item(struct items *s)
{
    struct json_token t;
    for (size_t i = 0; i < SCALARS; i++) {
        s->scalars[i].found = false;
    }
    buffer_clear(&s->message);
    enum err e;
    while (!(e = json_next(&s->reader, &t)) && t.type == JSON_NAME) {
        e = read_attribute(s, &t);
        if (e) {
            break;
        }
    }
    return e ? e : give_item(s);
}

/* The array of items. */
static enum err read_items(struct items *s)
{
    struct json_token t;
    enum err e = json_next(&s->reader, &t);
    if (e || t.type != JSON_ARRAY) {
        return e ? e : E_MALFORMED;
    }
    while (!(e = json_next(&s->reader, &t)) && t.type == JSON_OBJECT) {
        e = read_item(s);
        if (e) {
            break;
        }
    }
    return e || t.type == JSON_ARRAY_END ? e : E_MALFORMED;
}

static enum err read_answer(struct items *s, bool *has_items, struct buffer *next_key)
{
    struct json_token t;
    enum err e = json_next(&s->reader, &t);
    if (e || t.type != JSON_OBJECT) {
        return e ? e : E_MALFORMED;
    }
    while (!(e = json_next(&s->reader, &t)) && t.type == JSON_NAME) {
        bool is_key = json_text_equal(&t, BYTES("LastEvaluatedKey"));
        if (json_text_equal(&t, BYTES("Items"))) {
            *has_items = true;
            e = read_items(s);
        } else {
            e = json_next_whole(&s->reader, &t);
        }
        if (!e && is_key && t.type == JSON_OBJECT) {
            buffer_clear(next_key);
            e = buffer_append(next_key, t.text);
        }
        if (e) {
            return e;
        }
    }
    return e ? e : json_next(&s->reader, &t);
}

enum err dynamodb_items_parse(const struct dynamodb_layout *l, struct bytes body, struct wall now,
                              bool (*fn)(void *ctx, const struct dynamodb_item *item), void *ctx,
                              struct buffer *next_key)
{
    struct items s = {.now = now, .fn = fn, .ctx = ctx};
    bool has_items = false;
    buffer_clear(next_key);
    items_init(&s, l, body);
    enum err e = read_answer(&s, &has_items, next_key);
    items_finish(&s);
    if (e) {
        buffer_clear(next_key); /* nobody is to go on from here */
    }
    if (e == E_CANCELLED) {
        return E_OK;
    }
    return e == E_TOO_LARGE || (!e && !has_items) ? E_MALFORMED : e;
}
