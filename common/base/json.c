#include "base/json.h"

#include <assert.h>

/* What a byte is inside of a string. */
enum { PLAIN, HIGH, SPECIAL };

static uint8_t string_class(uint8_t c)
{
    if (c >= 0x80) {
        return HIGH;
    }
    return c < 0x20 || c == '"' || c == '\\' ? SPECIAL : PLAIN;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(uint8_t c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void json_reader_init(struct json_reader *r, struct bytes document, uint32_t depth_max)
{
    if (bytes_starts_with(document, BYTES("\xEF\xBB\xBF"))) {
        document = bytes_sub(document, 3, document.len);
    }
    r->start = r->at = document.data;
    r->end = document.len ? document.data + document.len : document.data;
    r->depth = 0;
    r->depth_max = depth_max < JSON_DEPTH_MAX ? depth_max : JSON_DEPTH_MAX;
    r->expect = JSON_EXPECT_VALUE;
    r->failed = E_OK;
    memset(r->is_object, 0, sizeof(r->is_object));
}

size_t json_offset(const struct json_reader *r)
{
    return (size_t)(r->at - r->start);
}

static enum err fail(struct json_reader *r, enum err e)
{
    r->failed = e;
    return e;
}

static void skip_blanks(struct json_reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) {
        r->at++;
    }
}

/* Behind a backslash. */
static bool check_escape(struct json_reader *r)
{
    if (r->at == r->end) {
        return false;
    }
    uint8_t c = *r->at++;
    if (c != 'u') {
        return c != 0 && strchr("\"\\/bfnrt", c) != NULL;
    }
    for (int i = 0; i < 4; i++, r->at++) {
        if (r->at == r->end || hex_value(*r->at) < 0) {
            return false;
        }
    }
    return true;
}

/* At the opening quote. */
static enum err read_string(struct json_reader *r, enum json_type type, struct json_token *t)
{
    const uint8_t *text = ++r->at;
    bool high = false;
    bool escaped = false;
    for (;;) {
        uint8_t class = PLAIN;
        while (r->at < r->end && (class = string_class(*r->at)) == PLAIN) {
            r->at++;
        }
        if (r->at == r->end) {
            return fail(r, E_MALFORMED);
        }
        if (class == HIGH) {
            high = true;
            r->at++;
        } else if (*r->at == '"') {
            break;
        } else if (*r->at == '\\') {
            escaped = true;
            r->at++;
            if (!check_escape(r)) {
                return fail(r, E_MALFORMED);
            }
        } else {
            return fail(r, E_MALFORMED);
        }
    }
    *t = (struct json_token){type, escaped, bytes_make(text, (size_t)(r->at - text))};
    if (high && !bytes_is_utf8(t->text)) {
        return fail(r, E_MALFORMED);
    }
    r->at++;
    return E_OK;
}

static bool skip_digits(struct json_reader *r)
{
    const uint8_t *first = r->at;
    while (r->at < r->end && is_digit(*r->at)) {
        r->at++;
    }
    return r->at > first;
}

static bool skip_char(struct json_reader *r, uint8_t c)
{
    if (r->at < r->end && *r->at == c) {
        r->at++;
        return true;
    }
    return false;
}

static enum err read_number(struct json_reader *r, struct json_token *t)
{
    const uint8_t *text = r->at;
    skip_char(r, '-');
    if (!skip_char(r, '0') && !skip_digits(r)) {
        return fail(r, E_MALFORMED);
    }
    if (skip_char(r, '.') && !skip_digits(r)) {
        return fail(r, E_MALFORMED);
    }
    if (r->at < r->end && (*r->at | 0x20) == 'e') {
        r->at++;
        if (!skip_char(r, '+')) {
            skip_char(r, '-');
        }
        if (!skip_digits(r)) {
            return fail(r, E_MALFORMED);
        }
    }
    *t = (struct json_token){JSON_NUMBER, false, bytes_make(text, (size_t)(r->at - text))};
    return E_OK;
}

static enum err read_literal(struct json_reader *r, struct bytes word, enum json_type type, struct json_token *t)
{
    struct bytes rest = bytes_make(r->at, (size_t)(r->end - r->at));
    if (!bytes_starts_with(rest, word)) {
        return fail(r, E_MALFORMED);
    }
    *t = (struct json_token){type, false, bytes_sub(rest, 0, word.len)};
    r->at += word.len;
    return E_OK;
}

static enum err read_open(struct json_reader *r, bool object, struct json_token *t)
{
    if (r->depth == r->depth_max) {
        return fail(r, E_TOO_LARGE);
    }
    uint8_t bit = (uint8_t)(1u << (r->depth & 7));
    if (object) {
        r->is_object[r->depth / 8] |= bit;
    } else {
        r->is_object[r->depth / 8] &= (uint8_t)~bit;
    }
    r->depth++;
    r->expect = object ? JSON_EXPECT_NAME_OR_END : JSON_EXPECT_VALUE_OR_END;
    *t = (struct json_token){object ? JSON_OBJECT : JSON_ARRAY, false, bytes_make(r->at, 1)};
    r->at++;
    return E_OK;
}

static bool in_object(const struct json_reader *r)
{
    return r->depth > 0 && (r->is_object[(r->depth - 1) / 8] >> ((r->depth - 1) & 7)) & 1;
}

static void expect_after_value(struct json_reader *r)
{
    r->expect = r->depth ? JSON_EXPECT_COMMA_OR_END : JSON_EXPECT_NOTHING;
}

/* The closing bracket that fits what is open. */
static enum err read_close(struct json_reader *r, struct json_token *t)
{
    bool object = in_object(r);
    if (*r->at != (object ? '}' : ']')) {
        return fail(r, E_MALFORMED);
    }
    *t = (struct json_token){object ? JSON_OBJECT_END : JSON_ARRAY_END, false, bytes_make(r->at, 1)};
    r->at++;
    r->depth--;
    expect_after_value(r);
    return E_OK;
}

static enum err read_name(struct json_reader *r, struct json_token *t)
{
    if (*r->at != '"') {
        return fail(r, E_MALFORMED);
    }
    enum err e = read_string(r, JSON_NAME, t);
    if (e != E_OK) {
        return e;
    }
    skip_blanks(r);
    if (!skip_char(r, ':')) {
        return fail(r, E_MALFORMED);
    }
    r->expect = JSON_EXPECT_VALUE;
    return E_OK;
}

static enum err read_value(struct json_reader *r, struct json_token *t)
{
    enum err e;
    switch (*r->at) {
    case '{':
    case '[':
        return read_open(r, *r->at == '{', t);
    case '"':
        e = read_string(r, JSON_STRING, t);
        break;
    case 't':
        e = read_literal(r, BYTES("true"), JSON_TRUE, t);
        break;
    case 'f':
        e = read_literal(r, BYTES("false"), JSON_FALSE, t);
        break;
    case 'n':
        e = read_literal(r, BYTES("null"), JSON_NULL, t);
        break;
    default:
        e = read_number(r, t);
        break;
    }
    if (e == E_OK) {
        expect_after_value(r);
    }
    return e;
}

enum err json_next(struct json_reader *r, struct json_token *t)
{
    if (r->failed != E_OK) {
        return r->failed;
    }
    skip_blanks(r);
    if (r->at == r->end) {
        if (r->expect != JSON_EXPECT_NOTHING) {
            return fail(r, E_MALFORMED);
        }
        *t = (struct json_token){JSON_END, false, bytes_make(r->at, 0)};
        return E_OK;
    }
    if (r->expect == JSON_EXPECT_COMMA_OR_END) {
        if (*r->at != ',') {
            return read_close(r, t);
        }
        r->at++;
        r->expect = in_object(r) ? JSON_EXPECT_NAME : JSON_EXPECT_VALUE;
        skip_blanks(r);
        if (r->at == r->end) {
            return fail(r, E_MALFORMED);
        }
    }
    switch (r->expect) {
    case JSON_EXPECT_NAME_OR_END:
        return *r->at == '}' ? read_close(r, t) : read_name(r, t);
    case JSON_EXPECT_NAME:
        return read_name(r, t);
    case JSON_EXPECT_VALUE_OR_END:
        return *r->at == ']' ? read_close(r, t) : read_value(r, t);
    case JSON_EXPECT_VALUE:
        return read_value(r, t);
    case JSON_EXPECT_COMMA_OR_END:
    case JSON_EXPECT_NOTHING:
        break;
    }
    return fail(r, E_MALFORMED);
}

enum err json_next_whole(struct json_reader *r, struct json_token *t)
{
    struct json_token first;
    enum err e = json_next(r, &first);
    if (e != E_OK) {
        return e;
    }
    if (first.type == JSON_OBJECT || first.type == JSON_ARRAY) {
        uint32_t outside = r->depth - 1;
        struct json_token inner;
        do {
            e = json_next(r, &inner);
            if (e != E_OK) {
                return e;
            }
        } while (r->depth > outside);
        first.text.len = (size_t)(r->at - first.text.data);
    }
    *t = first;
    return E_OK;
}

enum err json_parse(struct bytes document, uint32_t depth_max, struct json_token *whole)
{
    struct json_reader r;
    struct json_token value;
    struct json_token end;
    json_reader_init(&r, document, depth_max);
    enum err e = json_next_whole(&r, &value);
    if (e == E_OK) {
        e = json_next(&r, &end);
    }
    if (e == E_OK) {
        *whole = value;
    }
    return e;
}

struct bytes json_raw(const struct json_token *t)
{
    if (t->type != JSON_STRING && t->type != JSON_NAME) {
        return t->text;
    }
    return bytes_make(t->text.data - 1, t->text.len + 2);
}

/* The last member of this name in an object. E_NOT_FOUND also when `object` is something else. */
static enum err find_member(struct bytes object, struct bytes name, uint32_t depth_max, struct json_token *value)
{
    struct json_reader r;
    struct json_token t;
    bool found = false;
    json_reader_init(&r, object, depth_max);
    enum err e = json_next(&r, &t);
    bool is_object = e == E_OK && t.type == JSON_OBJECT;
    while (e == E_OK && (e = json_next(&r, &t)) == E_OK && t.type != JSON_END) {
        if (!is_object || r.depth != 1 || t.type != JSON_NAME || !json_text_equal(&t, name)) {
            continue;
        }
        e = json_next_whole(&r, value);
        found = true;
    }
    if (e != E_OK) {
        return e;
    }
    return found ? E_OK : E_NOT_FOUND;
}

enum err json_find(struct bytes object, struct bytes path, uint32_t depth_max, struct json_token *value)
{
    struct json_token at = {JSON_OBJECT, false, object};
    for (size_t start = 0; start <= path.len;) {
        if (at.type != JSON_OBJECT) {
            return E_NOT_FOUND;
        }
        const uint8_t *dot = start < path.len ? memchr(path.data + start, '.', path.len - start) : NULL;
        size_t end = dot ? (size_t)(dot - path.data) : path.len;
        enum err e = find_member(at.text, bytes_sub(path, start, end - start), depth_max, &at);
        if (e != E_OK) {
            return e;
        }
        start = end + 1;
    }
    *value = at;
    return E_OK;
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

bool json_text_equal(const struct json_token *t, struct bytes value)
{
    if (!t->escaped) {
        return bytes_equal(t->text, value);
    }
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
        if (string_class(text.data[i]) == SPECIAL) {
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
        if (string_class(text.data[i]) == SPECIAL) {
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
