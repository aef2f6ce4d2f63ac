#include "net/client.h"
#include "net/peer.h"
#include "unit.h"

#include <netinet/in.h>
#include <stdatomic.h>
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

/* --- scripts of the other side --- */

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

static void hang_up(int fd, void *arg)
{
    (void)fd;
    (void)arg;
}

static void wait_for_end(int fd, void *arg)
{
    char byte;
    (void)arg;
    while (recv(fd, &byte, 1, 0) > 0) {
    }
}

static void say_and_reset(int fd, void *arg)
{
    (void)arg;
    peer_send(fd, "why", 3);
    sleep_ms(50);
    peer_reset(fd);
}

/* --- */

static void test_echo(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, echo, NULL);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    assert_int_equal(stream_write(c.stream, BYTES("early")), E_CLOSED);
    assert_null(stream_out(c.stream));
    client_run_until_open(&c);
    assert_string_equal(stream_security(c.stream), "plain");
    assert_int_equal(stream_write(c.stream, BYTES("hello ")), E_OK);
    assert_int_equal(stream_pending(c.stream), 6);
    assert_int_equal(buffer_append_str(stream_out(c.stream), "world"), E_OK);
    stream_commit(c.stream);
    client_run_until_received(&c, 11);
    assert_memory_equal(c.data.data, "hello world", 11);
    assert_int_equal(stream_pending(c.stream), 0);
    stream_close(c.stream, 0);
    assert_int_equal(c.closed, 0);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_CANCELLED);
    client_finish(&c);
    peer_stop(&peer);
}

/* By a borrower of the loop, through a descriptor of its own: what is left over, the loop sends. */
static void test_send_through(void **state)
{
    enum { MUCH = 3 << 20 };
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, echo, NULL);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    assert_int_equal(stream_share(c.stream), -1);
    client_run_until_open(&c);
    int fd = dup(stream_share(c.stream));
    const int little = 4096; /* of what is sent, for the kernel to keep */
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
    assert_int_equal(stream_write(c.stream, BYTES("hello")), E_OK);
    stream_send_through(c.stream, fd);
    assert_int_equal(stream_pending(c.stream), 0);
    client_run_until_received(&c, 5);
    uint8_t *much = calloc(1, MUCH);
    assert_non_null(much);
    assert_int_equal(stream_write(c.stream, bytes_make(much, MUCH)), E_OK);
    stream_send_through(c.stream, fd);
    assert_true(stream_pending(c.stream) > 0);
    stream_send_through(c.stream, fd); /* not now: something waits */
    client_run_until_received(&c, 5 + MUCH);
    assert_int_equal(stream_pending(c.stream), 0);
    free(much);
    stream_close(c.stream, 0);
    peer_stop(&peer); /* it has seen the end, although the socket has another descriptor */
    client_finish(&c);
    close(fd);
}

/* A borrower that ends stream_read_later, too, leaves it to the loop to watch the socket again, whether or not it has sent something. */
static void test_send_through_after_read_later(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, echo, NULL);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    client_run_until_open(&c);
    int fd = dup(stream_share(c.stream));
    for (unsigned i = 0; i < 2; i++) {
        stream_read_later(c.stream, 60000);
        assert_int_equal(stream_write(c.stream, BYTES("answer")), E_OK);
        client_run_ms(&c, 30);
        stream_read_later(c.stream, 0);
        if (i == 1) {
            assert_int_equal(stream_write(c.stream, BYTES("answer")), E_OK);
        }
        stream_send_through(c.stream, fd);
        client_run_until_received(&c, i == 0 ? 6 : 18);
    }
    client_finish(&c);
    peer_stop(&peer);
    close(fd);
}

/* The loop's thread finds out, and ends the stream. */
static void test_send_through_broken(void **state)
{
    struct peer peer;
    struct client c;
    int ends[2];
    (void)state;
    peer_start(&peer, 1, wait_for_end, NULL);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    client_run_until_open(&c);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(stream_write(c.stream, BYTES("hello")), E_OK);
    stream_send_through(c.stream, ends[1]); /* not a socket */
    assert_int_equal(c.closed, 0);
    client_run_until_closed(&c);
    assert_non_null(strstr(c.detail, "sending"));
    client_finish(&c);
    peer_stop(&peer);
    close(ends[0]);
    close(ends[1]);
}

static void test_peer_closes(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, hang_up, NULL);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    client_run_until_closed(&c);
    assert_int_equal(c.opened, 1);
    assert_int_equal(c.reason, E_CLOSED);
    client_finish(&c);
    peer_stop(&peer);
}

static void test_reset_after_data(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, say_and_reset, NULL);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    client_run_until_closed(&c);
    assert_int_equal(c.data.len, 3);
    assert_int_equal(c.reason, E_RESET);
    assert_non_null(strstr(c.detail, "reset"));
    client_finish(&c);
    peer_stop(&peer);
}

/* What the peer has said before it closed is delivered although our own writing fails. */
static void test_write_to_closed_peer(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, say_and_reset, NULL);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    client_run_until_open(&c);
    sleep_ms(150);
    assert_int_equal(stream_write(c.stream, BYTES("too late")), E_OK);
    client_run_until_closed(&c);
    assert_int_equal(c.data.len, 3);
    assert_int_equal(c.reason, E_RESET);
    client_finish(&c);
    peer_stop(&peer);
}

static void test_refused(void **state)
{
    struct client c;
    (void)state;
    client_init(&c);
    client_connect(&c, peer_free_port(), NULL);
    client_run_until_closed(&c);
    assert_int_equal(c.opened, 0);
    assert_int_equal(c.reason, E_UNREACHABLE);
    assert_non_null(strstr(c.detail, "127.0.0.1: connection refused"));
    client_finish(&c);
}

static void test_unknown_name(void **state)
{
    struct client c;
    (void)state;
    client_init(&c);
    struct stream_options o = {.host = "no-such-host.invalid", .port = 1};
    client_connect_with(&c, &o);
    client_run_until_closed(&c);
    assert_int_equal(c.reason, E_DNS);
    assert_non_null(strstr(c.detail, "resolving no-such-host.invalid"));
    client_finish(&c);
}

static void test_bad_arguments(void **state)
{
    static const struct stream_events none;
    struct client c;
    struct stream *s = NULL;
    (void)state;
    client_init(&c);
    struct stream_options no_host = {.host = "", .port = 1};
    struct stream_options no_port = {.host = "127.0.0.1"};
    assert_int_equal(stream_connect(&c.loop, &no_host, &none, &c, &s), E_INVALID);
    assert_int_equal(stream_connect(&c.loop, &no_port, &none, &c, &s), E_INVALID);
    client_finish(&c);
}

/* localhost is ::1 and 127.0.0.1 on most machines, and only one of them listens. */
static void test_second_address(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, echo, NULL);
    client_init(&c);
    struct stream_options o = {.host = "localhost", .port = peer.port};
    client_connect_with(&c, &o);
    client_run_until_open(&c);
    client_finish(&c);
    peer_stop(&peer);
}

/* A full backlog drops the SYN. */
static void test_connect_timeout(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int others[4];
    struct client c;
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    for (size_t i = 0; i < 4; i++) {
        others[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(others[i], (struct sockaddr *)&a, len);
    }
    client_init(&c);
    struct stream_options o = {.host = "127.0.0.1", .port = ntohs(a.sin_port), .connect_timeout_ms = 200};
    uint64_t start = now_ms();
    client_connect_with(&c, &o);
    client_run_until_closed(&c);
    assert_in_range(now_ms() - start, 150, 2000);
    assert_int_equal(c.reason, E_TIMEOUT);
    assert_non_null(strstr(c.detail, "connecting to 127.0.0.1"));
    client_finish(&c);
    for (size_t i = 0; i < 4; i++) {
        close(others[i]);
    }
    close(listener);
}

/* --- writing --- */

static void receive_once(int fd, void *arg)
{
    char data[100000];
    ssize_t n = recv(fd, data, sizeof(data), 0);
    *(ssize_t *)arg = n;
}

static void write_in_pieces(struct client *c)
{
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(stream_write(c->stream, BYTES("0123456789")), E_OK);
    }
}

static void test_writes_of_one_turn_leave_together(void **state)
{
    struct peer peer;
    struct client c;
    ssize_t first = 0;
    (void)state;
    peer_start(&peer, 1, receive_once, &first);
    client_init(&c);
    c.on_open = write_in_pieces;
    client_connect(&c, peer.port, NULL);
    client_run_until_closed(&c);
    peer_stop(&peer);
    assert_int_equal(first, 10000);
    client_finish(&c);
}

#define BULK_TOTAL ((size_t)24 * 1024 * 1024)
#define BULK_CEILING ((size_t)256 * 1024)

struct bulk {
    size_t written;
    size_t received;
    bool wrong;
    unsigned full;
};

static uint8_t bulk_byte(size_t at)
{
    return (uint8_t)(at * 31 + (at >> 11));
}

static void receive_bulk(int fd, void *arg)
{
    struct bulk *b = arg;
    static uint8_t data[65536];
    sleep_ms(50);
    for (;;) {
        ssize_t n = recv(fd, data, sizeof(data), 0);
        if (n <= 0) {
            return;
        }
        for (ssize_t i = 0; i < n; i++) {
            b->wrong |= data[i] != bulk_byte(b->received++);
        }
    }
}

/* Writes until it is full or done, by turns with stream_write and in place. */
static void write_bulk(struct client *c)
{
    struct bulk *b = c->user;
    uint8_t data[3000];
    while (b->written < BULK_TOTAL) {
        size_t n = BULK_TOTAL - b->written < sizeof(data) ? BULK_TOTAL - b->written : sizeof(data);
        for (size_t i = 0; i < n; i++) {
            data[i] = bulk_byte(b->written + i);
        }
        enum err e = E_OK;
        if (b->full % 2 == 0) {
            e = stream_write(c->stream, bytes_make(data, n));
        } else {
            e = buffer_append(stream_out(c->stream), bytes_make(data, n));
            if (e == E_FULL) {
                stream_await_drain(c->stream);
            }
        }
        assert_true(stream_pending(c->stream) <= BULK_CEILING);
        if (e == E_FULL) {
            b->full++;
            return;
        }
        assert_int_equal(e, E_OK);
        b->written += n;
    }
    stream_close(c->stream, 20000);
}

static void test_backpressure(void **state)
{
    struct peer peer;
    struct client c;
    struct bulk b = {0};
    (void)state;
    peer_start(&peer, 1, receive_bulk, &b);
    client_init(&c);
    c.user = &b;
    c.on_open = c.on_drain = write_bulk;
    struct stream_options o = {.host = "127.0.0.1", .port = peer.port, .write_max = BULK_CEILING};
    client_connect_with(&c, &o);
    client_run_until_closed(&c);
    peer_stop(&peer);
    assert_int_equal(c.reason, E_CANCELLED);
    assert_int_equal(b.received, BULK_TOTAL);
    assert_false(b.wrong);
    assert_true(b.full > 2);
    assert_int_equal(c.drained, b.full);
    client_finish(&c);
}

static void test_too_large(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, wait_for_end, NULL);
    client_init(&c);
    struct stream_options o = {.host = "127.0.0.1", .port = peer.port, .write_max = 4};
    client_connect_with(&c, &o);
    client_run_until_open(&c);
    assert_int_equal(stream_write(c.stream, BYTES("12345")), E_TOO_LARGE);
    assert_int_equal(stream_write(c.stream, BYTES("1234")), E_OK);
    assert_int_equal(stream_write(c.stream, BYTES("5")), E_FULL);
    assert_int_equal(c.drained, 0);
    client_run_ms(&c, 20);
    assert_int_equal(c.drained, 1);
    assert_int_equal(stream_write(c.stream, BYTES("5")), E_OK);
    client_finish(&c);
    peer_stop(&peer);
}

/* --- reading --- */

static void send_byte_by_byte(int fd, void *arg)
{
    const char *text = arg;
    for (size_t i = 0; text[i]; i++) {
        peer_send(fd, text + i, 1);
        sleep_ms(1);
    }
}

static void test_byte_by_byte(void **state)
{
    static char text[] = "slowly, byte by byte";
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, send_byte_by_byte, text);
    client_init(&c);
    client_connect(&c, peer.port, NULL);
    client_run_until_closed(&c);
    assert_int_equal(c.data.len, strlen(text));
    assert_memory_equal(c.data.data, text, strlen(text));
    client_finish(&c);
    peer_stop(&peer);
}

/* --- reading later --- */

static unsigned pieces;

static void take_piece(struct client *c, struct bytes data)
{
    pieces++;
    assert_int_equal(buffer_append(&c->data, data), E_OK);
}

static void take_piece_and_wait(struct client *c, struct bytes data)
{
    take_piece(c, data);
    stream_read_later(c->stream, 40);
    stream_read_later(c->stream, 1); /* while it lasts: nothing */
}

/* What comes in the meantime, the end included, is there afterwards, in few pieces. */
static void test_read_later(void **state)
{
    static char text[] = "slowly, byte by byte";
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, send_byte_by_byte, text);
    client_init(&c);
    c.on_data = take_piece_and_wait;
    pieces = 0;
    client_connect(&c, peer.port, NULL);
    client_run_until_open(&c);
    uint64_t start = now_ms();
    client_run_until_closed(&c);
    assert_int_equal(c.data.len, strlen(text));
    assert_memory_equal(c.data.data, text, strlen(text));
    assert_true(pieces <= 1 + (now_ms() - start) / 39);
    assert_int_equal(c.reason, E_CLOSED);
    client_finish(&c);
    peer_stop(&peer);
}

static void test_read_later_ended_early(void **state)
{
    struct peer peer;
    struct client c;
    (void)state;
    peer_start(&peer, 1, echo, NULL);
    client_init(&c);
    c.on_data = take_piece;
    client_connect(&c, peer.port, NULL);
    client_run_until_open(&c);
    stream_read_later(c.stream, 60000);
    assert_int_equal(stream_write(c.stream, BYTES("answer")), E_OK);
    client_run_ms(&c, 30);
    assert_int_equal(c.data.len, 0);
    stream_read_later(c.stream, 0);
    client_run_until_received(&c, 6);
    assert_int_equal(stream_write(c.stream, BYTES("again")), E_OK);
    client_run_until_received(&c, 11);
    /* It does not hold up the end. */
    stream_read_later(c.stream, 60000);
    stream_close(c.stream, 10000);
    uint64_t start = now_ms();
    client_run_until_closed(&c);
    assert_true(now_ms() - start < 5000);
    client_finish(&c);
    peer_stop(&peer);
}

/* --- pulling --- */

struct pull {
    atomic_uint wanted, sent; /* bytes */
    uv_prepare_t count;
    unsigned turns;
    unsigned came[3]; /* each byte, in which turn */
};

static void send_as_wanted(int fd, void *arg)
{
    struct pull *p = arg;
    /* After some exchanges TCP leaves it to the next data, or to a timer, to acknowledge. */
    for (char byte; p->sent < 100 && peer_receive(fd, &byte, 1) && peer_send(fd, &byte, 1);) {
        p->sent++;
    }
    while (p->sent < 103) {
        while (p->wanted <= p->sent) {
            sleep_ms(1);
        }
        peer_send(fd, "x", 1);
        p->sent++;
    }
    wait_for_end(fd, NULL);
}

static void pull(struct client *c, struct bytes data)
{
    struct pull *p = c->user;
    assert_int_equal(data.len, 1);
    assert_int_equal(buffer_append(&c->data, data), E_OK);
    if (c->data.len < 100) {
        assert_int_equal(stream_write(c->stream, BYTES("x")), E_OK);
        return;
    }
    p->wanted = (unsigned)c->data.len + 1;
    if (c->data.len == 100) {
        return;
    }
    p->came[c->data.len - 101] = p->turns;
    while (p->sent < c->data.len + 1 && p->sent < 103) {
        sleep_ms(1);
    }
    stream_pull(c->stream);
}

static void count_turn(uv_prepare_t *prepare)
{
    struct pull *p = prepare->data;
    p->turns++;
}

static void write_x(struct client *c)
{
    assert_int_equal(stream_write(c->stream, BYTES("x")), E_OK);
}

/* The peer has Nagle's algorithm on: without stream_pull its second byte would wait for our acknowledgement of the first. */
static void test_pull(void **state)
{
    struct peer peer;
    struct client c;
    struct pull p = {.wanted = 0};
    (void)state;
    peer_start(&peer, 1, send_as_wanted, &p);
    client_init(&c);
    c.user = p.count.data = &p;
    c.on_open = write_x;
    c.on_data = pull;
    assert_int_equal(uv_prepare_init(&c.loop, &p.count), 0);
    assert_int_equal(uv_prepare_start(&p.count, count_turn), 0);
    client_connect(&c, peer.port, NULL);
    client_run_until_received(&c, 103);
    assert_int_equal(p.came[0], p.came[1]);
    assert_true(p.came[2] > p.came[1]); /* once a turn */
    uv_close((uv_handle_t *)&p.count, NULL);
    client_finish(&c);
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_send_through),
        cmocka_unit_test(test_send_through_after_read_later),
        cmocka_unit_test(test_send_through_broken),
        cmocka_unit_test(test_peer_closes),
        cmocka_unit_test(test_reset_after_data),
        cmocka_unit_test(test_write_to_closed_peer),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_unknown_name),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_second_address),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_writes_of_one_turn_leave_together),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_read_later),
        cmocka_unit_test(test_read_later_ended_early),
        cmocka_unit_test(test_pull),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
