#include "plugin/option_notes.h"

#include "base/log.h"

#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

LOG_POINT(log_qos, "config.qos", LOG_NOTICE, "AWS IoT Core has no QoS 2: these topic lines use QoS 1");
LOG_POINT(log_relative, "config.relative", LOG_WARNING,
          "a relative path goes by the directory that the broker was started in: give an absolute one");
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
    options_note_secrets(&plugin_option_table, o, NULL, 0);
}

static const char *working_directory(char out[PATH_MAX])
{
    return getcwd(out, PATH_MAX) ? out : "?";
}

static void note_place(const char *option, const char *path)
{
    char directory[PATH_MAX];
    char shown[256];
    struct buffer place;
    if (!path || path[0] == '/') {
        return;
    }
    working_directory(directory);
    buffer_init(&place, (size_t)PATH_MAX * 2);
    if (buffer_appendf(&place, "%s%s%s", directory, directory[1] ? "/" : "", path) == E_OK) {
        log_emit(&log_relative, "option=%s path=\"%s\"", option,
                 log_escape(buffer_bytes(&place), shown, sizeof(shown)));
    }
    buffer_finish(&place);
}

void option_notes_places(const struct plugin_options *o)
{
    note_place("sqlite_file", o->sqlite_file);
    note_place("spool_dir", o->spool_dir);
}

/* "option NAME: PATH: why", maybe with file and line before it */
static bool names_relative_path(const char *text)
{
    const char *option = strstr(text, "option ");
    const char *path = option ? strstr(option, ": ") : NULL;
    return path && path[2] != '/';
}

static void add(struct option_error *error, const char *before, const char *what)
{
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof(error->text) - used, " (%s %s)", before, what);
}

void option_notes_add_process(struct option_error *error)
{
    char directory[PATH_MAX];
    bool denied = strstr(error->text, "Permission denied") || strstr(error->text, "no permission");
    bool missing = strstr(error->text, "No such file");
    const struct passwd *user = denied ? getpwuid(geteuid()) : NULL;
    if (user) {
        add(error, "the broker runs as user", user->pw_name);
    }
    if ((denied || missing) && names_relative_path(error->text)) {
        add(error, "looked for in", working_directory(directory));
    }
}
