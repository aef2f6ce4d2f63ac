#include "aws/dynamodb_item.h"
#include "base/json.h"

/* Deep enough for the deepest item in the deepest place of an answer. */
#define DEPTH_MAX (2 * ATTRIBUTE_NESTING_MAX + 16)
#define KEY_TEXT_MAX (ATTRIBUTE_HASH_KEY_MAX + 1)
#define MESSAGE_TEXT_MAX (4u << 20)

/* Calls fn for each member of an object or element of an array (name is NULL), its value read whole, until one gives an
 * error. `text` is all of it, and nothing follows. */
typedef enum err each_fn(void *ctx, const struct json_token *name, const struct json_token *value);

static enum err for_each(struct bytes text, enum json_type type, each_fn *fn, void *ctx)
{
    struct json_reader r;
    struct json_token name;
    struct json_token value;
    json_reader_init(&r, text, DEPTH_MAX);
    enum err e = json_next(&r, &value);
    if (e || value.type != type) {
        return E_MALFORMED;
    }
    for (;;) {
        if (type == JSON_OBJECT) {
            e = json_next(&r, &name);
            if (e || name.type == JSON_OBJECT_END) {
                break;
            }
        }
        e = json_next_whole(&r, &value);
        if (e || value.type == JSON_ARRAY_END) {
            break;
        }
        e = fn(ctx, type == JSON_OBJECT ? &name : NULL, &value);
        if (e) {
            return e;
        }
    }
    e = e ? e : json_next(&r, &value);
    return e == E_TOO_LARGE || (!e && value.type != JSON_END) ? E_MALFORMED : e;
}

/* A member that is looked for; its name may contain anything. */
struct wanted {
    struct bytes name;
    enum json_type type;
    bool found; /* and of this type; of several the last one */
    struct json_token value;
};

struct wanted_list {
    struct wanted *items;
    size_t count;
};

static enum err on_wanted(void *ctx, const struct json_token *name, const struct json_token *value)
{
    const struct wanted_list *l = ctx;
    for (size_t i = 0; i < l->count; i++) {
        if (json_text_equal(name, l->items[i].name)) {
            l->items[i].found = value->type == l->items[i].type;
            l->items[i].value = *value;
        }
    }
    return E_OK;
}

/* One pass over the object for all that is wanted. */
static enum err find_members(struct bytes object, struct wanted *items, size_t count)
{
    struct wanted_list l = {items, count};
    return for_each(object, JSON_OBJECT, on_wanted, &l);
}

static bool find_member(struct bytes object, struct bytes name, enum json_type type, struct json_token *value)
{
    struct wanted w = {.name = name, .type = type};
    if (find_members(object, &w, 1) != E_OK || !w.found) {
        return false;
    }
    *value = w.value;
    return true;
}

/* The text of an attribute that was found, if it is of this type (S or N); unescaped into memory. */
static bool read_scalar(const struct wanted *attribute, char type, struct buffer *memory, struct bytes *out)
{
    struct json_token value;
    if (!attribute->found || !find_member(attribute->value.text, bytes_make(&type, 1), JSON_STRING, &value)) {
        return false;
    }
    if (!value.escaped) {
        *out = value.text;
        return true;
    }
    buffer_clear(memory);
    if (json_unescape(&value, memory) != E_OK) {
        return false;
    }
    *out = buffer_bytes(memory);
    return true;
}

/* Decimal integer of up to 18 digits. */
static bool read_integer(struct bytes text, int64_t *out)
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

/* What an item holds, by its layout. */
enum { SENSOR, TIME, MESSAGE, TTL, ATTRIBUTES };

struct reading {
    const struct dynamodb_layout *layout;
    struct buffer sensor; /* memory of what was escaped */
    struct buffer time;
    struct buffer message;
    struct wanted attributes[ATTRIBUTES];
};

static void reading_init(struct reading *r, const struct dynamodb_layout *l)
{
    r->layout = l;
    buffer_init(&r->sensor, KEY_TEXT_MAX);
    buffer_init(&r->time, KEY_TEXT_MAX);
    buffer_init(&r->message, MESSAGE_TEXT_MAX);
}

static void reading_finish(struct reading *r)
{
    buffer_finish(&r->sensor);
    buffer_finish(&r->time);
    buffer_finish(&r->message);
}

static enum err read_item(struct reading *r, struct bytes item)
{
    r->attributes[SENSOR] = (struct wanted){.name = bytes_str(r->layout->sensor_key), .type = JSON_OBJECT};
    r->attributes[TIME] = (struct wanted){.name = bytes_str(r->layout->time_key), .type = JSON_OBJECT};
    r->attributes[MESSAGE] = (struct wanted){.name = BYTES(DYNAMODB_MESSAGE_ATTRIBUTE), .type = JSON_OBJECT};
    r->attributes[TTL] = (struct wanted){.name = BYTES(DYNAMODB_TTL_ATTRIBUTE), .type = JSON_OBJECT};
    return find_members(item, r->attributes, ATTRIBUTES);
}

static bool read_keys(struct reading *r, struct bytes *sensor, int64_t *timestamp_ms)
{
    struct bytes time;
    return read_scalar(&r->attributes[SENSOR], 'S', &r->sensor, sensor) &&
           read_scalar(&r->attributes[TIME], r->layout->time_type, &r->time, &time) && read_integer(time, timestamp_ms);
}

/* Unprocessed items. */

struct unprocessed {
    struct reading reading;
    void (*fn)(void *ctx, struct bytes sensor, int64_t timestamp_ms);
    void *ctx;
};

static enum err on_request(void *ctx, const struct json_token *name, const struct json_token *value)
{
    (void)name;
    struct unprocessed *u = ctx;
    struct json_token put;
    struct json_token item;
    struct bytes sensor;
    int64_t timestamp_ms;
    if (value->type != JSON_OBJECT || !find_member(value->text, BYTES("PutRequest"), JSON_OBJECT, &put) ||
        !find_member(put.text, BYTES("Item"), JSON_OBJECT, &item) || read_item(&u->reading, item.text) != E_OK ||
        !read_keys(&u->reading, &sensor, &timestamp_ms)) {
        return E_MALFORMED;
    }
    u->fn(u->ctx, sensor, timestamp_ms);
    return E_OK;
}

static enum err on_table(void *ctx, const struct json_token *name, const struct json_token *value)
{
    (void)name;
    return value->type == JSON_ARRAY ? for_each(value->text, JSON_ARRAY, on_request, ctx) : E_MALFORMED;
}

enum err dynamodb_unprocessed(const struct dynamodb_layout *l, struct bytes body,
                              void (*fn)(void *ctx, struct bytes sensor, int64_t timestamp_ms), void *ctx)
{
    struct unprocessed u = {.fn = fn, .ctx = ctx};
    struct json_token tables;
    if (!find_member(body, BYTES("UnprocessedItems"), JSON_OBJECT, &tables)) {
        return E_MALFORMED;
    }
    reading_init(&u.reading, l);
    enum err e = for_each(tables.text, JSON_OBJECT, on_table, &u);
    reading_finish(&u.reading);
    return e;
}

/* Items of a Query or Scan. */

struct items {
    struct reading reading;
    struct wall now;
    bool (*fn)(void *ctx, const struct dynamodb_item *item);
    void *ctx;
};

static bool is_expired(struct items *s)
{
    struct bytes text;
    int64_t ttl_s;
    return read_scalar(&s->reading.attributes[TTL], 'N', &s->reading.message, &text) && read_integer(text, &ttl_s) &&
           ttl_s <= s->now.ms / 1000;
}

static enum err on_item(void *ctx, const struct json_token *name, const struct json_token *value)
{
    (void)name;
    struct items *s = ctx;
    struct dynamodb_item item = {.message = bytes_make(NULL, 0)};
    if (value->type != JSON_OBJECT || read_item(&s->reading, value->text) != E_OK) {
        return E_MALFORMED;
    }
    if (is_expired(s) || !read_keys(&s->reading, &item.sensor, &item.timestamp_ms)) {
        return E_OK;
    }
    const struct wanted *message = &s->reading.attributes[MESSAGE];
    struct buffer *text = &s->reading.message;
    buffer_clear(text);
    if (message->found) {
        enum err e = attribute_decode(message->value.text, text);
        if (e) {
            return e;
        }
        if (text->len && text->data[0] == '{') {
            item.message = buffer_bytes(text);
        }
    }
    return s->fn(s->ctx, &item) ? E_OK : E_CANCELLED;
}

enum err dynamodb_items_parse(const struct dynamodb_layout *l, struct bytes body, struct wall now,
                              bool (*fn)(void *ctx, const struct dynamodb_item *item), void *ctx,
                              struct buffer *next_key)
{
    struct items s = {.now = now, .fn = fn, .ctx = ctx};
    struct wanted parts[] = {{.name = BYTES("Items"), .type = JSON_ARRAY},
                             {.name = BYTES("LastEvaluatedKey"), .type = JSON_OBJECT}};
    if (find_members(body, parts, 2) != E_OK || !parts[0].found) {
        return E_MALFORMED;
    }
    reading_init(&s.reading, l);
    enum err e = for_each(parts[0].value.text, JSON_ARRAY, on_item, &s);
    reading_finish(&s.reading);
    buffer_clear(next_key);
    if (e == E_OK && parts[1].found) {
        return buffer_append(next_key, parts[1].value.text);
    }
    return e == E_CANCELLED ? E_OK : e;
}
