#include "mqtt/topic.h"

enum { TOPIC_MAX = 65535, SLASHES_MAX = 200 };

static bool text_valid(struct bytes b)
{
    return b.len > 0 && b.len <= TOPIC_MAX && !memchr(b.data, 0, b.len) && bytes_is_utf8(b);
}

static bool has_wildcard(struct bytes b)
{
    return b.len > 0 && (memchr(b.data, '+', b.len) || memchr(b.data, '#', b.len));
}

/* Takes the level at the front off *rest with its '/'; *last tells that no further one follows. */
static struct bytes next_level(struct bytes *rest, bool *last)
{
    const uint8_t *slash = rest->len > 0 ? memchr(rest->data, '/', rest->len) : NULL;
    struct bytes level = *rest;
    *last = slash == NULL;
    if (slash) {
        level.len = (size_t)(slash - rest->data);
        *rest = bytes_sub(*rest, level.len + 1, SIZE_MAX);
    } else {
        *rest = bytes_sub(*rest, rest->len, 0);
    }
    return level;
}

static bool wildcards_valid(struct bytes filter)
{
    bool last = false;
    while (!last) {
        struct bytes level = next_level(&filter, &last);
        if (bytes_equal(level, BYTES("+")) || (last && bytes_equal(level, BYTES("#")))) {
            continue;
        }
        if (has_wildcard(level)) {
            return false;
        }
    }
    return true;
}

bool topic_name_valid(struct bytes topic)
{
    return text_valid(topic) && !has_wildcard(topic);
}

bool topic_filter_valid(struct bytes filter)
{
    if (!text_valid(filter)) {
        return false;
    }
    if (bytes_starts_with(filter, BYTES("$share/"))) {
        bool last = false;
        next_level(&filter, &last);
        struct bytes name = next_level(&filter, &last);
        if (last || name.len == 0 || has_wildcard(name) || filter.len == 0) {
            return false;
        }
    }
    return wildcards_valid(filter);
}

/* Length of the UTF-8 character at the front of well-formed text, and which one it is. */
static size_t next_character(struct bytes text, uint32_t *character)
{
    uint8_t first = text.data[0];
    size_t n = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t c = n == 1 ? first : first & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        c = c << 6 | (text.data[i] & 0x3fu);
    }
    *character = c;
    return n;
}

bool topic_safe(struct bytes topic)
{
    size_t slashes = 0;
    if (!bytes_is_utf8(topic) || bytes_equal(topic, BYTES("$share"))) {
        return false;
    }
    while (topic.len > 0) {
        uint32_t c;
        topic = bytes_sub(topic, next_character(topic, &c), topic.len);
        bool control = c < 0x20 || (c >= 0x7f && c <= 0x9f);
        bool no_character = (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
        slashes += c == '/';
        if (control || no_character || slashes > SLASHES_MAX) {
            return false;
        }
    }
    return true;
}

bool topic_matches(struct bytes filter, struct bytes topic)
{
    if (filter.len == 0 || topic.len == 0) {
        return false;
    }
    if (topic.data[0] == '$' && filter.data[0] != '$') {
        return false;
    }
    bool filter_ends = false;
    bool topic_ends = false;
    while (!filter_ends && !topic_ends) {
        struct bytes want = next_level(&filter, &filter_ends);
        if (filter_ends && bytes_equal(want, BYTES("#"))) {
            return true;
        }
        struct bytes have = next_level(&topic, &topic_ends);
        if (!bytes_equal(want, BYTES("+")) && !bytes_equal(want, have)) {
            return false;
        }
    }
    return filter_ends ? topic_ends : bytes_equal(filter, BYTES("#"));
}

static bool is_wildcard(struct bytes level)
{
    return bytes_equal(level, BYTES("+")) || bytes_equal(level, BYTES("#"));
}

bool topic_filters_overlap(struct bytes a, struct bytes b)
{
    const bool dollar_a = a.len > 0 && a.data[0] == '$';
    const bool dollar_b = b.len > 0 && b.data[0] == '$';
    if (dollar_a != dollar_b) {
        return false; /* where one begins with '$', a wildcard of the other does not match it */
    }
    if ((bytes_equal(a, BYTES("/#")) && bytes_equal(b, BYTES("+"))) ||
        (bytes_equal(a, BYTES("+")) && bytes_equal(b, BYTES("/#")))) {
        return false; /* only the empty name, which is none */
    }
    bool a_ends = false;
    bool b_ends = false;
    while (!a_ends && !b_ends) {
        struct bytes in_a = next_level(&a, &a_ends);
        struct bytes in_b = next_level(&b, &b_ends);
        if ((a_ends && bytes_equal(in_a, BYTES("#"))) || (b_ends && bytes_equal(in_b, BYTES("#")))) {
            return true;
        }
        if (!is_wildcard(in_a) && !is_wildcard(in_b) && !bytes_equal(in_a, in_b)) {
            return false;
        }
    }
    /* "x/#" matches "x" */
    return (a_ends && b_ends) || bytes_equal(a_ends ? b : a, BYTES("#"));
}

size_t topic_level_count(struct bytes topic)
{
    size_t count = 1;
    for (size_t i = 0; i < topic.len; i++) {
        count += topic.data[i] == '/';
    }
    return count;
}

enum err topic_level(struct bytes topic, size_t number, struct bytes *level)
{
    bool last = false;
    for (size_t i = 1; !last; i++) {
        struct bytes found = next_level(&topic, &last);
        if (i == number) {
            *level = found;
            return E_OK;
        }
    }
    return E_NOT_FOUND;
}

enum err topic_rewrite(struct bytes topic, struct bytes strip, struct bytes add, struct buffer *out)
{
    if (bytes_starts_with(topic, strip)) {
        topic = bytes_sub(topic, strip.len, SIZE_MAX);
    }
    if (add.len + topic.len == 0) {
        return E_INVALID;
    }
    if (add.len > TOPIC_MAX || topic.len > TOPIC_MAX - add.len) {
        return E_TOO_LARGE;
    }
    buffer_clear(out);
    enum err err = buffer_append(out, add);
    return err == E_OK ? buffer_append(out, topic) : err;
}

enum err topic_prefix_filter(struct bytes prefix, struct bytes pattern, struct buffer *out)
{
    if (has_wildcard(prefix)) {
        return E_INVALID;
    }
    buffer_clear(out);
    enum err err = buffer_append(out, prefix);
    if (err == E_OK) {
        err = buffer_append(out, pattern);
    }
    if (err == E_OK && !topic_filter_valid(buffer_bytes(out))) {
        err = E_INVALID;
    }
    return err;
}
