/* The other side of a test: a server on loopback with a thread of its own that runs a script on each connection. */
#ifndef TEST_NET_PEER_H
#define TEST_NET_PEER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Runs with blocking calls; the socket's timeouts are 20 s. The connection is closed when it returns. */
typedef void peer_script(int fd, void *arg);

struct peer {
    uint16_t port;
    int listener;
    peer_script *script;
    void *arg;
    unsigned connections; /* handled one after the other */
    void *thread;
};

/* Listens on 127.0.0.1 and serves `connections` of them. */
void peer_start(struct peer *p, unsigned connections, peer_script *script, void *arg);
/* Waits for the thread's end. A peer that still waits for a connection is woken. */
void peer_stop(struct peer *p);

/* A port on which nobody listens. */
uint16_t peer_free_port(void);

bool peer_send(int fd, const void *data, size_t len);
/* Exactly len bytes. */
bool peer_receive(int fd, void *data, size_t len);
/* Closes with a reset. */
void peer_reset(int fd);

struct pki;
struct peer_tls {
    SSL_CTX *ctx;
    SSL *ssl; /* of the connection being served */
};
/* name: certificate in the pki. client_ca: NULL = no client certificate asked for. */
void peer_tls_create(struct peer_tls *t, const struct pki *pki, const char *name, const char *client_ca);
void peer_tls_destroy(struct peer_tls *t);
/* Handshake as server on fd. */
bool peer_tls_accept(struct peer_tls *t, int fd);
/* Frees the connection; with close_notify if `notify`. */
void peer_tls_end(struct peer_tls *t, bool notify);

#endif
