#include "aws/dynamodb_item.h"
#include "base/json.h"

/* Deep enough for the deepest item in the deepest place of an answer. */
#define DEPTH_MAX (2 * ATTRIBUTE_NESTING_MAX + 16)
#define KEY_TEXT_MAX (ATTRIBUTE_HASH_KEY_MAX + 1)
#define MESSAGE_TEXT_MAX (4u << 20)

/* Calls fn for each member of an object (its text) or element of an array (name is NULL), its value read whole, until one
 * gives an error. */
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
    while (!e) {
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
    }
    return e == E_TOO_LARGE ? E_MALFORMED : e;
}

/* One member of an object, looked up by a name that may contain anything. */
struct lookup {
    struct bytes name;
    bool found;
    struct json_token value;
};

static enum err on_lookup(void *ctx, const struct json_token *name, const struct json_token *value)
{
    struct lookup *l = ctx;
    if (json_text_equal(name, l->name)) {
        l->found = true;
        l->value = *value;
    }
    return E_OK;
}

static bool find_member(struct bytes object, struct bytes name, enum json_type type, struct json_token *value)
{
    struct lookup l = {.name = name};
    if (for_each(object, JSON_OBJECT, on_lookup, &l) != E_OK || !l.found || l.value.type != type) {
        return false;
    }
    *value = l.value;
    return true;
}

/* The text of attribute `name` of an item, if it is of this type (S or N); unescaped into memory. */
static bool find_scalar(struct bytes item, const char *name, char type, struct buffer *memory, struct bytes *out)
{
    struct json_token attribute;
    struct json_token value;
    if (!find_member(item, bytes_str(name), JSON_OBJECT, &attribute) ||
        !find_member(attribute.text, bytes_make(&type, 1), JSON_STRING, &value)) {
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

/* Unprocessed items. */

struct unprocessed {
    const struct dynamodb_layout *layout;
    void (*fn)(void *ctx, struct bytes sensor, int64_t timestamp_ms);
    void *ctx;
    struct buffer memory;
};

static enum err on_request(void *ctx, const struct json_token *name, const struct json_token *value)
{
    (void)name;
    struct unprocessed *u = ctx;
    struct json_token put;
    struct json_token item;
    struct bytes sensor;
    struct bytes time;
    int64_t timestamp_ms;
    struct buffer time_memory;
    buffer_init(&time_memory, KEY_TEXT_MAX);
    bool good = value->type == JSON_OBJECT && find_member(value->text, BYTES("PutRequest"), JSON_OBJECT, &put) &&
                find_member(put.text, BYTES("Item"), JSON_OBJECT, &item) &&
                find_scalar(item.text, u->layout->sensor_key, 'S', &u->memory, &sensor) &&
                find_scalar(item.text, u->layout->time_key, u->layout->time_type, &time_memory, &time) &&
                read_integer(time, &timestamp_ms);
    if (good) {
        u->fn(u->ctx, sensor, timestamp_ms);
    }
    buffer_finish(&time_memory);
    return good ? E_OK : E_MALFORMED;
}

static enum err on_table(void *ctx, const struct json_token *name, const struct json_token *value)
{
    (void)name;
    return value->type == JSON_ARRAY ? for_each(value->text, JSON_ARRAY, on_request, ctx) : E_MALFORMED;
}

enum err dynamodb_unprocessed(const struct dynamodb_layout *l, struct bytes body,
                              void (*fn)(void *ctx, struct bytes sensor, int64_t timestamp_ms), void *ctx)
{
    struct unprocessed u = {.layout = l, .fn = fn, .ctx = ctx};
    struct json_token whole;
    struct json_token tables;
    if (json_parse(body, DEPTH_MAX, &whole) != E_OK || whole.type != JSON_OBJECT ||
        !find_member(whole.text, BYTES("UnprocessedItems"), JSON_OBJECT, &tables)) {
        return E_MALFORMED;
    }
    buffer_init(&u.memory, KEY_TEXT_MAX);
    enum err e = for_each(tables.text, JSON_OBJECT, on_table, &u);
    buffer_finish(&u.memory);
    return e;
}

/* Items of a Query or Scan. */

struct items {
    const struct dynamodb_layout *layout;
    struct wall now;
    bool (*fn)(void *ctx, const struct dynamodb_item *item);
    void *ctx;
    struct buffer sensor;
    struct buffer time;
    struct buffer message;
};

static bool is_expired(struct items *s, struct bytes item)
{
    struct bytes text;
    int64_t ttl_s;
    return find_scalar(item, DYNAMODB_TTL_ATTRIBUTE, 'N', &s->message, &text) && read_integer(text, &ttl_s) &&
           ttl_s <= s->now.ms / 1000;
}

static enum err on_item(void *ctx, const struct json_token *name, const struct json_token *value)
{
    (void)name;
    struct items *s = ctx;
    struct dynamodb_item item = {.message = bytes_make(NULL, 0)};
    struct bytes time;
    struct json_token message;
    if (value->type != JSON_OBJECT) {
        return E_MALFORMED;
    }
    if (is_expired(s, value->text) || !find_scalar(value->text, s->layout->sensor_key, 'S', &s->sensor, &item.sensor) ||
        !find_scalar(value->text, s->layout->time_key, s->layout->time_type, &s->time, &time) ||
        !read_integer(time, &item.timestamp_ms)) {
        return E_OK;
    }
    buffer_clear(&s->message);
    if (find_member(value->text, BYTES(DYNAMODB_MESSAGE_ATTRIBUTE), JSON_OBJECT, &message)) {
        enum err e = attribute_decode(message.text, &s->message);
        if (e) {
            return e;
        }
        if (s->message.data && s->message.data[0] == '{') {
            item.message = buffer_bytes(&s->message);
        }
    }
    return s->fn(s->ctx, &item) ? E_OK : E_CANCELLED;
}

enum err dynamodb_items_parse(const struct dynamodb_layout *l, struct bytes body, struct wall now,
                              bool (*fn)(void *ctx, const struct dynamodb_item *item), void *ctx,
                              struct buffer *next_key)
{
    struct items s = {.layout = l, .now = now, .fn = fn, .ctx = ctx};
    struct json_token whole;
    struct json_token found;
    if (json_parse(body, DEPTH_MAX, &whole) != E_OK || whole.type != JSON_OBJECT ||
        !find_member(whole.text, BYTES("Items"), JSON_ARRAY, &found)) {
        return E_MALFORMED;
    }
    buffer_init(&s.sensor, KEY_TEXT_MAX);
    buffer_init(&s.time, KEY_TEXT_MAX);
    buffer_init(&s.message, MESSAGE_TEXT_MAX);
    enum err e = for_each(found.text, JSON_ARRAY, on_item, &s);
    buffer_finish(&s.sensor);
    buffer_finish(&s.time);
    buffer_finish(&s.message);
    buffer_clear(next_key);
    if (e == E_OK && find_member(whole.text, BYTES("LastEvaluatedKey"), JSON_OBJECT, &found)) {
        return buffer_append(next_key, found.text);
    }
    return e == E_CANCELLED ? E_OK : e;
}
