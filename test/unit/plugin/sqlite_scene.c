#include "sqlite_scene.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static char log_lines[8192];

void scene_on_log(void *ctx, enum log_level level, const char *line)
{
    size_t len = strlen(log_lines);
    (void)ctx;
    (void)level;
    snprintf(log_lines + len, sizeof(log_lines) - len, "%s\n", line);
}

unsigned scene_logged(const char *id)
{
    unsigned count = 0;
    for (const char *at = strstr(log_lines, id); at; at = strstr(at + 1, id)) {
        count++;
    }
    return count;
}

static void on_records(void *ctx, enum sink_id id)
{
    struct scene *s = ctx;
    assert_int_equal(id, SINK_SQLITE);
    if (s->sink) {
        s->sink->ops->wake(s->sink);
    }
}

static void open_spool(struct scene *s)
{
    struct spool_error why = {""};
    struct spool_options options = {.dir = s->spool_dir,
                                    .max_size = 64 << 20,
                                    .full = SPOOL_REJECT,
                                    .sync_ms = SPOOL_SYNC_NEVER,
                                    .sinks = SINK_BIT(SINK_SQLITE)};
    assert_int_equal(spool_open(&options, &s->spool, &why), E_OK);
    assert_int_equal(rejected_open(s->spool_dir, &s->rejected), E_OK);
}

enum err scene_create_sink(struct scene *s, char error[static 256])
{
    struct sink_host host = {
        .loop = &s->loop, .cursor = spool_cursor(s->spool, SINK_SQLITE), .rejected = s->rejected, .stats = &s->stats};
    s->options.sqlite_file = s->world->path;
    return sink_sqlite_type.create(&host, &s->options, &s->sink, error);
}

void scene_start(struct scene *s)
{
    char error[256] = "";
    assert_true(sink_sqlite_type.wanted(&(struct plugin_options){.sqlite_file = s->world->path}));
    assert_int_equal(scene_create_sink(s, error), E_OK);
    s->sink->ops->wake(s->sink);
}

static void on_stopped(void *ctx)
{
    struct scene *s = ctx;
    s->sink = NULL;
}

static void on_spool_stopped(void *ctx)
{
    struct scene *s = ctx;
    s->spool_stopped = true;
}

void scene_stop(struct scene *s, uint32_t drain_ms)
{
    s->sink->ops->stop(s->sink, drain_ms, on_stopped, s);
    while (s->sink) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
}

int scene_setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    void *world = NULL;
    log_lines[0] = 0;
    if (!s || world_setup(&world) != 0) {
        free(s);
        return -1;
    }
    s->world = world;
    snprintf(s->spool_dir, sizeof(s->spool_dir), "%s.spool", s->world->dir);
    uv_loop_init(&s->loop);
    open_spool(s);
    *state = s;
    return spool_start(s->spool, &s->loop, on_records, s) == E_OK ? 0 : -1;
}

static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        char name[400];
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(name) != 0) {
            remove_folder(name);
        }
    }
    if (dir) {
        closedir(dir);
    }
    rmdir(path);
}

int scene_teardown(void **state)
{
    struct scene *s = *state;
    void *world = s->world;
    if (s->sink) {
        scene_stop(s, 0);
    }
    spool_stop(s->spool, on_spool_stopped, s);
    while (!s->spool_stopped) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    rejected_close(s->rejected);
    spool_close(s->spool);
    remove_folder(s->spool_dir);
    free(s);
    return world_teardown(&world);
}

void scene_append(struct scene *s, const char *sensor, const char *topic, struct bytes payload)
{
    struct record r = {.sinks = SINK_BIT(SINK_SQLITE),
                       .topic = bytes_str(topic),
                       .payload = payload,
                       .sensor = bytes_str(sensor),
                       .time_path = bytes_str("")};
    assert_int_equal(spool_append(s->spool, &r), E_OK);
    s->appended++;
}

void scene_append_many(struct scene *s, unsigned count)
{
    char payload[64];
    for (unsigned i = 0; i < count; i++) {
        snprintf(payload, sizeof(payload), "{\"n\":%u}", s->appended);
        scene_append(s, "many", "a/many/b", bytes_str(payload));
    }
}

static void on_nap_over(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void on_nap_closed(uv_handle_t *handle)
{
    handle->data = NULL;
}

bool scene_run(struct scene *s, unsigned ms, bool (*done)(struct scene *s))
{
    struct mono end = mono_add_ms(mono_now(), 10000);
    bool over = false;
    uv_timer_t nap;
    uv_timer_init(&s->loop, &nap);
    nap.data = &over;
    uv_update_time(&s->loop);
    uv_timer_start(&nap, on_nap_over, ms ? ms : 1, 2);
    while (!over || (done && !done(s) && !mono_reached(mono_now(), end))) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&nap, on_nap_closed);
    while (nap.data) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    return !done || done(s);
}

bool scene_nothing_waits(struct scene *s)
{
    return cursor_lag(spool_cursor(s->spool, SINK_SQLITE)) == 0;
}

bool scene_is_waiting(struct scene *s)
{
    return metric_get(&s->stats.state) == SINK_WAITING;
}

bool scene_is_running(struct scene *s)
{
    return metric_get(&s->stats.state) == SINK_RUNNING;
}

bool scene_has_failed(struct scene *s)
{
    return metric_get(&s->stats.state) == SINK_FAILED;
}

int64_t scene_rows(struct scene *s)
{
    return world_ask(s->world, "SELECT count(*) FROM measurement");
}
