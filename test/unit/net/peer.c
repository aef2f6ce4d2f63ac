#include "net/peer.h"

#include "net/pki.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static int listen_anywhere(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0, "socket");
    must(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "bind");
    must(getsockname(fd, (struct sockaddr *)&a, &len) == 0, "getsockname");
    must(listen(fd, 128) == 0, "listen");
    *port = ntohs(a.sin_port);
    return fd;
}

uint16_t peer_free_port(void)
{
    uint16_t port = 0;
    close(listen_anywhere(&port));
    return port;
}

static void *serve(void *arg)
{
    struct peer *p = arg;
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE); /* here only: our own side must not need it */
    pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
    for (unsigned i = 0; i < p->connections; i++) {
        int fd = accept(p->listener, NULL, NULL);
        if (fd < 0) {
            break;
        }
        struct timeval limit = {.tv_sec = 20};
        int yes = 1;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        p->script(fd, p->arg);
        close(fd);
    }
    return NULL;
}

void peer_start(struct peer *p, unsigned connections, peer_script *script, void *arg)
{
    p->connections = connections;
    p->script = script;
    p->arg = arg;
    p->listener = listen_anywhere(&p->port);
    pthread_t *thread = malloc(sizeof(*thread));
    must(thread && pthread_create(thread, NULL, serve, p) == 0, "thread");
    p->thread = thread;
}

void peer_stop(struct peer *p)
{
    pthread_t *thread = p->thread;
    shutdown(p->listener, SHUT_RDWR);
    pthread_join(*thread, NULL);
    free(thread);
    close(p->listener);
}

bool peer_send(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

bool peer_receive(int fd, void *data, size_t len)
{
    return len == 0 || recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

void peer_reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* Takes the first protocol that the client offers. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned in_len, void *arg)
{
    (void)ssl;
    (void)in_len;
    (void)arg;
    *out = in + 1;
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

void peer_tls_create(struct peer_tls *t, const struct pki *pki, const char *name, const char *client_ca)
{
    char cert[64];
    char key[64];
    snprintf(cert, sizeof(cert), "%s.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    t->ssl = NULL;
    t->ctx = SSL_CTX_new(TLS_server_method());
    must(t->ctx && SSL_CTX_use_certificate_chain_file(t->ctx, pki_path(pki, cert)) == 1, "certificate");
    must(SSL_CTX_use_PrivateKey_file(t->ctx, pki_path(pki, key), SSL_FILETYPE_PEM) == 1, "key");
    SSL_CTX_set_alpn_select_cb(t->ctx, on_alpn, NULL);
    SSL_CTX_set_session_id_context(t->ctx, (const unsigned char *)"test", 4);
    if (client_ca) {
        char ca[64];
        snprintf(ca, sizeof(ca), "%s.pem", client_ca);
        must(SSL_CTX_load_verify_file(t->ctx, pki_path(pki, ca)) == 1, "client CA");
        SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
}

void peer_tls_destroy(struct peer_tls *t)
{
    SSL_CTX_free(t->ctx);
}

bool peer_tls_accept(struct peer_tls *t, int fd)
{
    t->ssl = SSL_new(t->ctx);
    must(t->ssl && SSL_set_fd(t->ssl, fd) == 1, "SSL");
    return SSL_accept(t->ssl) == 1;
}

void peer_tls_end(struct peer_tls *t, bool notify)
{
    if (notify) {
        SSL_shutdown(t->ssl);
    }
    SSL_free(t->ssl);
    t->ssl = NULL;
}
