/* Numbers of the spool's files, little-endian and unaligned unless stated. */
#ifndef PLUGIN_LITTLE_ENDIAN_H
#define PLUGIN_LITTLE_ENDIAN_H

#include <endian.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

static inline void put_le16(uint8_t *at, uint16_t v)
{
    v = htole16(v);
    memcpy(at, &v, sizeof(v));
}

static inline void put_le32(uint8_t *at, uint32_t v)
{
    v = htole32(v);
    memcpy(at, &v, sizeof(v));
}

static inline void put_le64(uint8_t *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, sizeof(v));
}

static inline uint16_t get_le16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof(v));
    return le16toh(v);
}

static inline uint32_t get_le32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return le32toh(v);
}

static inline uint64_t get_le64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof(v));
    return le64toh(v);
}

/* One store that cannot tear, after everything before it. `at` is aligned to 4. */
static inline void store_le32_release(uint8_t *at, uint32_t v)
{
    atomic_store_explicit((_Atomic uint32_t *)(void *)at, htole32(v), memory_order_release);
}

#endif
