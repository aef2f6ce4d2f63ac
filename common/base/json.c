#include "base/json.h"

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
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

/* At the opening quote. Works on copies of the positions: a store through the reader would make the compiler load them anew. */
static enum err read_string(struct json_reader *r, enum json_type type, struct json_token *t)
{
    const uint8_t *text = r->at + 1;
    const uint8_t *at = text;
    const uint8_t *end = r->end;
    bool high = false;
    bool escaped = false;
    for (;;) {
        while (at < end && is_plain(*at)) {
            at++;
        }
        if (at < end && *at >= 0x80) {
            high = true;
            at++;
            continue;
        }
        r->at = at;
        if (at == end || (*at != '"' && *at != '\\')) {
            return fail(r, E_MALFORMED);
        }
        if (*at == '"') {
            break;
        }
        escaped = true;
        r->at++;
        if (!check_escape(r)) {
            return fail(r, E_MALFORMED);
        }
        at = r->at;
    }
    *t = (struct json_token){type, escaped, bytes_make(text, (size_t)(at - text))};
    if (high && !bytes_is_utf8(t->text)) {
        return fail(r, E_MALFORMED);
    }
    r->at = at + 1;
    return E_OK;
}

static const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end)
{
    while (at < end && is_digit(*at)) {
        at++;
    }
    return at;
}

static bool skip_char(struct json_reader *r, uint8_t c)
{
    if (r->at < r->end && *r->at == c) {
        r->at++;
        return true;
    }
    return false;
}

/* Behind the number that begins at `at`, or where it stopped being one. */
static const uint8_t *number_end(const uint8_t *at, const uint8_t *end, bool *good)
{
    const uint8_t *digits = at < end && *at == '-' ? at + 1 : at;
    at = digits < end && *digits == '0' ? digits + 1 : skip_digits(digits, end);
    *good = at > digits;
    if (*good && at < end && *at == '.') {
        digits = at + 1;
        at = skip_digits(digits, end);
        *good = at > digits;
    }
    if (*good && at < end && (*at | 0x20) == 'e') {
        digits = at + 1;
        digits += digits < end && (*digits == '+' || *digits == '-') ? 1 : 0;
        at = skip_digits(digits, end);
        *good = at > digits;
    }
    return at;
}

bool json_is_number(struct bytes text)
{
    bool good = false;
    return text.len > 0 && number_end(text.data, text.data + text.len, &good) == text.data + text.len && good;
}

static enum err read_number(struct json_reader *r, struct json_token *t)
{
    bool good;
    const uint8_t *text = r->at;
    r->at = number_end(text, r->end, &good);
    if (!good) {
        return fail(r, E_MALFORMED);
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
