#include "net/client.h"
#include "net/peer.h"
#include "unit.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* Sends back what comes until the end. */
static void echo(int fd, void *arg)
{
    char data[4096];
    (void)arg;
    for (;;) {
        ssize_t n = recv(fd, data, sizeof(data), 0);
        if (n <= 0 || !peer_send(fd, data, (size_t)n)) {
            return;
        }
    }
}

/* --- closing --- */

static void close_now(struct client *c)
{
    stream_close(c->stream, 0);
    stream_close(c->stream, 100);
    assert_int_equal(stream_write(c->stream, BYTES("x")), E_CLOSED);
}

static void close_at_data(struct client *c, struct bytes data)
{
    (void)data;
    close_now(c);
}

static void write_too_much(struct client *c)
{
    enum err e = E_OK;
    while (e == E_OK) {
        e = stream_write(c->stream, BYTES("0123456789abcdef0123456789abcdef"));
    }
    assert_int_equal(e, E_FULL);
}

static void test_close_in_callbacks(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 4, echo, NULL);
    for (int where = 0; where < 4; where++) {
        client_init(&c);
        c.on_open = where == 1 ? close_now : write_too_much;
        c.on_data = where == 2 ? close_at_data : NULL;
        c.on_drain = where == 3 ? close_now : NULL;
        struct stream_options o = {.host = "127.0.0.1", .port = peer.port, .write_max = 1000};
        client_connect_with(&c, &o);
        if (where == 0) {
            close_now(&c);
        }
        client_run_until_closed(&c);
        assert_int_equal(c.reason, E_CANCELLED);
        client_finish(&c);
    }
    peer_stop(&peer);
}

/* While the loop sleeps: what came is found by looking, and so is the end. */
static void say_and_close(int fd, void *arg)
{
    char data[1];
    if (peer_receive(fd, data, 1) && peer_send(fd, "a", 1) && peer_receive(fd, data, 1)) {
        peer_send(fd, "b", 1);
    }
    atomic_store((atomic_bool *)arg, true);
}

static void test_look(void **state)
{
    atomic_bool is_over = false;
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, say_and_close, &is_over);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    assert_false(stream_look(c.stream)); /* not open yet */
    client_run_until_open(&c);
    assert_true(stream_look(c.stream));
    assert_int_equal(stream_write(c.stream, BYTES("x")), E_OK);
    client_run_until_received(&c, 1);
    assert_int_equal(stream_write(c.stream, BYTES("x")), E_OK);
    uv_run(&c.loop, UV_RUN_NOWAIT); /* sends */
    peer_stop(&peer);
    assert_true(is_over);
    while (stream_look(c.stream)) { /* takes "b", then finds the end */
    }
    assert_int_equal(c.data.len, 2);
    assert_int_equal(c.closed, 0);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_CLOSED);
    client_finish(&c);
}

static void test_close_while_resolving(void **state)
{
    struct client c;
    (void)state;
    client_init(&c);
    struct stream_options o = {.host = "localhost", .port = 1};
    client_connect_with(&c, &o);
    uv_run(&c.loop, UV_RUN_NOWAIT);
    if (c.stream) {
        stream_close(c.stream, 0);
        client_run_until_closed(&c);
        assert_int_equal(c.reason, E_CANCELLED);
    }
    client_finish(&c);
}

struct goodbye {
    size_t received;
    bool end; /* an end in good order came, and not a reset */
};

static void talk_and_count(int fd, void *arg)
{
    struct goodbye *g = arg;
    char data[4096];
    peer_send(fd, "unread by the other side", 24);
    sleep_ms(100);
    for (;;) {
        ssize_t n = recv(fd, data, sizeof(data), 0);
        g->end = n == 0;
        if (n <= 0) {
            return;
        }
        g->received += (size_t)n;
    }
}

/* Unread input must not turn our end into a reset that takes the last bytes with it. */
static void test_linger_delivers(void **state)
{
    struct peer peer;
    struct client c;
    struct goodbye g = {0};
    (void)state;
    peer_start(&peer, 1, talk_and_count, &g);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    client_run_until_open(&c);
    stream_read_later(c.stream, 60000);
    client_run_ms(&c, 30);
    assert_int_equal(stream_write(c.stream, BYTES("last words")), E_OK);
    stream_close(c.stream, 5000);
    client_run_until_closed(&c);
    peer_stop(&peer);
    assert_int_equal(c.reason, E_CANCELLED);
    assert_int_equal(c.data.len, 0);
    assert_int_equal(g.received, 10);
    assert_true(g.end);
    client_finish(&c);
}

static void do_not_read(int fd, void *arg)
{
    int *pipe_fd = arg;
    char byte;
    (void)fd;
    (void)!read(pipe_fd[0], &byte, 1);
}

static void test_linger_ends_in_time(void **state)
{
    struct peer peer;
    struct client c;
    int pipe_fd[2];
    (void)state;
    assert_int_equal(pipe(pipe_fd), 0);
    peer_start(&peer, 1, do_not_read, pipe_fd);
    client_init(&c);
    struct stream_options o = {.host = "127.0.0.1", .port = peer.port, .write_max = (size_t)64 * 1024 * 1024};
    client_connect_with(&c, &o);
    client_run_until_open(&c);
    uint8_t *data = calloc(1, (size_t)32 * 1024 * 1024);
    assert_int_equal(stream_write(c.stream, bytes_make(data, (size_t)32 * 1024 * 1024)), E_OK);
    free(data);
    uint64_t start = now_ms();
    stream_close(c.stream, 100);
    client_run_until_closed(&c);
    assert_in_range(now_ms() - start, 90, 2000);
    assert_int_equal(c.reason, E_CANCELLED);
    client_finish(&c);
    close(pipe_fd[1]);
    peer_stop(&peer);
    close(pipe_fd[0]);
}

/* --- many --- */

#define MANY 200

static void on_nothing(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void on_no_data(void *ctx, struct bytes data)
{
    (void)ctx;
    (void)data;
}

static void on_end(void *ctx, enum err reason, const char *detail)
{
    (void)reason;
    (void)detail;
    --*(unsigned *)ctx;
}

static void hold_many(int fd, void *arg)
{
    int *fds = arg;
    fds[fds[MANY]++] = dup(fd);
}

static size_t heap_used(void)
{
    return mallinfo2().uordblks;
}

static void test_idle_stream_is_small(void **state)
{
    static const struct stream_events events = {.on_open = on_nothing, .on_data = on_no_data, .on_close = on_end};
    static int fds[MANY + 1];
    struct stream *streams[MANY];
    struct peer peer;
    struct client c;
    unsigned open = 0;
    (void)state;
    peer_start(&peer, MANY, hold_many, fds);
    client_init(&c);
    size_t before = 0;
    for (size_t i = 0; i < MANY; i++) {
        if (i == 1) {
            client_run_ms(&c, 20); /* what the loop itself needs is there now */
            before = heap_used();
        }
        struct stream_options o = {.host = "127.0.0.1", .port = peer.port};
        assert_int_equal(stream_connect(&c.loop, &o, &events, &open, &streams[i]), E_OK);
    }
    while (open < MANY) {
        uv_run(&c.loop, UV_RUN_ONCE);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(stream_write(streams[i], BYTES("something to make it work once")), E_OK);
    }
    client_run_ms(&c, 50);
    size_t each = (heap_used() - before) / (MANY - 1);
    print_message("an idle plain stream: %zu bytes of heap\n", each);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_in_range(each, 100, 1024);
#endif
    for (size_t i = 0; i < MANY; i++) {
        stream_close(streams[i], 0);
    }
    client_finish(&c);
    peer_stop(&peer);
    for (size_t i = 0; i < MANY; i++) {
        close(fds[i]);
    }
    assert_int_equal(open, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close_in_callbacks),    cmocka_unit_test(test_look),
        cmocka_unit_test(test_close_while_resolving), cmocka_unit_test(test_linger_delivers),
        cmocka_unit_test(test_linger_ends_in_time),   cmocka_unit_test(test_idle_stream_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
