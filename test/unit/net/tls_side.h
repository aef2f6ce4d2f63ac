/* What the tests of TLS share: contexts, and a TLS server that echoes and says whom it saw. */
#ifndef TEST_NET_TLS_SIDE_H
#define TEST_NET_TLS_SIDE_H

#include "net/peer.h"
#include "net/pki.h"
#include "net/tls.h"

struct tls_server {
    struct peer peer;
    struct peer_tls tls;
    bool accepted;
    bool resumed;
    char client_name[64];
    char alpn[32];
    char sni[64];
};

/* The test fails when it cannot be made. */
struct tls_context *tls_side_context(const struct tls_options *o);
/* Trusting `ca`, without a certificate of our own. */
struct tls_context *tls_side_trusting(const struct pki *pki, const char *ca);

/* `script` gets the server. name and client_ca as for peer_tls_create. */
void tls_server_start(struct tls_server *s, const struct pki *pki, const char *name, const char *client_ca,
                      unsigned connections, peer_script *script);
void tls_server_stop(struct tls_server *s);
/* A script: sends back what comes until the end, and notes what it has seen of the client. */
void tls_side_echo(int fd, void *server);

#endif
