#include "plugin/downlink_filters.h"

#include "mqtt/topic.h"
#include "plugin/iotcore_limits.h"

#include <stdio.h>
#include <stdlib.h>

enum { FILTER_MAX = 65535 };

static void finish_filter(struct downlink_filter *f)
{
    free(f->remote);
    free(f->strip);
    free(f->add);
}

void downlink_filters_finish(struct downlink_filters *f)
{
    for (size_t i = 0; i < f->count; i++) {
        finish_filter(&f->items[i]);
    }
    free(f->items);
    *f = (struct downlink_filters){NULL, 0};
}

/* What a shared subscription matches is its filter: "$share/NAME/FILTER". */
static struct bytes without_share(struct bytes filter)
{
    const struct bytes prefix = BYTES("$share/");
    if (!bytes_starts_with(filter, prefix)) {
        return filter;
    }
    struct bytes rest = bytes_sub(filter, prefix.len, SIZE_MAX);
    const uint8_t *slash = rest.len > 0 ? memchr(rest.data, '/', rest.len) : NULL;
    return slash ? bytes_sub(rest, (size_t)(slash - rest.data) + 1, SIZE_MAX) : filter;
}

static bool begins_with_dollar(const struct topic_route *r)
{
    return r->local_prefix[0] ? r->local_prefix[0] == '$'
                              : bytes_starts_with(without_share(bytes_str(r->filter)), BYTES("$"));
}

static enum err make_filter(const struct topic_route *r, struct buffer *scratch, struct downlink_filter *out,
                            char error[static 256])
{
    *out = (struct downlink_filter){.qos = r->qos > 1 ? 1 : r->qos, .dollar = begins_with_dollar(r)};
    enum err err = topic_prefix_filter(bytes_str(r->remote_prefix), bytes_str(r->filter), scratch);
    const char *refusal = err == E_OK ? iotcore_filter_refusal(buffer_bytes(scratch)) : "not a valid MQTT topic filter";
    if (err == E_NOMEM) {
        return err;
    }
    if (refusal) {
        snprintf(error, 256, "option topic: %.60s%.80s cannot be subscribed at IoT Core: %s", r->remote_prefix,
                 r->filter, refusal);
        return E_INVALID;
    }
    out->remote = bytes_dup_str(buffer_bytes(scratch));
    out->strip = bytes_dup_str(bytes_str(r->remote_prefix));
    out->add = bytes_dup_str(bytes_str(r->local_prefix));
    return out->remote && out->strip && out->add ? E_OK : E_NOMEM;
}

static struct downlink_filter *find_remote(const struct downlink_filters *f, const char *remote)
{
    for (size_t i = 0; i < f->count; i++) {
        if (strcmp(f->items[i].remote, remote) == 0) {
            return &f->items[i];
        }
    }
    return NULL;
}

static enum err add_route(const struct topic_route *r, struct buffer *scratch, struct downlink_filters *f,
                          char error[static 256])
{
    struct downlink_filter filter;
    enum err err = make_filter(r, scratch, &filter, error);
    if (err != E_OK || find_remote(f, filter.remote)) {
        finish_filter(&filter);
        return err;
    }
    filter.link = (unsigned)(f->count / IOTCORE_SUBSCRIPTIONS_MAX);
    f->items[f->count++] = filter;
    return E_OK;
}

enum err downlink_filters_make(const struct plugin_options *o, unsigned links, struct downlink_filters *out,
                               char error[static 256])
{
    struct downlink_filters f = {calloc(o->topic_count + 1, sizeof(*f.items)), 0};
    if (!f.items) {
        return E_NOMEM;
    }
    struct buffer scratch;
    buffer_init(&scratch, FILTER_MAX);
    enum err err = E_OK;
    for (size_t i = 0; i < o->topic_count && err == E_OK; i++) {
        if (o->topics[i].direction != ROUTE_OUT) {
            err = add_route(&o->topics[i], &scratch, &f, error);
        }
    }
    buffer_finish(&scratch);
    if (err == E_OK && f.count > (size_t)links * IOTCORE_SUBSCRIPTIONS_MAX) {
        snprintf(
            error, 256,
            "option topic: %zu filters with in or both, but IoT Core takes %u per connection: raise iot_connections",
            f.count, IOTCORE_SUBSCRIPTIONS_MAX);
        err = E_INVALID;
    }
    if (err != E_OK) {
        downlink_filters_finish(&f);
        return err;
    }
    *out = f;
    return E_OK;
}

struct downlink_filter *downlink_filters_match(const struct downlink_filters *f, struct bytes topic)
{
    for (size_t i = 0; i < f->count; i++) {
        if (topic_matches(without_share(bytes_str(f->items[i].remote)), topic)) {
            return &f->items[i];
        }
    }
    return NULL;
}

struct downlink_filter *downlink_filters_find(const struct downlink_filters *f, const struct downlink_filter *same)
{
    struct downlink_filter *found = find_remote(f, same->remote);
    return found && found->qos == same->qos && found->link == same->link ? found : NULL;
}
