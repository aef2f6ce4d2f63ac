#include "plugin/capture.h"

#include "base/log.h"

#include <stdlib.h>

LOG_POINT(log_reserved, "capture.reserved", LOG_WARNING,
          "not forwarded: the topic towards AWS begins with '$', which its topic line does not say");
LOG_POINT(log_no_topic, "capture.no-topic", LOG_ERROR,
          "with its prefixes exchanged the topic of a message is none: it is not forwarded");

#define SCRATCH_MAX (128u * 1024u)

struct capture {
    const struct plugin_options *options; /* owns the lines that the routes borrow */
    struct routes *routes;
    struct spool *spool;
    uint8_t sinks;
    struct buffer remote; /* topic towards AWS of the message at hand */
    struct buffer sensor; /* its sensor, where that had to be decoded */
};

static enum err compile(const struct plugin_options *o, struct routes **out)
{
    return routes_compile(o->topics, o->topic_count, o->stores, o->store_count, out);
}

enum err capture_create(const struct plugin_options *o, uint8_t sinks, struct spool *spool, struct capture **out)
{
    struct capture *c = calloc(1, sizeof(*c));
    if (!c) {
        return E_NOMEM;
    }
    enum err e = compile(o, &c->routes);
    if (e) {
        free(c);
        return e;
    }
    c->options = plugin_options_ref(o);
    c->spool = spool;
    c->sinks = sinks;
    buffer_init(&c->remote, SCRATCH_MAX);
    buffer_init(&c->sensor, SCRATCH_MAX);
    *out = c;
    return E_OK;
}

void capture_destroy(struct capture *c)
{
    if (c) {
        routes_destroy(c->routes);
        plugin_options_unref(c->options);
        buffer_finish(&c->remote);
        buffer_finish(&c->sensor);
        free(c);
    }
}

enum err capture_reload(struct capture *c, const struct plugin_options *o)
{
    struct routes *routes;
    enum err e = compile(o, &routes);
    if (e) {
        return e;
    }
    routes_destroy(c->routes);
    plugin_options_unref(c->options);
    c->routes = routes;
    c->options = plugin_options_ref(o);
    return E_OK;
}

bool capture_wants(const struct capture *c, struct bytes topic, struct route_match *match)
{
    return routes_match(c->routes, topic, match);
}

/* Topics that begin with '$' match only filters that do, on the remote side too: who may publish below LOCAL-PREFIX must not reach
 * what IoT Core reserves, such as the shadows of other things. */
static bool is_reserved(const struct topic_route *route, struct bytes remote)
{
    const char *front = route->remote_prefix[0] ? route->remote_prefix : route->filter;
    return remote.len > 0 && remote.data[0] == '$' && front[0] != '$';
}

/* E_NOMEM. What has no topic towards AWS has none the next time either: nobody is asked to send it again. */
static enum err address_forward(struct capture *c, const struct topic_route *route, struct record *r)
{
    char text[128];
    enum err e = topic_route_remote(route, r->topic, &c->remote, &r->remote_topic);
    if (e == E_INVALID || e == E_TOO_LARGE) {
        log_emit(&log_no_topic, "topic=\"%s\" error=%s", log_escape(r->topic, text, sizeof(text)), err_name(e));
        return E_OK;
    }
    if (e == E_OK && is_reserved(route, r->remote_topic)) {
        log_emit(&log_reserved, "topic=\"%s\"", log_escape(r->topic, text, sizeof(text)));
        r->remote_topic = (struct bytes){0};
        return E_OK;
    }
    r->sinks |= SINK_BIT(SINK_IOTCORE);
    r->remote_qos = route->qos;
    return e;
}

static void address_store(struct capture *c, const struct store_route *route, struct record *r)
{
    const struct measurement_mapping *m = &route->mapping;
    r->sinks |= SINK_BIT(SINK_DYNAMODB) | SINK_BIT(SINK_SQLITE);
    buffer_clear(&c->sensor);
    if (measurement_sensor(m, r->topic, r->client_id, r->payload, &c->sensor, &r->sensor) != E_OK) {
        r->sensor = (struct bytes){0}; /* does not fit: the stores set it aside in rejected/ */
    }
    r->time_path = bytes_str(m->time_path);
    r->message_path = bytes_str(m->message_path);
    r->table = bytes_str(m->table);
}

enum err capture_take(struct capture *c, const struct route_match *match, struct record *r)
{
    r->sinks = 0;
    if (match->topic) {
        enum err e = address_forward(c, match->topic, r);
        if (e) {
            return e;
        }
    }
    if (match->store) {
        address_store(c, match->store, r);
    }
    r->sinks &= c->sinks;
    return r->sinks ? spool_append(c->spool, r) : E_OK;
}
