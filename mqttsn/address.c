#define _GNU_SOURCE /* getaddrinfo, if_indextoname */
#include "mqttsn/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

struct address address_from_sockaddr(const struct sockaddr *sa)
{
    struct address a = {.family = 0};
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof(in));
        a.family = AF_INET;
        a.port = ntohs(in.sin_port);
        memcpy(a.ip, &in.sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof(in6));
        a.family = AF_INET6;
        a.port = ntohs(in6.sin6_port);
        a.scope = in6.sin6_scope_id;
        memcpy(a.ip, &in6.sin6_addr, 16);
    }
    return a;
}

socklen_t address_to_sockaddr(const struct address *a, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (a->family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
        memcpy(&in.sin_addr, a->ip, 4);
        memcpy(out, &in, sizeof(in));
        return sizeof(in);
    }
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port), .sin6_scope_id = a->scope};
    memcpy(&in6.sin6_addr, a->ip, 16);
    memcpy(out, &in6, sizeof(in6));
    return sizeof(in6);
}

enum err address_parse(const char *ip, uint16_t port, struct address *out)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(ip, NULL, &hints, &found) != 0) {
        return E_MALFORMED;
    }
    struct address a = address_from_sockaddr(found->ai_addr);
    freeaddrinfo(found);
    a.port = port;
    if (a.family == 0) {
        return E_MALFORMED;
    }
    *out = a;
    return E_OK;
}

const char *address_format(const struct address *a, char out[ADDRESS_TEXT_SIZE])
{
    char ip[INET6_ADDRSTRLEN] = "?";
    char name[IF_NAMESIZE] = "";
    inet_ntop(a->family, a->ip, ip, sizeof(ip));
    if (a->family != AF_INET6) {
        snprintf(out, ADDRESS_TEXT_SIZE, "%s:%u", ip, a->port);
    } else if (a->scope == 0) {
        snprintf(out, ADDRESS_TEXT_SIZE, "[%s]:%u", ip, a->port);
    } else if (if_indextoname(a->scope, name)) {
        snprintf(out, ADDRESS_TEXT_SIZE, "[%s%%%s]:%u", ip, name, a->port);
    } else {
        snprintf(out, ADDRESS_TEXT_SIZE, "[%s%%%u]:%u", ip, a->scope, a->port);
    }
    return out;
}

static size_t ip_size(const struct address *a)
{
    return a->family == AF_INET ? 4 : 16;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->family == b->family && a->port == b->port && a->scope == b->scope &&
           memcmp(a->ip, b->ip, ip_size(a)) == 0;
}

bool address_is_multicast(const struct address *a)
{
    return a->family == AF_INET ? (a->ip[0] & 0xf0) == 0xe0 : a->family == AF_INET6 && a->ip[0] == 0xff;
}

bool address_is_broadcast(const struct address *a)
{
    return a->family == AF_INET && memcmp(a->ip, "\xff\xff\xff\xff", 4) == 0;
}

bool address_is_any(const struct address *a)
{
    static const uint8_t zero[16];
    return memcmp(a->ip, zero, ip_size(a)) == 0;
}

uint64_t address_host_hash(const struct address *a, uint64_t seed)
{
    return bytes_hash(bytes_make(a->ip, a->family == AF_INET ? 4 : 8), seed);
}
