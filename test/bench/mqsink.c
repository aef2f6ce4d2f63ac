/* Subscribes and counts what mqload (test/bench/mqload.c) published: how many numbers arrived, how many twice, how long they took.
 * With -A FILE each number has a byte in that file that counts its arrivals (255 at most). Ends when all have arrived, when
 * nothing has come for the idle time, or on SIGTERM. */
#include "tally.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_SIZE (4u << 20)
#define OUT_SIZE 65536u

struct sink {
    int fd;
    struct tally tally;
    uint8_t in[IN_SIZE];
    size_t in_len;
    uint8_t out[OUT_SIZE];
    size_t out_len;
};

static volatile sig_atomic_t stop_wanted;

static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static void flush(struct sink *s)
{
    size_t at = 0;
    while (at < s->out_len) {
        ssize_t n = send(s->fd, s->out + at, s->out_len - at, MSG_NOSIGNAL);
        if (n <= 0) {
            break;
        }
        at += (size_t)n;
    }
    s->out_len = 0;
}

static void on_publish(struct sink *s, const struct wire_packet *p, uint64_t now)
{
    unsigned qos = p->first >> 1 & 3;
    size_t topic_len = (size_t)(p->body[0] << 8 | p->body[1]);
    size_t at = 2 + topic_len + (qos ? 2 : 0);
    if (p->len < at) {
        return;
    }
    if (qos == 1) {
        const uint8_t *id = p->body + 2 + topic_len;
        if (s->out_len + WIRE_OVERHEAD > OUT_SIZE) {
            flush(s);
        }
        s->out_len += wire_puback(s->out + s->out_len, (uint16_t)(id[0] << 8 | id[1]));
    }
    tally_add(&s->tally, p->body + at, p->len - at, now);
}

/* false: the connection has ended */
static bool on_readable(struct sink *s)
{
    ssize_t got = recv(s->fd, s->in + s->in_len, IN_SIZE - s->in_len, 0);
    if (got <= 0) {
        return got < 0 && errno == EINTR;
    }
    uint64_t now = wire_now_ns();
    s->in_len += (size_t)got;
    size_t at = 0;
    struct wire_packet p;
    long used;
    while ((used = wire_parse(s->in + at, s->in_len - at, &p)) > 0) {
        at += (size_t)used;
        if (p.first >> 4 == WIRE_PUBLISH) {
            on_publish(s, &p, now);
        }
    }
    memmove(s->in, s->in + at, s->in_len - at);
    s->in_len -= at;
    flush(s);
    return used >= 0;
}

static void usage(int code)
{
    fprintf(code ? stderr : stdout, "usage: mqsink -p PORT -n COUNT [options]\n"
                                    "  -h HOST    broker (127.0.0.1)\n"
                                    "  -t FILTER  what to subscribe to (#)\n"
                                    "  -q QOS     of the subscription (0)\n"
                                    "  -n COUNT   numbers expected: 0 .. COUNT-1\n"
                                    "  -A FILE    a byte for each number: how often it came\n"
                                    "  -I SEC     end when nothing has come for so long (10)\n");
    exit(code);
}

static bool subscribe(struct sink *s, const char *filter, unsigned qos)
{
    uint8_t out[512];
    uint8_t in[5];
    size_t len = wire_subscribe(out, filter, qos);
    return send(s->fd, out, len, MSG_NOSIGNAL) == (ssize_t)len &&
           recv(s->fd, in, sizeof(in), MSG_WAITALL) == (ssize_t)sizeof(in) && in[0] == WIRE_SUBACK << 4 && in[4] <= 2;
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1";
    const char *port = NULL;
    const char *filter = "#";
    const char *file = NULL;
    unsigned qos = 0;
    double idle_s = 10;
    uint64_t count = 0;
    char id[64];
    struct sink *s = calloc(1, sizeof(*s));
    int c;
    while (s && (c = getopt(argc, argv, "h:p:t:q:n:A:I:?")) != -1) {
        switch (c) {
        case 'h':
            host = optarg;
            break;
        case 'p':
            port = optarg;
            break;
        case 't':
            filter = optarg;
            break;
        case 'q':
            qos = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            count = strtoull(optarg, NULL, 10);
            break;
        case 'A':
            file = optarg;
            break;
        case 'I':
            idle_s = strtod(optarg, NULL);
            break;
        default:
            usage(2);
        }
    }
    if (!s || !port || !count || strlen(filter) > 256) {
        usage(2);
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    snprintf(id, sizeof(id), "mqsink-%ld", (long)getpid());
    s->fd = wire_open(host, port);
    if (!tally_init(&s->tally, count, file) || s->fd < 0 || !wire_handshake(s->fd, id, true) ||
        !subscribe(s, filter, qos)) {
        fprintf(stderr, "mqsink: cannot subscribe at %s:%s\n", host, port);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    uint64_t heard = wire_now_ns();
    while (!stop_wanted && s->tally.distinct < count) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        if (poll(&p, 1, 100) > 0) {
            heard = wire_now_ns();
            if (!on_readable(s)) {
                break;
            }
        } else if ((double)(wire_now_ns() - heard) / 1e9 > idle_s) {
            break;
        }
    }
    tally_print(&s->tally);
    int code = s->tally.distinct == count ? 0 : 3;
    close(s->fd);
    free(s);
    return code;
}
