/* POST /topics/TOPIC ("HTTPS", AWS IoT Core Developer Guide) and POST /api/v5/publish (EMQX's and NanoMQ's REST API). */
#include "websensor/ingest_internal.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/option.h"
#include "mqtt/topic.h"

/* 0 or 1 (with `words` also false or true) of a query parameter; absent or empty: `otherwise`. false: something else. */
static bool query_flag(const struct ingest_request *rq, const char *name, bool words, bool otherwise, bool *value)
{
    struct buffer text;
    buffer_init(&text, 16);
    enum err e = ingest_query(rq->target, name, &text);
    struct bytes v = buffer_bytes(&text);
    bool on = bytes_equal(v, BYTES("1")) || (words && bytes_equal(v, BYTES("true")));
    bool off = bytes_equal(v, BYTES("0")) || (words && bytes_equal(v, BYTES("false"))) || v.len == 0;
    *value = e == E_NOT_FOUND || v.len == 0 ? otherwise : on;
    buffer_finish(&text);
    return e == E_NOT_FOUND || (e == E_OK && (on || off));
}

/* A query parameter as a piece of the request's text. */
static enum err query_text(const struct ingest_request *rq, const char *name, struct ingest *in,
                           struct ingest_text *piece)
{
    size_t at = in->text.len;
    enum err e = ingest_query(rq->target, name, &in->text);
    *piece = (struct ingest_text){at, in->text.len - at};
    return e == E_NOT_FOUND ? E_OK : e;
}

/* The MQTT 5 properties that AWS takes in the query ("Publish", AWS IoT data plane API). */
static int read_properties(const struct ingest_request *rq, struct ingest *in)
{
    struct ingest_text expiry;
    uint64_t seconds = 0;
    enum err e = query_text(rq, "contentType", in, &in->content_type);
    e = e ? e : query_text(rq, "responseTopic", in, &in->response_topic);
    e = e ? e : query_text(rq, "messageExpiry", in, &expiry);
    if (e) {
        return ingest_failed(in, e);
    }
    /* mosquitto ends the connection, which is everybody's, for the same characters as in a topic. */
    if (!topic_safe(ingest_piece(in, in->content_type))) {
        return ingest_refuse(in, 400, "contentType must be text without control characters");
    }
    if (in->response_topic.len > 0 && !ingest_topic_allowed(ingest_piece(in, in->response_topic))) {
        return ingest_refuse(in, 400, "responseTopic is no topic that can be published to");
    }
    if (expiry.len > 0 && option_parse_uint(ingest_piece(in, expiry), 0, UINT32_MAX, &seconds) != E_OK) {
        return ingest_refuse(in, 400, "messageExpiry must be a number of seconds");
    }
    in->has_message_expiry = expiry.len > 0;
    in->message_expiry_s = (uint32_t)seconds;
    return 200;
}

int ingest_topics(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    bool qos;
    if (!query_flag(rq, "qos", false, true, &qos)) {
        return ingest_refuse(in, 400, "qos must be 0 or 1");
    }
    if (!query_flag(rq, "retain", true, false, &in->retain)) {
        return ingest_refuse(in, 400, "retain must be 0, 1, true or false");
    }
    int status = read_properties(rq, in);
    if (status != 200) {
        return status;
    }
    in->qos = qos;
    in->reply = INGEST_REPLY_MESSAGE;
    enum err e = ingest_add(in, rest, rq->body);
    return e == E_OK ? 200 : ingest_failed(in, e);
}

/* The member as text; false when it is there and no string. */
static bool string_member(struct bytes object, const char *name, struct buffer *out)
{
    struct json_token t;
    enum err e = json_find(object, bytes_str(name), 64, &t);
    return e == E_NOT_FOUND || (e == E_OK && t.type == JSON_STRING && json_unescape(&t, out) == E_OK);
}

static int emqx_message(struct bytes object, struct ingest *in, struct buffer *topic, struct buffer *payload,
                        struct buffer *more)
{
    struct json_token t;
    if (!string_member(object, "topic", topic) || topic->len == 0 || !string_member(object, "payload", payload) ||
        !string_member(object, "payload_encoding", more)) {
        return ingest_refuse(in, 400, "topic, payload and payload_encoding must be strings");
    }
    if (bytes_equal(buffer_bytes(more), BYTES("base64"))) {
        buffer_clear(more);
        if (base64_decode(buffer_bytes(payload), more) != E_OK) {
            return ingest_refuse(in, 400, "payload is not base64");
        }
    } else if (more->len > 0 && !bytes_equal(buffer_bytes(more), BYTES("plain"))) {
        return ingest_refuse(in, 400, "payload_encoding must be plain or base64");
    } else {
        buffer_clear(more);
        if (buffer_append(more, buffer_bytes(payload)) != E_OK) {
            return ingest_failed(in, E_NOMEM);
        }
    }
    in->qos = 0;
    if (json_find(object, BYTES("qos"), 64, &t) == E_OK) {
        if (!bytes_equal(t.text, BYTES("0")) && !bytes_equal(t.text, BYTES("1"))) {
            return ingest_refuse(in, 400, "qos must be 0 or 1");
        }
        in->qos = t.text.data[0] == '1';
    }
    in->retain = json_find(object, BYTES("retain"), 64, &t) == E_OK && t.type == JSON_TRUE;
    if (!in->retain && json_find(object, BYTES("retain"), 64, &t) == E_OK && t.type != JSON_FALSE) {
        return ingest_refuse(in, 400, "retain must be true or false");
    }
    enum err e = ingest_add(in, buffer_bytes(topic), buffer_bytes(more));
    return e == E_OK ? 200 : ingest_failed(in, e);
}

int ingest_emqx(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    (void)rest;
    struct json_token whole;
    if (json_parse(rq->body, 64, &whole) != E_OK || whole.type != JSON_OBJECT) {
        return ingest_refuse(in, 400, "the body must be a JSON object");
    }
    struct buffer topic, payload, more;
    buffer_init(&topic, 65536);
    buffer_init(&payload, rq->body.len);
    buffer_init(&more, rq->body.len);
    int status = emqx_message(whole.text, in, &topic, &payload, &more);
    buffer_finish(&topic);
    buffer_finish(&payload);
    buffer_finish(&more);
    in->reply = INGEST_REPLY_ID;
    return status;
}
