/* ThingsBoard's device API ("HTTP Device API Reference"): POST /api/v1/TOKEN/telemetry with {key: value ...}, {"ts": ms, "values":
 * {...}} or an array of these; /attributes is taken the same way.
 *
 * Topic: that of the token (access.c); where no tokens are configured, sensors/TOKEN/telemetry: the token is the device's name. */
#include "websensor/ingest_internal.h"

#include "base/json.h"

enum { DEPTH = 64 };

/* One object: its values, with the time as `ts` where it has one. */
static enum err add_object(struct bytes object, struct bytes topic, struct ingest *in, struct buffer *payload)
{
    struct json_token ts, values;
    enum err e = json_find(object, BYTES("values"), DEPTH, &values);
    if (e == E_NOT_FOUND || (e == E_OK && values.type != JSON_OBJECT)) {
        return ingest_add(in, topic, object);
    }
    if (e != E_OK) {
        return e;
    }
    e = json_find(object, BYTES("ts"), DEPTH, &ts);
    if (e != E_OK || ts.type != JSON_NUMBER) {
        return e == E_OK ? E_MALFORMED : e == E_NOT_FOUND ? ingest_add(in, topic, values.text) : e;
    }
    /* {"a":1} becomes {"ts":..,"a":1} */
    struct bytes members = bytes_sub(values.text, 1, values.text.len);
    struct json_reader r;
    struct json_token t;
    json_reader_init(&r, values.text, DEPTH);
    /* The second token tells. NOLINTNEXTLINE(misc-redundant-expression) */
    bool empty = json_next(&r, &t) != E_OK || json_next(&r, &t) != E_OK || t.type == JSON_OBJECT_END;
    buffer_clear(payload);
    e = buffer_append_str(payload, "{\"ts\":");
    e = e == E_OK ? buffer_append(payload, ts.text) : e;
    e = e == E_OK && !empty ? buffer_append_byte(payload, ',') : e;
    e = e == E_OK ? buffer_append(payload, members) : e;
    return e == E_OK ? ingest_add(in, topic, buffer_bytes(payload)) : e;
}

static enum err add_all(const struct json_token *whole, struct bytes topic, struct ingest *in, struct buffer *payload)
{
    struct json_reader r;
    struct json_token t;
    if (whole->type == JSON_OBJECT) {
        return add_object(whole->text, topic, in, payload);
    }
    json_reader_init(&r, whole->text, DEPTH);
    enum err e = whole->type == JSON_ARRAY ? json_next(&r, &t) : E_MALFORMED;
    while (e == E_OK) {
        e = json_next_whole(&r, &t);
        if (e != E_OK || t.type == JSON_ARRAY_END) {
            return e;
        }
        e = t.type == JSON_OBJECT ? add_object(t.text, topic, in, payload) : E_MALFORMED;
    }
    return e;
}

int ingest_thingsboard(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    const uint8_t *slash = rest.len > 0 ? memchr(rest.data, '/', rest.len) : NULL;
    size_t n = slash ? (size_t)(slash - rest.data) : 0;
    struct bytes what = bytes_sub(rest, n + 1, rest.len);
    struct json_token whole;
    if (n == 0 || (!bytes_equal(what, BYTES("telemetry")) && !bytes_equal(what, BYTES("attributes")))) {
        return ingest_refuse(in, 404, "no such URL");
    }
    if (json_parse(rq->body, DEPTH, &whole) != E_OK) {
        return ingest_refuse(in, 400, "the body is not JSON");
    }
    struct buffer topic, payload;
    buffer_init(&topic, 65535);
    buffer_init(&payload, rq->body.len + 64);
    enum err e = E_OK;
    in->auth = INGEST_AUTH_PATH;
    buffer_clear(&in->token);
    if (rq->named_by_token) {
        in->topic_by_token = true;
        e = buffer_append(&in->token, bytes_sub(rest, 0, n));
    } else {
        e = ingest_sensor_topic(&topic, bytes_sub(rest, 0, n), what);
    }
    if (e == E_OK) {
        e = add_all(&whole, buffer_bytes(&topic), in, &payload);
        if (e == E_MALFORMED) {
            in->reason = "neither {key: value}, {\"ts\",\"values\"} nor an array of these";
        }
    }
    buffer_finish(&topic);
    buffer_finish(&payload);
    in->reply = INGEST_REPLY_OK;
    return e == E_OK ? 200 : e == E_MALFORMED && in->reason ? 400 : ingest_failed(in, e);
}
