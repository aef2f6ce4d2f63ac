/* The phone page, and the walk sensors of the original aws-iot-sensors: an array of sums, `true` or `false`. */
#include "websensor/ingest_internal.h"

#include "base/json.h"
#include "websensor/config.h"
#include "websensor/walking.h"

#include <math.h>
#include <stdlib.h>

/* The original's page does not tell its rate; phones have about this one. */
#define SUMS_RATE 60.0
/* m/s2; no sensor goes near. */
#define SAMPLE_MAX 1e6

static bool number(const struct json_token *t, double *out)
{
    char text[64];
    if (t->type != JSON_NUMBER || t->text.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, t->text.data, t->text.len);
    text[t->text.len] = '\0';
    *out = strtod(text, NULL);
    return isfinite(*out);
}

/* An array of finite numbers. *out is owned by the caller, also on failure. */
static enum err read_numbers(struct bytes array, double **out, size_t *count)
{
    struct json_reader r;
    struct json_token t;
    size_t room = array.len / 2 + 1;
    room = room < INGEST_SAMPLES_MAX ? room : INGEST_SAMPLES_MAX;
    free(*out);
    *count = 0;
    *out = calloc(room, sizeof(**out));
    if (!*out) {
        return E_NOMEM;
    }
    json_reader_init(&r, array, 1);
    enum err e = json_next(&r, &t);
    if (e != E_OK || t.type != JSON_ARRAY) {
        return E_MALFORMED;
    }
    for (;;) {
        e = json_next(&r, &t);
        if (e != E_OK || t.type == JSON_ARRAY_END) {
            return e == E_OK ? json_next(&r, &t) : E_MALFORMED;
        }
        if (*count == room) {
            return E_FULL;
        }
        double *v = &(*out)[(*count)++];
        if (!number(&t, v) || fabs(*v) > SAMPLE_MAX) {
            return E_MALFORMED;
        }
    }
}

/* Members of the object that both URLs take; `key` is for the repetition table. */
struct members {
    struct bytes axes[3];
    struct bytes walking, cadence, confidence;
    uint64_t session;
    bool has_session, has_seq;
};

static bool read_u64(const struct json_token *t, uint64_t *out)
{
    double v;
    if (!number(t, &v) || v < 0 || v > 9007199254740992.0) {
        return false;
    }
    *out = (uint64_t)v;
    return true;
}

static bool read_device(const struct json_token *t, struct ingest_walk *w)
{
    if (t->type != JSON_STRING || t->escaped || (t->text.len > 0 && !ingest_thing_valid(t->text))) {
        return false;
    }
    memcpy(w->device, t->text.data, t->text.len);
    w->device[t->text.len] = '\0';
    return true;
}

static bool take_member(const struct json_token *name, const struct json_token *t, struct members *m,
                        struct ingest_walk *w)
{
    double v;
    if (json_text_equal(name, BYTES("device"))) {
        return read_device(t, w);
    }
    if (json_text_equal(name, BYTES("rate"))) {
        return number(t, &w->rate);
    }
    for (size_t i = 0; i < 3; i++) {
        if (json_text_equal(name, bytes_make(&"xyz"[i], 1))) {
            m->axes[i] = t->text;
            return t->type == JSON_ARRAY;
        }
    }
    if (json_text_equal(name, BYTES("session"))) {
        m->session = bytes_hash(t->text, 2);
        m->has_session = true;
        return t->type == JSON_STRING || t->type == JSON_NUMBER;
    }
    if (json_text_equal(name, BYTES("seq"))) {
        m->has_seq = true;
        return read_u64(t, &w->seq);
    }
    if (json_text_equal(name, BYTES("time"))) {
        return read_u64(t, &w->time_ms);
    }
    if (json_text_equal(name, BYTES("walking"))) {
        m->walking = t->text;
        return t->type == JSON_TRUE || t->type == JSON_FALSE;
    }
    if (json_text_equal(name, BYTES("cadence"))) {
        m->cadence = t->text;
        return number(t, &v);
    }
    if (json_text_equal(name, BYTES("confidence"))) {
        m->confidence = t->text;
        return number(t, &v);
    }
    return true;
}

/* false: the body is no object of known members with the right types. */
static bool read_members(struct bytes body, struct members *m, struct ingest *in)
{
    struct json_reader r;
    struct json_token t, name;
    json_reader_init(&r, body, 16);
    if (json_next(&r, &t) != E_OK || t.type != JSON_OBJECT) {
        return false;
    }
    for (;;) {
        if (json_next(&r, &name) != E_OK) {
            return false;
        }
        if (name.type == JSON_OBJECT_END) {
            break;
        }
        if (json_next_whole(&r, &t) != E_OK || !take_member(&name, &t, m, &in->walk)) {
            return false;
        }
    }
    if (m->has_session && m->has_seq) {
        const struct bytes device = bytes_str(in->walk.device);
        in->walk.numbered = true;
        in->walk.session = m->session;
        in->key = ingest_key(device, bytes_make(&m->session, sizeof(m->session)),
                             bytes_make(&in->walk.seq, sizeof(in->walk.seq)));
    }
    return json_next(&r, &t) == E_OK && t.type == JSON_END;
}

static void add_up(struct ingest_walk *w)
{
    for (size_t i = 0; i < w->count; i++) {
        w->sum += w->x[i] + (w->sums ? 0 : w->y[i] + w->z[i]);
    }
}

static int read_sums(const struct ingest_request *rq, struct ingest *in)
{
    struct ingest_walk *w = &in->walk;
    enum err e = read_numbers(rq->body, &w->x, &w->count);
    if (e == E_FULL || e == E_NOMEM) {
        return ingest_failed(in, e);
    }
    if (e != E_OK || w->count == 0) {
        return ingest_refuse(in, 400, "an array of numbers, not empty, is needed");
    }
    w->sums = true;
    w->rate = SUMS_RATE;
    in->reply = INGEST_REPLY_OK;
    return 200;
}

static int read_axes(const struct ingest_request *rq, struct ingest *in)
{
    struct ingest_walk *w = &in->walk;
    struct members m = {0};
    double **to[3] = {&w->x, &w->y, &w->z};
    size_t counts[3] = {0};
    if (!read_members(rq->body, &m, in)) {
        return ingest_refuse(in, 400,
                             "not {\"device\",\"rate\",\"x\":[],\"y\":[],\"z\":[]}, or a device name that is no "
                             "thing's name");
    }
    for (size_t i = 0; i < 3; i++) {
        enum err e = m.axes[i].len ? read_numbers(m.axes[i], to[i], &counts[i]) : E_MALFORMED;
        if (e == E_FULL || e == E_NOMEM) {
            return ingest_failed(in, e);
        }
        if (e != E_OK || counts[i] != counts[0]) {
            return ingest_refuse(in, 400, "x, y and z must be arrays of numbers of one length");
        }
    }
    w->count = counts[0];
    if (!(w->rate >= WALKING_RATE_MIN && w->rate <= WALKING_RATE_MAX) || w->count == 0) {
        return ingest_refuse(in, 400, "rate must be from 15 to 1000 (Hz), and there must be samples");
    }
    in->reply = INGEST_REPLY_VERDICT;
    return 200;
}

/* The topic; devices.h adds what is said there. */
static enum err add_topic(const struct ingest_request *rq, struct ingest *in)
{
    struct bytes thing = in->walk.device[0] ? bytes_str(in->walk.device) : BYTES("walk-sensor-raw");
    struct buffer topic;
    buffer_init(&topic, 65535);
    enum err e = websensor_walk_topic(rq->walk_topic, thing, &topic);
    if (e == E_OK) {
        e = ingest_add(in, buffer_bytes(&topic), (struct bytes){0});
    }
    buffer_finish(&topic);
    return e;
}

int ingest_walk_raw(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    (void)rest;
    struct json_token whole;
    if (json_parse(rq->body, 16, &whole) != E_OK) {
        return ingest_refuse(in, 400, "the body is not JSON");
    }
    int status = whole.type == JSON_ARRAY ? read_sums(rq, in) : read_axes(rq, in);
    if (status == 200) {
        in->walk.present = true;
        add_up(&in->walk);
        enum err e = add_topic(rq, in);
        status = e == E_OK ? 200 : ingest_failed(in, e);
    }
    return status;
}

static enum err proc_message(const struct ingest_request *rq, const struct members *m, struct ingest *in,
                             struct buffer *topic, struct buffer *payload)
{
    struct ingest_object o;
    struct bytes thing = in->walk.device[0] ? bytes_str(in->walk.device) : BYTES("walk-sensor-proc");
    enum err e = websensor_walk_topic(rq->walk_topic, thing, topic);
    if (e == E_OK) {
        e = buffer_append_str(payload, "{\"state\":{\"desired\":");
    }
    if (e != E_OK) {
        return e;
    }
    ingest_object_begin(&o, payload);
    ingest_object_raw(&o, BYTES("walking"), m->walking);
    if (m->cadence.len > 0) {
        ingest_object_raw(&o, BYTES("cadence"), m->cadence);
    }
    if (m->confidence.len > 0) {
        ingest_object_raw(&o, BYTES("confidence"), m->confidence);
    }
    if (in->walk.time_ms > 0) {
        ingest_object_u64(&o, "time", in->walk.time_ms);
    }
    e = ingest_object_end(&o);
    if (e == E_OK) {
        e = buffer_append_str(payload, "}}");
    }
    return e == E_OK ? ingest_add(in, buffer_bytes(topic), buffer_bytes(payload)) : e;
}

int ingest_walk_proc(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    (void)rest;
    struct members m = {0};
    struct json_token whole;
    if (json_parse(rq->body, 16, &whole) != E_OK) {
        return ingest_refuse(in, 400, "the body is not JSON");
    }
    if (whole.type == JSON_TRUE || whole.type == JSON_FALSE) {
        m.walking = whole.text;
    } else if (!read_members(rq->body, &m, in) || m.walking.len == 0) {
        return ingest_refuse(
            in, 400,
            "neither true nor false nor {\"device\",\"walking\":true|false}, or a device name that is no thing's name");
    }
    struct buffer topic, payload;
    buffer_init(&topic, 65535);
    buffer_init(&payload, 4096);
    enum err e = proc_message(rq, &m, in, &topic, &payload);
    buffer_finish(&topic);
    buffer_finish(&payload);
    in->reply = INGEST_REPLY_OK;
    return e == E_OK ? 200 : ingest_failed(in, e);
}
