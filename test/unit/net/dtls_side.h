/* A DTLS test without sockets: the server under test, and OpenSSL clients that exchange datagrams with it through queues. */
#ifndef TEST_NET_DTLS_SIDE_H
#define TEST_NET_DTLS_SIDE_H

#include "base/buffer.h"
#include "net/dtls.h"
#include "net/pki.h"

#include <netinet/in.h>
#include <openssl/ssl.h>

#define DATAGRAMS_MAX 64

struct datagrams {
    size_t count;
    struct buffer items[DATAGRAMS_MAX];
};

struct net;

struct dtls_client {
    struct net *net;
    struct sockaddr_in address;
    SSL *ssl;
    struct datagrams to_client;
    struct datagrams to_server; /* until the end of a step */
    const char *psk_identity;
    const char *psk_key;
    bool connected;
    bool failed;
    struct buffer data;     /* received */
    struct dtls_peer *peer; /* the server's, while open */
    char identity[DTLS_IDENTITY_MAX + 1];
    unsigned opened, closed;
    enum err reason; /* of the last on_peer_close */
};

/* The network, with the server in it. */
struct net {
    struct dtls_server *server;
    struct mono now;
    struct dtls_client **clients; /* by port - 1000 */
    size_t max_clients;
    bool (*drop)(struct net *net, bool to_server, struct bytes datagram); /* true: lost */
    unsigned to_server, to_client;                                        /* datagrams so far */
    struct buffer last_to_server;                                         /* a copy of the last of each kind */
    struct buffer last_to_client;
    bool echo;       /* the server sends back what it gets */
    bool close_open; /* the server closes peers in on_peer_open */
    bool close_data; /* or in on_data */
    size_t received; /* bytes by the server */
    unsigned refused;
    enum err refused_reason;
    char refused_detail[256];
};

/* events.psk_lookup knows "sensor-psk" with key "0123456789abcdef". */
void net_create(struct net *net, const struct dtls_options *o, bool psk, size_t max_clients);
void net_destroy(struct net *net);
/* One of the server's own options: certificate "server" of the pki. */
struct dtls_options net_server_options(const struct pki *pki);

struct dtls_stats net_stats(const struct net *net);

/* Client of the network at port 1000 + number. cafile may be NULL (PSK). */
void client_create(struct dtls_client *c, struct net *net, size_t number, SSL_CTX *ctx);
void client_destroy(struct dtls_client *c);
/* Does what it can with what has come, and sends what that gave. */
void client_step(struct dtls_client *c);
void client_send(struct dtls_client *c);
/* Steps until it is connected or has failed, at most n rounds. */
void client_connect(struct dtls_client *c);
void client_write(struct dtls_client *c, const char *text);
/* Exactly this has come since the last time. */
void client_expect(struct dtls_client *c, const char *text);
/* A datagram as if from this client. */
void client_feed(struct dtls_client *c, struct bytes datagram);

SSL_CTX *client_context(const struct pki *pki, const char *ca, const char *certificate);
SSL_CTX *client_psk_context(const char *ciphers);

#endif
