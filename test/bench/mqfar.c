/* The far side of an uplink, as light as it can be: a TLS server that requires client certificates, acknowledges every publish and
 * counts the numbers of mqload. So the uplink is measured and not another broker on the same machine. One thread per connection; MQTT
 * 3.1.1 and 5; nothing is delivered to anybody. Output and end as of mqsink. */
#include "tally.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_SIZE (256u * 1024u)
#define OUT_SIZE (64u * 1024u)
#define RECEIVE_MAXIMUM 100u

struct far {
    SSL_CTX *tls;
    pthread_mutex_t lock; /* of the tally */
    struct tally tally;
    _Atomic uint64_t heard_ns;
};

struct connection {
    struct far *far;
    SSL *ssl;
    bool v5;
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

static void put(struct connection *c, const uint8_t *bytes, size_t len)
{
    if (c->out_len + len > OUT_SIZE) {
        SSL_write(c->ssl, c->out, (int)c->out_len);
        c->out_len = 0;
    }
    memcpy(c->out + c->out_len, bytes, len);
    c->out_len += len;
}

static void on_connect(struct connection *c, const struct wire_packet *p)
{
    c->v5 = p->len > 6 && p->body[6] == 5;
    const uint8_t v3[] = {0x20, 2, 0, 0};
    const uint8_t v5[] = {0x20, 6, 0, 0, 3, 0x21, 0, RECEIVE_MAXIMUM};
    put(c, c->v5 ? v5 : v3, c->v5 ? sizeof(v5) : sizeof(v3));
}

/* Length of the properties at data (v5), with their length field. */
static size_t properties_len(const uint8_t *data, size_t len)
{
    size_t value = 0;
    for (unsigned i = 0; i < 4 && i < len; i++) {
        value |= (size_t)(data[i] & 0x7f) << 7 * i;
        if (!(data[i] & 0x80)) {
            return value + i + 1;
        }
    }
    return len;
}

static void on_publish(struct connection *c, const struct wire_packet *p, uint64_t now)
{
    unsigned qos = p->first >> 1 & 3;
    size_t at = 2 + (size_t)(p->body[0] << 8 | p->body[1]);
    if (qos && at + 2 <= p->len) {
        const uint8_t ack[] = {0x40, 2, p->body[at], p->body[at + 1]};
        put(c, ack, sizeof(ack));
        at += 2;
    }
    if (c->v5 && at < p->len) {
        at += properties_len(p->body + at, p->len - at);
    }
    if (at <= p->len) {
        tally_add(&c->far->tally, p->body + at, p->len - at, now);
    }
}

/* Grants QoS 1 for every filter. */
static void on_subscribe(struct connection *c, const struct wire_packet *p)
{
    uint8_t answer[2 + 2 + 1 + 64] = {0x90, 2, p->body[0], p->body[1]};
    size_t at = 2;
    size_t n = 4;
    if (c->v5) {
        at += properties_len(p->body + at, p->len - at);
        answer[n++] = 0;
    }
    while (at + 2 < p->len && n < sizeof(answer)) {
        at += 2 + (size_t)(p->body[at] << 8 | p->body[at + 1]) + 1;
        answer[n++] = 1;
    }
    answer[1] = (uint8_t)(n - 2);
    put(c, answer, n);
}

static void on_packet(struct connection *c, const struct wire_packet *p, uint64_t now)
{
    const uint8_t pong[] = {0xd0, 0};
    switch (p->first >> 4) {
    case 1:
        on_connect(c, p);
        break;
    case WIRE_PUBLISH:
        on_publish(c, p, now);
        break;
    case 8:
        on_subscribe(c, p);
        break;
    case 12:
        put(c, pong, sizeof(pong));
        break;
    default:
        break;
    }
}

/* false: the connection has ended */
static bool serve(struct connection *c)
{
    int got = SSL_read(c->ssl, c->in + c->in_len, (int)(IN_SIZE - c->in_len));
    if (got <= 0) {
        return false;
    }
    uint64_t now = wire_now_ns();
    c->in_len += (size_t)got;
    size_t at = 0;
    struct wire_packet p;
    long used;
    atomic_store(&c->far->heard_ns, now);
    pthread_mutex_lock(&c->far->lock);
    while ((used = wire_parse(c->in + at, c->in_len - at, &p)) > 0) {
        at += (size_t)used;
        on_packet(c, &p, now);
    }
    pthread_mutex_unlock(&c->far->lock);
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    if (c->out_len > 0 && SSL_pending(c->ssl) == 0) {
        int len = (int)c->out_len;
        c->out_len = 0;
        return SSL_write(c->ssl, c->out, len) == len;
    }
    return used >= 0;
}

static void *connection_main(void *arg)
{
    struct connection *c = arg;
    if (SSL_accept(c->ssl) == 1) {
        while (serve(c)) {
        }
    }
    close(SSL_get_fd(c->ssl));
    SSL_free(c->ssl);
    free(c);
    return NULL;
}

static void accept_one(struct far *f, int listener)
{
    int one = 1;
    pthread_t thread;
    int fd = accept(listener, NULL, NULL);
    struct connection *c = fd >= 0 ? calloc(1, sizeof(*c)) : NULL;
    if (!c) {
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->far = f;
    c->ssl = SSL_new(f->tls);
    if (!c->ssl || SSL_set_fd(c->ssl, fd) != 1 || pthread_create(&thread, NULL, connection_main, c) != 0) {
        fprintf(stderr, "mqfar: no connection\n");
        exit(1);
    }
    pthread_detach(thread);
}

static SSL_CTX *make_tls(const char *cert, const char *key, const char *ca)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (!tls || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_load_verify_file(tls, ca) != 1) {
        fprintf(stderr, "mqfar: certificate, key or authority cannot be read\n");
        exit(1);
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return tls;
}

static int make_listener(unsigned port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 16) != 0) {
        perror("mqfar");
        exit(1);
    }
    return fd;
}

static bool all_arrived(struct far *f)
{
    pthread_mutex_lock(&f->lock);
    bool all = f->tally.distinct >= f->tally.count;
    pthread_mutex_unlock(&f->lock);
    return all;
}

static void usage(void)
{
    fprintf(stderr, "usage: mqfar -p PORT -c CERT -k KEY -a CA -n COUNT [-A FILE] [-I IDLE-SECONDS]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    const char *cert = NULL;
    const char *key = NULL;
    const char *ca = NULL;
    const char *file = NULL;
    unsigned port = 0;
    uint64_t count = 0;
    double idle_s = 10;
    int c;
    while ((c = getopt(argc, argv, "p:c:k:a:n:A:I:")) != -1) {
        switch (c) {
        case 'p':
            port = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            cert = optarg;
            break;
        case 'k':
            key = optarg;
            break;
        case 'a':
            ca = optarg;
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
            usage();
        }
    }
    if (!port || !cert || !key || !ca || !count) {
        usage();
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    static struct far f = {.lock = PTHREAD_MUTEX_INITIALIZER};
    f.tls = make_tls(cert, key, ca);
    if (!tally_init(&f.tally, count, file)) {
        perror("mqfar");
        return 1;
    }
    int listener = make_listener(port);
    printf("ready\n");
    fflush(stdout);
    while (!stop_wanted && !all_arrived(&f)) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        if (poll(&p, 1, 20) > 0) {
            accept_one(&f, listener);
        }
        uint64_t heard = atomic_load(&f.heard_ns);
        if (heard && (double)(wire_now_ns() - heard) / 1e9 > idle_s) {
            break;
        }
    }
    pthread_mutex_lock(&f.lock);
    tally_print(&f.tally);
    _exit(f.tally.distinct >= count ? 0 : 3); /* the connections' threads go with us */
}
