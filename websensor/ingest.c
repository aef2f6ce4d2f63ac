#include "websensor/ingest_internal.h"

#include "base/json.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum { METHOD_POST = 1, METHOD_PUT = 2, METHOD_GET = 4 };

struct route {
    struct {
        const char *text; /* one that ends in '/' is a prefix */
        size_t len;
    } path;
    unsigned methods;
    ingest_format_fn *format;
};

#define PATH(text)                                                                                                     \
    {                                                                                                                  \
        text, sizeof(text) - 1                                                                                         \
    }

static const struct route routes[] = {
    {PATH("/topics/"), METHOD_POST | METHOD_PUT, ingest_topics},
    {PATH("/walk-sensor/raw"), METHOD_POST, ingest_walk_raw},
    {PATH("/walk-sensor/proc"), METHOD_POST, ingest_walk_proc},
    {PATH("/ttn"), METHOD_POST, ingest_ttn},
    {PATH("/api/v1/"), METHOD_POST, ingest_thingsboard},
    {PATH("/sensorlogger"), METHOD_POST, ingest_sensorlogger},
    {PATH("/sensorlogger/"), METHOD_POST, ingest_sensorlogger},
    {PATH("/phyphox"), METHOD_POST, ingest_phyphox},
    {PATH("/phyphox/"), METHOD_POST, ingest_phyphox},
    {PATH("/phyphox"), METHOD_GET, ingest_phyphox_get},
    {PATH("/phyphox/"), METHOD_GET, ingest_phyphox_get},
    {PATH("/owntracks"), METHOD_POST, ingest_owntracks},
    {PATH("/pub"), METHOD_POST, ingest_owntracks},
    {PATH("/write"), METHOD_POST, ingest_influx},
    {PATH("/api/v2/write"), METHOD_POST, ingest_influx},
    {PATH("/api/v5/publish"), METHOD_POST, ingest_emqx},
};

void ingest_init(struct ingest *in, size_t text_max)
{
    *in = (struct ingest){.qos = 1};
    buffer_init(&in->text, text_max);
    buffer_init(&in->token, 4096);
}

void ingest_finish(struct ingest *in)
{
    buffer_finish(&in->text);
    buffer_finish(&in->token);
    free(in->messages);
    free(in->walk.x);
    free(in->walk.y);
    free(in->walk.z);
    *in = (struct ingest){.qos = 1};
}

int ingest_refuse(struct ingest *in, int status, const char *reason)
{
    in->reason = reason;
    return status;
}

int ingest_failed(struct ingest *in, enum err e)
{
    switch (e) {
    case E_FULL:
    case E_TOO_LARGE:
        return ingest_refuse(in, 413, "too much for one request");
    case E_MALFORMED:
        return ingest_refuse(in, 400, "malformed text: not UTF-8, or a broken escape");
    case E_INVALID:
        return ingest_refuse(in, 400, "a name that cannot be part of a topic");
    default:
        return ingest_refuse(in, 503, "no memory");
    }
}

enum err ingest_add(struct ingest *in, struct bytes topic, struct bytes payload)
{
    if (in->count == in->room) {
        size_t room = in->room ? in->room * 2 : 1;
        if (room > INGEST_MESSAGES_MAX) {
            return E_FULL;
        }
        struct ingest_message *more = realloc(in->messages, room * sizeof(*more));
        if (!more) {
            return E_NOMEM;
        }
        in->messages = more;
        in->room = room;
    }
    size_t start = in->text.len;
    if (topic.len > in->text.max || payload.len > in->text.max - topic.len) {
        return E_FULL;
    }
    enum err e = buffer_reserve(&in->text, topic.len + payload.len);
    e = e ? e : buffer_append(&in->text, topic);
    e = e ? e : buffer_append(&in->text, payload);
    if (e != E_OK) {
        return e;
    }
    in->messages[in->count++] = (struct ingest_message){start, topic.len, start + topic.len, payload.len};
    return E_OK;
}

struct bytes ingest_topic(const struct ingest *in, size_t i)
{
    return bytes_sub(buffer_bytes(&in->text), in->messages[i].topic, in->messages[i].topic_len);
}

struct bytes ingest_payload(const struct ingest *in, size_t i)
{
    return bytes_sub(buffer_bytes(&in->text), in->messages[i].payload, in->messages[i].payload_len);
}

struct bytes ingest_piece(const struct ingest *in, struct ingest_text piece)
{
    return piece.len > 0 ? bytes_sub(buffer_bytes(&in->text), piece.at, piece.len) : (struct bytes){0};
}

bool ingest_topic_allowed(struct bytes topic)
{
    return topic_name_valid(topic) && topic_safe(topic) &&
           (topic.data[0] != '$' || bytes_starts_with(topic, BYTES("$aws/things/")));
}

bool ingest_name_valid(struct bytes name)
{
    if (name.len == 0 || name.len > INGEST_NAME_MAX || name.data[0] == '$' || !bytes_is_utf8(name)) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] < 0x20 || name.data[i] == 0x7f || memchr("/+#", name.data[i], 3)) {
            return false;
        }
    }
    return true;
}

bool ingest_thing_valid(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != ':' && c != '_' && c != '-') {
            return false;
        }
    }
    return name.len > 0 && name.len <= INGEST_NAME_MAX;
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

enum err ingest_decode(struct bytes text, bool plus, struct buffer *out)
{
    enum err e = buffer_reserve(out, text.len);
    size_t start = out->len;
    for (size_t i = 0; e == E_OK && i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.data[i + 2]) : -1;
            c = (uint8_t)(high * 16 + low);
            e = high < 0 || low < 0 ? E_MALFORMED : E_OK;
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c == 0) {
            e = E_MALFORMED;
        }
        if (e == E_OK) {
            out->data[out->len++] = c;
        }
    }
    if (e != E_OK) {
        out->len = start;
    }
    return e;
}

static struct bytes path_of(struct bytes target)
{
    const uint8_t *mark = target.len ? memchr(target.data, '?', target.len) : NULL;
    return mark ? bytes_make(target.data, (size_t)(mark - target.data)) : target;
}

/* Takes "name=value" off *query. */
static bool next_pair(struct bytes *query, struct bytes *name, struct bytes *value)
{
    while (query->len > 0) {
        const uint8_t *end = memchr(query->data, '&', query->len);
        struct bytes pair = bytes_sub(*query, 0, end ? (size_t)(end - query->data) : query->len);
        *query = bytes_sub(*query, pair.len + 1, query->len);
        if (pair.len == 0) {
            continue;
        }
        const uint8_t *equals = memchr(pair.data, '=', pair.len);
        size_t n = equals ? (size_t)(equals - pair.data) : pair.len;
        *name = bytes_sub(pair, 0, n);
        *value = bytes_sub(pair, n + 1, pair.len);
        return true;
    }
    return false;
}

enum err ingest_query(struct bytes target, const char *wanted, struct buffer *out)
{
    struct bytes query = bytes_sub(target, path_of(target).len + 1, target.len);
    struct bytes name;
    struct bytes value;
    while (next_pair(&query, &name, &value)) {
        if (bytes_equal(name, bytes_str(wanted))) {
            return ingest_decode(value, true, out);
        }
    }
    return E_NOT_FOUND;
}

static bool on_route(const struct route *r, struct bytes path)
{
    struct bytes p = bytes_make(r->path.text, r->path.len);
    bool prefix = p.data[p.len - 1] == '/';
    return prefix ? bytes_starts_with(path, p) && path.len > p.len : bytes_equal(path, p);
}

/* Methods of all routes with this path. */
static unsigned methods_of(struct bytes path)
{
    unsigned methods = 0;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        methods |= on_route(&routes[i], path) ? routes[i].methods : 0;
    }
    return methods;
}

static const struct route *find_route(struct bytes path, unsigned method)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if ((routes[i].methods & method) && on_route(&routes[i], path)) {
            return &routes[i];
        }
    }
    return NULL;
}

bool ingest_is_known(struct bytes target, bool is_get, const char **methods)
{
    unsigned m = methods_of(path_of(target));
    *methods = m & METHOD_GET ? "GET, POST" : m & METHOD_PUT ? "POST, PUT" : "POST";
    return is_get ? (m & METHOD_GET) != 0 : m != 0;
}

static unsigned method_of(struct bytes method)
{
    return bytes_equal(method, BYTES("POST"))  ? METHOD_POST
           : bytes_equal(method, BYTES("PUT")) ? METHOD_PUT
           : bytes_equal(method, BYTES("GET")) ? METHOD_GET
                                               : 0;
}

/* Every message of the request must be one that may be published. */
static int check_topics(struct ingest *in)
{
    for (size_t i = 0; i < in->count; i++) {
        if (!(in->topic_by_token && in->messages[i].topic_len == 0) && !ingest_topic_allowed(ingest_topic(in, i))) {
            return ingest_refuse(in, 400, "not a topic that can be published to");
        }
    }
    return 200;
}

int ingest_parse(const struct ingest_request *rq, struct ingest *in)
{
    struct bytes path = path_of(rq->target);
    unsigned method = method_of(rq->method);
    struct buffer rest;
    const struct route *r = find_route(path, method);
    in->reason = NULL;
    if (!r) {
        return methods_of(path) ? ingest_refuse(in, 405, "method not allowed here")
                                : ingest_refuse(in, 404, "no such URL");
    }
    buffer_init(&rest, 65536);
    enum err e = ingest_decode(bytes_sub(path, r->path.len, path.len), false, &rest);
    if (e == E_OK) {
        e = ingest_query(rq->target, "token", &in->token);
        e = e == E_NOT_FOUND ? E_OK : e;
    }
    int status = e == E_OK ? r->format(rq, buffer_bytes(&rest), in) : ingest_failed(in, e);
    buffer_finish(&rest);
    return status == 200 ? check_topics(in) : status;
}

/* --- for the formats */

void ingest_object_begin(struct ingest_object *o, struct buffer *out)
{
    *o = (struct ingest_object){.out = out};
    o->e = buffer_append_byte(out, '{');
}

void ingest_object_raw(struct ingest_object *o, struct bytes name, struct bytes json)
{
    if (o->e == E_OK && o->any) {
        o->e = buffer_append_byte(o->out, ',');
    }
    if (o->e == E_OK) {
        o->e = json_append_string(o->out, name);
    }
    if (o->e == E_OK) {
        o->e = buffer_append_byte(o->out, ':');
    }
    if (o->e == E_OK) {
        o->e = buffer_append(o->out, json);
    }
    o->any = true;
}

void ingest_object_string(struct ingest_object *o, struct bytes name, struct bytes value)
{
    ingest_object_raw(o, name, (struct bytes){0});
    if (o->e == E_OK) {
        o->e = json_append_string(o->out, value);
    }
}

void ingest_object_u64(struct ingest_object *o, const char *name, uint64_t value)
{
    ingest_object_raw(o, bytes_str(name), (struct bytes){0});
    if (o->e == E_OK) {
        o->e = buffer_appendf(o->out, "%llu", (unsigned long long)value);
    }
}

enum err ingest_object_end(struct ingest_object *o)
{
    return o->e == E_OK ? buffer_append_byte(o->out, '}') : o->e;
}

enum err ingest_sensor_topic(struct buffer *out, struct bytes device, struct bytes rest)
{
    if (!ingest_name_valid(device)) {
        return E_INVALID;
    }
    buffer_clear(out);
    enum err e = buffer_append_str(out, "sensors/");
    if (e == E_OK) {
        e = buffer_append(out, device);
    }
    if (e == E_OK && rest.len > 0) {
        e = buffer_append_byte(out, '/');
    }
    return e == E_OK ? buffer_append(out, rest) : e;
}

uint64_t ingest_key(struct bytes sender, struct bytes session, struct bytes message)
{
    uint64_t key = bytes_hash(message, bytes_hash(session, bytes_hash(sender, 1)));
    return key ? key : 1;
}
