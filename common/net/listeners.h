/* Options of the form `PORT [ADDR]`, which may stand more than once: where a program listens. Plain values; any thread. */
#ifndef NET_LISTENERS_H
#define NET_LISTENERS_H

#include "base/option.h"

#define LISTENERS_MAX 16u
#define LISTENER_ADDRESS_SIZE 64u

struct listener {
    uint16_t port;
    char address[LISTENER_ADDRESS_SIZE]; /* IPv4 or IPv6 in numbers ("::1", "fe80::1%eth0"); "" = none was given */
};

struct listeners {
    struct listener items[LISTENERS_MAX];
    size_t count;
};

/* Adds the listener that an option's value describes. For an OPTION_CUSTOM row's set: E_INVALID, and a text without the
 * option's name. */
MUST_CHECK enum err listeners_add(struct listeners *list, struct bytes value, struct option_error *error);
/* Appends one line `name PORT[ ADDR]` per listener. For a row's print. */
MUST_CHECK enum err listeners_print(const struct listeners *list, const char *name, struct buffer *out);

#endif
