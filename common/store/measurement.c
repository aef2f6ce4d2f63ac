#include "store/measurement.h"

#include "base/base64.h"
#include "base/log.h"
#include "store/payload.h"
#include "store/shadow.h"
#include "store/things_stack.h"
#include "store/timestamp.h"

#include <stdarg.h>
#include <stdio.h>

void measurement_error_set(struct measurement_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
}

/* Topics whose payload has a form that we know. */
enum topic_kind { TOPIC_OTHER, TOPIC_SHADOW, TOPIC_THINGS_STACK };

/* Level n of a topic, from 1. */
static bool topic_level(struct bytes topic, uint32_t n, struct bytes *level)
{
    for (;;) {
        const uint8_t *slash = topic.len ? memchr(topic.data, '/', topic.len) : NULL;
        size_t len = slash ? (size_t)(slash - topic.data) : topic.len;
        if (--n == 0) {
            *level = bytes_sub(topic, 0, len);
            return true;
        }
        if (!slash) {
            return false;
        }
        topic = bytes_sub(topic, len + 1, topic.len);
    }
}

/* Whether the topic has these levels, "+" standing for any. */
static bool topic_is(struct bytes topic, const char *const *levels, uint32_t count)
{
    struct bytes level;
    for (uint32_t i = 0; i < count; i++) {
        if (!topic_level(topic, i + 1, &level) || (levels[i][0] != '+' && !bytes_equal(level, bytes_str(levels[i])))) {
            return false;
        }
    }
    return !topic_level(topic, count + 1, &level);
}

/* *device: the level that names the thing or device; untouched for TOPIC_OTHER. */
static enum topic_kind topic_kind_of(struct bytes topic, struct bytes *device)
{
    static const char *const shadow[] = {"$aws", "things", "+", "shadow", "update"};
    static const char *const named_shadow[] = {"$aws", "things", "+", "shadow", "name", "+", "update"};
    static const char *const uplink[] = {"v3", "+", "devices", "+", "up"};
    if (bytes_starts_with(topic, BYTES("$aws/things/")) &&
        (topic_is(topic, shadow, 5) || topic_is(topic, named_shadow, 7))) {
        return topic_level(topic, 3, device) ? TOPIC_SHADOW : TOPIC_OTHER;
    }
    if (bytes_starts_with(topic, BYTES("v3/")) && topic_is(topic, uplink, 5)) {
        return topic_level(topic, 4, device) ? TOPIC_THINGS_STACK : TOPIC_OTHER;
    }
    return TOPIC_OTHER;
}

static enum err sensor_from_payload(const struct measurement_mapping *m, struct bytes payload, struct buffer *scratch,
                                    struct bytes *sensor)
{
    struct json_token value;
    enum err e = json_find(payload, bytes_str(m->sensor_text), MEASUREMENT_DEPTH_MAX, &value);
    if (e != E_OK || (value.type != JSON_STRING && value.type != JSON_NUMBER)) {
        return E_NOT_FOUND;
    }
    *sensor = value.text;
    if (value.escaped) {
        buffer_clear(scratch);
        e = json_unescape(&value, scratch);
        *sensor = buffer_bytes(scratch);
    }
    return e;
}

enum err measurement_sensor(const struct measurement_mapping *m, struct bytes topic, struct bytes client_id,
                            struct bytes payload, struct buffer *scratch, struct bytes *sensor)
{
    struct bytes name = topic;
    switch (m->sensor) {
    case MEASUREMENT_SENSOR_DEFAULT:
        if (topic_kind_of(topic, &name) == TOPIC_OTHER && m->sensor_level != 0 &&
            !topic_level(topic, m->sensor_level, &name)) {
            return E_NOT_FOUND;
        }
        break;
    case MEASUREMENT_SENSOR_TOPIC:
        if (!topic_level(topic, m->sensor_level, &name)) {
            return E_NOT_FOUND;
        }
        break;
    case MEASUREMENT_SENSOR_CLIENT:
        name = client_id;
        break;
    case MEASUREMENT_SENSOR_PAYLOAD:
        return sensor_from_payload(m, payload, scratch, sensor);
    case MEASUREMENT_SENSOR_LITERAL:
        name = bytes_str(m->sensor_text);
        break;
    }
    *sensor = name;
    return E_OK;
}

/* {"<name>": <value>}, the value as a string of text, of base64, or as JSON that is there already. */
enum wrap { WRAP_JSON, WRAP_TEXT, WRAP_BASE64 };

static enum err append_wrapped(struct buffer *text, enum wrap how, struct bytes value)
{
    enum err e = buffer_append_str(text, how == WRAP_BASE64 ? "{\"raw\":\"" : "{\"value\":");
    if (e != E_OK) {
        return e;
    }
    switch (how) {
    case WRAP_JSON:
        e = buffer_append(text, value);
        break;
    case WRAP_TEXT:
        e = json_append_string(text, value);
        break;
    case WRAP_BASE64:
        e = base64_encode(value, text);
        break;
    }
    return e == E_OK ? buffer_append_str(text, how == WRAP_BASE64 ? "\"}" : "}") : e;
}

/* Any payload of a topic that we know nothing about. */
static enum err plain_message(struct bytes payload, struct buffer *text, struct bytes *message,
                              struct measurement_error *error)
{
    struct json_token value;
    enum err e = json_parse(payload, MEASUREMENT_DEPTH_MAX, &value);
    if (e == E_OK && value.type == JSON_OBJECT) {
        *message = value.text;
        return E_OK;
    }
    if (e == E_TOO_LARGE) {
        return payload_error(e, error);
    }
    if (e == E_OK) {
        e = append_wrapped(text, WRAP_JSON, json_raw(&value));
    } else {
        e = append_wrapped(text, bytes_is_utf8(payload) ? WRAP_TEXT : WRAP_BASE64, payload);
    }
    *message = buffer_bytes(text);
    return e;
}

/* Room for a member path in an error. */
enum { SHOWN_MAX = 80 };

static enum err message_at(struct bytes payload, struct bytes path, struct bytes *message,
                           struct measurement_error *error)
{
    struct json_token value;
    char shown[SHOWN_MAX];
    enum err e = payload_find(payload, path, &value, error);
    if (e == E_NOT_FOUND || (e == E_OK && value.type != JSON_OBJECT)) {
        measurement_error_set(error, "message=payload(%s): %s", log_escape(path, shown, sizeof(shown)),
                              e == E_OK ? "this member is not an object" : "the payload has no such member");
        return E_INVALID;
    }
    if (e == E_OK) {
        *message = value.text;
    }
    return e;
}

static enum err time_at(struct bytes payload, struct bytes path, int64_t *ms, struct measurement_error *error)
{
    struct json_token value;
    char shown[SHOWN_MAX];
    enum err e = payload_find(payload, path, &value, error);
    bool missing = e == E_NOT_FOUND;
    if (e == E_OK) {
        e = timestamp_parse(&value, ms);
    }
    if (missing || e == E_MALFORMED) {
        measurement_error_set(error, "time=payload(%s): %s", log_escape(path, shown, sizeof(shown)),
                              missing ? "the payload has no such member"
                                      : "this member is not epoch s, epoch ms or ISO 8601");
        return E_INVALID;
    }
    return e;
}

static enum err make_by_topic(const struct measurement_source *source, struct buffer *text, struct measurement *m,
                              struct measurement_error *error)
{
    struct bytes device;
    enum err e = E_OK;
    switch (topic_kind_of(source->topic, &device)) {
    case TOPIC_SHADOW:
        e = shadow_message(source->payload, text, error);
        break;
    case TOPIC_THINGS_STACK:
        e = things_stack_message(source->payload, text, &m->timestamp_ms, error);
        break;
    case TOPIC_OTHER:
        return plain_message(source->payload, text, &m->message, error);
    }
    m->message = buffer_bytes(text);
    return e;
}

enum err measurement_make(const struct measurement_source *source, struct buffer *text, struct measurement *out,
                          struct measurement_error *error)
{
    struct measurement m = {.sensor = source->sensor, .timestamp_ms = source->capture_ms};
    enum err e;
    buffer_clear(text);
    if (source->sensor.len == 0) {
        measurement_error_set(error, "the mapping gives this message no sensor name");
        return E_INVALID;
    }
    if (memchr(source->sensor.data, 0, source->sensor.len) || !bytes_is_utf8(source->sensor)) {
        measurement_error_set(error, "the sensor name contains NUL or is not UTF-8");
        return E_INVALID;
    }
    if (source->message_path.len > 0) {
        e = message_at(source->payload, source->message_path, &m.message, error);
    } else {
        e = make_by_topic(source, text, &m, error);
    }
    if (e == E_OK && source->time_path.len > 0) {
        e = time_at(source->payload, source->time_path, &m.timestamp_ms, error);
    }
    if (e == E_FULL) {
        measurement_error_set(error, "the message takes more than %zu bytes", text->max);
        return E_TOO_LARGE;
    }
    if (e == E_OK) {
        *out = m;
    }
    return e;
}
