#include "aws/dynamodb_item.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define KEY_NAME_MAX 255u
#define PUT_OVERHEAD 32u /* bytes of a batch for each item besides the item */

static void set_reason(struct dynamodb_reason *reason, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void set_reason(struct dynamodb_reason *reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason->text, sizeof(reason->text), format, args);
    va_end(args);
}

static bool is_name(const char *name)
{
    struct bytes b = bytes_str(name);
    return b.len > 0 && b.len <= KEY_NAME_MAX && bytes_is_utf8(b);
}

static bool is_taken(const char *name)
{
    return strcmp(name, DYNAMODB_MESSAGE_ATTRIBUTE) == 0 || strcmp(name, DYNAMODB_TTL_ATTRIBUTE) == 0;
}

enum err dynamodb_layout_check(const struct dynamodb_layout *l, struct dynamodb_reason *reason)
{
    if (!is_name(l->sensor_key) || is_taken(l->sensor_key)) {
        set_reason(reason, "dynamodb_sensor_key: 1 to 255 bytes, and not `message` or `ttl`");
    } else if (!is_name(l->time_key) || is_taken(l->time_key)) {
        set_reason(reason, "dynamodb_time_key: 1 to 255 bytes, and not `message` or `ttl`");
    } else if (strcmp(l->sensor_key, l->time_key) == 0) {
        set_reason(reason, "dynamodb_time_key: is the same as dynamodb_sensor_key");
    } else if (l->time_type != 'S' && l->time_type != 'N') {
        set_reason(reason, "dynamodb_time_type: S or N");
    } else {
        return E_OK;
    }
    return E_INVALID;
}

static enum err append_name(struct buffer *out, const char *name)
{
    enum err e = json_append_string(out, bytes_str(name));
    return e ? e : buffer_append_byte(out, ':');
}

static enum err append_time(const struct dynamodb_layout *l, int64_t ms, struct buffer *out)
{
    return buffer_appendf(out, "{\"%c\":\"%" PRId64 "\"}", l->time_type, ms);
}

static enum err check_sensor(struct bytes sensor, struct dynamodb_reason *reason)
{
    if (sensor.len == 0) {
        set_reason(reason, "the sensor's name is empty, which no key of DynamoDB may be");
    } else if (sensor.len > ATTRIBUTE_HASH_KEY_MAX) {
        set_reason(reason, "the sensor's name has %zu bytes, a partition key of DynamoDB at most %u", sensor.len,
                   ATTRIBUTE_HASH_KEY_MAX);
    } else if (!bytes_is_utf8(sensor)) {
        set_reason(reason, "the sensor's name is not UTF-8");
    } else {
        return E_OK;
    }
    return E_INVALID;
}

/* What an error of the encoder means for a message. */
static enum err explain(enum err e, struct dynamodb_reason *reason)
{
    if (e == E_TOO_LARGE) {
        set_reason(reason, "nested deeper than the %u levels that DynamoDB takes", ATTRIBUTE_NESTING_MAX);
    } else if (e == E_FULL) {
        set_reason(reason, "the item is larger than the %u KB that DynamoDB takes", ATTRIBUTE_ITEM_MAX / 1024);
    } else if (e == E_MALFORMED) {
        set_reason(reason, "the message is not JSON");
    } else {
        return e;
    }
    return E_INVALID;
}

/* A number of up to 20 digits: one byte for two, and one. */
static size_t integer_size(int64_t value)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%" PRId64, value);
    return (size_t)n / 2 + 2;
}

enum err dynamodb_item_build(const struct dynamodb_layout *l, struct attribute_encoder *encoder,
                             const struct dynamodb_measurement *m, struct buffer *out, struct dynamodb_reason *reason)
{
    enum err e = check_sensor(m->sensor, reason);
    if (e) {
        return e;
    }
    size_t before = out->len;
    size_t message_size = 0;
    int64_t ttl_s = l->ttl_ms ? (m->timestamp_ms + (int64_t)l->ttl_ms) / 1000 : 0;
    e = buffer_append_byte(out, '{');
    e = e ? e : append_name(out, l->sensor_key);
    e = e ? e : attribute_append_string(out, m->sensor);
    e = e ? e : buffer_append_byte(out, ',');
    e = e ? e : append_name(out, l->time_key);
    e = e ? e : append_time(l, m->timestamp_ms, out);
    e = e ? e : buffer_append(out, BYTES(",\"" DYNAMODB_MESSAGE_ATTRIBUTE "\":"));
    e = e ? e : attribute_encode(encoder, m->message, out, &message_size);
    if (l->ttl_ms) {
        e = e ? e : buffer_appendf(out, ",\"" DYNAMODB_TTL_ATTRIBUTE "\":{\"N\":\"%" PRId64 "\"}", ttl_s);
    }
    e = e ? e : buffer_append_byte(out, '}');
    size_t size = strlen(l->sensor_key) + m->sensor.len + strlen(l->time_key) + integer_size(m->timestamp_ms) +
                  strlen(DYNAMODB_MESSAGE_ATTRIBUTE) + message_size +
                  (l->ttl_ms ? strlen(DYNAMODB_TTL_ATTRIBUTE) + integer_size(ttl_s) : 0);
    if (!e && size > ATTRIBUTE_ITEM_MAX) {
        set_reason(reason, "the item has %zu bytes, DynamoDB takes at most %u", size, ATTRIBUTE_ITEM_MAX);
        e = E_INVALID;
    }
    if (e) {
        out->len = before;
    }
    return explain(e, reason);
}

enum err dynamodb_batch_begin(struct buffer *out, struct bytes table)
{
    enum err e = buffer_append(out, BYTES("{\"RequestItems\":{"));
    e = e ? e : json_append_string(out, table);
    return e ? e : buffer_append(out, BYTES(":["));
}

enum err dynamodb_batch_add(struct buffer *out, struct bytes item, bool first)
{
    enum err e = buffer_reserve(out, item.len + PUT_OVERHEAD);
    e = e ? e : buffer_append(out, first ? BYTES("{\"PutRequest\":{\"Item\":") : BYTES(",{\"PutRequest\":{\"Item\":"));
    e = e ? e : buffer_append(out, item);
    return e ? e : buffer_append(out, BYTES("}}"));
}

enum err dynamodb_batch_end(struct buffer *out)
{
    return buffer_append(out, BYTES("]}}"));
}

/* Queries. */

static enum err append_text_member(struct buffer *out, const char *name, struct bytes text)
{
    enum err e = append_name(out, name);
    return e ? e : json_append_string(out, text);
}

static enum err append_names(const struct dynamodb_layout *l, struct buffer *out)
{
    enum err e = buffer_append(out, BYTES(",\"ExpressionAttributeNames\":{"));
    e = e ? e : append_text_member(out, "#s", bytes_str(l->sensor_key));
    e = e ? e : buffer_append_byte(out, ',');
    e = e ? e : append_text_member(out, "#t", bytes_str(l->time_key));
    return e ? e : buffer_append_byte(out, '}');
}

static enum err append_start_key(struct bytes key, struct buffer *out)
{
    if (key.len == 0) {
        return E_OK;
    }
    enum err e = buffer_append(out, BYTES(",\"ExclusiveStartKey\":"));
    return e ? e : buffer_append(out, key);
}

enum err dynamodb_query_build(const struct dynamodb_layout *l, const struct dynamodb_query *q, struct buffer *out)
{
    enum err e = buffer_append_byte(out, '{');
    e = e ? e : append_text_member(out, "TableName", q->table);
    e = e ? e : buffer_append(out, BYTES(",\"KeyConditionExpression\":\"#s = :s AND #t BETWEEN :a AND :b\""));
    e = e ? e : append_names(l, out);
    e = e ? e : buffer_append(out, BYTES(",\"ExpressionAttributeValues\":{\":s\":"));
    e = e ? e : attribute_append_string(out, q->sensor);
    e = e ? e : buffer_append(out, BYTES(",\":a\":"));
    e = e ? e : append_time(l, q->from_ms, out);
    e = e ? e : buffer_append(out, BYTES(",\":b\":"));
    e = e ? e : append_time(l, q->to_ms, out);
    e = e ? e : buffer_appendf(out, "},\"ScanIndexForward\":%s", q->newest_first ? "false" : "true");
    if (q->limit) {
        e = e ? e : buffer_appendf(out, ",\"Limit\":%u", q->limit);
    }
    e = e ? e : append_start_key(q->start_key, out);
    return e ? e : buffer_append_byte(out, '}');
}

enum err dynamodb_scan_build(const struct dynamodb_layout *l, struct bytes table, uint32_t limit,
                             struct bytes start_key, struct buffer *out)
{
    enum err e = buffer_append_byte(out, '{');
    e = e ? e : append_text_member(out, "TableName", table);
    e = e ? e : buffer_append(out, BYTES(",\"ProjectionExpression\":\"#s, #t\""));
    e = e ? e : append_names(l, out);
    if (limit) {
        e = e ? e : buffer_appendf(out, ",\"Limit\":%u", limit);
    }
    e = e ? e : append_start_key(start_key, out);
    return e ? e : buffer_append_byte(out, '}');
}

enum err dynamodb_partition_end(const struct dynamodb_layout *l, struct bytes sensor, struct buffer *out)
{
    enum err e = buffer_append_byte(out, '{');
    e = e ? e : json_append_string(out, bytes_str(l->sensor_key));
    e = e ? e : buffer_append_byte(out, ':');
    e = e ? e : attribute_append_string(out, sensor);
    e = e ? e : buffer_append_byte(out, ',');
    e = e ? e : json_append_string(out, bytes_str(l->time_key));
    e = e ? e : buffer_append_str(out, l->time_type == 'N' ? ":{\"N\":\"9e125\"}}" : ":{\"S\":\"~\"}}");
    return e;
}
