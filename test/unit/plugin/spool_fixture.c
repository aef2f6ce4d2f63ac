#define _GNU_SOURCE /* nftw */
#include "unit.h"

#include "plugin/spool_internal.h"
#include "spool_fixture.h"

#include <dirent.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct wall fixture_now(void *ctx)
{
    return ((struct fixture *)ctx)->wall;
}

void fixture_init(struct fixture *f)
{
    const char *base = getenv("TMPDIR");
    *f = (struct fixture){.wall = {1700000000000}};
    char parent[FIXTURE_PATH_SIZE - 8];
    snprintf(parent, sizeof(parent), "%s/spool-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(parent));
    snprintf(f->dir, sizeof(f->dir), "%s/spool", parent);
    f->options = (struct spool_options){
        .dir = f->dir,
        .max_size = 16 * SPOOL_SEGMENT_MIN,
        .segment_size = SPOOL_SEGMENT_MIN,
        .full = SPOOL_REJECT,
        .sync_ms = SPOOL_SYNC_NEVER,
        .sinks = SINK_BIT(SINK_SQLITE),
        .now = fixture_now,
        .now_ctx = f,
    };
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void fixture_finish(struct fixture *f)
{
    fixture_close(f);
    *strrchr(f->dir, '/') = '\0';
    nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void fixture_open(struct fixture *f)
{
    struct spool_error error = {""};
    enum err e = spool_open(&f->options, &f->spool, &error);
    if (e != E_OK) {
        fail_msg("spool_open: %s: %s", err_name(e), error.text);
    }
}

void fixture_close(struct fixture *f)
{
    spool_close(f->spool);
    f->spool = NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names that contain `part`, sorted. */
static size_t list(const struct fixture *f, const char *part, char (*names)[FIXTURE_PATH_SIZE], size_t max)
{
    DIR *dir = opendir(f->dir);
    size_t count = 0;
    assert_non_null(dir);
    for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        if (d->d_name[0] != '.' && strstr(d->d_name, part)) {
            if (names) {
                assert_true(count < max);
                snprintf(names[count], FIXTURE_PATH_SIZE, "%s", d->d_name);
            }
            count++;
        }
    }
    closedir(dir);
    if (names) {
        qsort(names, count, FIXTURE_PATH_SIZE, by_name);
    }
    return count;
}

void fixture_snapshot(struct fixture *f, struct fixture *copy)
{
    char names[128][FIXTURE_PATH_SIZE];
    size_t count = list(f, "", names, 128);
    *copy = *f;
    copy->spool = NULL;
    copy->options.dir = copy->dir;
    copy->options.now_ctx = copy;
    snprintf(copy->dir, sizeof(copy->dir), "%.*s/spool-%u", (int)(strrchr(f->dir, '/') - f->dir), f->dir, ++f->copies);
    assert_int_equal(mkdir(copy->dir, 0700), 0);
    for (size_t i = 0; i < count; i++) {
        char from[2 * FIXTURE_PATH_SIZE];
        char to[2 * FIXTURE_PATH_SIZE];
        size_t size;
        snprintf(from, sizeof(from), "%s/%s", f->dir, names[i]);
        snprintf(to, sizeof(to), "%s/%s", copy->dir, names[i]);
        uint8_t *data = fixture_read(from, &size);
        fixture_write(to, data, size);
        free(data);
    }
}

void fixture_crash(struct fixture *f)
{
    /* What closing writes goes to the originals, which are given up. */
    struct fixture copy;
    fixture_snapshot(f, &copy);
    fixture_close(f);
    memcpy(f->dir, copy.dir, sizeof(f->dir));
}

enum err fixture_append(struct fixture *f, uint64_t n, size_t size, uint8_t sinks)
{
    char topic[16];
    char *payload = malloc(size + 32);
    assert_non_null(payload);
    int len = snprintf(payload, 32, "record %" PRIu64 " ", n);
    if ((size_t)len < size) {
        memset(payload + len, '.', size - (size_t)len);
        len = (int)size;
    }
    snprintf(topic, sizeof(topic), "t/%u", (unsigned)(n % 10));
    struct record r = {
        .sinks = sinks,
        .qos = (uint8_t)(n % 3),
        .retain = n % 2,
        .topic = bytes_str(topic),
        .payload = bytes_make(payload, (size_t)len),
        .client_id = n % 4 ? BYTES("tester") : (struct bytes){0},
        .sensor = bytes_str(topic),
    };
    enum err e = spool_append(f->spool, &r);
    free(payload);
    return e;
}

uint64_t fixture_number(const struct record *r)
{
    char text[48] = "";
    char topic[16];
    uint64_t n;
    assert_true(r->payload.len >= 8);
    memcpy(text, r->payload.data, r->payload.len < sizeof(text) - 1 ? r->payload.len : sizeof(text) - 1);
    assert_int_equal(sscanf(text, "record %" SCNu64 " ", &n), 1);
    int len = snprintf(text, sizeof(text), "record %" PRIu64 " ", n);
    for (size_t i = (size_t)len; i < r->payload.len; i++) {
        assert_int_equal(r->payload.data[i], '.');
    }
    snprintf(topic, sizeof(topic), "t/%u", (unsigned)(n % 10));
    assert_true(bytes_equal(r->topic, bytes_str(topic)));
    assert_true(bytes_equal(r->sensor, bytes_str(topic)));
    assert_true(bytes_equal(r->client_id, n % 4 ? BYTES("tester") : (struct bytes){0}));
    assert_int_equal(r->qos, n % 3);
    assert_int_equal(r->retain, n % 2);
    return n;
}

size_t fixture_drain(struct fixture *f, enum sink_id sink, size_t max, uint64_t *numbers)
{
    struct cursor *c = spool_cursor(f->spool, sink);
    struct record r;
    size_t count = 0;
    while (count < max && cursor_next(c, &r) == E_OK) {
        uint64_t n = fixture_number(&r);
        if (numbers) {
            numbers[count] = n;
        }
        count++;
        cursor_confirm(c, r.sequence);
    }
    return count;
}

/* --- files --- */

size_t fixture_count_files(const struct fixture *f, const char *part)
{
    return list(f, part, NULL, 0);
}

void fixture_find(const struct fixture *f, const char *part, size_t nth, char out[FIXTURE_PATH_SIZE])
{
    char names[128][FIXTURE_PATH_SIZE];
    size_t count = list(f, part, names, 128);
    assert_true(nth < count);
    assert_true(snprintf(out, FIXTURE_PATH_SIZE, "%.120s/%.120s", f->dir, names[nth]) < (int)FIXTURE_PATH_SIZE);
}

uint8_t *fixture_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

void fixture_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void fixture_poke(const char *path, long offset, const void *data, size_t size)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}
