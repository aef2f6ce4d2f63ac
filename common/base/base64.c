#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum err base64_encode(struct bytes in, struct buffer *out)
{
    if (in.len > SIZE_MAX / 2) {
        return E_FULL;
    }
    size_t size = (in.len + 2) / 3 * 4;
    enum err e = buffer_reserve(out, size);
    if (e != E_OK || size == 0) {
        return e;
    }
    uint8_t *to = out->data + out->len;
    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = in.len - i;
        uint32_t group = (uint32_t)in.data[i] << 16;
        group |= n > 1 ? (uint32_t)in.data[i + 1] << 8 : 0;
        group |= n > 2 ? in.data[i + 2] : 0;
        *to++ = (uint8_t)alphabet[group >> 18];
        *to++ = (uint8_t)alphabet[group >> 12 & 63];
        *to++ = n > 1 ? (uint8_t)alphabet[group >> 6 & 63] : '=';
        *to++ = n > 2 ? (uint8_t)alphabet[group & 63] : '=';
    }
    out->len += size;
    return E_OK;
}

/* -1: not of the alphabet. */
static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+') {
        return 62;
    }
    return c == '/' ? 63 : -1;
}

enum err base64_decode(struct bytes in, struct buffer *out)
{
    if (in.len % 4 != 0) {
        return E_MALFORMED;
    }
    size_t pad = 0;
    while (pad < 2 && pad < in.len && in.data[in.len - 1 - pad] == '=') {
        pad++;
    }
    size_t digits = in.len - pad;
    enum err e = buffer_reserve(out, in.len / 4 * 3);
    if (e != E_OK || in.len == 0) {
        return e;
    }
    uint8_t *to = out->data + out->len;
    uint32_t group = 0;
    for (size_t i = 0; i < digits; i++) {
        int v = value_of(in.data[i]);
        if (v < 0) {
            return E_MALFORMED;
        }
        group = (group << 6 | (uint32_t)v) & 0xFFFFFF;
        if (i % 4 != 0) {
            /* The second digit completes a byte and leaves 4 bits, the third leaves 2, the fourth none. */
            unsigned left = (unsigned)(6 - 2 * (i % 4));
            *to++ = (uint8_t)(group >> left);
            group &= (1u << left) - 1;
        }
    }
    if (pad && group != 0) {
        return E_MALFORMED;
    }
    out->len = (size_t)(to - out->data);
    return E_OK;
}
