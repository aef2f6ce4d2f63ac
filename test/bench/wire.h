/* The little MQTT 3.1.1 that the load tools need, written apart from the code under test. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type {
    WIRE_CONNACK = 2,
    WIRE_PUBLISH = 3,
    WIRE_PUBACK = 4,
    WIRE_SUBACK = 9,
    WIRE_PINGRESP = 13,
};

/* A received packet; body points into the caller's buffer. */
struct wire_packet {
    uint8_t first; /* type << 4 | flags */
    const uint8_t *body;
    size_t len;
};

/* Each writes one packet to `out`, which must have room for WIRE_OVERHEAD more bytes than its texts and payload, and
 * returns its length. */
#define WIRE_OVERHEAD 32u
size_t wire_connect(uint8_t *out, const char *client_id, bool clean, uint16_t keepalive_s);
size_t wire_subscribe(uint8_t *out, const char *filter, unsigned qos);
size_t wire_publish(uint8_t *out, const char *topic, const void *payload, size_t len, unsigned qos, uint16_t packet_id);
size_t wire_puback(uint8_t *out, uint16_t packet_id);
size_t wire_pingreq(uint8_t *out);

/* Takes one packet off the front of data[0..len). Bytes used; 0: not complete yet; -1: broken. */
long wire_parse(const uint8_t *data, size_t len, struct wire_packet *out);

/* A connected TCP socket with TCP_NODELAY, or -1. */
int wire_open(const char *host, const char *port);
/* CONNECT and the wait for CONNACK on a blocking socket. */
bool wire_handshake(int fd, const char *client_id, bool clean);

uint64_t wire_now_ns(void); /* CLOCK_MONOTONIC */

/* Sum, percentiles and maximum of durations, 2 % fine. */
struct wire_histogram {
    uint32_t count[1024];
    uint64_t total;
    uint64_t max_ns;
};
void wire_histogram_add(struct wire_histogram *h, uint64_t ns);
double wire_histogram_us(const struct wire_histogram *h, double fraction);

/* A file of `size` zero bytes, mapped shared: it holds what was noted even when this process is killed. NULL on error. */
uint8_t *wire_map(const char *path, uint64_t size);

#endif
