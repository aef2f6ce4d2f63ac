#include "plugin/rejected_json.h"

#include "base/base64.h"
#include "base/clock.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#define BASE64_SUFFIX "_base64"
#define KEY_SIZE 40u

/* The fields of a record that are bytes, in the order of the file. */
static const struct {
    const char *key;
    size_t offset;
} fields[] = {
    {"topic", offsetof(struct record, topic)},
    {"client_id", offsetof(struct record, client_id)},
    {"payload", offsetof(struct record, payload)},
    {"remote_topic", offsetof(struct record, remote_topic)},
    {"content_type", offsetof(struct record, content_type)},
    {"response_topic", offsetof(struct record, response_topic)},
    {"correlation_data", offsetof(struct record, correlation_data)},
    {"user_properties", offsetof(struct record, user_properties)},
    {"sensor", offsetof(struct record, sensor)},
    {"time_path", offsetof(struct record, time_path)},
    {"message_path", offsetof(struct record, message_path)},
    {"table", offsetof(struct record, table)},
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

/* Text that a JSON string carries without growing much. */
static bool is_plain(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        if (b.data[i] < 0x20 && b.data[i] != '\t' && b.data[i] != '\n' && b.data[i] != '\r') {
            return false;
        }
    }
    return bytes_is_utf8(b);
}

static enum err add_base64(cJSON *object, const char *key, struct bytes value)
{
    char name[KEY_SIZE];
    struct buffer text;
    buffer_init(&text, value.len / 3 * 4 + 8);
    snprintf(name, sizeof(name), "%s" BASE64_SUFFIX, key);
    enum err e = base64_encode(value, &text);
    if (e == E_OK) {
        e = buffer_append_byte(&text, 0);
    }
    if (e == E_OK && !cJSON_AddStringToObject(object, name, (const char *)text.data)) {
        e = E_NOMEM;
    }
    buffer_finish(&text);
    return e;
}

static enum err add_bytes(cJSON *object, const char *key, struct bytes value)
{
    if (!is_plain(value)) {
        return add_base64(object, key, value);
    }
    char *text = bytes_dup_str(value);
    enum err e = text && cJSON_AddStringToObject(object, key, text) ? E_OK : E_NOMEM;
    free(text);
    return e;
}

static bool add_head(cJSON *object, const struct record *r, enum sink_id sink, const char *reason, int64_t rejected_ms)
{
    char captured[WALL_ISO8601_SIZE];
    char rejected[WALL_ISO8601_SIZE];
    wall_format_iso8601((struct wall){r->capture_ms}, captured);
    wall_format_iso8601((struct wall){rejected_ms}, rejected);
    return cJSON_AddStringToObject(object, "sink", sink_id_name(sink)) &&
           cJSON_AddStringToObject(object, "reason", reason) && cJSON_AddStringToObject(object, "rejected", rejected) &&
           cJSON_AddStringToObject(object, "captured", captured) &&
           cJSON_AddNumberToObject(object, "capture_ms", (double)r->capture_ms) &&
           cJSON_AddNumberToObject(object, "sequence", (double)r->sequence) &&
           cJSON_AddNumberToObject(object, "qos", r->qos) &&
           cJSON_AddNumberToObject(object, "remote_qos", r->remote_qos) &&
           cJSON_AddBoolToObject(object, "retain", r->retain) &&
           cJSON_AddNumberToObject(object, "payload_format", r->payload_format);
}

enum err rejected_print(const struct record *r, enum sink_id sink, const char *reason, int64_t rejected_ms,
                        struct buffer *out)
{
    cJSON *object = cJSON_CreateObject();
    enum err e = object && add_head(object, r, sink, reason, rejected_ms) ? E_OK : E_NOMEM;
    for (size_t i = 0; e == E_OK && i < FIELD_COUNT; i++) {
        struct bytes value = *(const struct bytes *)((const char *)r + fields[i].offset);
        if (value.len > 0 || fields[i].offset == offsetof(struct record, payload)) {
            e = add_bytes(object, fields[i].key, value);
        }
    }
    char *text = e == E_OK ? cJSON_Print(object) : NULL;
    if (e == E_OK) {
        e = text ? buffer_append_str(out, text) : E_NOMEM;
    }
    if (e == E_OK) {
        e = buffer_append_byte(out, '\n');
    }
    cJSON_free(text);
    cJSON_Delete(object);
    return e;
}

/* --- reading --- */

static enum err number_of(const cJSON *object, const char *key, double max, uint64_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= max)) {
        return E_MALFORMED;
    }
    *out = (uint64_t)item->valuedouble;
    return E_OK;
}

/* Appends a field's bytes to `memory`, which has room for them already: it does not move. */
static enum err take_bytes(const cJSON *object, const char *key, struct buffer *memory, struct bytes *out)
{
    char name[KEY_SIZE];
    size_t start = memory->len;
    enum err e = E_OK;
    snprintf(name, sizeof(name), "%s" BASE64_SUFFIX, key);
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(object, key);
    const cJSON *coded = cJSON_GetObjectItemCaseSensitive(object, name);
    if (cJSON_IsString(text)) {
        e = buffer_append_str(memory, text->valuestring);
    } else if (cJSON_IsString(coded)) {
        e = base64_decode(bytes_str(coded->valuestring), memory);
    } else if (text || coded) {
        e = E_MALFORMED;
    }
    *out = bytes_sub(buffer_bytes(memory), start, memory->len - start);
    return e;
}

static enum err take_head(const cJSON *object, struct record *r, enum sink_id *sink)
{
    uint64_t qos = 0;
    uint64_t remote_qos = 0;
    uint64_t format = 0;
    uint64_t capture_ms = 0;
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(object, "sink");
    const cJSON *retain = cJSON_GetObjectItemCaseSensitive(object, "retain");
    if (!cJSON_IsString(name) || !sink_id_parse(bytes_str(name->valuestring), sink) || !cJSON_IsBool(retain) ||
        number_of(object, "qos", 2, &qos) != E_OK || number_of(object, "remote_qos", 1, &remote_qos) != E_OK ||
        number_of(object, "payload_format", 1, &format) != E_OK ||
        number_of(object, "sequence", 9e15, &r->sequence) != E_OK ||
        number_of(object, "capture_ms", 9e15, &capture_ms) != E_OK) {
        return E_MALFORMED;
    }
    r->sinks = (uint8_t)SINK_BIT(*sink);
    r->qos = (uint8_t)qos;
    r->remote_qos = (uint8_t)remote_qos;
    r->payload_format = (uint8_t)format;
    r->retain = cJSON_IsTrue(retain);
    r->capture_ms = (int64_t)capture_ms;
    return E_OK;
}

enum err rejected_parse(struct bytes json, struct buffer *memory, struct record *out, enum sink_id *sink)
{
    struct record r = {0};
    enum sink_id id = SINK_IOTCORE;
    cJSON *object = cJSON_ParseWithLength((const char *)json.data, json.len);
    enum err e = cJSON_IsObject(object) ? take_head(object, &r, &id) : E_MALFORMED;
    buffer_clear(memory);
    if (e == E_OK) {
        /* No field is longer than its text; base64 decoding may want some bytes more while it works. */
        e = buffer_reserve(memory, json.len);
    }
    for (size_t i = 0; e == E_OK && i < FIELD_COUNT; i++) {
        e = take_bytes(object, fields[i].key, memory, (struct bytes *)((char *)&r + fields[i].offset));
    }
    if (e == E_OK && r.topic.len == 0) {
        e = E_MALFORMED;
    }
    cJSON_Delete(object);
    if (e == E_OK) {
        *out = r;
        *sink = id;
    }
    return e;
}
