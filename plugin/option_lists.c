#include "plugin/option_lists.h"

#include "mqtt/session.h"
#include "mqtt/topic.h"

#include <stdlib.h>

#define ROUTES_MAX 100000u

enum err option_no_memory(struct option_error *error)
{
    option_error_set(error, "no memory");
    return E_NOMEM;
}

enum err option_add_topic(void *config, struct bytes value, struct option_error *error)
{
    struct plugin_options *o = config;
    struct topic_route r;
    if (o->topic_count >= ROUTES_MAX) {
        option_error_set(error, "more than %u lines", ROUTES_MAX);
        return E_TOO_LARGE;
    }
    enum err e = topic_route_parse(value, &r, error);
    if (e) {
        return e;
    }
    struct topic_route *grown = realloc(o->topics, (o->topic_count + 1) * sizeof(*grown));
    if (!grown) {
        topic_route_finish(&r);
        return option_no_memory(error);
    }
    o->topics = grown;
    o->topics[o->topic_count++] = r;
    return E_OK;
}

enum err option_print_topics(const void *config, const char *name, struct buffer *out)
{
    const struct plugin_options *o = config;
    enum err e = E_OK;
    for (size_t i = 0; !e && i < o->topic_count; i++) {
        e = buffer_appendf(out, "%s ", name);
        e = e ? e : topic_route_print(&o->topics[i], out);
        e = e ? e : buffer_append_byte(out, '\n');
    }
    return e;
}

void option_finish_topics(void *config)
{
    struct plugin_options *o = config;
    for (size_t i = 0; i < o->topic_count; i++) {
        topic_route_finish(&o->topics[i]);
    }
    free(o->topics);
    o->topics = NULL;
    o->topic_count = 0;
}

enum err option_add_store(void *config, struct bytes value, struct option_error *error)
{
    struct plugin_options *o = config;
    struct store_route r;
    if (o->store_count >= ROUTES_MAX) {
        option_error_set(error, "more than %u lines", ROUTES_MAX);
        return E_TOO_LARGE;
    }
    enum err e = store_route_parse(value, &r, error);
    if (e) {
        return e;
    }
    struct store_route *grown = realloc(o->stores, (o->store_count + 1) * sizeof(*grown));
    if (!grown) {
        store_route_finish(&r);
        return option_no_memory(error);
    }
    o->stores = grown;
    o->stores[o->store_count++] = r;
    return E_OK;
}

enum err option_print_stores(const void *config, const char *name, struct buffer *out)
{
    const struct plugin_options *o = config;
    enum err e = E_OK;
    for (size_t i = 0; !e && i < o->store_count; i++) {
        e = buffer_appendf(out, "%s ", name);
        e = e ? e : store_route_print(&o->stores[i], out);
        e = e ? e : buffer_append_byte(out, '\n');
    }
    return e;
}

void option_finish_stores(void *config)
{
    struct plugin_options *o = config;
    for (size_t i = 0; i < o->store_count; i++) {
        store_route_finish(&o->stores[i]);
    }
    free(o->stores);
    o->stores = NULL;
    o->store_count = 0;
}

/* Filters that overlapped would bring a message twice. */
static enum err check_will(const struct plugin_options *o, struct bytes filter, struct option_error *error)
{
    if (!topic_filter_valid(filter) || bytes_starts_with(filter, BYTES("$share/"))) {
        option_error_set(error, "is not a valid topic filter");
        return E_INVALID;
    }
    if (filter.data[0] == '$' && !bytes_starts_with(filter, BYTES("$aws/"))) {
        option_error_set(error, "of the topics that begin with '$' only $aws/... can be watched");
        return E_INVALID;
    }
    for (size_t i = 0; i < o->will_count; i++) {
        if (topic_filters_overlap(filter, bytes_str(o->wills[i]))) {
            option_error_set(error, "some topics would match %.100s as well: filters must not overlap", o->wills[i]);
            return E_INVALID;
        }
    }
    if (o->will_count >= MQTT_FILTERS_MAX) {
        option_error_set(error, "more than %u filters", MQTT_FILTERS_MAX);
        return E_TOO_LARGE;
    }
    return E_OK;
}

enum err option_add_will(void *config, struct bytes value, struct option_error *error)
{
    struct plugin_options *o = config;
    enum err e = check_will(o, value, error);
    if (e) {
        return e;
    }
    char **grown = realloc(o->wills, (o->will_count + 1) * sizeof(*grown));
    if (!grown) {
        return option_no_memory(error);
    }
    o->wills = grown;
    o->wills[o->will_count] = bytes_dup_str(value);
    if (!o->wills[o->will_count]) {
        return option_no_memory(error);
    }
    o->will_count++;
    return E_OK;
}

enum err option_print_wills(const void *config, const char *name, struct buffer *out)
{
    const struct plugin_options *o = config;
    enum err e = E_OK;
    for (size_t i = 0; !e && i < o->will_count; i++) {
        e = buffer_appendf(out, "%s %s\n", name, o->wills[i]);
    }
    return e;
}

void option_finish_wills(void *config)
{
    struct plugin_options *o = config;
    for (size_t i = 0; i < o->will_count; i++) {
        free(o->wills[i]);
    }
    free(o->wills);
    o->wills = NULL;
    o->will_count = 0;
}
