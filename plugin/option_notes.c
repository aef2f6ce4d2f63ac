#include "plugin/option_notes.h"

#include "base/log.h"

#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

LOG_POINT(log_qos, "config.qos", LOG_NOTICE, "AWS IoT Core has no QoS 2: these topic lines use QoS 1");
LOG_POINT(log_unseen, "config.unseen", LOG_WARNING,
          "the broker shows no message of these topics to a plugin: this line never matches");
LOG_POINT(log_unused, "config.unused", LOG_WARNING, "this does nothing without lines that send messages to it");

/* mosquitto publishes $SYS itself, takes $CONTROL for its plugins, and $share/ is no topic. */
static bool is_unseen(const char *prefix, const char *filter)
{
    static const char *const trees[] = {"$SYS/", "$CONTROL/", "$share/"};
    const char *local = prefix && prefix[0] ? prefix : filter;
    for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
        if (strncmp(local, trees[i], strlen(trees[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void note_unseen(const char *option, const char *prefix, const char *filter)
{
    char text[128];
    if (is_unseen(prefix, filter)) {
        log_emit(&log_unseen, "option=%s filter=\"%s\"", option, log_escape(bytes_str(filter), text, sizeof(text)));
    }
}

/* Sinks that get nothing: the broker runs, and a line was forgotten. */
static void note_unused(const struct plugin_options *o)
{
    const char *store = o->sqlite_file ? "sqlite_file" : o->dynamodb_table ? "dynamodb_table" : NULL;
    if (o->topic_count == 0 && o->iot_endpoint.host) {
        log_emit(&log_unused, "option=iot_endpoint missing=topic");
    }
    if (o->store_count == 0 && store) {
        log_emit(&log_unused, "option=%s missing=store", store);
    }
    if (o->topic_count + o->store_count == 0 && !o->iot_endpoint.host && !store) {
        log_emit(&log_unused, "option=plugin missing='topic or store'");
    }
}

void option_notes_log(const struct plugin_options *o)
{
    size_t lowered = 0;
    for (size_t i = 0; i < o->topic_count; i++) {
        const struct topic_route *r = &o->topics[i];
        lowered += r->qos_lowered;
        if (r->direction != ROUTE_IN) {
            note_unseen("topic", r->local_prefix, r->filter);
        }
    }
    for (size_t i = 0; i < o->store_count; i++) {
        note_unseen("store", NULL, o->stores[i].filter);
    }
    if (lowered > 0) {
        log_emit(&log_qos, "lines=%zu", lowered);
    }
    note_unused(o);
}

void option_notes_add_user(struct option_error *error)
{
    size_t used = strlen(error->text);
    const struct passwd *user = getpwuid(geteuid());
    if (!user || (!strstr(error->text, "Permission denied") && !strstr(error->text, "no permission"))) {
        return;
    }
    snprintf(error->text + used, sizeof(error->text) - used, " (the broker runs as user %s)", user->pw_name);
}
