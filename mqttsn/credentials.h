/* What is known of single clients before they connect: the option `clients_file`, lines
 *
 *   CLIENT-ID [username=NAME] [password=WORD] [dtls=IDENTITY]
 *
 * username, password: for the client's connection to the broker, instead of broker_username and broker_password.
 * dtls: the client may connect over DTLS only, with this identity (PSK identity or common name of its certificate).
 *
 * And `dtls_psk_file`, lines IDENTITY HEX-KEY (16 to 64 bytes). Words may be in double quotes. Both tables are immutable
 * once read: a reload makes new ones. Secrets are wiped when they are freed. */
#ifndef MQTTSN_CREDENTIALS_H
#define MQTTSN_CREDENTIALS_H

#include "base/option.h"

struct credentials;

struct credentials_entry {
    char *client_id;
    char *username; /* NULL = not given */
    char *password;
    char *dtls;
};

MUST_CHECK enum err credentials_read_file(const char *path, struct credentials **out, struct option_error *error);
MUST_CHECK enum err credentials_read(struct bytes text, const char *name, struct credentials **out,
                                     struct option_error *error);
void credentials_destroy(struct credentials *c); /* NULL is allowed */
/* NULL when nothing is said of that client (or `c` is NULL). */
const struct credentials_entry *credentials_find(const struct credentials *c, struct bytes client_id);

struct psk_table;

#define PSK_KEY_MAX 64u

MUST_CHECK enum err psk_read_file(const char *path, struct psk_table **out, struct option_error *error);
MUST_CHECK enum err psk_read(struct bytes text, const char *name, struct psk_table **out, struct option_error *error);
void psk_destroy(struct psk_table *p); /* NULL is allowed */
/* The key's length, 0 = no such identity. */
size_t psk_find(const struct psk_table *p, const char *identity, uint8_t key[static PSK_KEY_MAX]);

#endif
