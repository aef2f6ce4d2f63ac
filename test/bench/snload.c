/* MQTT-SN devices for benchmarks and for tests that count: connects many clients, each on a UDP socket of its own, lets each
 * register its topic and publish numbered messages, QoS 1 one at a time, QoS 0 at a rate. Payload as mqload's: {"seq":N,"t":NANOSECONDS,"pad":"..."}.
 *
 * What is not answered is sent again after -T. A client that hears DISCONNECT, or "congestion" to CONNECT, connects again and goes
 * on with the message that had no PUBACK, under its number. With -A FILE each message has a byte in that file: 0 not sent, 1 sent, 2
 * acknowledged. With -H the connected clients are held for so long after the last message (PINGREQ at half the keep-alive).
 *
 * -J N: sends N datagrams of random bytes instead, many of them nearly packets. */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAM_MAX 2048u
#define CONNECTING_MAX 64u /* CONNECTs without CONNACK at one time */

enum state { WAITING, CONNECTING, REGISTERING, READY, PUBLISHING, DONE };

struct options {
    const char *port;
    const char *host;
    const char *topic;
    const char *id;
    const char *ack_file;
    unsigned clients;
    uint64_t count;
    uint64_t junk;
    double rate; /* of all clients, 0 = as fast as possible */
    unsigned qos;
    unsigned keepalive_s;
    size_t size;
    uint64_t retry_ns;
    double hold_s;
    double timeout_s;
};

struct client {
    unsigned number;
    int fd;
    enum state state;
    uint16_t topic_id;
    uint16_t msg_id;
    uint64_t seq;      /* under way */
    bool has_seq;      /* it goes on with that one after a reconnect */
    uint64_t began_ns; /* of what is under way, for the latency */
    uint64_t again_ns; /* send again then */
    uint64_t ping_ns;
    size_t len; /* of what is under way */
    uint8_t datagram[DATAGRAM_MAX];
};

struct load {
    struct options o;
    struct sockaddr_in target;
    int epoll;
    struct client *clients;
    uint8_t *marks;
    uint64_t start_ns, publish_ns, end_ns;
    uint64_t next_seq, sent, acked, retransmitted, disconnects, refused, reconnects;
    unsigned connecting, connected, next_client, turn, done;
    bool publishing; /* all are connected */
    struct wire_histogram connack, latency;
    uint8_t payload[DATAGRAM_MAX];
};

static volatile sig_atomic_t stop_wanted;

static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static void transmit(struct load *l, struct client *c, uint64_t now)
{
    c->again_ns = now + l->o.retry_ns;
    if (send(c->fd, c->datagram, c->len, MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != ECONNREFUSED) {
        perror("snload: send");
        exit(1);
    }
}

static void begin(struct load *l, struct client *c, enum state state, size_t len, uint64_t now)
{
    c->state = state;
    c->len = len;
    c->began_ns = now;
    transmit(l, c, now);
}

static void send_connect(struct load *l, struct client *c, uint64_t now)
{
    uint8_t *p = c->datagram;
    int n = snprintf((char *)p + 6, 64, "%s-%u", l->o.id, c->number);
    p[0] = (uint8_t)(6 + n);
    p[1] = 0x04;
    p[2] = 0x04;
    p[3] = 0x01;
    p[4] = (uint8_t)(l->o.keepalive_s >> 8);
    p[5] = (uint8_t)l->o.keepalive_s;
    l->connecting++;
    begin(l, c, CONNECTING, p[0], now);
}

static void send_register(struct load *l, struct client *c, uint64_t now)
{
    char topic[200];
    const char *mark = strstr(l->o.topic, "%c");
    int n = mark ? snprintf(topic, sizeof(topic), "%.*s%u%s", (int)(mark - l->o.topic), l->o.topic, c->number, mark + 2)
                 : snprintf(topic, sizeof(topic), "%s", l->o.topic);
    uint8_t *p = c->datagram;
    c->msg_id++;
    p[0] = (uint8_t)(6 + n);
    p[1] = 0x0a;
    p[2] = p[3] = 0;
    p[4] = (uint8_t)(c->msg_id >> 8);
    p[5] = (uint8_t)c->msg_id;
    memcpy(p + 6, topic, (size_t)n);
    begin(l, c, REGISTERING, p[0], now);
}

static void send_publish(struct load *l, struct client *c, uint64_t now)
{
    int n = snprintf((char *)l->payload, 80, "{\"seq\":%llu,\"t\":%llu,\"pad\":\"", (unsigned long long)c->seq,
                     (unsigned long long)now);
    size_t len = (size_t)n;
    while (len + 2 < l->o.size) {
        l->payload[len++] = 'x';
    }
    l->payload[len++] = '"';
    l->payload[len++] = '}';
    uint8_t *p = c->datagram;
    size_t head = len + 7 <= 255 ? 2 : 4;
    if (head == 2) {
        p[0] = (uint8_t)(len + 7);
    } else {
        p[0] = 1;
        p[1] = (uint8_t)((len + 9) >> 8);
        p[2] = (uint8_t)(len + 9);
    }
    p[head - 1] = 0x0c;
    c->msg_id = (uint16_t)(c->msg_id == 65535 ? 1 : c->msg_id + 1);
    p[head] = (uint8_t)(l->o.qos << 5);
    p[head + 1] = (uint8_t)(c->topic_id >> 8);
    p[head + 2] = (uint8_t)c->topic_id;
    p[head + 3] = l->o.qos ? (uint8_t)(c->msg_id >> 8) : 0;
    p[head + 4] = l->o.qos ? (uint8_t)c->msg_id : 0;
    memcpy(p + head + 5, l->payload, len);
    if (l->marks && l->marks[c->seq] == 0) {
        l->marks[c->seq] = 1;
    }
    l->sent++;
    begin(l, c, l->o.qos ? PUBLISHING : READY, head + 5 + len, now);
}

/* Takes the next message if one is due. */
static void publish_next(struct load *l, struct client *c, uint64_t now)
{
    if (!c->has_seq) {
        bool due = l->o.rate <= 0 || (double)l->next_seq <= (double)(now - l->publish_ns) * l->o.rate / 1e9;
        if (stop_wanted || l->next_seq >= l->o.count) {
            c->state = DONE;
            l->done++;
            return;
        }
        if (!due) {
            return;
        }
        c->seq = l->next_seq++;
        c->has_seq = l->o.qos > 0;
    }
    send_publish(l, c, now);
}

static void connect_again(struct load *l, struct client *c, uint64_t now, uint64_t pause_ns)
{
    if (c->state == CONNECTING) {
        l->connecting--;
    } else if (c->state >= REGISTERING) {
        l->reconnects++;
        l->connected -= c->state >= READY;
        l->done -= c->state == DONE;
    }
    c->state = WAITING;
    c->again_ns = now + pause_ns;
}

static void on_connack(struct load *l, struct client *c, uint8_t code, uint64_t now)
{
    if (c->state != CONNECTING) {
        return;
    }
    if (code != 0) {
        l->refused++;
        connect_again(l, c, now, 200000000);
        return;
    }
    wire_histogram_add(&l->connack, now - c->began_ns);
    l->connecting--;
    send_register(l, c, now);
}

static void on_packet(struct load *l, struct client *c, const uint8_t *p, size_t len, uint64_t now)
{
    if (len < 2 || p[0] != len) {
        return;
    }
    switch (p[1]) {
    case 0x05:
        on_connack(l, c, p[2], now);
        break;
    case 0x0b:
        if (c->state == REGISTERING && len == 7 && p[6] == 0) {
            c->topic_id = (uint16_t)(p[2] << 8 | p[3]);
            c->state = READY;
            l->connected++;
            if (l->publishing && l->o.rate <= 0) {
                publish_next(l, c, now);
            }
        }
        break;
    case 0x0d:
        if (c->state == PUBLISHING && len == 7 && p[4] == c->msg_id >> 8 && p[5] == (c->msg_id & 0xff)) {
            if (p[6] == 1) { /* congestion */
                c->again_ns = now + 200000000;
                break;
            }
            if (p[6] == 0) {
                wire_histogram_add(&l->latency, now - c->began_ns);
                l->acked++;
                if (l->marks) {
                    l->marks[c->seq] = 2;
                }
            }
            c->has_seq = false;
            c->state = READY;
            if (l->o.rate <= 0) {
                publish_next(l, c, now);
            }
        }
        break;
    case 0x18:
        l->disconnects++;
        connect_again(l, c, now, 50000000);
        break;
    default:
        break;
    }
}

static void on_readable(struct load *l, struct client *c)
{
    uint8_t datagram[DATAGRAM_MAX];
    /* One at a time, as mqload reads: epoll tells again when there are more. */
    ssize_t n = recv(c->fd, datagram, sizeof(datagram), MSG_DONTWAIT);
    if (n >= 0) {
        on_packet(l, c, datagram, (size_t)n, wire_now_ns());
    }
}

/* What has become due for this client. */
static void serve(struct load *l, struct client *c, uint64_t now)
{
    switch (c->state) {
    case WAITING:
        if (now >= c->again_ns && l->connecting < CONNECTING_MAX) {
            send_connect(l, c, now);
        }
        break;
    case CONNECTING:
    case REGISTERING:
    case PUBLISHING:
        if (now >= c->again_ns) {
            l->retransmitted++;
            if (c->state == PUBLISHING) {
                c->datagram[c->datagram[0] == 1 ? 4 : 2] |= 0x80;
            }
            transmit(l, c, now);
        }
        break;
    case READY:
    case DONE:
        if (l->o.hold_s > 0 && now >= c->ping_ns) {
            static const uint8_t ping[] = {2, 0x16};
            if (c->ping_ns != 0 && send(c->fd, ping, 2, MSG_DONTWAIT) < 0) {
                perror("snload: ping");
            }
            c->ping_ns = now + l->o.keepalive_s * 500000000ull + (uint64_t)c->number * 1000000 % 1000000000;
        }
        break;
    }
}

/* At a rate the clients take turns. */
static void paced(struct load *l, uint64_t now)
{
    for (unsigned tried = 0; tried < l->o.clients; tried++) {
        struct client *c = &l->clients[l->turn];
        l->turn = (l->turn + 1) % l->o.clients;
        if (c->state == READY) {
            uint64_t before = l->sent;
            publish_next(l, c, now);
            if (l->sent == before) {
                if (c->state != DONE) {
                    return; /* nothing due */
                }
            } else {
                tried = 0;
            }
        }
    }
}

static void start_publishing(struct load *l, uint64_t now)
{
    l->publishing = true;
    l->publish_ns = now;
    for (unsigned i = 0; i < l->o.clients && l->o.rate <= 0; i++) {
        if (l->clients[i].state == READY) {
            publish_next(l, &l->clients[i], now);
        }
    }
}

static void run(struct load *l)
{
    struct epoll_event events[256];
    uint64_t end = l->o.timeout_s > 0 ? l->start_ns + (uint64_t)(l->o.timeout_s * 1e9) : UINT64_MAX;
    uint64_t next_look = 0;
    bool holding = false;
    while (wire_now_ns() < end) {
        int n = epoll_wait(l->epoll, events, 256, l->o.rate > 0 && l->publishing && !holding ? 1 : 10);
        for (int i = 0; i < n; i++) {
            on_readable(l, events[i].data.ptr);
        }
        uint64_t now = wire_now_ns();
        if (now >= next_look || l->connected + l->connecting < l->o.clients) {
            next_look = now + 20000000;
            for (unsigned i = 0; i < l->o.clients; i++) {
                serve(l, &l->clients[i], now);
            }
        }
        if (!l->publishing && l->connected == l->o.clients) {
            start_publishing(l, now);
        }
        if (l->publishing && l->o.rate > 0 && !holding) {
            paced(l, now);
        }
        if (l->publishing && l->done == l->o.clients && !holding) {
            holding = true;
            l->end_ns = now;
            if (l->o.hold_s > 0 && !stop_wanted) {
                end = now + (uint64_t)(l->o.hold_s * 1e9);
                printf("{\"holding\": %u}\n", l->connected);
                fflush(stdout);
            } else {
                return;
            }
        }
        if (stop_wanted && (holding || !l->publishing)) {
            return;
        }
    }
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Random datagrams from 16 sockets: half of them with the right Length, so that they get past the first look. */
static int run_junk(struct load *l)
{
    int fds[16];
    uint64_t rng = 88172645463325252u;
    uint8_t datagram[600];
    for (unsigned i = 0; i < 16; i++) {
        fds[i] = socket(AF_INET, SOCK_DGRAM, 0);
        if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&l->target, sizeof(l->target)) != 0) {
            perror("snload");
            return 1;
        }
    }
    for (uint64_t i = 0; i < l->o.junk && !stop_wanted; i++) {
        uint64_t r = next_random(&rng);
        size_t len = (size_t)(r % 8 == 0 ? r / 8 % sizeof(datagram) : r / 8 % 40);
        for (size_t k = 0; k < len; k += 8) {
            uint64_t v = next_random(&rng);
            memcpy(datagram + k, &v, len - k < 8 ? len - k : 8);
        }
        if (len >= 2 && len <= 255 && r & 1 << 20) {
            datagram[0] = (uint8_t)len;
            datagram[1] = (uint8_t)(r >> 24 & 0x1f);
        }
        if (send(fds[i % 16], datagram, len, 0) < 0 && errno != ECONNREFUSED) {
            perror("snload: junk");
            return 1;
        }
        if (l->o.rate > 0 && i % 64 == 0) {
            while ((double)i > (double)(wire_now_ns() - l->start_ns) * l->o.rate / 1e9) {
                usleep(500);
            }
        }
    }
    printf("{\"junk\": %llu, \"seconds\": %.3f}\n", (unsigned long long)l->o.junk,
           (double)(wire_now_ns() - l->start_ns) / 1e9);
    free(l);
    return 0;
}

static bool open_client(struct load *l, struct client *c, unsigned number)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    c->number = number;
    c->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    return c->fd >= 0 && connect(c->fd, (struct sockaddr *)&l->target, sizeof(l->target)) == 0 &&
           epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0;
}

static void usage(void)
{
    fprintf(stderr, "usage: snload -p PORT [options]\n"
                    "  -h ADDR   gateway (127.0.0.1)\n"
                    "  -c N      clients (1)\n"
                    "  -n N      messages in all (0: connect only)\n"
                    "  -r RATE   messages (or junk) a second in all; 0 = as fast as possible (0)\n"
                    "  -q QOS    0 or 1 (1)\n"
                    "  -s BYTES  payload (64)\n"
                    "  -t TOPIC  %%c is the client's number (load/%%c)\n"
                    "  -i ID     prefix of the client ids (sn)\n"
                    "  -k SEC    keep-alive (300)\n"
                    "  -T MS     send again after (10000)\n"
                    "  -H SEC    hold the connections after the last message\n"
                    "  -A FILE   a byte for each message: 1 sent, 2 acknowledged\n"
                    "  -X SEC    give up after this time\n"
                    "  -J N      send N random datagrams instead\n");
    exit(2);
}

static void parse_one(struct options *o, int option)
{
    switch (option) {
    case 'p':
        o->port = optarg;
        break;
    case 'h':
        o->host = optarg;
        break;
    case 'c':
        o->clients = (unsigned)strtoul(optarg, NULL, 10);
        break;
    case 'n':
        o->count = strtoull(optarg, NULL, 10);
        break;
    case 'r':
        o->rate = strtod(optarg, NULL);
        break;
    case 'q':
        o->qos = (unsigned)strtoul(optarg, NULL, 10);
        break;
    case 's':
        o->size = strtoul(optarg, NULL, 10);
        break;
    case 't':
        o->topic = optarg;
        break;
    case 'i':
        o->id = optarg;
        break;
    case 'k':
        o->keepalive_s = (unsigned)strtoul(optarg, NULL, 10);
        break;
    case 'T':
        o->retry_ns = strtoull(optarg, NULL, 10) * 1000000;
        break;
    case 'H':
        o->hold_s = strtod(optarg, NULL);
        break;
    case 'A':
        o->ack_file = optarg;
        break;
    case 'X':
        o->timeout_s = strtod(optarg, NULL);
        break;
    case 'J':
        o->junk = strtoull(optarg, NULL, 10);
        break;
    default:
        usage();
    }
}

static void print_result(const struct load *l)
{
    double connecting = (double)((l->publish_ns ? l->publish_ns : wire_now_ns()) - l->start_ns) / 1e9;
    double seconds = l->end_ns ? (double)(l->end_ns - l->publish_ns) / 1e9 : 0;
    printf("{\"clients\": %u, \"connect_seconds\": %.4f, \"connect_rate\": %.1f, \"connack_p50_us\": %.1f, "
           "\"connack_p99_us\": %.1f, \"sent\": %llu, \"acked\": %llu, \"seconds\": %.6f, \"rate\": %.1f, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"retransmitted\": %llu, \"disconnects\": %llu, \"refused\": %llu, "
           "\"reconnects\": %llu, \"connected\": %u, \"finished\": %s}\n",
           l->o.clients, connecting, l->o.clients / connecting, wire_histogram_us(&l->connack, 0.5),
           wire_histogram_us(&l->connack, 0.99), (unsigned long long)l->sent, (unsigned long long)l->acked, seconds,
           seconds > 0 ? (double)(l->o.qos ? l->acked : l->sent) / seconds : 0, wire_histogram_us(&l->latency, 0.5),
           wire_histogram_us(&l->latency, 0.99), (unsigned long long)l->retransmitted,
           (unsigned long long)l->disconnects, (unsigned long long)l->refused, (unsigned long long)l->reconnects,
           l->connected, l->done == l->o.clients ? "true" : "false");
}

int main(int argc, char **argv)
{
    struct load *l = calloc(1, sizeof(*l));
    if (!l) {
        return 1;
    }
    l->o = (struct options){.host = "127.0.0.1",
                            .topic = "load/%c",
                            .id = "sn",
                            .clients = 1,
                            .qos = 1,
                            .size = 64,
                            .keepalive_s = 300,
                            .retry_ns = 10000000000u};
    int option;
    while ((option = getopt(argc, argv, "p:h:c:n:r:q:s:t:i:k:T:H:A:X:J:")) != -1) {
        parse_one(&l->o, option);
    }
    l->target = (struct sockaddr_in){.sin_family = AF_INET};
    if (!l->o.port || l->o.qos > 1 || !l->o.clients || l->o.size > DATAGRAM_MAX - 64 || strlen(l->o.topic) > 150 ||
        strlen(l->o.id) > 40 || inet_pton(AF_INET, l->o.host, &l->target.sin_addr) != 1) {
        usage();
    }
    l->target.sin_port = htons((uint16_t)strtoul(l->o.port, NULL, 10));
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    l->start_ns = wire_now_ns();
    if (l->o.junk) {
        return run_junk(l);
    }
    struct rlimit files = {l->o.clients + 64u, l->o.clients + 64u};
    (void)setrlimit(RLIMIT_NOFILE, &files);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->clients = calloc(l->o.clients, sizeof(*l->clients));
    l->marks = l->o.ack_file && l->o.count ? wire_map(l->o.ack_file, l->o.count) : NULL;
    if (l->epoll < 0 || !l->clients || (l->o.ack_file && l->o.count && !l->marks)) {
        perror("snload");
        return 1;
    }
    for (unsigned i = 0; i < l->o.clients; i++) {
        if (!open_client(l, &l->clients[i], i)) {
            perror("snload: socket");
            return 1;
        }
    }
    l->start_ns = wire_now_ns();
    run(l);
    print_result(l);
    bool finished = l->done == l->o.clients;
    free(l->clients);
    free(l);
    return finished ? 0 : 3;
}
