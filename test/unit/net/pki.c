#include "net/pki.h"

#include <assert.h>
#include <dirent.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Not assert(): that may be compiled out. */
static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "pki: %s failed\n", what);
        abort();
    }
}

const char *pki_path(const struct pki *p, const char *file)
{
    static char paths[64][128];
    static unsigned next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof(paths[0]), "%s/%s", p->dir, file);
    return path;
}

static FILE *open_file(const struct pki *p, const char *name, const char *ending, const char *mode)
{
    char file[64];
    snprintf(file, sizeof(file), "%s.%s", name, ending);
    FILE *f = fopen(pki_path(p, file), mode);
    must(f != NULL, file);
    return f;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    must(ext && X509_add_ext(cert, ext, -1), "extension");
    X509_EXTENSION_free(ext);
}

static EVP_PKEY *read_key(const struct pki *p, const char *name)
{
    FILE *f = open_file(p, name, "key", "r");
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    must(key != NULL, "read key");
    return key;
}

static X509 *read_cert(const struct pki *p, const char *name)
{
    FILE *f = open_file(p, name, "pem", "r");
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    must(cert != NULL, "read certificate");
    return cert;
}

static void write_pair(const struct pki *p, const char *name, X509 *cert, EVP_PKEY *key)
{
    FILE *f = open_file(p, name, "pem", "w");
    must(PEM_write_X509(f, cert) == 1, "write certificate");
    fclose(f);
    f = open_file(p, name, "key", "w");
    must(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1, "write key");
    fclose(f);
}

void pki_issue(struct pki *p, const struct pki_certificate *c)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    must(key && cert, "key");
    X509 *issuer = c->ca ? read_cert(p, c->ca) : cert;
    EVP_PKEY *issuer_key = c->ca ? read_key(p, c->ca) : key;
    uint32_t serial = 0;
    RAND_bytes((unsigned char *)&serial, sizeof(serial));
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)(serial & 0x7fffffff) + 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), (long)c->from_days * 86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), (long)c->to_days * 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)c->common_name,
                               -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    X509_set_pubkey(cert, key);
    add_extension(cert, issuer, NID_basic_constraints, c->ca ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (c->alt_names) {
        add_extension(cert, issuer, NID_subject_alt_name, c->alt_names);
    }
    must(X509_sign(cert, issuer_key, EVP_sha256()) > 0, "sign");
    write_pair(p, c->name, cert, key);
    if (c->ca) {
        X509_free(issuer);
        EVP_PKEY_free(issuer_key);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

void pki_create(struct pki *p)
{
    static const struct pki_certificate certificates[] = {
        {"ca", NULL, "Test CA", NULL, -1, 30},
        {"otherca", NULL, "Other CA", NULL, -1, 30},
        {"server", "ca", "server", "DNS:localhost,IP:127.0.0.1,IP:::1", -1, 30},
        {"wrong", "ca", "wrong", "DNS:other.example,DNS:*.more.example,IP:192.0.2.7", -1, 30},
        {"expired", "ca", "expired", "DNS:localhost,IP:127.0.0.1", -30, -1},
        {"future", "ca", "future", "DNS:localhost,IP:127.0.0.1", 1, 30},
        {"stranger", "otherca", "stranger", "DNS:localhost,IP:127.0.0.1", -1, 30},
        {"client", "ca", "sensor-1", NULL, -1, 30},
        {"strangeclient", "otherca", "sensor-2", NULL, -1, 30},
        {"hostileclient", "otherca", "x\"\n\x1b[31m\xc2\x9b", NULL, -1, 30},
    };
    snprintf(p->dir, sizeof(p->dir), "/tmp/net-pki-XXXXXX");
    must(mkdtemp(p->dir) != NULL, "mkdtemp");
    for (size_t i = 0; i < sizeof(certificates) / sizeof(certificates[0]); i++) {
        pki_issue(p, &certificates[i]);
    }
    EVP_PKEY *key = read_key(p, "client");
    FILE *f = open_file(p, "client-encrypted", "key", "w");
    must(PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL) == 1,
         "encrypt");
    fclose(f);
    EVP_PKEY_free(key);
}

void pki_destroy(struct pki *p)
{
    DIR *dir = opendir(p->dir);
    must(dir != NULL, "opendir");
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] != '.') {
            char path[sizeof(p->dir) + sizeof(e->d_name) + 1];
            snprintf(path, sizeof(path), "%s/%s", p->dir, e->d_name);
            unlink(path);
        }
    }
    closedir(dir);
    rmdir(p->dir);
}
