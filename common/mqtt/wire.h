/* Data representation of MQTT (section 1.5) for the codec's own files: a reader that remembers its first error, and writers
 * that put bytes where room has been made. */
#ifndef MQTT_WIRE_H
#define MQTT_WIRE_H

#include "mqtt/codec.h"

/* Reads from `at` to `end`. After an error (kept in `err`) every read gives 0 or empty bytes. */
struct wire_reader {
    const uint8_t *at;
    const uint8_t *end;
    enum err err;
};

static inline struct wire_reader wire_reader_make(struct bytes b)
{
    return (struct wire_reader){b.data, b.data ? b.data + b.len : NULL, E_OK}; /* NULL + 0 is undefined */
}

static inline size_t wire_left(const struct wire_reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline void wire_fail(struct wire_reader *r, enum err err)
{
    if (r->err == E_OK) {
        r->err = err;
    }
    r->at = r->end;
}

static inline struct bytes wire_get_bytes(struct wire_reader *r, size_t n)
{
    if (n > wire_left(r)) {
        wire_fail(r, E_MALFORMED);
        return (struct bytes){NULL, 0};
    }
    struct bytes b = {r->at, n};
    r->at += n;
    return b;
}

static inline uint8_t wire_get_byte(struct wire_reader *r)
{
    if (r->at == r->end) {
        wire_fail(r, E_MALFORMED);
        return 0;
    }
    return *r->at++;
}

static inline uint16_t wire_get_u16(struct wire_reader *r)
{
    struct bytes b = wire_get_bytes(r, 2);
    return (uint16_t)(b.len == 2 ? b.data[0] << 8 | b.data[1] : 0);
}

static inline uint32_t wire_get_u32(struct wire_reader *r)
{
    struct bytes b = wire_get_bytes(r, 4);
    return b.len == 4 ? (uint32_t)b.data[0] << 24 | (uint32_t)b.data[1] << 16 | (uint32_t)b.data[2] << 8 | b.data[3]
                      : 0;
}

/* Section 1.5.6. */
static inline struct bytes wire_get_binary(struct wire_reader *r)
{
    uint16_t n = wire_get_u16(r);
    return wire_get_bytes(r, n);
}

/* Section 1.5.4: well-formed UTF-8 without U+0000. */
static inline bool wire_is_string(struct bytes b)
{
    return b.len <= MQTT_STRING_MAX && (b.len == 0 || !memchr(b.data, 0, b.len)) && bytes_is_utf8(b);
}

static inline struct bytes wire_get_string(struct wire_reader *r)
{
    struct bytes b = wire_get_binary(r);
    if (r->err == E_OK && !wire_is_string(b)) {
        wire_fail(r, E_MALFORMED);
        return (struct bytes){NULL, 0};
    }
    return b;
}

/* Section 1.5.5: at most 4 bytes; `minimal`: and no more than needed [MQTT-1.5.5-1], which 3.1.1 does not ask for. */
static inline uint32_t wire_get_varint(struct wire_reader *r, bool minimal)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
        uint8_t byte = wire_get_byte(r);
        value |= (uint32_t)(byte & 0x7F) << shift;
        if ((byte & 0x80) == 0) {
            if (minimal && byte == 0 && shift > 0) {
                break;
            }
            return value;
        }
    }
    wire_fail(r, E_MALFORMED);
    return 0;
}

static inline size_t wire_varint_size(size_t value)
{
    return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

static inline uint8_t *wire_put_byte(uint8_t *at, uint8_t byte)
{
    *at = byte;
    return at + 1;
}

static inline uint8_t *wire_put_u16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
    return at + 2;
}

static inline uint8_t *wire_put_u32(uint8_t *at, uint32_t v)
{
    return wire_put_u16(wire_put_u16(at, (uint16_t)(v >> 16)), (uint16_t)v);
}

static inline uint8_t *wire_put_varint(uint8_t *at, uint32_t v)
{
    while (v >= 128) {
        *at++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *at++ = (uint8_t)v;
    return at;
}

static inline uint8_t *wire_put_bytes(uint8_t *at, struct bytes b)
{
    if (b.len > 0) {
        memcpy(at, b.data, b.len);
    }
    return at + b.len;
}

/* Binary data or a string: 2-byte length first; b.len <= MQTT_STRING_MAX. */
static inline uint8_t *wire_put_binary(uint8_t *at, struct bytes b)
{
    return wire_put_bytes(wire_put_u16(at, (uint16_t)b.len), b);
}

#endif
