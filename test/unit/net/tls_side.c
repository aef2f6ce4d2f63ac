#include "net/tls_side.h"

#include "unit.h"

#include <openssl/err.h>

struct tls_context *tls_side_context(const struct tls_options *o)
{
    struct tls_context *tls = NULL;
    struct tls_error error;
    enum err e = tls_client_create(o, &tls, &error);
    if (e != E_OK) {
        fail_msg("%s: %s", err_name(e), error.text);
    }
    return tls;
}

struct tls_context *tls_side_trusting(const struct pki *pki, const char *ca)
{
    struct tls_options o = {.cafile = pki_path(pki, ca)};
    return tls_side_context(&o);
}

static void note_client(struct tls_server *s)
{
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    X509 *cert = SSL_get0_peer_certificate(s->tls.ssl);
    if (cert) {
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, s->client_name, sizeof(s->client_name));
    }
    SSL_get0_alpn_selected(s->tls.ssl, &alpn, &alpn_len);
    snprintf(s->alpn, sizeof(s->alpn), "%.*s", (int)alpn_len, (const char *)alpn);
    const char *sni = SSL_get_servername(s->tls.ssl, TLSEXT_NAMETYPE_host_name);
    snprintf(s->sni, sizeof(s->sni), "%s", sni ? sni : "");
    s->resumed = SSL_session_reused(s->tls.ssl);
}

void tls_side_echo(int fd, void *server)
{
    struct tls_server *s = server;
    static char data[65536];
    s->accepted = peer_tls_accept(&s->tls, fd);
    if (s->accepted) {
        note_client(s);
        for (int n = 1; n > 0;) {
            n = SSL_read(s->tls.ssl, data, sizeof(data));
            if (n > 0 && SSL_write(s->tls.ssl, data, n) != n) {
                n = 0;
            }
        }
    }
    ERR_clear_error();
    peer_tls_end(&s->tls, false);
}

void tls_server_start(struct tls_server *s, const struct pki *pki, const char *name, const char *client_ca,
                      unsigned connections, peer_script *script)
{
    memset(s, 0, sizeof(*s));
    peer_tls_create(&s->tls, pki, name, client_ca);
    peer_start(&s->peer, connections, script, s);
}

void tls_server_stop(struct tls_server *s)
{
    peer_stop(&s->peer);
    peer_tls_destroy(&s->tls);
}
