/* Many MQTT-SN devices over DTLS with a pre-shared key: each connects, registers a topic and publishes with QoS 1; when all are
 * there each publishes once more. Says how many did all of it, and how fast the handshakes were.
 *
 * usage: sndtls PORT CLIENTS IDENTITY HEX-KEY */
#include "wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char *identity;
static unsigned char key[64];
static size_t key_len;

static unsigned on_psk(SSL *ssl, const char *hint, char *out, unsigned out_size, unsigned char *psk, unsigned psk_size)
{
    (void)ssl;
    (void)hint;
    if (strlen(identity) + 1 > out_size || key_len > psk_size) {
        return 0;
    }
    snprintf(out, out_size, "%s", identity);
    memcpy(psk, key, key_len);
    return (unsigned)key_len;
}

/* Sends a packet and waits for the answer of that type; its length, or 0. */
static int request(SSL *ssl, const uint8_t *packet, size_t len, uint8_t type, uint8_t *answer, int size)
{
    if (SSL_write(ssl, packet, (int)len) != (int)len) {
        return 0;
    }
    for (int tries = 0; tries < 10; tries++) {
        int n = SSL_read(ssl, answer, size);
        if (n < 2) {
            return 0;
        }
        if (answer[1] == type) {
            return n;
        }
    }
    return 0;
}

static SSL *open_session(SSL_CTX *context, const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)target, sizeof(*target)) != 0) {
        return NULL;
    }
    BIO *bio = BIO_new_dgram(fd, BIO_CLOSE);
    struct timeval timeout = {5, 0};
    struct sockaddr_in peer = *target;
    BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &peer);
    BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_RECV_TIMEOUT, 0, &timeout);
    SSL *ssl = SSL_new(context);
    SSL_set_bio(ssl, bio, bio);
    if (SSL_connect(ssl) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

static bool publish(SSL *ssl, const uint8_t topic_id[2], uint8_t msg_id)
{
    uint8_t packet[] = {8, 0x0c, 0x20, topic_id[0], topic_id[1], 0, msg_id, 'x'}, answer[64];
    return request(ssl, packet, sizeof(packet), 0x0d, answer, sizeof(answer)) == 7 && answer[6] == 0;
}

static bool start(SSL *ssl, unsigned number, uint8_t topic_id[2])
{
    uint8_t packet[64] = {0, 0x04, 0x04, 0x01, 0x01, 0x2c}, answer[64];
    packet[0] = (uint8_t)(6 + snprintf((char *)packet + 6, 32, "dtls-%u", number));
    if (request(ssl, packet, packet[0], 0x05, answer, sizeof(answer)) != 3 || answer[2] != 0) {
        return false;
    }
    packet[1] = 0x0a;
    packet[2] = packet[3] = packet[4] = 0;
    packet[5] = 1;
    packet[0] = (uint8_t)(6 + snprintf((char *)packet + 6, 32, "dtls/%u", number));
    if (request(ssl, packet, packet[0], 0x0b, answer, sizeof(answer)) != 7 || answer[6] != 0) {
        return false;
    }
    memcpy(topic_id, answer + 2, 2);
    return publish(ssl, topic_id, 2);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: sndtls PORT CLIENTS IDENTITY HEX-KEY\n");
        return 2;
    }
    unsigned clients = (unsigned)strtoul(argv[2], NULL, 10), started = 0, again = 0;
    identity = argv[3];
    for (const char *hex = argv[4]; hex[0] && hex[1] && key_len < sizeof(key); hex += 2) {
        char digits[3] = {hex[0], hex[1], 0};
        key[key_len++] = (unsigned char)strtoul(digits, NULL, 16);
    }
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10))};
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct rlimit files = {clients + 64u, clients + 64u};
    (void)setrlimit(RLIMIT_NOFILE, &files);
    SSL_CTX *context = SSL_CTX_new(DTLS_client_method());
    SSL **sessions = calloc(clients, sizeof(SSL *));
    uint8_t(*topics)[2] = calloc(clients, 2);
    if (!context || !sessions || !topics) {
        return 1;
    }
    SSL_CTX_set_psk_client_callback(context, on_psk);
    uint64_t begin = wire_now_ns();
    for (unsigned i = 0; i < clients; i++) {
        sessions[i] = open_session(context, &target);
        started += sessions[i] && start(sessions[i], i, topics[i]);
    }
    double seconds = (double)(wire_now_ns() - begin) / 1e9;
    for (unsigned i = 0; i < clients; i++) {
        again += sessions[i] && publish(sessions[i], topics[i], 3);
    }
    printf("{\"started\": %u, \"again\": %u, \"handshakes_per_s\": %.1f}\n", started, again, clients / seconds);
    for (unsigned i = 0; i < clients; i++) {
        SSL_free(sessions[i]);
    }
    SSL_CTX_free(context);
    free(sessions);
    free(topics);
    return started == clients && again == clients ? 0 : 3;
}
