/* InfluxDB line protocol ("Line protocol", "InfluxDB v1 and v2 API"): POST /write?db=DB and /api/v2/write?bucket=BUCKET.
 *
 * Each line becomes a message on sensors/DEVICE/MEASUREMENT: an object of its tags (strings), its fields and `time` (ms, where
 * the line has one). DEVICE is the first of the tags device, sensor, sensor_id, host, id that is there; else DB or BUCKET;
 * else "influx". */
#include "websensor/ingest_internal.h"

#include "base/json.h"

struct influx {
    struct ingest *in;
    uint64_t unit_ns; /* of timestamps */
    struct buffer device, fallback, measurement, name, value, topic, payload;
    unsigned device_rank; /* of the tag that gave the device; 0 = best */
    struct ingest_object object;
};

static const char *const device_tags[] = {"device", "sensor", "sensor_id", "host", "id"};

#define TAGS (sizeof(device_tags) / sizeof(device_tags[0]))

/* Takes text up to one of `ends` that is not escaped with a backslash, off *rest and unescaped into out. The end itself stays. */
static enum err take_word(struct bytes *rest, const char *ends, struct buffer *out)
{
    buffer_clear(out);
    while (rest->len > 0 && !strchr(ends, rest->data[0])) {
        size_t skip = rest->data[0] == '\\' && rest->len > 1 && memchr(",= \\\"", rest->data[1], 5) ? 1 : 0;
        enum err e = buffer_append_byte(out, rest->data[skip]);
        if (e != E_OK) {
            return e;
        }
        *rest = bytes_sub(*rest, skip + 1, rest->len);
    }
    return E_OK;
}

static bool take_byte(struct bytes *rest, uint8_t byte)
{
    if (rest->len == 0 || rest->data[0] != byte) {
        return false;
    }
    *rest = bytes_sub(*rest, 1, rest->len);
    return true;
}

static enum err take_tag(struct influx *f, struct bytes *rest)
{
    enum err e = take_word(rest, ",= ", &f->name);
    if (e != E_OK || f->name.len == 0 || !take_byte(rest, '=')) {
        return e == E_OK ? E_MALFORMED : e;
    }
    e = take_word(rest, ", ", &f->value);
    if (e != E_OK || f->value.len == 0) {
        return e == E_OK ? E_MALFORMED : e;
    }
    for (unsigned i = 0; i < f->device_rank; i++) {
        if (bytes_equal(buffer_bytes(&f->name), bytes_str(device_tags[i])) &&
            ingest_name_valid(buffer_bytes(&f->value))) {
            f->device_rank = i;
            buffer_clear(&f->device);
            e = buffer_append(&f->device, buffer_bytes(&f->value));
            break;
        }
    }
    ingest_object_string(&f->object, buffer_bytes(&f->name), buffer_bytes(&f->value));
    return e;
}

static enum err take_string_field(struct influx *f, struct bytes *rest)
{
    buffer_clear(&f->value);
    while (rest->len > 0 && rest->data[0] != '"') {
        size_t skip = rest->data[0] == '\\' && rest->len > 1 && memchr("\\\"", rest->data[1], 2) ? 1 : 0;
        enum err e = buffer_append_byte(&f->value, rest->data[skip]);
        if (e != E_OK) {
            return e;
        }
        *rest = bytes_sub(*rest, skip + 1, rest->len);
    }
    ingest_object_string(&f->object, buffer_bytes(&f->name), buffer_bytes(&f->value));
    return take_byte(rest, '"') ? E_OK : E_MALFORMED;
}

static bool is_word(struct bytes v, const char *const *words)
{
    for (; *words; words++) {
        if (bytes_equal(v, bytes_str(*words))) {
            return true;
        }
    }
    return false;
}

/* A number in the line protocol's writing as JSON: without the type's letter, a '+', a leading or a trailing dot. */
static enum err add_number(struct influx *f, struct bytes v)
{
    struct buffer *n = &f->topic; /* free until the line is done */
    struct json_token t;
    uint8_t last = v.len > 1 ? v.data[v.len - 1] : 0;
    v = bytes_sub(v, 0, last == 'i' || last == 'u' ? v.len - 1 : v.len);
    v = v.len > 0 && v.data[0] == '+' ? bytes_sub(v, 1, v.len) : v;
    buffer_clear(n);
    for (size_t i = 0; i < v.len; i++) {
        bool digit_before = i > 0 && v.data[i - 1] >= '0' && v.data[i - 1] <= '9';
        bool digit_after = i + 1 < v.len && v.data[i + 1] >= '0' && v.data[i + 1] <= '9';
        bool dot = v.data[i] == '.';
        enum err e = dot && !digit_before ? buffer_append_byte(n, '0') : E_OK;
        e = e == E_OK && !(dot && !digit_after) ? buffer_append_byte(n, v.data[i]) : e;
        if (e != E_OK) {
            return e;
        }
    }
    if (json_parse(buffer_bytes(n), 0, &t) != E_OK || t.type != JSON_NUMBER) {
        return E_MALFORMED;
    }
    ingest_object_raw(&f->object, buffer_bytes(&f->name), t.text);
    return E_OK;
}

static enum err take_field(struct influx *f, struct bytes *rest)
{
    static const char *const yes[] = {"t", "T", "true", "True", "TRUE", NULL};
    static const char *const no[] = {"f", "F", "false", "False", "FALSE", NULL};
    enum err e = take_word(rest, ",= ", &f->name);
    if (e != E_OK || f->name.len == 0 || !take_byte(rest, '=')) {
        return e == E_OK ? E_MALFORMED : e;
    }
    if (take_byte(rest, '"')) {
        return take_string_field(f, rest);
    }
    e = take_word(rest, ", ", &f->value);
    struct bytes v = buffer_bytes(&f->value);
    if (e == E_OK && is_word(v, yes)) {
        ingest_object_raw(&f->object, buffer_bytes(&f->name), BYTES("true"));
    } else if (e == E_OK && is_word(v, no)) {
        ingest_object_raw(&f->object, buffer_bytes(&f->name), BYTES("false"));
    } else if (e == E_OK) {
        e = add_number(f, v);
    }
    return e;
}

static bool take_time(struct influx *f, struct bytes rest)
{
    uint64_t t = 0;
    while (rest.len > 0 && rest.data[rest.len - 1] == ' ') {
        rest.len--;
    }
    if (rest.len == 0) {
        return true;
    }
    for (size_t i = 0; i < rest.len; i++) {
        if (rest.data[i] < '0' || rest.data[i] > '9' || t > (UINT64_MAX - 9) / 10) {
            return false;
        }
        t = t * 10 + (uint64_t)(rest.data[i] - '0');
    }
    uint64_t ms = f->unit_ns >= 1000000 ? t : t / (1000000 / f->unit_ns);
    uint64_t factor = f->unit_ns >= 1000000 ? f->unit_ns / 1000000 : 1;
    if (ms > 253402300799999u / factor) { /* the year 9999 */
        return false;
    }
    ingest_object_u64(&f->object, "time", ms * factor);
    return true;
}

static enum err take_line(struct influx *f, struct bytes line)
{
    f->device_rank = TAGS;
    buffer_clear(&f->device);
    buffer_clear(&f->payload);
    ingest_object_begin(&f->object, &f->payload);
    enum err e = take_word(&line, ", ", &f->measurement);
    if (e == E_OK && !ingest_name_valid(buffer_bytes(&f->measurement))) {
        e = E_MALFORMED;
    }
    while (e == E_OK && take_byte(&line, ',')) {
        e = take_tag(f, &line);
    }
    if (e == E_OK && !take_byte(&line, ' ')) {
        e = E_MALFORMED;
    }
    while (take_byte(&line, ' ')) {
    }
    do {
        e = e == E_OK ? take_field(f, &line) : e;
    } while (e == E_OK && take_byte(&line, ','));
    if (e == E_OK && line.len > 0 && !take_byte(&line, ' ')) {
        e = E_MALFORMED;
    }
    if (e == E_OK && !take_time(f, line)) {
        e = E_MALFORMED;
    }
    e = e == E_OK ? ingest_object_end(&f->object) : e;
    struct bytes device = buffer_bytes(f->device.len > 0 ? &f->device : &f->fallback);
    e = e == E_OK ? ingest_sensor_topic(&f->topic, device, buffer_bytes(&f->measurement)) : e;
    return e == E_OK ? ingest_add(f->in, buffer_bytes(&f->topic), buffer_bytes(&f->payload)) : e;
}

/* Lines end with '\n' outside of a string field. */
static struct bytes next_line(struct bytes *rest)
{
    bool quoted = false;
    size_t n = 0;
    while (n < rest->len && (quoted || rest->data[n] != '\n')) {
        if (rest->data[n] == '\\' && n + 1 < rest->len) {
            n++;
        } else if (rest->data[n] == '"') {
            quoted = !quoted;
        }
        n++;
    }
    n = n < rest->len ? n : rest->len;
    struct bytes line = bytes_sub(*rest, 0, n);
    *rest = bytes_sub(*rest, n + 1, rest->len);
    if (line.len > 0 && line.data[line.len - 1] == '\r') {
        line.len--;
    }
    return line;
}

static enum err take_body(struct influx *f, struct bytes body)
{
    enum err e = E_OK;
    while (body.len > 0 && e == E_OK) {
        struct bytes line = next_line(&body);
        if (line.len > 0 && line.data[0] != '#') {
            e = take_line(f, line);
        }
    }
    return e;
}

/* "ns", "n", "us", "u", "ms", "s", "m", "h"; absent: ns. 0: something else. */
static uint64_t precision(const struct ingest_request *rq)
{
    static const struct {
        const char *word;
        uint64_t ns;
    } units[] = {{"ns", 1},         {"n", 1},           {"", 1},
                 {"us", 1000},      {"u", 1000},        {"ms", 1000000},
                 {"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000}};
    struct buffer word;
    uint64_t ns = 0;
    buffer_init(&word, 16);
    enum err e = ingest_query(rq->target, "precision", &word);
    for (size_t i = 0; (e == E_OK || e == E_NOT_FOUND) && i < sizeof(units) / sizeof(units[0]); i++) {
        ns = bytes_equal(buffer_bytes(&word), bytes_str(units[i].word)) ? units[i].ns : ns;
    }
    buffer_finish(&word);
    return ns;
}

/* What names the device when no tag does. */
static enum err read_fallback(const struct ingest_request *rq, struct buffer *out)
{
    enum err e = ingest_query(rq->target, "bucket", out);
    e = e == E_NOT_FOUND ? ingest_query(rq->target, "db", out) : e;
    if ((e == E_OK || e == E_NOT_FOUND) && !ingest_name_valid(buffer_bytes(out))) {
        buffer_clear(out);
        e = buffer_append_str(out, "influx");
    }
    return e;
}

int ingest_influx(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    (void)rest;
    struct influx f = {.in = in, .unit_ns = precision(rq)};
    struct buffer *all[] = {&f.device, &f.fallback, &f.measurement, &f.name, &f.value, &f.topic, &f.payload};
    in->reply = INGEST_REPLY_NO_CONTENT;
    if (f.unit_ns == 0) {
        return ingest_refuse(in, 400, "precision must be ns, us, ms, s, m or h");
    }
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        buffer_init(all[i], 8 * rq->body.len + 1024);
    }
    enum err e = read_fallback(rq, &f.fallback);
    if (e == E_OK && in->token.len == 0) { /* version 1: ?u=USER&p=PASSWORD */
        e = ingest_query(rq->target, "p", &in->token);
        e = e == E_NOT_FOUND ? E_OK : e;
    }
    e = e == E_OK ? take_body(&f, rq->body) : e;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        buffer_finish(all[i]);
    }
    return e == E_OK ? 200 : e == E_MALFORMED ? ingest_refuse(in, 400, "not line protocol") : ingest_failed(in, e);
}
