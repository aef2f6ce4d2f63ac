/* The table that the plugin (or the original project's rule) writes. Reads with Query, one page after the other. Names of
 * sensors come from the configuration; without one they are found by skipping with Scan from partition to partition, one item
 * each, and kept for a while under FastCGI. */
#include "dashboard/source.h"

#include "aws/dynamodb_item.h"
#include "base/log.h"
#include "dashboard/dynamodb_calls.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    DEADLINE_MS = 20000,
    NAMES_KEPT_MS = 60000,
    NAMES_SEARCHED_MAX = 1000, /* one request each */
    NAMES_BYTES_MAX = 4 << 20,
    PAGES_MAX = 64, /* of a range that is down-sampled: 64 MB as DynamoDB counts */
    ITEMS_OF_NEWEST = 25,
    KEY_MAX = 65536,
    SENSOR_MAX = 2048
};

/* As text times compare like numbers only while they have the same number of digits (2001 to 2286). */
static const int64_t text_time_min = INT64_C(1000000000000);
static const int64_t text_time_max = INT64_C(9999999999999);

LOG_POINT(log_cut, "dashboard.sensors-cut", LOG_WARNING,
          "too many sensors to search for: name those to be shown with option sensors");

struct source_dynamodb {
    struct source base;
    struct dynamodb_calls *calls;
    struct dynamodb_layout layout;
    struct buffer names; /* found by Scan, each behind its length */
    struct mono names_until;
    bool names_found;
};

static bool no_memory(struct source_error *error)
{
    *error = (struct source_error){SOURCE_MEMORY, "no memory for a request"};
    return false;
}

static bool not_understood(struct source_error *error, const char *operation)
{
    error->fault = SOURCE_BROKEN;
    snprintf(error->detail, sizeof(error->detail), "%s: the answer cannot be understood", operation);
    return false;
}

static enum err build_query(const struct source_dynamodb *s, struct dynamodb_query *q, struct bytes start_key,
                            struct buffer *out)
{
    q->table = bytes_str(s->base.config->dynamodb_table);
    q->start_key = start_key;
    if (s->layout.time_type == 'S') {
        q->from_ms = q->from_ms < text_time_min ? 0 : q->from_ms;
        q->to_ms = q->to_ms > text_time_max ? text_time_max : q->to_ms;
    }
    buffer_clear(out);
    return dynamodb_query_build(&s->layout, q, out);
}

/* --- ranges --- */

struct page_reader {
    const struct source_range *range;
    source_row_fn *fn;
    void *ctx;
    uint64_t left;
    bool more; /* the caller wants more */
};

static bool give_item(void *ctx, const struct dynamodb_item *item)
{
    struct page_reader *p = ctx;
    struct source_row row = {item->timestamp_ms, item->message.len ? item->message : BYTES("{}")};
    if (row.time_ms < p->range->from_ms || row.time_ms > p->range->to_ms) {
        return true;
    }
    p->more = p->fn(p->ctx, &row) && --p->left > 0;
    return p->more;
}

static bool read_pages(struct source_dynamodb *s, struct dynamodb_call *call, struct page_reader *p, bool *complete,
                       struct source_error *error)
{
    struct buffer key;
    bool ok = true;
    size_t pages = 0;
    buffer_init(&key, KEY_MAX);
    do {
        struct dynamodb_query q = {.sensor = p->range->sensor,
                                   .from_ms = p->range->from_ms,
                                   .to_ms = p->range->to_ms,
                                   .newest_first = p->range->newest_first,
                                   .limit = p->range->limit && p->left < 1000 ? (uint32_t)p->left : 0};
        struct mono deadline = mono_add_ms(mono_now(), DEADLINE_MS);
        if (build_query(s, &q, buffer_bytes(&key), &call->body) != E_OK) {
            ok = no_memory(error);
            break;
        }
        ok = dynamodb_calls_run(s->calls, call, 1, deadline, error);
        buffer_clear(&key);
        if (ok &&
            dynamodb_items_parse(&s->layout, buffer_bytes(&call->answer), wall_now(), give_item, p, &key) != E_OK) {
            ok = not_understood(error, call->operation);
        }
        *complete = key.len == 0;
    } while (ok && p->more && key.len > 0 && (p->range->limit != 0 || ++pages < PAGES_MAX));
    buffer_finish(&key);
    return ok;
}

static bool range(struct source *base, const struct source_range *wanted, source_row_fn *fn, void *ctx, bool *complete,
                  struct source_error *error)
{
    struct source_dynamodb *s = (struct source_dynamodb *)base;
    struct page_reader p = {.range = wanted, .fn = fn, .ctx = ctx, .more = true};
    struct dynamodb_call call;
    p.left = wanted->limit ? wanted->limit : UINT64_MAX;
    dynamodb_call_init(&call, "Query");
    bool ok = read_pages(s, &call, &p, complete, error);
    dynamodb_call_finish(&call);
    return ok;
}

/* --- names of sensors --- */

static enum err append_name(struct buffer *out, struct bytes name)
{
    uint16_t len = (uint16_t)name.len;
    enum err e = buffer_reserve(out, sizeof(len) + name.len);
    e = e ? e : buffer_append(out, bytes_make(&len, sizeof(len)));
    return e ? e : buffer_append(out, name);
}

static bool next_name(const struct buffer *names, size_t *at, struct bytes *name)
{
    uint16_t len;
    if (*at + sizeof(len) > names->len) {
        return false;
    }
    memcpy(&len, names->data + *at, sizeof(len));
    *name = bytes_sub(buffer_bytes(names), *at + sizeof(len), len);
    *at += sizeof(len) + len;
    return true;
}

struct found {
    struct buffer name;
    enum err failed;
};

static bool on_found(void *ctx, const struct dynamodb_item *item)
{
    struct found *f = ctx;
    buffer_clear(&f->name);
    f->failed = buffer_append(&f->name, item->sensor);
    return false;
}

/* One step: the first item behind `key`. *end: there is none. */
static bool find_next(struct source_dynamodb *s, struct dynamodb_call *call, struct buffer *key, struct found *found,
                      struct mono deadline, bool *end, struct source_error *error)
{
    struct buffer ignored;
    buffer_clear(&call->body);
    buffer_clear(&found->name);
    if (dynamodb_scan_build(&s->layout, bytes_str(s->base.config->dynamodb_table), 1, buffer_bytes(key), &call->body) !=
        E_OK) {
        return no_memory(error);
    }
    if (!dynamodb_calls_run(s->calls, call, 1, deadline, error)) {
        return false;
    }
    buffer_init(&ignored, KEY_MAX);
    buffer_clear(key);
    enum err e = dynamodb_items_parse(&s->layout, buffer_bytes(&call->answer), wall_now(), on_found, found, &ignored);
    buffer_finish(&ignored);
    *end = found->name.len == 0;
    if (e == E_OK && !*end) {
        e = found->failed ? found->failed : dynamodb_partition_end(&s->layout, buffer_bytes(&found->name), key);
    }
    return e == E_OK || not_understood(error, call->operation);
}

static bool search_names(struct source_dynamodb *s, struct source_error *error)
{
    struct mono deadline = mono_add_ms(mono_now(), DEADLINE_MS);
    struct dynamodb_call call;
    struct buffer key;
    struct found found = {.failed = E_OK};
    bool end = false;
    bool ok = true;
    size_t count = 0;
    dynamodb_call_init(&call, "Scan");
    buffer_init(&key, KEY_MAX);
    buffer_init(&found.name, SENSOR_MAX);
    buffer_clear(&s->names);
    while (ok && !end && count < NAMES_SEARCHED_MAX) {
        ok = find_next(s, &call, &key, &found, deadline, &end, error);
        if (ok && !end) {
            count++;
            ok = append_name(&s->names, buffer_bytes(&found.name)) == E_OK || no_memory(error);
        }
    }
    if (ok && !end) {
        log_emit(&log_cut, "searched=%zu", count);
    }
    dynamodb_call_finish(&call);
    buffer_finish(&key);
    buffer_finish(&found.name);
    return ok;
}

static bool ensure_names(struct source_dynamodb *s, struct source_error *error)
{
    const struct dashboard_config *c = s->base.config;
    if (s->names_found && (c->sensor_count > 0 || !mono_reached(mono_now(), s->names_until))) {
        return true;
    }
    buffer_clear(&s->names);
    if (c->sensor_count == 0) {
        s->names_found = search_names(s, error);
        s->names_until = mono_add_ms(mono_now(), NAMES_KEPT_MS);
        return s->names_found;
    }
    for (size_t i = 0; i < c->sensor_count; i++) {
        if (append_name(&s->names, bytes_str(c->sensors[i])) != E_OK) {
            return no_memory(error);
        }
    }
    s->names_found = true;
    return true;
}

/* --- sensors: the newest measurement of each name --- */

struct newest {
    struct source_sensor sensor;
    source_sensor_fn *fn;
    void *ctx;
    bool given;
    bool more;
};

static bool give_newest(void *ctx, const struct dynamodb_item *item)
{
    struct newest *n = ctx;
    n->sensor.last_ms = item->timestamp_ms;
    n->sensor.message = item->message.len ? item->message : BYTES("{}");
    n->given = true;
    n->more = n->fn(n->ctx, &n->sensor);
    return false;
}

struct newest_page {
    struct bytes name;
    struct buffer key; /* of the next page, where this one held expired items only */
    bool done;
};

/* One round for a group of names: a page for each that has no answer yet. */
static bool run_group(struct source_dynamodb *s, struct dynamodb_call *calls, struct newest_page *pages, size_t count,
                      struct newest *n, struct mono deadline, struct source_error *error)
{
    for (size_t i = 0; i < count; i++) {
        struct dynamodb_query q = {.sensor = pages[i].name,
                                   .to_ms = text_time_max,
                                   .newest_first = true,
                                   .limit = pages[i].key.len ? ITEMS_OF_NEWEST : 1};
        if (build_query(s, &q, buffer_bytes(&pages[i].key), &calls[i].body) != E_OK) {
            return no_memory(error);
        }
    }
    if (!dynamodb_calls_run(s->calls, calls, count, deadline, error)) {
        return false;
    }
    for (size_t i = 0; i < count && n->more; i++) {
        n->given = false;
        n->sensor.sensor = pages[i].name;
        buffer_clear(&pages[i].key);
        if (dynamodb_items_parse(&s->layout, buffer_bytes(&calls[i].answer), wall_now(), give_newest, n,
                                 &pages[i].key) != E_OK) {
            return not_understood(error, "Query");
        }
        pages[i].done = n->given || pages[i].key.len == 0;
    }
    return true;
}

/* Keeps up to `room` names under way at once. */
static bool read_newest(struct source_dynamodb *s, struct dynamodb_call *calls, struct newest_page *pages, size_t room,
                        struct newest *n, struct source_error *error)
{
    struct mono deadline = mono_add_ms(mono_now(), DEADLINE_MS);
    size_t at = 0;
    size_t count = 0;
    bool ok = true;
    do {
        while (count < room && next_name(&s->names, &at, &pages[count].name)) {
            buffer_clear(&pages[count].key);
            pages[count++].done = false;
        }
        ok = count == 0 || run_group(s, calls, pages, count, n, deadline, error);
        size_t kept = 0;
        for (size_t i = 0; ok && i < count; i++) {
            if (!pages[i].done) {
                struct newest_page unfinished = pages[i];
                pages[i] = pages[kept];
                pages[kept++] = unfinished;
            }
        }
        count = kept;
    } while (ok && n->more && (count > 0 || at < s->names.len));
    return ok;
}

static bool sensors(struct source *base, source_sensor_fn *fn, void *ctx, struct source_error *error)
{
    struct source_dynamodb *s = (struct source_dynamodb *)base;
    struct newest n = {.fn = fn, .ctx = ctx, .more = true};
    size_t room = (size_t)base->config->dynamodb_connections;
    if (!ensure_names(s, error)) {
        return false;
    }
    struct dynamodb_call *calls = calloc(room, sizeof(*calls));
    struct newest_page *pages = calloc(room, sizeof(*pages));
    bool ok = calls && pages;
    for (size_t i = 0; ok && i < room; i++) {
        dynamodb_call_init(&calls[i], "Query");
        buffer_init(&pages[i].key, KEY_MAX);
    }
    ok = ok ? read_newest(s, calls, pages, room, &n, error) : no_memory(error);
    for (size_t i = 0; calls && pages && i < room; i++) {
        dynamodb_call_finish(&calls[i]);
        buffer_finish(&pages[i].key);
    }
    free(calls);
    free(pages);
    return ok;
}

static void close_source(struct source *base)
{
    struct source_dynamodb *s = (struct source_dynamodb *)base;
    dynamodb_calls_destroy(s->calls);
    buffer_finish(&s->names);
    free(s);
}

static const struct source_ops ops = {.sensors = sensors, .range = range, .close = close_source};

enum err source_dynamodb_open(const struct dashboard_config *c, struct source **out, struct option_error *error)
{
    struct dynamodb_reason reason;
    struct source_dynamodb *s = calloc(1, sizeof(*s));
    if (!s) {
        return E_NOMEM;
    }
    s->base = (struct source){&ops, c};
    s->layout = (struct dynamodb_layout){c->dynamodb_sensor_key, c->dynamodb_time_key, (char)c->dynamodb_time_type, 0};
    buffer_init(&s->names, NAMES_BYTES_MAX);
    enum err e = dynamodb_layout_check(&s->layout, &reason);
    if (e != E_OK) {
        option_error_set(error, "option %s", reason.text);
    }
    e = e ? e : dynamodb_calls_create(c, &s->calls, error);
    if (e != E_OK) {
        close_source(&s->base);
        return e;
    }
    *out = &s->base;
    return E_OK;
}
