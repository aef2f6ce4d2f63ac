/* The words of `topic` and `store` lines. */
#include "mqtt/topic.h"
#include "plugin/routes.h"

#include <stdlib.h>

static const char *const direction_words[] = {[ROUTE_OUT] = "out", [ROUTE_IN] = "in", [ROUTE_BOTH] = "both"};

static enum err parse_direction(struct bytes word, enum route_direction *out)
{
    for (size_t i = 0; i < sizeof(direction_words) / sizeof(direction_words[0]); i++) {
        if (bytes_equal(word, bytes_str(direction_words[i]))) {
            *out = (enum route_direction)i;
            return E_OK;
        }
    }
    return E_INVALID;
}

static enum err check_prefix(struct bytes prefix, const char *which, struct option_error *error)
{
    if (prefix.len > 0 && !topic_name_valid(prefix)) {
        option_error_set(error, "%s prefix must be a topic without wildcards", which);
        return E_INVALID;
    }
    return E_OK;
}

static bool levels_ok(struct bytes filter)
{
    return topic_level_count(filter) <= ROUTE_LEVELS_MAX;
}

/* The pattern alone may be "" when the prefix makes a whole topic of it, as in a bridge. */
static enum err check_joined(const char *prefix, const char *filter, const char *which, struct option_error *error)
{
    struct buffer joined;
    buffer_init(&joined, 2u * 65536u);
    enum err e = topic_prefix_filter(bytes_str(prefix), bytes_str(filter), &joined);
    if (!e && !levels_ok(buffer_bytes(&joined))) {
        e = E_INVALID;
    }
    buffer_finish(&joined);
    if (e) {
        option_error_set(error, "'%s%s' is not a valid %s topic filter of up to %u levels", prefix, filter, which,
                         ROUTE_LEVELS_MAX);
    }
    return e;
}

struct topic_words {
    struct bytes filter, direction, qos, local, remote;
};

static enum err split_topic_line(struct bytes text, struct topic_words *w, struct option_error *error)
{
    struct bytes *const slots[] = {&w->filter, &w->direction, &w->qos, &w->local, &w->remote};
    size_t n = 0;
    for (struct bytes word; option_next_word(&text, &word);) {
        if (n == 1 && word.len == 1 && word.data[0] >= '0' && word.data[0] <= '2') {
            n++; /* FILTER QOS: the direction was left out */
        }
        if (n == sizeof(slots) / sizeof(slots[0])) {
            option_error_set(error, "more words than FILTER DIRECTION QOS LOCAL-PREFIX REMOTE-PREFIX");
            return E_INVALID;
        }
        *slots[n++] = word;
    }
    if (n == 0) {
        option_error_set(error, "a topic filter is missing");
        return E_INVALID;
    }
    return E_OK;
}

static enum err read_topic_words(const struct topic_words *w, struct topic_route *r, struct option_error *error)
{
    if (w->direction.len > 0 && parse_direction(w->direction, &r->direction) != E_OK) {
        option_error_set(error, "direction is '%.*s' instead of out, in or both", (int)w->direction.len,
                         (const char *)w->direction.data);
        return E_INVALID;
    }
    enum route_direction late;
    if (!w->direction.data && w->local.len > 0 && parse_direction(w->local, &late) == E_OK) {
        option_error_set(error, "direction stands before QoS");
        return E_INVALID;
    }
    uint64_t qos = 1;
    if (w->qos.len > 0 && option_parse_uint(w->qos, 0, 2, &qos) != E_OK) {
        option_error_set(error, "QoS is '%.*s' instead of 0, 1 or 2", (int)w->qos.len, (const char *)w->qos.data);
        return E_INVALID;
    }
    r->qos_lowered = qos > 1; /* AWS IoT Core message broker and protocol limits: no QoS 2 */
    r->qos = (uint8_t)(qos > 1 ? 1 : qos);
    enum err e = check_prefix(w->local, "local", error);
    if (!e) {
        e = check_prefix(w->remote, "remote", error);
    }
    return e;
}

enum err topic_route_parse(struct bytes text, struct topic_route *out, struct option_error *error)
{
    struct topic_words w = {0};
    struct topic_route r = {.direction = ROUTE_OUT};
    enum err e = split_topic_line(text, &w, error);
    if (!e) {
        e = read_topic_words(&w, &r, error);
    }
    if (e) {
        return e;
    }
    r.filter = bytes_dup_str(w.filter);
    r.local_prefix = bytes_dup_str(w.local);
    r.remote_prefix = bytes_dup_str(w.remote);
    if (!r.filter || !r.local_prefix || !r.remote_prefix) {
        option_error_set(error, "no memory");
        e = E_NOMEM;
    }
    if (!e) {
        e = check_joined(r.local_prefix, r.filter, "local", error);
    }
    if (!e) {
        e = check_joined(r.remote_prefix, r.filter, "remote", error);
    }
    if (e) {
        topic_route_finish(&r);
        return e;
    }
    *out = r;
    return E_OK;
}

static enum err print_word(const char *word, struct buffer *out)
{
    enum err e = buffer_append_byte(out, ' ');
    return e ? e : option_print_word(bytes_str(word), out);
}

enum err topic_route_print(const struct topic_route *r, struct buffer *out)
{
    enum err e = option_print_word(bytes_str(r->filter), out);
    e = e ? e : buffer_appendf(out, " %s %u", direction_words[r->direction], r->qos);
    if (!e && (*r->local_prefix || *r->remote_prefix)) {
        e = print_word(r->local_prefix, out);
    }
    if (!e && *r->remote_prefix) {
        e = print_word(r->remote_prefix, out);
    }
    return e;
}

void topic_route_finish(struct topic_route *r)
{
    free(r->filter);
    free(r->local_prefix);
    free(r->remote_prefix);
    *r = (struct topic_route){0};
}

enum err store_route_parse(struct bytes text, struct store_route *out, struct option_error *error)
{
    struct bytes filter;
    if (!option_next_word(&text, &filter) || !topic_filter_valid(filter) || !levels_ok(filter)) {
        option_error_set(error, "needs a valid topic filter of up to %u levels", ROUTE_LEVELS_MAX);
        return E_INVALID;
    }
    struct store_route r = {.filter = bytes_dup_str(filter)};
    if (!r.filter) {
        option_error_set(error, "no memory");
        return E_NOMEM;
    }
    struct measurement_error why = {""};
    enum err e = measurement_mapping_parse(filter, text, &r.mapping, &why);
    if (e) {
        option_error_set(error, "%s", why.text);
        free(r.filter);
        return e;
    }
    *out = r;
    return E_OK;
}

enum err store_route_print(const struct store_route *r, struct buffer *out)
{
    enum err e = option_print_word(bytes_str(r->filter), out);
    e = e ? e : buffer_append_byte(out, ' ');
    size_t start = out->len;
    e = e ? e : measurement_mapping_print(&r->mapping, out);
    if (!e && out->len == start) {
        out->len--; /* no words: no blank either */
    }
    return e;
}

void store_route_finish(struct store_route *r)
{
    free(r->filter);
    measurement_mapping_finish(&r->mapping);
    *r = (struct store_route){0};
}

enum err topic_route_remote(const struct topic_route *r, struct bytes topic, struct buffer *scratch,
                            struct bytes *remote)
{
    if (!*r->local_prefix && !*r->remote_prefix) {
        *remote = (struct bytes){0};
        return E_OK;
    }
    enum err e = topic_rewrite(topic, bytes_str(r->local_prefix), bytes_str(r->remote_prefix), scratch);
    if (!e) {
        *remote = buffer_bytes(scratch);
    }
    return e;
}
