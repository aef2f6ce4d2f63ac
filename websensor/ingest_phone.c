/* Apps that push what a phone measures.
 *
 *   Sensor Logger ("HTTP push")    POST /sensorlogger[/DEVICE]: each reading becomes a message on sensors/DEVICE/NAME,
 *                                  {"time": ms, its values}. DEVICE: of the URL, else `deviceId`
 *   phyphox ("Network connections") POST /phyphox[/DEVICE]: the object as it is; GET: the query as an object; on
 *                                  sensors/DEVICE/phyphox. DEVICE: of the URL, else "phyphox"
 *   OwnTracks ("HTTP mode")        POST /owntracks or /pub: the object as it is on owntracks/USER/DEVICE
 */
#include "websensor/ingest_internal.h"

#include "base/json.h"

enum { DEPTH = 64 };

/* A string member's value appended to out; nothing when it is not there or no string. */
static enum err string_of(struct bytes object, const char *name, struct buffer *out)
{
    struct json_token t;
    enum err e = json_find(object, bytes_str(name), DEPTH, &t);
    if (e == E_NOT_FOUND || (e == E_OK && t.type != JSON_STRING && t.type != JSON_NUMBER)) {
        return E_OK;
    }
    return e == E_OK ? json_unescape(&t, out) : e;
}

/* --- Sensor Logger */

/* Nanoseconds since the epoch as milliseconds; 0 = not an integer. */
static uint64_t ns_to_ms(struct bytes text)
{
    uint64_t ns = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || ns > (UINT64_MAX - 9) / 10) {
            return 0;
        }
        ns = ns * 10 + (uint64_t)(text.data[i] - '0');
    }
    return ns / 1000000;
}

static enum err reading_payload(struct bytes values, uint64_t ms, struct buffer *out)
{
    struct ingest_object o;
    struct json_reader r;
    struct json_token name, t;
    json_reader_init(&r, values, DEPTH);
    buffer_clear(out);
    ingest_object_begin(&o, out);
    if (ms > 0) {
        ingest_object_u64(&o, "time", ms);
    }
    enum err e = json_next(&r, &t);
    while (e == E_OK && (e = json_next(&r, &name)) == E_OK && name.type == JSON_NAME) {
        e = json_next_whole(&r, &t);
        if (e == E_OK) { /* the name as it stands, with its escapes */
            o.e = o.e == E_OK && o.any ? buffer_append_byte(out, ',') : o.e;
            o.e = o.e == E_OK ? buffer_append(out, json_raw(&name)) : o.e;
            o.e = o.e == E_OK ? buffer_append_byte(out, ':') : o.e;
            o.e = o.e == E_OK ? buffer_append(out, json_raw(&t)) : o.e;
            o.any = true;
        }
    }
    return e == E_OK ? ingest_object_end(&o) : e;
}

/* Scratch of one request. */
struct phone {
    struct buffer device, name, topic, payload;
};

static void phone_init(struct phone *p, const struct ingest_request *rq)
{
    buffer_init(&p->device, 1024);
    buffer_init(&p->name, 1024);
    buffer_init(&p->topic, 65535);
    buffer_init(&p->payload, rq->body.len + rq->target.len * 6 + 256);
}

static void phone_finish(struct phone *p)
{
    buffer_finish(&p->device);
    buffer_finish(&p->name);
    buffer_finish(&p->topic);
    buffer_finish(&p->payload);
}

static enum err add_reading(struct bytes reading, struct phone *p, struct ingest *in)
{
    struct json_token time, values;
    uint64_t ms = 0;
    buffer_clear(&p->name);
    enum err e = string_of(reading, "name", &p->name);
    if (e == E_OK && json_find(reading, BYTES("time"), DEPTH, &time) == E_OK) {
        ms = ns_to_ms(time.text);
    }
    if (e != E_OK || json_find(reading, BYTES("values"), DEPTH, &values) != E_OK || values.type != JSON_OBJECT ||
        !ingest_name_valid(buffer_bytes(&p->name))) {
        return e == E_OK ? E_MALFORMED : e;
    }
    e = ingest_sensor_topic(&p->topic, buffer_bytes(&p->device), buffer_bytes(&p->name));
    e = e == E_OK ? reading_payload(values.text, ms, &p->payload) : e;
    return e == E_OK ? ingest_add(in, buffer_bytes(&p->topic), buffer_bytes(&p->payload)) : e;
}

static enum err add_readings(struct bytes body, struct phone *p, struct ingest *in)
{
    struct json_token list, t;
    struct json_reader r;
    if (json_find(body, BYTES("payload"), DEPTH, &list) != E_OK || list.type != JSON_ARRAY) {
        return E_MALFORMED;
    }
    json_reader_init(&r, list.text, DEPTH);
    enum err e = json_next(&r, &t);
    while (e == E_OK) {
        e = json_next_whole(&r, &t);
        if (e != E_OK || t.type == JSON_ARRAY_END) {
            return e;
        }
        e = t.type == JSON_OBJECT ? add_reading(t.text, p, in) : E_MALFORMED;
    }
    return e;
}

/* (sessionId, messageId) tell a repetition. */
static enum err note_key(struct bytes body, struct phone *p, struct ingest *in)
{
    struct buffer session;
    buffer_init(&session, 1024);
    buffer_clear(&p->name);
    enum err e = string_of(body, "sessionId", &session);
    e = e == E_OK ? string_of(body, "messageId", &p->name) : e;
    if (e == E_OK && session.len > 0 && p->name.len > 0) {
        in->key = ingest_key(buffer_bytes(&p->device), buffer_bytes(&session), buffer_bytes(&p->name));
    }
    buffer_finish(&session);
    return e;
}

int ingest_sensorlogger(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    struct json_token whole;
    struct phone p;
    if (json_parse(rq->body, DEPTH, &whole) != E_OK || whole.type != JSON_OBJECT) {
        return ingest_refuse(in, 400, "the body must be a JSON object");
    }
    phone_init(&p, rq);
    enum err e = rest.len > 0 ? buffer_append(&p.device, rest) : string_of(whole.text, "deviceId", &p.device);
    e = e == E_OK && p.device.len == 0 ? buffer_append_str(&p.device, "sensorlogger") : e;
    e = e == E_OK ? note_key(whole.text, &p, in) : e;
    e = e == E_OK ? add_readings(whole.text, &p, in) : e;
    phone_finish(&p);
    in->reply = INGEST_REPLY_OK;
    return e == E_OK          ? 200
           : e == E_MALFORMED ? ingest_refuse(in, 400, "not {\"payload\":[{\"name\",\"time\",\"values\":{}}]}")
                              : ingest_failed(in, e);
}

/* --- phyphox */

static enum err phyphox_topic(struct phone *p, struct bytes rest)
{
    return ingest_sensor_topic(&p->topic, rest.len > 0 ? rest : BYTES("phyphox"), BYTES("phyphox"));
}

int ingest_phyphox(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    struct json_token whole;
    struct phone p;
    if (json_parse(rq->body, DEPTH, &whole) != E_OK || whole.type != JSON_OBJECT) {
        return ingest_refuse(in, 400, "the body must be a JSON object");
    }
    phone_init(&p, rq);
    enum err e = phyphox_topic(&p, rest);
    e = e == E_OK ? ingest_add(in, buffer_bytes(&p.topic), whole.text) : e;
    phone_finish(&p);
    in->reply = INGEST_REPLY_OK;
    return e == E_OK ? 200 : ingest_failed(in, e);
}

static bool is_json_number(struct bytes text)
{
    struct json_token t;
    return json_parse(text, 0, &t) == E_OK && t.type == JSON_NUMBER && t.text.len == text.len;
}

/* The query's parameters as an object: numbers as numbers, the rest as strings; `token` is left out. */
static enum err query_object(struct bytes target, struct phone *p)
{
    struct ingest_object o;
    const uint8_t *mark = memchr(target.data, '?', target.len);
    struct bytes query = mark ? bytes_sub(target, (size_t)(mark - target.data) + 1, target.len) : (struct bytes){0};
    ingest_object_begin(&o, &p->payload);
    while (query.len > 0 && o.e == E_OK) {
        const uint8_t *end = memchr(query.data, '&', query.len);
        struct bytes pair = bytes_sub(query, 0, end ? (size_t)(end - query.data) : query.len);
        const uint8_t *equals = pair.len ? memchr(pair.data, '=', pair.len) : NULL;
        size_t n = equals ? (size_t)(equals - pair.data) : pair.len;
        query = bytes_sub(query, pair.len + 1, query.len);
        buffer_clear(&p->name);
        buffer_clear(&p->device);
        enum err e = ingest_decode(bytes_sub(pair, 0, n), true, &p->name);
        e = e == E_OK ? ingest_decode(bytes_sub(pair, n + 1, pair.len), true, &p->device) : e;
        if (e != E_OK) {
            return e;
        }
        if (p->name.len == 0 || bytes_equal(buffer_bytes(&p->name), BYTES("token"))) {
            continue;
        }
        if (is_json_number(buffer_bytes(&p->device))) {
            ingest_object_raw(&o, buffer_bytes(&p->name), buffer_bytes(&p->device));
        } else {
            ingest_object_string(&o, buffer_bytes(&p->name), buffer_bytes(&p->device));
        }
    }
    return o.e == E_OK && !o.any ? E_NOT_FOUND : ingest_object_end(&o);
}

int ingest_phyphox_get(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    struct phone p;
    phone_init(&p, rq);
    enum err e = query_object(rq->target, &p);
    e = e == E_OK ? phyphox_topic(&p, rest) : e;
    e = e == E_OK ? ingest_add(in, buffer_bytes(&p.topic), buffer_bytes(&p.payload)) : e;
    phone_finish(&p);
    in->reply = INGEST_REPLY_OK;
    return e == E_OK          ? 200
           : e == E_NOT_FOUND ? ingest_refuse(in, 400, "the query has no values")
                              : ingest_failed(in, e);
}

/* --- OwnTracks */

/* The first of the query's parameter, the header and `otherwise` that is there. */
static enum err owner_name(const struct ingest_request *rq, const char *parameter, struct bytes header,
                           struct bytes otherwise, struct buffer *out)
{
    enum err e = ingest_query(rq->target, parameter, out);
    if (e == E_NOT_FOUND || (e == E_OK && out->len == 0)) {
        e = buffer_append(out, header.len > 0 ? header : otherwise);
    }
    return e == E_OK && !ingest_name_valid(buffer_bytes(out)) ? E_INVALID : e;
}

int ingest_owntracks(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    (void)rest;
    struct json_token whole;
    struct phone p;
    in->reply = INGEST_REPLY_LIST;
    if (rq->body.len == 0) { /* the app looks whether there is something for it */
        return 200;
    }
    if (json_parse(rq->body, DEPTH, &whole) != E_OK || whole.type != JSON_OBJECT) {
        return ingest_refuse(in, 400, "the body must be a JSON object");
    }
    phone_init(&p, rq);
    enum err e = owner_name(rq, "u", rq->limit_user, rq->user, &p.name);
    e = e == E_OK ? owner_name(rq, "d", rq->limit_device, BYTES("phone"), &p.device) : e;
    e = e == E_OK ? buffer_append_str(&p.topic, "owntracks/") : e;
    e = e == E_OK ? buffer_append(&p.topic, buffer_bytes(&p.name)) : e;
    e = e == E_OK ? buffer_append_byte(&p.topic, '/') : e;
    e = e == E_OK ? buffer_append(&p.topic, buffer_bytes(&p.device)) : e;
    e = e == E_OK ? ingest_add(in, buffer_bytes(&p.topic), whole.text) : e;
    phone_finish(&p);
    return e == E_OK        ? 200
           : e == E_INVALID ? ingest_refuse(in, 400, "no user and device: give ?u=USER&d=DEVICE, or log in")
                            : ingest_failed(in, e);
}
