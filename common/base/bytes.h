/* Borrowed bytes: a pointer and a length. Does not own what it points to; whoever hands one out states how
 * long it stays valid. Not NUL-terminated. data may be NULL only when len is 0. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    size_t len;
};

/* Bytes of a string literal, without its NUL. */
#define BYTES(literal) ((struct bytes){(const uint8_t *)("" literal), sizeof(literal) - 1})

static inline struct bytes bytes_make(const void *data, size_t len)
{
    return (struct bytes){(const uint8_t *)data, len};
}

/* Bytes of a C string; NULL gives empty bytes. */
static inline struct bytes bytes_str(const char *s)
{
    return (struct bytes){(const uint8_t *)s, s ? strlen(s) : 0};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool bytes_starts_with(struct bytes b, struct bytes prefix)
{
    return b.len >= prefix.len && (prefix.len == 0 || memcmp(b.data, prefix.data, prefix.len) == 0);
}

/* The part from `start` of at most `len` bytes, cut to what is there. */
static inline struct bytes bytes_sub(struct bytes b, size_t start, size_t len)
{
    if (start > b.len) {
        start = b.len;
    }
    if (len > b.len - start) {
        len = b.len - start;
    }
    return (struct bytes){start > 0 ? b.data + start : b.data, len};
}

/* -1, 0, 1 by unsigned byte value, a shorter prefix first. */
int bytes_compare(struct bytes a, struct bytes b);

/* A NUL-terminated copy for free(); NULL without memory. Bytes that contain a NUL give a shorter C string. */
char *bytes_dup_str(struct bytes b);

/* Well-formed UTF-8 (Unicode 15 table 3-7: no surrogates, no overlong forms, at most U+10FFFF). NUL is allowed. */
bool bytes_is_utf8(struct bytes b);

/* 64-bit hash for tables and spreading (not against an adversary who knows the seed). Stable across runs and
 * machines for a given seed. */
uint64_t bytes_hash(struct bytes b, uint64_t seed);

#endif
