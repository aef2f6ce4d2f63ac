/* HTTP load: connections that post the same request again and again, each waiting for its answer (keep-alive).
 *
 *   httpload [-T] -p PORT [-c CONNECTIONS] [-d SECONDS] [-u URL] [-b BODY] [-C]
 *     -T  over TLS (the certificate is not checked)    -C  a new connection for each request    -i  connect and stay idle
 *
 * Prints {"requests", "other", "errors", "seconds", "p50_us", "p99_us"}: requests answered with 2xx, other answers, broken
 * connections. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_MAX = 4096, LATENCY_MAX = 1 << 20 };

struct connection {
    int fd;
    SSL *tls;
    double sent; /* when, in seconds */
    size_t have;
    char answer[ANSWER_MAX + 1];
};

static struct sockaddr_in server;
static SSL_CTX *context;
static char request[8192];
static size_t request_len;
static bool anew;
static unsigned long good, other, errors;
static float *latencies;
static size_t latency_count;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Connects, blocking; then the socket is made non-blocking. */
static void open_connection(struct connection *c, int poll)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof(server)) != 0) {
        die("connect");
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (context) {
        c->tls = SSL_new(context);
        SSL_set_fd(c->tls, c->fd);
        if (SSL_connect(c->tls) != 1) {
            die("TLS");
        }
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = c};
    epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &e);
}

static void close_connection(struct connection *c)
{
    SSL_free(c->tls);
    c->tls = NULL;
    close(c->fd);
}

static void send_request(struct connection *c, double when)
{
    c->have = 0;
    c->sent = when;
    ssize_t n = c->tls ? SSL_write(c->tls, request, (int)request_len) : send(c->fd, request, request_len, MSG_NOSIGNAL);
    if (n != (ssize_t)request_len) {
        errors++;
    }
}

/* Is all of the answer there? *close: the server ends the connection behind it. */
static bool is_whole(const struct connection *c, bool *close)
{
    const char *line = c->answer, *end = c->answer + c->have, *mark;
    size_t length = 0;
    *close = false;
    while ((mark = memchr(line, '\n', (size_t)(end - line)))) {
        if (mark - line <= 1) { /* the blank line */
            return (size_t)(end - mark - 1) >= length;
        }
        if (strncasecmp(line, "Content-Length:", 15) == 0) {
            length = strtoul(line + 15, NULL, 10);
        } else if (strncasecmp(line, "Connection: close", 17) == 0) {
            *close = true;
        }
        line = mark + 1;
    }
    return false;
}

static void count(const struct connection *c, double when)
{
    if (strncmp(c->answer + 9, "20", 2) == 0) {
        good++;
    } else {
        other++;
    }
    if (latency_count < LATENCY_MAX) {
        latencies[latency_count++] = (float)((when - c->sent) * 1e6);
    }
}

/* Bytes received; 0: the connection has ended, -1: nothing yet. */
static ssize_t receive(const struct connection *c, char *to, size_t room)
{
    if (!c->tls) {
        ssize_t n = recv(c->fd, to, room, 0);
        return n >= 0 ? n : errno == EAGAIN ? -1 : 0;
    }
    int n = SSL_read(c->tls, to, (int)room);
    return n > 0 ? n : SSL_get_error(c->tls, n) == SSL_ERROR_WANT_READ ? -1 : 0;
}

static void on_readable(struct connection *c, int poll)
{
    bool whole, close, ended;
    do { /* a record of TLS may be less than what has come, and the poll does not tell of it again */
        ssize_t n = receive(c, c->answer + c->have, ANSWER_MAX - c->have);
        if (n < 0) {
            return;
        }
        ended = n == 0;
        c->have += (size_t)n;
        c->answer[c->have] = '\0';
        whole = is_whole(c, &close);
    } while (c->tls && !ended && !whole);
    double when = now();
    if (whole) {
        count(c, when);
    }
    errors += ended && !whole;
    if (ended || (whole && (anew || close))) {
        close_connection(c);
        open_connection(c, poll);
        when = now();
        whole = true;
    }
    if (whole) {
        send_request(c, when);
    }
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void run(struct connection *all, int connections, int poll, double seconds)
{
    struct epoll_event events[256];
    double start = now();
    for (int i = 0; i < connections; i++) {
        send_request(&all[i], now());
    }
    while (now() - start < seconds) {
        int n = epoll_wait(poll, events, 256, 100);
        for (int i = 0; i < n; i++) {
            on_readable(events[i].data.ptr, poll);
        }
    }
    double took = now() - start;
    qsort(latencies, latency_count, sizeof(*latencies), by_value);
    printf("{\"requests\":%lu,\"other\":%lu,\"errors\":%lu,\"seconds\":%.3f,\"p50_us\":%.0f,\"p99_us\":%.0f}\n", good,
           other, errors, took, latency_count ? (double)latencies[latency_count / 2] : 0,
           latency_count ? (double)latencies[latency_count * 99 / 100] : 0);
}

int main(int argc, char **argv)
{
    int connections = 16, port = 0, option;
    double seconds = 3;
    bool idle = false;
    const char *url = "/topics/bench", *body = "{}";
    while ((option = getopt(argc, argv, "TCip:c:d:u:b:")) != -1) {
        switch (option) {
        case 'T':
            context = SSL_CTX_new(TLS_client_method());
            SSL_CTX_set_read_ahead(context, 1); /* all that has come with one receive */
            break;
        case 'C':
            anew = true;
            break;
        case 'i':
            idle = true;
            break;
        case 'p':
            port = (int)strtol(optarg, NULL, 10);
            break;
        case 'c':
            connections = (int)strtol(optarg, NULL, 10);
            break;
        case 'd':
            seconds = strtod(optarg, NULL);
            break;
        case 'u':
            url = optarg;
            break;
        case 'b':
            body = optarg;
            break;
        default:
            return EXIT_FAILURE;
        }
    }
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    request_len = (size_t)snprintf(request, sizeof(request),
                                   "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                   "Content-Length: %zu\r\n%s\r\n%s",
                                   url, strlen(body), anew ? "Connection: close\r\n" : "", body);
    struct connection *all = calloc((size_t)connections, sizeof(*all));
    latencies = calloc(LATENCY_MAX, sizeof(*latencies));
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (!all || !latencies || poll < 0 || request_len >= sizeof(request)) {
        die("start");
    }
    for (int i = 0; i < connections; i++) {
        open_connection(&all[i], poll);
    }
    if (idle) {
        printf("ready\n");
        fflush(stdout);
        sleep((unsigned)seconds);
        return EXIT_SUCCESS;
    }
    run(all, connections, poll, seconds);
    return EXIT_SUCCESS;
}
