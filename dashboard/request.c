#include "dashboard/request.h"

#include "base/option.h"
#include "dashboard/config.h"

#include <stdarg.h>
#include <stdio.h>

static enum err refuse(struct request_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum err refuse(struct request_error *error, int status, const char *format, ...)
{
    va_list args;
    error->status = status;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return status == 404 ? E_NOT_FOUND : E_INVALID;
}

/* --- decoding --- */

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent decoding into the request's memory, which has room for all of path and query. Refuses broken escapes, control
 * characters and what is not UTF-8. */
static enum err decode(struct request *r, struct bytes raw, bool plus_is_space, struct bytes *out)
{
    size_t start = r->text_len;
    for (size_t i = 0; i < raw.len; i++) {
        uint8_t c = raw.data[i];
        if (c == '%') {
            int high = i + 1 < raw.len ? hex(raw.data[i + 1]) : -1;
            int low = i + 2 < raw.len ? hex(raw.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return E_MALFORMED;
            }
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7F) {
            return E_MALFORMED;
        }
        r->text[r->text_len++] = c;
    }
    *out = bytes_make(r->text + start, r->text_len - start);
    return bytes_is_utf8(*out) ? E_OK : E_MALFORMED;
}

/* --- path --- */

static bool ends_with(struct bytes b, struct bytes end)
{
    return b.len >= end.len && bytes_equal(bytes_sub(b, b.len - end.len, end.len), end);
}

static enum err take_sensor(struct request *r, struct bytes raw, struct request_error *error)
{
    if (decode(r, raw, false, &r->sensor) != E_OK) {
        return refuse(error, 400, "the sensor's name in the URL is not well-formed");
    }
    if (r->sensor.len == 0 || r->sensor.len > REQUEST_SENSOR_MAX) {
        return refuse(error, 404, "there is no such page");
    }
    return E_OK;
}

/* PREFIX ID SUFFIX; an ID may hold slashes, as topics do. */
struct pattern {
    struct bytes prefix, suffix;
    enum route route;
};

#define PATTERN(prefix, suffix, route)                                                                                 \
    {                                                                                                                  \
        {(const uint8_t *)(prefix), sizeof(prefix) - 1}, {(const uint8_t *)(suffix), sizeof(suffix) - 1}, (route)      \
    }

static const struct pattern patterns[] = {
    PATTERN("/api/sensors/", "/range", ROUTE_RANGE),
    PATTERN("/api/sensors/", "/last", ROUTE_LAST),
    PATTERN("/api/sensors/", "/export.csv", ROUTE_CSV),
    PATTERN("/", "/last", ROUTE_OLD_LAST),
    PATTERN("/", "/", ROUTE_OLD_LIST),
};

static enum err parse_path(struct bytes path, struct request *r, struct request_error *error)
{
    if (bytes_equal(path, BYTES("/"))) {
        r->route = ROUTE_PAGE;
        return E_OK;
    }
    if (bytes_equal(path, BYTES("/api/config"))) {
        r->route = ROUTE_CONFIG;
        return E_OK;
    }
    if (bytes_equal(path, BYTES("/api/sensors"))) {
        r->route = ROUTE_SENSORS;
        return E_OK;
    }
    if (bytes_starts_with(path, BYTES("/page/"))) {
        r->route = ROUTE_FILE;
        return decode(r, bytes_sub(path, 6, path.len), false, &r->file) == E_OK
                   ? E_OK
                   : refuse(error, 404, "there is no such page");
    }
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        const struct pattern *p = &patterns[i];
        if (path.len > p->prefix.len + p->suffix.len && bytes_starts_with(path, p->prefix) &&
            ends_with(path, p->suffix) && !(p->prefix.len == 1 && bytes_starts_with(path, BYTES("/api/")))) {
            r->route = p->route;
            return take_sensor(r, bytes_sub(path, p->prefix.len, path.len - p->prefix.len - p->suffix.len), error);
        }
    }
    return refuse(error, 404, "there is no such page");
}

/* --- query --- */

enum parameter { FROM = 1, TO = 2, SINCE = 4, POINTS = 8, METRIC = 16, VERSION = 32 };

static const struct {
    const char *name;
    enum parameter bit;
} names[] = {{"from", FROM}, {"to", TO}, {"since", SINCE}, {"points", POINTS}, {"metric", METRIC}, {"v", VERSION}};

static const unsigned allowed[] = {
    [ROUTE_FILE] = VERSION,  [ROUTE_CONFIG] = 0,
    [ROUTE_SENSORS] = SINCE, [ROUTE_RANGE] = FROM | TO | SINCE | POINTS | METRIC,
    [ROUTE_LAST] = 0,        [ROUTE_CSV] = FROM | TO | METRIC,
    [ROUTE_OLD_LIST] = 0,    [ROUTE_OLD_LAST] = 0,
};

static enum err take_time(struct bytes text, const char *name, bool *has, int64_t *out, struct request_error *error)
{
    uint64_t n;
    if (option_parse_uint(text, 0, (uint64_t)REQUEST_TIME_MAX, &n) != E_OK) {
        return refuse(error, 400, "parameter %s: must be milliseconds since 1970, at most %lld", name,
                      (long long)REQUEST_TIME_MAX);
    }
    *has = true;
    *out = (int64_t)n;
    return E_OK;
}

static enum err take_value(struct request *r, enum parameter which, struct bytes value, struct request_error *error)
{
    uint64_t n;
    switch (which) {
    case FROM:
        return take_time(value, "from", &r->has_from, &r->from_ms, error);
    case TO:
        return take_time(value, "to", &r->has_to, &r->to_ms, error);
    case SINCE:
        return take_time(value, "since", &r->has_since, &r->since_ms, error);
    case POINTS:
        if (option_parse_uint(value, 1, CONFIG_POINTS_MAX, &n) != E_OK) {
            return refuse(error, 400, "parameter points: must be a number from 1 to %u", CONFIG_POINTS_MAX);
        }
        r->has_points = true;
        r->points = (uint32_t)n;
        return E_OK;
    case METRIC:
        if (value.len == 0 || value.len > REQUEST_METRIC_MAX) {
            return refuse(error, 400, "parameter metric: must be a name of at most %u bytes", REQUEST_METRIC_MAX);
        }
        r->metric = value;
        return E_OK;
    case VERSION:
        r->has_version = true;
        return E_OK;
    }
    return E_OK;
}

static enum err parse_pair(struct request *r, struct bytes pair, unsigned *seen, struct request_error *error)
{
    const uint8_t *equals = pair.len ? memchr(pair.data, '=', pair.len) : NULL;
    size_t name_len = equals ? (size_t)(equals - pair.data) : pair.len;
    struct bytes name;
    struct bytes value;
    if (decode(r, bytes_sub(pair, 0, name_len), true, &name) != E_OK ||
        decode(r, bytes_sub(pair, name_len + 1, pair.len), true, &value) != E_OK) {
        return refuse(error, 400, "the parameters of the URL are not well-formed");
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!bytes_equal(name, bytes_str(names[i].name)) || !(allowed[r->route] & names[i].bit)) {
            continue;
        }
        if (*seen & names[i].bit) {
            return refuse(error, 400, "parameter %s: given twice", names[i].name);
        }
        *seen |= names[i].bit;
        return take_value(r, names[i].bit, value, error);
    }
    return refuse(error, 400, "a parameter that this request does not know");
}

static enum err parse_query(struct bytes query, struct request *r, struct request_error *error)
{
    unsigned seen = 0;
    bool more = query.len > 0;
    while (more) {
        const uint8_t *end = query.len ? memchr(query.data, '&', query.len) : NULL;
        size_t len = end ? (size_t)(end - query.data) : query.len;
        enum err e = parse_pair(r, bytes_sub(query, 0, len), &seen, error);
        if (e != E_OK) {
            return e;
        }
        query = bytes_sub(query, len + 1, query.len);
        more = end != NULL;
    }
    if (r->has_from && r->has_to && r->from_ms > r->to_ms) {
        return refuse(error, 400, "parameter from: lies after to");
    }
    return E_OK;
}

enum err request_parse(struct bytes path, struct bytes query, struct request *out, struct request_error *error)
{
    if (path.len > REQUEST_PATH_MAX || query.len > REQUEST_QUERY_MAX) {
        return refuse(error, 414, "the URL is too long");
    }
    memset(out, 0, offsetof(struct request, text));
    out->text_len = 0;
    enum err e = parse_path(path, out, error);
    /* What stands behind the page's '?' is for the script in the browser. */
    return e != E_OK || out->route == ROUTE_PAGE ? e : parse_query(query, out, error);
}
