/* Rows per second into the local store and CPU per row, from the payload as it was captured to the commit.
 *
 *   bench_sqlite [ROWS [SENSORS [BATCH [FILE]]]]     default 1000000 100 4096, a new file in the working directory
 */
#include "base/clock.h"
#include "store/sqlite_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct bench {
    uint64_t rows;
    uint64_t sensors;
    uint64_t batch;
    const char *path;
    struct sqlite_store *store;
    struct buffer text;
};

static void must(enum err e, const char *what, const char *detail)
{
    if (e != E_OK) {
        fprintf(stderr, "%s: %s %s\n", what, err_name(e), detail);
        exit(EXIT_FAILURE);
    }
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* 128 bytes of payload, as in the other benchmarks. */
static void put_row(struct bench *b, uint64_t i)
{
    char topic[64];
    char payload[160];
    struct measurement m;
    struct measurement_error reason;
    struct sqlite_error error;
    /* The names must live until the commit. */
    static char sensors[1u << 16][16];
    char *sensor = sensors[i % b->sensors];
    snprintf(sensor, sizeof(sensors[0]), "sensor-%05u", (unsigned)(i % b->sensors));
    snprintf(topic, sizeof(topic), "site/%s/data", sensor);
    snprintf(payload, sizeof(payload),
             "{\"temperature\":%u.25,\"humidity\":%u.5,\"pressure\":1013.%04u,\"battery\":3.%03u,\"uptime\":1%09u,"
             "\"state\":\"running\",\"ok\":true}   ",
             (unsigned)(i % 40), (unsigned)(i % 100), (unsigned)(i % 10000), (unsigned)(i % 1000), (unsigned)i);
    struct measurement_source source = {.topic = bytes_str(topic),
                                        .payload = bytes_str(payload),
                                        .sensor = bytes_str(sensor),
                                        .capture_ms = 1585900000000 + (int64_t)(i / b->sensors) * 1000};
    must(measurement_make(&source, &b->text, &m, &reason), "measurement_make", reason.text);
    must(sqlite_store_put(b->store, &m, source.topic, &error), "sqlite_store_put", error.text);
}

static void run(struct bench *b)
{
    struct sqlite_error error;
    struct mono start = mono_now();
    double cpu = cpu_seconds();
    uint64_t commits = 0;
    for (uint64_t i = 0; i < b->rows;) {
        must(sqlite_store_begin(b->store, &error), "sqlite_store_begin", error.text);
        for (uint64_t n = 0; n < b->batch && i < b->rows; n++, i++) {
            put_row(b, i);
        }
        must(sqlite_store_commit(b->store, &error), "sqlite_store_commit", error.text);
        commits++;
    }
    double seconds = (double)(mono_now().ns - start.ns) / 1e9;
    cpu = cpu_seconds() - cpu;
    printf("%llu rows of %llu sensors in %llu commits: %.0f rows/s, %.2f us CPU per row, %.2f ms per commit\n",
           (unsigned long long)b->rows, (unsigned long long)b->sensors, (unsigned long long)commits,
           (double)b->rows / seconds, cpu / (double)b->rows * 1e6, seconds / (double)commits * 1e3);
}

static uint64_t argument(int argc, char **argv, int i, uint64_t otherwise, uint64_t max)
{
    uint64_t n = i < argc ? strtoull(argv[i], NULL, 10) : otherwise;
    if (n < 1 || n > max) {
        fprintf(stderr, "usage: %s [ROWS [SENSORS [BATCH [FILE]]]]\n", argv[0]);
        exit(EXIT_FAILURE);
    }
    return n;
}

int main(int argc, char **argv)
{
    struct bench b = {.rows = argument(argc, argv, 1, 1000000, UINT64_MAX),
                      .sensors = argument(argc, argv, 2, 100, 1u << 16),
                      .batch = argument(argc, argv, 3, 4096, UINT64_MAX)};
    char folder[] = "bench_sqlite.XXXXXX";
    char path[64] = "";
    b.path = argc > 4 ? argv[4] : path;
    if (argc <= 4) {
        if (!mkdtemp(folder)) {
            perror(folder);
            return EXIT_FAILURE;
        }
        snprintf(path, sizeof(path), "%s/bench.db", folder);
    }
    struct sqlite_error error;
    struct sqlite_store_options options = {.path = b.path, .busy_ms = 1000};
    buffer_init(&b.text, 1u << 20);
    must(sqlite_store_open(&options, &b.store, &error), "sqlite_store_open", error.text);
    run(&b);
    sqlite_store_close(b.store);
    buffer_finish(&b.text);
    struct stat st;
    if (stat(b.path, &st) == 0) {
        printf("%.1f bytes of file per row\n", (double)st.st_size / (double)b.rows);
    }
    if (argc <= 4) {
        static const char *const suffixes[] = {"", "-wal", "-shm"};
        for (size_t i = 0; i < 3; i++) {
            char file[80];
            snprintf(file, sizeof(file), "%s%s", path, suffixes[i]);
            unlink(file);
        }
        rmdir(folder);
    }
    return EXIT_SUCCESS;
}
