/* Cost of the spool without a broker: append, read, reopen, memory.  bench_spool DIR [RECORDS [PAYLOAD]]
 * DIR is a folder on the file system to be measured; a folder in it is made and deleted. */
#include "base/clock.h"
#include "net/loop.h"
#include "plugin/spool.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TOPIC "site/4/room17/temperature"

static char dir[512];
static uint8_t payload[65536];

static void fail(const char *what, enum err e)
{
    fprintf(stderr, "%s: %s\n", what, err_name(e));
    exit(EXIT_FAILURE);
}

/* Private_Clean + Private_Dirty of anonymous memory, KiB. */
static unsigned long private_kb(void)
{
    char line[256];
    unsigned long value = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "Anonymous:", 10) == 0) {
            value = strtoul(line + 10, NULL, 10);
        }
    }
    if (f) {
        fclose(f);
    }
    return value;
}

static struct spool *open_spool(uint64_t sync_ms)
{
    struct spool_options o = {.dir = dir,
                              .max_size = UINT64_C(16) << 30,
                              .full = SPOOL_REJECT,
                              .sync_ms = sync_ms,
                              .sinks = SINK_BIT(SINK_IOTCORE) | SINK_BIT(SINK_SQLITE)};
    struct spool *s = NULL;
    struct spool_error error;
    enum err e = spool_open(&o, &s, &error);
    if (e != E_OK) {
        fail(error.text, e);
    }
    return s;
}

static void on_wake(void *ctx, enum sink_id sink)
{
    (void)ctx;
    (void)sink;
}

static void on_stopped(void *ctx)
{
    (void)ctx;
}

static struct spool *running;

static void stop(void *ctx)
{
    (void)ctx;
    spool_stop(running, on_stopped, NULL);
}

struct cost {
    double wall_ns; /* per record */
    double cpu_ns;  /* of the appending thread, page faults included */
    uint64_t longest_us;
};

static uint64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* `rate` records/s, as a broker would bring them; 0 = as fast as it goes. */
static void keep_pace(struct mono start, uint64_t done, uint64_t rate)
{
    uint64_t due = rate ? start.ns + done * 1000000000u / rate : 0;
    uint64_t now = mono_now().ns;
    if (due > now) {
        nanosleep(&(struct timespec){.tv_nsec = (long)(due - now)}, NULL);
    }
}

static struct cost append_all(struct spool *s, uint64_t records, size_t size, uint64_t rate, const char *sensor)
{
    struct mono start = mono_now();
    uint64_t cpu = thread_ns();
    uint64_t longest_ns = 0;
    for (uint64_t i = 0; i < records; i++) {
        struct record r = {
            .sinks = SINK_BIT(SINK_IOTCORE) | SINK_BIT(SINK_SQLITE),
            .qos = 1,
            .remote_qos = 1,
            .topic = BYTES(TOPIC),
            .payload = bytes_make(payload, size),
            .client_id = BYTES("client-0001"),
            .sensor = bytes_str(sensor),
        };
        struct mono before = (i & 63) == 0 ? mono_now() : start;
        enum err e = spool_append(s, &r);
        if (e != E_OK) {
            fail("append", e);
        }
        if ((i & 63) == 0) {
            uint64_t took = mono_now().ns - before.ns;
            longest_ns = took > longest_ns ? took : longest_ns;
            keep_pace(start, i, rate);
        }
    }
    return (struct cost){.wall_ns = (double)(mono_now().ns - start.ns) / (double)records,
                         .cpu_ns = (double)(thread_ns() - cpu) / (double)records,
                         .longest_us = longest_ns / 1000};
}

static void print_cost(const char *what, struct cost c)
{
    printf("%-34s %7.1f ns/record, %.1f of CPU; longest of a sample %" PRIu64 " us\n", what, c.wall_ns, c.cpu_ns,
           c.longest_us);
}

static void with_loop(struct spool *s, uint64_t records, size_t size, uint64_t rate, const char *what,
                      const char *sensor)
{
    struct loop *loop = NULL;
    running = s;
    if (loop_create(&loop) != E_OK || spool_start(s, loop_uv(loop), on_wake, NULL) != E_OK ||
        loop_start(loop, "bench") != E_OK) {
        fail("loop", E_NOMEM);
    }
    print_cost(what, append_all(s, records, size, rate, sensor));
    if (loop_post(loop, stop, NULL) != E_OK) {
        fail("loop", E_FULL);
    }
    loop_stop(loop);
    loop_join(loop);
    loop_destroy(loop);
}

static void read_all(struct spool *s, enum sink_id sink)
{
    struct cursor *c = spool_cursor(s, sink);
    struct record r;
    uint64_t count = 0;
    uint64_t bytes = 0;
    struct mono start = mono_now();
    while (cursor_next(c, &r) == E_OK) {
        bytes += r.payload.len;
        cursor_confirm(c, r.sequence);
        count++;
    }
    double ns = (double)(mono_now().ns - start.ns) / (double)(count ? count : 1);
    printf("read and confirm                   %7.1f ns/record (%" PRIu64 " records, %" PRIu64 " MiB)\n", ns, count,
           bytes >> 20);
}

static void remove_folder(void)
{
    DIR *d = opendir(dir);
    for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d) {
        closedir(d);
    }
    rmdir(dir);
}

int main(int argc, char **argv)
{
    uint64_t records = 1000000;
    size_t size = 128;
    if (argc < 2 || argc > 4 || (argc > 2 && (records = strtoull(argv[2], NULL, 10)) == 0) ||
        (argc > 3 && (size = strtoul(argv[3], NULL, 10)) > sizeof(payload))) {
        fprintf(stderr, "usage: bench_spool DIR [RECORDS [PAYLOAD]]\n");
        return EXIT_FAILURE;
    }
    snprintf(dir, sizeof(dir), "%s/bench-spool-%ld", argv[1], (long)getpid());
    memset(payload, 'x', sizeof(payload));
    printf("%" PRIu64 " records, %zu B payload, %s\n", records, size, argv[1]);

    struct spool *s = open_spool(SPOOL_SYNC_NEVER);
    unsigned long before = private_kb();
    print_cost("append, no loop", append_all(s, records, size, 0, ""));
    printf("private memory for them            %7lu KiB\n", private_kb() - before);
    spool_close(s);

    struct mono start = mono_now();
    s = open_spool(1000);
    printf("reopen                             %7.1f ms\n", (double)(mono_now().ns - start.ns) / 1e6);
    read_all(s, SINK_IOTCORE);
    with_loop(s, records, size, 0, "append, sync every second", "");
    with_loop(s, records, size, 250000, "append, 250,000/s", "");
    with_loop(s, records, size, 250000, "append, 250,000/s, with a sensor", "room17");
    spool_close(s);
    start = mono_now();
    s = open_spool(1000);
    printf("reopen with four times as many    %7.1f ms\n", (double)(mono_now().ns - start.ns) / 1e6);
    spool_close(s);
    remove_folder();
    return EXIT_SUCCESS;
}
