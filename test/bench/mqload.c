/* Publishes numbered messages to an MQTT broker as fast as it takes them, or at a steady rate, and says how many were
 * acknowledged how fast. Payload: {"seq":N,"t":NANOSECONDS,"pad":"..."}, t from CLOCK_MONOTONIC when it was written.
 *
 * With -R it goes on when a connection breaks: what had no PUBACK is sent again under its number. With -A FILE each message has
 * a byte in that file: 0 not sent, 1 sent, 2 acknowledged. QoS 0: the end is when the broker has answered a PINGREQ behind the
 * last message of each connection, so all were handled. */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define WINDOW_MAX 4096u
#define OUT_SIZE (256u * 1024u)
#define IN_SIZE 65536u
#define TOPIC_SIZE 256u

struct options {
    const char *host;
    const char *port;
    const char *topic; /* %c is replaced by the connection's number */
    const char *id;
    const char *ack_file;
    unsigned connections;
    uint64_t count;
    double rate; /* messages a second in all, 0 = as fast as possible */
    unsigned qos;
    size_t size;
    unsigned window;
    bool reconnect;
    double timeout_s;
};

struct connection {
    unsigned number;
    int fd; /* -1 while it waits to connect again */
    char topic[TOPIC_SIZE];
    uint64_t retry_ns;
    uint64_t seqs[WINDOW_MAX]; /* by packet identifier: seq + 1 while without PUBACK, 0 = free */
    uint64_t sent_ns[WINDOW_MAX];
    unsigned inflight;
    unsigned next_slot;
    uint64_t again[WINDOW_MAX]; /* to be sent again after a reconnect */
    unsigned again_count;
    bool pinged;
    bool done;
    bool want_write;
    size_t out_len;
    size_t out_at;
    size_t in_len;
    uint8_t out[OUT_SIZE];
    uint8_t in[IN_SIZE];
};

struct load {
    struct options o;
    struct connection *connections;
    int epoll;
    uint8_t *marks;
    char *payload;
    uint64_t start_ns;
    uint64_t next_seq;
    uint64_t acked;
    uint64_t reconnects;
    unsigned done;
    struct wire_histogram latency;
};

static volatile sig_atomic_t stop_wanted;

static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static void watch(struct load *l, struct connection *c, bool write)
{
    struct epoll_event e = {.events = (uint32_t)(write ? EPOLLIN | EPOLLOUT : EPOLLIN), .data.ptr = c};
    if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &e) != 0 && epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) != 0) {
        perror("mqload: epoll_ctl");
        exit(1);
    }
    c->want_write = write;
}

static bool connection_open(struct load *l, struct connection *c)
{
    char id[64];
    snprintf(id, sizeof(id), "%s-%u", l->o.id, c->number);
    c->fd = wire_open(l->o.host, l->o.port);
    if (c->fd < 0 || !wire_handshake(c->fd, id, true)) {
        if (c->fd >= 0) {
            close(c->fd);
        }
        c->fd = -1;
        c->retry_ns = wire_now_ns() + 20000000;
        return false;
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(l, c, true);
    return true;
}

static void connection_lost(struct load *l, struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    if (!l->o.reconnect) {
        fprintf(stderr, "mqload: connection %u lost\n", c->number);
        exit(1);
    }
    l->reconnects++;
    for (unsigned i = 0; i < l->o.window; i++) {
        if (c->seqs[i]) {
            c->again[c->again_count++] = c->seqs[i] - 1;
            c->seqs[i] = 0;
        }
    }
    c->inflight = 0;
    c->out_len = c->out_at = c->in_len = 0;
    c->pinged = false;
    c->retry_ns = wire_now_ns();
}

/* Payload of message `seq`, of o.size bytes if that is enough for the numbers. */
static size_t make_payload(struct load *l, uint64_t seq, uint64_t now)
{
    int n = snprintf(l->payload, l->o.size + 80, "{\"seq\":%llu,\"t\":%llu,\"pad\":\"", (unsigned long long)seq,
                     (unsigned long long)now);
    size_t len = (size_t)n;
    while (len + 2 < l->o.size) {
        l->payload[len++] = 'x';
    }
    l->payload[len++] = '"';
    l->payload[len++] = '}';
    return len;
}

/* The number to send next on this connection; false: none is due. */
static bool next_seq(struct load *l, struct connection *c, uint64_t now, uint64_t *seq)
{
    if (c->again_count) {
        *seq = c->again[--c->again_count];
        return true;
    }
    if (stop_wanted || l->next_seq >= l->o.count) {
        return false;
    }
    if (l->o.rate > 0 && (double)l->next_seq > (double)(now - l->start_ns) * l->o.rate / 1e9) {
        return false;
    }
    *seq = l->next_seq++;
    return true;
}

static unsigned free_slot(struct load *l, struct connection *c)
{
    while (c->seqs[c->next_slot]) {
        c->next_slot = (c->next_slot + 1) % l->o.window;
    }
    return c->next_slot;
}

/* Writes as many messages into the output as are due and fit. */
static void fill(struct load *l, struct connection *c)
{
    uint64_t seq;
    uint64_t now = wire_now_ns();
    size_t room = TOPIC_SIZE + l->o.size + 80 + WIRE_OVERHEAD;
    while (c->out_len + room <= OUT_SIZE && (!l->o.qos || c->inflight < l->o.window) && next_seq(l, c, now, &seq)) {
        uint16_t packet_id = 0;
        if (l->o.qos) {
            unsigned slot = free_slot(l, c);
            c->seqs[slot] = seq + 1;
            c->sent_ns[slot] = now;
            c->inflight++;
            packet_id = (uint16_t)(slot + 1);
        }
        size_t len = make_payload(l, seq, now);
        c->out_len += wire_publish(c->out + c->out_len, c->topic, l->payload, len, l->o.qos, packet_id);
        if (l->marks && l->marks[seq] == 0) {
            l->marks[seq] = 1;
        }
    }
    bool finished = (stop_wanted || l->next_seq >= l->o.count) && !c->again_count && !c->inflight;
    if (finished && !c->pinged && c->out_len + 2 <= OUT_SIZE) {
        c->out_len += wire_pingreq(c->out + c->out_len);
        c->pinged = true;
    }
}

static void flush(struct load *l, struct connection *c)
{
    while (c->fd >= 0) {
        if (c->out_at == c->out_len) {
            c->out_at = c->out_len = 0;
            fill(l, c);
            if (!c->out_len) {
                break;
            }
        }
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            connection_lost(l, c);
            return;
        }
        c->out_at += (size_t)n;
    }
    bool more = c->out_at < c->out_len;
    if (c->fd >= 0 && more != c->want_write) {
        watch(l, c, more);
    }
}

static void on_puback(struct load *l, struct connection *c, const struct wire_packet *p)
{
    unsigned slot = (unsigned)(p->body[0] << 8 | p->body[1]) - 1;
    if (slot >= l->o.window || !c->seqs[slot]) {
        fprintf(stderr, "mqload: PUBACK for nothing\n");
        exit(1);
    }
    uint64_t seq = c->seqs[slot] - 1;
    if (l->marks) {
        l->marks[seq] = 2;
    }
    wire_histogram_add(&l->latency, wire_now_ns() - c->sent_ns[slot]);
    c->seqs[slot] = 0;
    c->inflight--;
    l->acked++;
}

static void on_readable(struct load *l, struct connection *c)
{
    ssize_t got = recv(c->fd, c->in + c->in_len, IN_SIZE - c->in_len, 0);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        connection_lost(l, c);
        return;
    }
    c->in_len += (size_t)got;
    size_t at = 0;
    struct wire_packet p;
    long used;
    while ((used = wire_parse(c->in + at, c->in_len - at, &p)) > 0) {
        at += (size_t)used;
        if (p.first >> 4 == WIRE_PUBACK) {
            on_puback(l, c, &p);
        } else if (p.first >> 4 == WIRE_PINGRESP) {
            c->done = true;
            l->done++;
        }
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

static void reconnect_all(struct load *l)
{
    uint64_t now = wire_now_ns();
    for (unsigned i = 0; i < l->o.connections; i++) {
        struct connection *c = &l->connections[i];
        if (c->fd < 0 && !c->done && now >= c->retry_ns) {
            connection_open(l, c);
        }
    }
}

static void run(struct load *l)
{
    struct epoll_event events[64];
    uint64_t end = l->o.timeout_s > 0 ? l->start_ns + (uint64_t)(l->o.timeout_s * 1e9) : UINT64_MAX;
    bool paced = l->o.rate > 0;
    while (l->done < l->o.connections && wire_now_ns() < end) {
        int n = epoll_wait(l->epoll, events, 64, paced ? 1 : 20);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
                on_readable(l, c);
            }
            if (c->fd >= 0 && !c->done) {
                flush(l, c);
            }
        }
        for (unsigned i = 0; paced && i < l->o.connections; i++) {
            if (l->connections[i].fd >= 0 && !l->connections[i].done) {
                flush(l, &l->connections[i]);
            }
        }
        for (unsigned i = 0; !paced && stop_wanted && i < l->o.connections; i++) {
            if (l->connections[i].fd >= 0 && !l->connections[i].done) {
                flush(l, &l->connections[i]);
            }
        }
        if (l->o.reconnect) {
            reconnect_all(l);
        }
    }
}

static void connection_init(struct load *l, struct connection *c, unsigned number)
{
    char digits[16];
    const char *mark = strstr(l->o.topic, "%c");
    c->number = number;
    snprintf(digits, sizeof(digits), "%u", number);
    if (mark) {
        snprintf(c->topic, sizeof(c->topic), "%.*s%s%s", (int)(mark - l->o.topic), l->o.topic, digits, mark + 2);
    } else {
        snprintf(c->topic, sizeof(c->topic), "%s", l->o.topic);
    }
    if (!connection_open(l, c) && !l->o.reconnect) {
        fprintf(stderr, "mqload: cannot connect to %s:%s\n", l->o.host, l->o.port);
        exit(1);
    }
}

static void usage(int code)
{
    fprintf(code ? stderr : stdout, "usage: mqload -p PORT [options]\n"
                                    "  -h HOST   broker (127.0.0.1)\n"
                                    "  -c N      connections (1)\n"
                                    "  -n N      messages in all (1000)\n"
                                    "  -r RATE   messages a second in all; 0 = as fast as possible (0)\n"
                                    "  -q QOS    0 or 1 (1)\n"
                                    "  -s BYTES  payload (128)\n"
                                    "  -t TOPIC  %%c is the connection's number (load/%%c)\n"
                                    "  -w N      messages without PUBACK per connection (20)\n"
                                    "  -i ID     prefix of the client identifiers (mqload)\n"
                                    "  -A FILE   a byte for each message: 1 sent, 2 acknowledged\n"
                                    "  -R        go on when the broker goes away\n"
                                    "  -T SEC    give up after this time\n");
    exit(code);
}

static struct options parse(int argc, char **argv)
{
    struct options o = {.host = "127.0.0.1",
                        .topic = "load/%c",
                        .id = "mqload",
                        .connections = 1,
                        .count = 1000,
                        .qos = 1,
                        .size = 128,
                        .window = 20};
    int c;
    while ((c = getopt(argc, argv, "h:p:c:n:r:q:s:t:w:i:A:RT:?")) != -1) {
        switch (c) {
        case 'h':
            o.host = optarg;
            break;
        case 'p':
            o.port = optarg;
            break;
        case 'c':
            o.connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            o.count = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            o.rate = strtod(optarg, NULL);
            break;
        case 'q':
            o.qos = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            o.size = strtoul(optarg, NULL, 10);
            break;
        case 't':
            o.topic = optarg;
            break;
        case 'w':
            o.window = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'i':
            o.id = optarg;
            break;
        case 'A':
            o.ack_file = optarg;
            break;
        case 'R':
            o.reconnect = true;
            break;
        case 'T':
            o.timeout_s = strtod(optarg, NULL);
            break;
        default:
            usage(2);
        }
    }
    if (!o.port || o.qos > 1 || !o.connections || !o.window || o.window > WINDOW_MAX || o.size > OUT_SIZE / 2 ||
        strlen(o.topic) > TOPIC_SIZE - 16 || strlen(o.id) > 40) {
        usage(2);
    }
    return o;
}

int main(int argc, char **argv)
{
    struct load *l = calloc(1, sizeof(*l));
    if (!l) {
        return 1;
    }
    l->o = parse(argc, argv);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->payload = malloc(l->o.size + 80);
    l->connections = calloc(l->o.connections, sizeof(*l->connections));
    l->marks = l->o.ack_file ? wire_map(l->o.ack_file, l->o.count) : NULL;
    if (l->epoll < 0 || !l->payload || !l->connections || (l->o.ack_file && !l->marks)) {
        perror("mqload");
        return 1;
    }
    for (unsigned i = 0; i < l->o.connections; i++) {
        connection_init(l, &l->connections[i], i);
    }
    l->start_ns = wire_now_ns();
    run(l);
    double seconds = (double)(wire_now_ns() - l->start_ns) / 1e9;
    printf(
        "{\"sent\": %llu, \"acked\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"reconnects\": %llu, \"p50_us\": %.1f, "
        "\"p99_us\": %.1f, \"finished\": %s}\n",
        (unsigned long long)l->next_seq, (unsigned long long)l->acked, seconds, (double)l->next_seq / seconds,
        (unsigned long long)l->reconnects, wire_histogram_us(&l->latency, 0.5), wire_histogram_us(&l->latency, 0.99),
        l->done == l->o.connections ? "true" : "false");
    bool finished = l->done == l->o.connections;
    free(l->connections);
    free(l->payload);
    close(l->epoll);
    free(l);
    return finished ? 0 : 3;
}
