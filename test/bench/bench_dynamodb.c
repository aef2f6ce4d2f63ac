/* Items per second into DynamoDB and client CPU per item, alone: no broker.
 *
 *   bench_dynamodb sink  ENDPOINT TABLE ITEMS CONNECTIONS DIRECTORY   the plugin's sink, reading a spool in DIRECTORY
 *   bench_dynamodb floor ENDPOINT TABLE ITEMS CONNECTIONS             raw: requests built before the clock starts, written to
 *                                                                     plain sockets, of the answers only the end is looked for
 *
 * ENDPOINT is http://127.0.0.1:PORT; the sink needs credentials in the environment. Both write the same items (200 bytes of
 * payload). Prints {"items":N,"seconds":S,"cpu_seconds":C}.
 */
#include "aws/dynamodb_item.h"
#include "base/clock.h"
#include "net/loop.h"
#include "plugin/sink.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SENSORS 100u
#define CONNECTIONS_MAX 64u
#define BASE_MS INT64_C(1700000000000)

static void fail(const char *what)
{
    fprintf(stderr, "bench_dynamodb: %s\n", what);
    exit(EXIT_FAILURE);
}

static void must(enum err e, const char *what)
{
    if (e != E_OK) {
        fprintf(stderr, "%s: %s\n", what, err_name(e));
        exit(EXIT_FAILURE);
    }
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_result(uint64_t items, struct mono start, double cpu_start)
{
    double seconds = (double)(mono_now().ns - start.ns) / 1e9;
    printf("{\"items\":%llu,\"seconds\":%.4f,\"cpu_seconds\":%.4f}\n", (unsigned long long)items, seconds,
           cpu_seconds() - cpu_start);
}

/* 200 bytes of payload; the sensor's name goes to `sensor`. */
static void make_payload(uint64_t i, struct buffer *payload, char sensor[static 16])
{
    snprintf(sensor, 16, "s%llu", (unsigned long long)(i % SENSORS));
    buffer_clear(payload);
    must(
        buffer_appendf(payload,
                       "{\"seq\":%llu,\"temperature\":%.2f,\"humidity\":%.1f,\"battery\":3.712,\"door\":false,\"unit\":"
                       "\"celsius\",\"position\":{\"x\":1.5,\"y\":2.5},\"pad\":\"",
                       (unsigned long long)i, 15 + (double)(i % 1000) / 100, 40 + (double)(i % 300) / 10),
        "payload");
    while (payload->len < 198) {
        must(buffer_append_byte(payload, 'x'), "payload");
    }
    must(buffer_append(payload, BYTES("\"}")), "payload");
}

/* The sink on a loop of its own. */

struct run {
    struct loop *loop;
    struct sink *sink;
    struct sink_stats stats;
    uint64_t items;
    uv_timer_t watch;
    struct mono start;
    double cpu_start;
};

static void on_stopped(void *ctx)
{
    struct run *r = ctx;
    loop_stop(r->loop);
}

static void on_watch(uv_timer_t *timer)
{
    struct run *r = timer->data;
    if (metric_get(&r->stats.confirmed) < r->items) {
        return;
    }
    print_result(r->items, r->start, r->cpu_start);
    uv_close((uv_handle_t *)timer, NULL);
    r->sink->ops->stop(r->sink, 1000, on_stopped, r);
}

static void on_wake(void *ctx, enum sink_id id)
{
    (void)id;
    struct run *r = ctx;
    r->sink->ops->wake(r->sink);
}

static void fill_spool(struct spool *spool, uint64_t items)
{
    struct buffer payload;
    buffer_init(&payload, 1024);
    for (uint64_t i = 0; i < items; i++) {
        char sensor[16];
        char topic[32];
        make_payload(i, &payload, sensor);
        snprintf(topic, sizeof(topic), "sensors/%s", sensor);
        struct record record = {.capture_ms = BASE_MS + (int64_t)(i / SENSORS),
                                .sinks = SINK_BIT(SINK_DYNAMODB),
                                .qos = 1,
                                .topic = bytes_str(topic),
                                .payload = buffer_bytes(&payload),
                                .client_id = BYTES("bench"),
                                .sensor = bytes_str(sensor)};
        must(spool_append(spool, &record), "spool_append");
    }
    buffer_finish(&payload);
}

static const struct plugin_options *make_options(const char *endpoint, const char *table, const char *connections,
                                                 const char *directory)
{
    const struct plugin_option lines[] = {
        {"store", "sensors/+"},          {"spool_dir", directory},
        {"dynamodb_endpoint", endpoint}, {"dynamodb_connections", connections},
        {"dynamodb_table", table},       {"aws_region", "eu-central-1"},
    };
    const struct plugin_options *options;
    struct option_error error;
    if (plugin_options_create(lines, sizeof(lines) / sizeof(lines[0]), &options, &error) != E_OK) {
        fail(error.text);
    }
    return options;
}

static void begin(void *arg)
{
    struct run *r = arg;
    r->start = mono_now();
    r->cpu_start = cpu_seconds();
    on_wake(r, SINK_DYNAMODB);
}

static void run_sink(char **argv)
{
    struct run r = {.items = strtoull(argv[2], NULL, 10)};
    const struct plugin_options *options = make_options(argv[0], argv[1], argv[3], argv[4]);
    struct spool_options so = {
        .dir = argv[4], .max_size = UINT64_C(4) << 30, .sync_ms = SPOOL_SYNC_NEVER, .sinks = SINK_BIT(SINK_DYNAMODB)};
    struct spool *spool;
    struct spool_error spool_error;
    struct rejected *rejected;
    char why[256] = "";
    if (spool_open(&so, &spool, &spool_error) != E_OK) {
        fail(spool_error.text);
    }
    must(rejected_open(argv[4], &rejected), "rejected_open");
    must(loop_create(&r.loop), "loop");
    fill_spool(spool, r.items);
    struct sink_host host = {
        .loop = loop_uv(r.loop), .cursor = spool_cursor(spool, SINK_DYNAMODB), .rejected = rejected, .stats = &r.stats};
    if (sink_dynamodb_type.create(&host, options, &r.sink, why) != E_OK) {
        fail(why);
    }
    uv_timer_init(loop_uv(r.loop), &r.watch);
    r.watch.data = &r;
    uv_timer_start(&r.watch, on_watch, 1, 1);
    must(loop_post(r.loop, begin, &r), "loop_post");
    loop_run(r.loop);
    /* maintenance never ran: the spool is closed as it is */
    loop_destroy(r.loop);
    rejected_close(rejected);
    spool_close(spool);
    plugin_options_unref(options);
}

/* The floor. */

struct connection {
    int fd;
    size_t request; /* being sent or answered */
    size_t sent;
    char head[2048]; /* of the answer */
    size_t have;
    bool in_body;
};

struct floor {
    struct buffer *requests;
    size_t count, next, done;
    struct connection connections[CONNECTIONS_MAX];
    struct pollfd polls[CONNECTIONS_MAX];
    size_t connection_count;
};

static void build_request(struct buffer *request, const char *endpoint, const char *table, uint64_t from, uint64_t to)
{
    static const struct dynamodb_layout layout = {"sensor", "timestamp", 'S', 0};
    struct attribute_encoder encoder;
    struct buffer body;
    struct buffer item;
    struct buffer payload;
    struct dynamodb_reason reason;
    attribute_encoder_init(&encoder);
    buffer_init(&body, 1 << 20);
    buffer_init(&item, 4096);
    buffer_init(&payload, 1024);
    buffer_init(request, 1 << 20);
    must(dynamodb_batch_begin(&body, bytes_str(table)), "body");
    for (uint64_t i = from; i < to; i++) {
        char sensor[16];
        make_payload(i, &payload, sensor);
        struct dynamodb_measurement m = {bytes_str(sensor), BASE_MS + (int64_t)(i / SENSORS), buffer_bytes(&payload)};
        buffer_clear(&item);
        must(dynamodb_item_build(&layout, &encoder, &m, &item, &reason), "item");
        must(dynamodb_batch_add(&body, buffer_bytes(&item), i == from), "body");
    }
    must(dynamodb_batch_end(&body), "body");
    must(buffer_appendf(
             request,
             "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Target: "
             "DynamoDB_20120810.BatchWriteItem\r\nX-Amz-Date: 20240101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 "
             "Credential=AKIA/20240101/eu-central-1/dynamodb/aws4_request, SignedHeaders=host, Signature=%064d\r\n"
             "Content-Length: %zu\r\n\r\n",
             endpoint + strlen("http://"), 0, body.len),
         "request");
    must(buffer_append(request, buffer_bytes(&body)), "request");
    attribute_encoder_finish(&encoder);
    buffer_finish(&body);
    buffer_finish(&item);
    buffer_finish(&payload);
}

static int dial(const char *endpoint)
{
    const char *port = strrchr(endpoint, ':');
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        fail("cannot connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void send_more(struct floor *f, size_t i)
{
    struct connection *c = &f->connections[i];
    struct buffer *request = &f->requests[c->request];
    ssize_t n = send(c->fd, request->data + c->sent, request->len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
        c->sent += (size_t)n;
    }
    f->polls[i].events = (short)(POLLIN | (c->sent < request->len ? POLLOUT : 0));
}

static void start_next(struct floor *f, size_t i)
{
    struct connection *c = &f->connections[i];
    c->have = 0;
    c->in_body = false;
    if (f->next == f->count) {
        f->polls[i].fd = -1;
        return;
    }
    c->request = f->next++;
    c->sent = 0;
    send_more(f, i);
}

static void receive(struct floor *f, size_t i)
{
    struct connection *c = &f->connections[i];
    ssize_t n = recv(c->fd, c->head + c->have, sizeof(c->head) - 1 - c->have, 0);
    if (n <= 0) {
        fail("connection ended");
    }
    c->have += (size_t)n;
    c->head[c->have] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    const char *length = strstr(c->head, "Content-Length: ");
    if (!end) {
        return;
    }
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || !length) {
        fail(c->head);
    }
    size_t whole = (size_t)(end + 4 - c->head) + strtoul(length + 16, NULL, 10);
    if (whole >= sizeof(c->head)) {
        fail("unprocessed items");
    }
    if (c->have >= whole) {
        f->done++;
        start_next(f, i);
    }
}

static void run_floor(char **argv)
{
    struct floor f = {.connection_count = strtoul(argv[3], NULL, 10)};
    uint64_t items = strtoull(argv[2], NULL, 10);
    f.count = (size_t)((items + DYNAMODB_BATCH_MAX - 1) / DYNAMODB_BATCH_MAX);
    f.requests = calloc(f.count, sizeof(*f.requests));
    if (!f.requests || f.connection_count > CONNECTIONS_MAX) {
        fail("no memory, or too many connections");
    }
    for (size_t i = 0; i < f.count; i++) {
        uint64_t to = (uint64_t)(i + 1) * DYNAMODB_BATCH_MAX;
        build_request(&f.requests[i], argv[0], argv[1], (uint64_t)i * DYNAMODB_BATCH_MAX, to < items ? to : items);
    }
    for (size_t i = 0; i < f.connection_count; i++) {
        f.connections[i].fd = f.polls[i].fd = dial(argv[0]);
    }
    struct mono start = mono_now();
    double cpu_start = cpu_seconds();
    for (size_t i = 0; i < f.connection_count; i++) {
        start_next(&f, i);
    }
    while (f.done < f.count) {
        poll(f.polls, f.connection_count, -1);
        for (size_t i = 0; i < f.connection_count; i++) {
            if (f.polls[i].revents & POLLOUT) {
                send_more(&f, i);
            }
            if (f.polls[i].revents & (POLLIN | POLLHUP | POLLERR)) {
                receive(&f, i);
            }
        }
    }
    print_result(items, start, cpu_start);
    for (size_t i = 0; i < f.count; i++) {
        buffer_finish(&f.requests[i]);
    }
    free(f.requests);
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "sink") == 0) {
        run_sink(argv + 2);
    } else if (argc == 6 && strcmp(argv[1], "floor") == 0) {
        run_floor(argv + 2);
    } else {
        fail("usage: sink ENDPOINT TABLE ITEMS CONNECTIONS DIRECTORY | floor ENDPOINT TABLE ITEMS CONNECTIONS");
    }
    return EXIT_SUCCESS;
}
