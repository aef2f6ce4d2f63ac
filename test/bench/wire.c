#include "wire.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static size_t put_header(uint8_t *out, uint8_t first, size_t len)
{
    size_t n = 0;
    out[n++] = first;
    do {
        uint8_t low = (uint8_t)(len & 0x7f);
        len >>= 7;
        out[n++] = (uint8_t)(low | (len ? 0x80 : 0));
    } while (len);
    return n;
}

static size_t put_u16(uint8_t *out, size_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return 2;
}

static size_t put_text(uint8_t *out, const char *s)
{
    size_t len = strlen(s);
    size_t n = put_u16(out, len);
    memcpy(out + n, s, len);
    return n + len;
}

size_t wire_connect(uint8_t *out, const char *client_id, bool clean, uint16_t keepalive_s)
{
    size_t n = put_header(out, 0x10, 10 + 2 + strlen(client_id));
    n += put_text(out + n, "MQTT");
    out[n++] = 4;
    out[n++] = clean ? 2 : 0;
    n += put_u16(out + n, keepalive_s);
    return n + put_text(out + n, client_id);
}

size_t wire_subscribe(uint8_t *out, const char *filter, unsigned qos)
{
    size_t n = put_header(out, 0x82, 2 + 2 + strlen(filter) + 1);
    n += put_u16(out + n, 1);
    n += put_text(out + n, filter);
    out[n++] = (uint8_t)qos;
    return n;
}

size_t wire_publish(uint8_t *out, const char *topic, const void *payload, size_t len, unsigned qos, uint16_t packet_id)
{
    size_t n = put_header(out, (uint8_t)(0x30 | qos << 1), 2 + strlen(topic) + (qos ? 2 : 0) + len);
    n += put_text(out + n, topic);
    if (qos) {
        n += put_u16(out + n, packet_id);
    }
    memcpy(out + n, payload, len);
    return n + len;
}

size_t wire_puback(uint8_t *out, uint16_t packet_id)
{
    size_t n = put_header(out, 0x40, 2);
    return n + put_u16(out + n, packet_id);
}

size_t wire_pingreq(uint8_t *out)
{
    return put_header(out, 0xc0, 0);
}

long wire_parse(const uint8_t *data, size_t len, struct wire_packet *out)
{
    size_t body_len = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (len < 2 + i) {
            return 0;
        }
        body_len |= (size_t)(data[1 + i] & 0x7f) << 7 * i;
        if (!(data[1 + i] & 0x80)) {
            if (len < 2 + i + body_len) {
                return 0;
            }
            *out = (struct wire_packet){data[0], data + 2 + i, body_len};
            return (long)(2 + i + body_len);
        }
    }
    return -1;
}

int wire_open(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int fd = -1;
    int one = 1;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        return -1;
    }
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool wire_handshake(int fd, const char *client_id, bool clean)
{
    uint8_t out[256 + WIRE_OVERHEAD];
    uint8_t in[4];
    size_t len = wire_connect(out, client_id, clean, 0);
    return write(fd, out, len) == (ssize_t)len && recv(fd, in, sizeof(in), MSG_WAITALL) == (ssize_t)sizeof(in) &&
           in[0] == WIRE_CONNACK << 4 && in[3] == 0;
}

uint64_t wire_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* 32 steps for each power of two; below 32 ns each value has its own. */
static unsigned histogram_slot(uint64_t ns)
{
    if (ns < 32) {
        return (unsigned)ns;
    }
    unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    unsigned slot = (power - 4) * 32 + (unsigned)((ns >> (power - 5)) & 31);
    return slot < 1024 ? slot : 1023;
}

static double histogram_value(unsigned slot)
{
    if (slot < 32) {
        return slot;
    }
    unsigned power = slot / 32 + 4;
    return (double)((32ull + slot % 32) << (power - 5));
}

void wire_histogram_add(struct wire_histogram *h, uint64_t ns)
{
    h->count[histogram_slot(ns)]++;
    h->total++;
    if (ns > h->max_ns) {
        h->max_ns = ns;
    }
}

double wire_histogram_us(const struct wire_histogram *h, double fraction)
{
    double left = fraction * (double)h->total;
    for (unsigned i = 0; i < 1024; i++) {
        left -= h->count[i];
        if (h->count[i] && left <= 0) {
            return histogram_value(i) / 1000;
        }
    }
    return 0;
}

uint8_t *wire_map(const char *path, uint64_t size)
{
    int fd = size <= SIZE_MAX ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    void *p = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)size) == 0) {
        p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    return p == MAP_FAILED ? NULL : p;
}
