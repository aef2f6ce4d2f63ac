/* Answers to BatchWriteItem. */
#include "aws/dynamodb_item_internal.h"
#include "base/json.h"

#define KEY_TEXT_MAX (ATTRIBUTE_HASH_KEY_MAX + 1)

/* Calls fn for each member of an object or element of an array (name is NULL), its value read whole, until one gives an
 * error. `text` is all of it, and nothing follows. */
typedef enum err each_fn(void *ctx, const struct json_token *name, const struct json_token *value);

static enum err for_each(struct bytes text, enum json_type type, each_fn *fn, void *ctx)
{
    struct json_reader r;
    struct json_token name;
    struct json_token value;
    json_reader_init(&r, text, DYNAMODB_DEPTH_MAX);
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

/* The keys of an item, by its layout. */
enum { SENSOR, TIME, KEYS };

struct reading {
    const struct dynamodb_layout *layout;
    struct buffer sensor; /* memory of what was escaped */
    struct buffer time;
    struct wanted keys[KEYS];
};

static void reading_init(struct reading *r, const struct dynamodb_layout *l)
{
    r->layout = l;
    buffer_init(&r->sensor, KEY_TEXT_MAX);
    buffer_init(&r->time, KEY_TEXT_MAX);
}

static void reading_finish(struct reading *r)
{
    buffer_finish(&r->sensor);
    buffer_finish(&r->time);
}

static bool read_keys(struct reading *r, struct bytes item, struct bytes *sensor, int64_t *timestamp_ms)
{
    struct bytes time;
    r->keys[SENSOR] = (struct wanted){.name = bytes_str(r->layout->sensor_key), .type = JSON_OBJECT};
    r->keys[TIME] = (struct wanted){.name = bytes_str(r->layout->time_key), .type = JSON_OBJECT};
    return find_members(item, r->keys, KEYS) == E_OK && read_scalar(&r->keys[SENSOR], 'S', &r->sensor, sensor) &&
           read_scalar(&r->keys[TIME], r->layout->time_type, &r->time, &time) &&
           dynamodb_read_integer(time, timestamp_ms);
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
        !find_member(put.text, BYTES("Item"), JSON_OBJECT, &item) ||
        !read_keys(&u->reading, item.text, &sensor, &timestamp_ms)) {
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
