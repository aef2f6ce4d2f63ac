/* Certificates made for a test, in a folder of its own. */
#ifndef TEST_NET_PKI_H
#define TEST_NET_PKI_H

#include <stdbool.h>

/* Files by name: "<name>.pem" and "<name>.key" in `dir`. "ca" signs, "otherca" signs what must not be trusted. */
struct pki {
    char dir[64];
};

struct pki_certificate {
    const char *name;
    const char *ca; /* its signer; NULL = itself, as a CA */
    const char *common_name;
    const char *alt_names;  /* as openssl.cnf has it: "DNS:localhost,IP:127.0.0.1"; NULL = none */
    int from_days, to_days; /* validity from now */
};

/* Makes the folder with: ca, otherca, server (localhost, 127.0.0.1, ::1), wrong (other.example), expired, future, stranger (server
 * by otherca), client (CN "sensor-1"), strangeclient (by otherca), and client-encrypted.key. */
void pki_create(struct pki *p);
void pki_destroy(struct pki *p);
void pki_issue(struct pki *p, const struct pki_certificate *c);
/* Path of a file in the folder, valid until the 64th next call. */
const char *pki_path(const struct pki *p, const char *file);

#endif
