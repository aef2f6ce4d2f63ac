/* The plugin's local store, read beside it. The file is opened when it is needed and stays open under FastCGI; it is opened again
 * when another file has taken its place, and when a write-ahead log has appeared: a file at rest is read without one. */
#include "dashboard/source.h"

#include "store/sqlite_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { BUSY_MS = 1000, ROWS_MAX = 2000000 };

struct source_sqlite {
    struct source base;
    struct sqlite_reader *reader; /* NULL = closed */
    dev_t dev;
    ino_t ino;
    bool has_wal; /* when it was opened */
};

static enum source_fault fault_of(enum err e)
{
    switch (e) {
    case E_OK:
        return SOURCE_OK;
    case E_BUSY:
        return SOURCE_BUSY;
    case E_NOT_FOUND:
        return SOURCE_MISSING;
    case E_ACCESS:
    case E_READ_ONLY:
        return SOURCE_ACCESS;
    case E_NOMEM:
        return SOURCE_MEMORY;
    default:
        return SOURCE_BROKEN;
    }
}

static void close_reader(struct source_sqlite *s)
{
    sqlite_reader_close(s->reader);
    s->reader = NULL;
}

static bool fail(struct source_sqlite *s, enum err e, const struct sqlite_error *why, struct source_error *error)
{
    error->fault = fault_of(e);
    snprintf(error->detail, sizeof(error->detail), "%s", why->text);
    if (error->fault != SOURCE_BUSY) {
        close_reader(s);
    }
    return false;
}

static bool wal_exists(const char *path)
{
    char wal[4200];
    struct stat st;
    int n = snprintf(wal, sizeof(wal), "%s-wal", path);
    return n > 0 && (size_t)n < sizeof(wal) && stat(wal, &st) == 0;
}

/* An empty file, or one that SQLite has only begun, is no fault of anybody: the plugin has just started. */
static bool is_empty(const struct stat *st, enum err e, const struct sqlite_error *why)
{
    return st->st_size == 0 || (e == E_VERSION && strstr(why->text, "nothing has been stored"));
}

static bool ensure_open(struct source_sqlite *s, struct source_error *error)
{
    const char *path = s->base.config->sqlite_file;
    struct sqlite_error why = {""};
    struct stat st = {0};
    bool there = stat(path, &st) == 0;
    bool wal = wal_exists(path);
    if (s->reader && there && st.st_dev == s->dev && st.st_ino == s->ino && (s->has_wal || !wal)) {
        return true;
    }
    close_reader(s);
    enum err e = sqlite_reader_open(path, BUSY_MS, &s->reader, &why);
    if (e != E_OK) {
        s->reader = NULL;
        bool empty = there && is_empty(&st, e, &why);
        (void)fail(s, e, &why, error);
        error->fault = empty ? SOURCE_EMPTY : error->fault;
        return false;
    }
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    s->has_wal = wal;
    return true;
}

/* --- sensors: the names first, then the newest message of each --- */

struct name_list {
    const struct dashboard_config *config;
    struct buffer text; /* the names, one after the other */
    struct {
        size_t len;
        int64_t last_ms;
    } * items;
    size_t count, room;
    bool failed;
};

static bool collect_name(void *ctx, const struct sqlite_sensor *sensor)
{
    struct name_list *list = ctx;
    if (!dashboard_config_allows(list->config, sensor->sensor)) {
        return true;
    }
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        void *grown = realloc(list->items, room * sizeof(*list->items));
        if (!grown) {
            list->failed = true;
            return false;
        }
        list->items = grown;
        list->room = room;
    }
    if (buffer_append(&list->text, sensor->sensor) != E_OK) {
        list->failed = true;
        return false;
    }
    list->items[list->count].len = sensor->sensor.len;
    list->items[list->count++].last_ms = sensor->last_ms;
    return list->count < SOURCE_SENSORS_MAX;
}

struct newest {
    struct source_sensor sensor;
    source_sensor_fn *fn;
    void *ctx;
    bool more;
};

static bool give_newest(void *ctx, const struct sqlite_row *row)
{
    struct newest *n = ctx;
    n->sensor.last_ms = row->timestamp_ms;
    n->sensor.message = row->message;
    n->more = n->fn(n->ctx, &n->sensor);
    return false;
}

static enum err give_sensors(struct source_sqlite *s, const struct name_list *list, source_sensor_fn *fn, void *ctx,
                             struct sqlite_error *why)
{
    struct newest n = {.fn = fn, .ctx = ctx, .more = true};
    size_t at = 0;
    enum err e = E_OK;
    for (size_t i = 0; e == E_OK && n.more && i < list->count; i++) {
        n.sensor.sensor = bytes_sub(buffer_bytes(&list->text), at, list->items[i].len);
        at += list->items[i].len;
        struct sqlite_range range = {
            .sensor = n.sensor.sensor, .from_ms = INT64_MIN, .to_ms = INT64_MAX, .limit = 1, .newest_first = true};
        e = sqlite_reader_range(s->reader, &range, give_newest, &n, why);
    }
    return e;
}

static bool sensors(struct source *base, source_sensor_fn *fn, void *ctx, struct source_error *error)
{
    struct source_sqlite *s = (struct source_sqlite *)base;
    struct sqlite_error why = {""};
    struct name_list list = {.config = base->config};
    if (!ensure_open(s, error)) {
        return false;
    }
    buffer_init(&list.text, (size_t)SOURCE_SENSORS_MAX * 2048);
    enum err e = sqlite_reader_sensors(s->reader, collect_name, &list, &why);
    e = e == E_OK && list.failed ? E_NOMEM : e;
    e = e ? e : give_sensors(s, &list, fn, ctx, &why);
    buffer_finish(&list.text);
    free(list.items);
    return e == E_OK || fail(s, e, &why, error);
}

/* --- ranges --- */

struct row_giver {
    source_row_fn *fn;
    void *ctx;
    uint64_t given;
};

static bool give_row(void *ctx, const struct sqlite_row *row)
{
    struct row_giver *g = ctx;
    struct source_row out = {row->timestamp_ms, row->message};
    g->given++;
    return g->fn(g->ctx, &out);
}

static bool range(struct source *base, const struct source_range *wanted, source_row_fn *fn, void *ctx, bool *complete,
                  struct source_error *error)
{
    struct source_sqlite *s = (struct source_sqlite *)base;
    struct sqlite_error why = {""};
    struct row_giver giver = {.fn = fn, .ctx = ctx};
    struct sqlite_range r = {.sensor = wanted->sensor,
                             .from_ms = wanted->from_ms,
                             .to_ms = wanted->to_ms,
                             .limit = wanted->limit ? wanted->limit : ROWS_MAX,
                             .newest_first = wanted->newest_first};
    if (!ensure_open(s, error)) {
        return false;
    }
    enum err e = sqlite_reader_range(s->reader, &r, give_row, &giver, &why);
    *complete = wanted->limit != 0 || giver.given < ROWS_MAX;
    return e == E_OK || fail(s, e, &why, error);
}

static void close_source(struct source *base)
{
    close_reader((struct source_sqlite *)base);
    free(base);
}

static const struct source_ops ops = {.sensors = sensors, .range = range, .close = close_source};

enum err source_sqlite_open(const struct dashboard_config *c, struct source **out)
{
    struct source_sqlite *s = calloc(1, sizeof(*s));
    if (!s) {
        return E_NOMEM;
    }
    s->base = (struct source){&ops, c};
    *out = &s->base;
    return E_OK;
}
