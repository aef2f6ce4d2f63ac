/* The values of names and strings: escapes resolved, and made. */
#include "base/json.h"

#include <assert.h>

static int hex_value(uint8_t c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static bool needs_escape(uint8_t c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

/* UTF-8 of a code point that is no surrogate; returns how many bytes. */
static size_t encode_utf8(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

static uint32_t hex4(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        v = v << 4 | (uint32_t)hex_value(p[i]);
    }
    return v;
}

/* `*at` is behind "\u" of text that was checked; moves on behind the escape, or both halves of a pair. */
static uint32_t decode_unicode(const uint8_t **at, const uint8_t *end)
{
    uint32_t c = hex4(*at);
    *at += 4;
    if (c < 0xD800 || c > 0xDFFF) {
        return c;
    }
    if (c < 0xDC00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        uint32_t low = hex4(*at + 2);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *at += 6;
            return 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return 0xFFFD;
}

/* `*at` is at a backslash of text that was checked; moves on behind the escape. Returns how many bytes it stands for. */
static size_t decode_escape(const uint8_t **at, const uint8_t *end, uint8_t out[4])
{
    static const char letters[] = "bfnrt";
    static const uint8_t values[] = {'\b', '\f', '\n', '\r', '\t'};
    uint8_t c = (*at)[1];
    *at += 2;
    if (c == 'u') {
        return encode_utf8(decode_unicode(at, end), out);
    }
    const char *letter = strchr(letters, c);
    out[0] = letter ? values[letter - letters] : c;
    return 1;
}

bool json_text_equal_escaped(const struct json_token *t, struct bytes value)
{
    const uint8_t *at = t->text.data;
    const uint8_t *end = at + t->text.len;
    size_t done = 0;
    while (at < end) {
        uint8_t part[4];
        size_t n = 1;
        if (*at == '\\') {
            n = decode_escape(&at, end, part);
        } else {
            part[0] = *at++;
        }
        if (value.len - done < n || memcmp(value.data + done, part, n) != 0) {
            return false;
        }
        done += n;
    }
    return done == value.len;
}

enum err json_unescape(const struct json_token *t, struct buffer *out)
{
    /* No escape is shorter than what it stands for. */
    enum err e = buffer_reserve(out, t->text.len);
    if (e != E_OK || t->text.len == 0) {
        return e;
    }
    const uint8_t *at = t->text.data;
    const uint8_t *end = at + t->text.len;
    uint8_t *to = out->data + out->len;
    while (at < end) {
        if (*at == '\\') {
            uint8_t part[4];
            size_t n = decode_escape(&at, end, part);
            memcpy(to, part, n);
            to += n;
        } else {
            *to++ = *at++;
        }
    }
    out->len = (size_t)(to - out->data);
    return E_OK;
}

/* The escape of one byte, or none. */
static size_t escape_byte(uint8_t c, char out[6])
{
    static const char hex[] = "0123456789abcdef";
    const char *letter = c >= 0x20 ? NULL : strchr("\bb\ff\nn\rr\tt", c);
    if (c == '"' || c == '\\') {
        out[1] = (char)c;
    } else if (c && letter) {
        out[1] = letter[1];
    } else if (c < 0x20) {
        memcpy(out, "\\u00", 4);
        out[4] = hex[c >> 4];
        out[5] = hex[c & 15];
        return 6;
    } else {
        return 0;
    }
    out[0] = '\\';
    return 2;
}

enum err json_append_string(struct buffer *out, struct bytes text)
{
    if (!bytes_is_utf8(text)) {
        return E_MALFORMED;
    }
    size_t size = text.len + 2;
    char escape[6];
    for (size_t i = 0; i < text.len; i++) {
        if (needs_escape(text.data[i])) {
            size += escape_byte(text.data[i], escape) - 1;
        }
    }
    enum err e = buffer_reserve(out, size);
    if (e != E_OK) {
        return e;
    }
    uint8_t *to = out->data + out->len;
    *to++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        if (needs_escape(text.data[i])) {
            size_t n = escape_byte(text.data[i], escape);
            memcpy(to, escape, n);
            to += n;
        } else {
            *to++ = text.data[i];
        }
    }
    *to++ = '"';
    assert(to == out->data + out->len + size);
    out->len += size;
    return E_OK;
}
