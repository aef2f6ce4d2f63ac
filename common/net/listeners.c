#include "net/listeners.h"

#include <stdio.h>
#include <uv.h>

static bool is_address(const char *text)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    return uv_ip4_addr(text, 0, &v4) == 0 || uv_ip6_addr(text, 0, &v6) == 0;
}

enum err listeners_add(struct listeners *list, struct bytes value, struct option_error *error)
{
    struct bytes word, address = {0};
    uint64_t port;
    if (!option_next_word(&value, &word) || option_parse_uint(word, 1, 65535, &port) != E_OK) {
        option_error_set(error, "must be PORT [ADDR] with a port from 1 to 65535");
        return E_INVALID;
    }
    struct listener l = {.port = (uint16_t)port};
    if (option_next_word(&value, &address)) {
        bool fits = address.len < sizeof(l.address);
        snprintf(l.address, sizeof(l.address), "%.*s", fits ? (int)address.len : 0, (const char *)address.data);
        if (!is_address(l.address) || option_trim(value).len > 0) {
            option_error_set(error, "must be PORT [ADDR] with an IPv4 or IPv6 address of this host");
            return E_INVALID;
        }
    }
    if (list->count == LISTENERS_MAX) {
        option_error_set(error, "at most %u listeners", LISTENERS_MAX);
        return E_INVALID;
    }
    list->items[list->count++] = l;
    return E_OK;
}

enum err listeners_print(const struct listeners *list, const char *name, struct buffer *out)
{
    enum err e = E_OK;
    for (size_t i = 0; i < list->count && e == E_OK; i++) {
        const struct listener *l = &list->items[i];
        e = buffer_appendf(out, "%s %u%s%s\n", name, l->port, l->address[0] ? " " : "", l->address);
    }
    return e;
}
