#include "base/bytes.h"

#include <endian.h>
#include <stdlib.h>

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    if (order != 0) {
        return order < 0 ? -1 : 1;
    }
    return a.len == b.len ? 0 : (a.len < b.len ? -1 : 1);
}

char *bytes_dup_str(struct bytes b)
{
    if (b.len == SIZE_MAX) {
        return NULL;
    }
    char *s = malloc(b.len + 1);
    if (!s) {
        return NULL;
    }
    if (b.len > 0) {
        memcpy(s, b.data, b.len);
    }
    s[b.len] = '\0';
    return s;
}

/* Length of the well-formed sequence at p (n > 0 bytes are there), 0 if there is none. Rows of table 3-7: the lead byte
 * decides the length and the range of the second byte; all others are 80..BF. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
    uint8_t lead = p[0];
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xC2 || lead > 0xF4) {
        return 0;
    }
    size_t len = lead < 0xE0 ? 2 : (lead < 0xF0 ? 3 : 4);
    uint8_t low = lead == 0xE0 ? 0xA0 : (lead == 0xF0 ? 0x90 : 0x80);
    uint8_t high = lead == 0xED ? 0x9F : (lead == 0xF4 ? 0x8F : 0xBF);
    if (n < len || p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return len;
}

bool bytes_is_utf8(struct bytes b)
{
    size_t i = 0;
    while (i < b.len) {
        uint64_t word;
        if (b.len - i >= sizeof(word)) {
            memcpy(&word, b.data + i, sizeof(word));
            if ((word & 0x8080808080808080u) == 0) {
                i += sizeof(word);
                continue;
            }
        }
        size_t n = utf8_sequence(b.data + i, b.len - i);
        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

static uint64_t hash_step(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9E3779B97F4A7C15u;
    return h ^ (h >> 29);
}

uint64_t bytes_hash(struct bytes b, uint64_t seed)
{
    uint64_t h = seed ^ (((uint64_t)b.len + 1) * 0xD6E8FEB86659FD93u);
    const uint8_t *p = b.data;
    size_t n = b.len;
    uint64_t word;
    for (; n >= sizeof(word); n -= sizeof(word), p += sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        h = hash_step(h, le64toh(word));
    }
    word = 0;
    for (size_t i = 0; i < n; i++) {
        word |= (uint64_t)p[i] << (8 * i);
    }
    h = hash_step(h, word);
    h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93u;
    h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93u;
    return h ^ (h >> 32);
}
