/* Spool and sink around a store_world, for the tests of the SQLite sink: on a real spool and a real file. */
#ifndef TEST_SQLITE_SCENE_H
#define TEST_SQLITE_SCENE_H

#include "store/store_world.h"

#include "base/log.h"
#include "plugin/sink.h"

struct scene {
    struct world *world;
    char spool_dir[80];
    uv_loop_t loop;
    struct spool *spool;
    struct rejected *rejected;
    struct sink *sink; /* NULL = stopped */
    struct sink_stats stats;
    struct plugin_options options;
    unsigned appended;
    bool spool_stopped;
};

/* Collects log lines, for log_init; how often an id or another text stands in them since the scene was set up. */
void scene_on_log(void *ctx, enum log_level level, const char *line);
unsigned scene_logged(const char *id);

/* cmocka's setup and teardown: *state is the scene, with an open spool and no sink. */
int scene_setup(void **state);
int scene_teardown(void **state);

enum err scene_create_sink(struct scene *s, char error[static 256]);
void scene_start(struct scene *s);
void scene_stop(struct scene *s, uint32_t drain_ms);

void scene_append(struct scene *s, const char *sensor, const char *topic, struct bytes payload);
/* Records of one sensor, whose message is {"n": how many there were before}. */
void scene_append_many(struct scene *s, unsigned count);

/* Runs the loop for so long, and longer until `done` says so (at most 10 s). */
bool scene_run(struct scene *s, unsigned ms, bool (*done)(struct scene *s));
bool scene_nothing_waits(struct scene *s);
bool scene_is_waiting(struct scene *s);
bool scene_is_running(struct scene *s);
bool scene_has_failed(struct scene *s);

/* Rows in the file. */
int64_t scene_rows(struct scene *s);

#endif
