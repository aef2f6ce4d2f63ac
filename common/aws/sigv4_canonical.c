#include "aws/sigv4_canonical.h"

#include <stdlib.h>

static const char hex_upper[] = "0123456789ABCDEF";

static bool is_unreserved(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

enum err sigv4_append_encoded(struct buffer *out, struct bytes b, bool keep_slash)
{
    for (size_t i = 0; i < b.len; i++) {
        uint8_t c = b.data[i];
        enum err e = buffer_reserve(out, 3);
        if (e) {
            return e;
        }
        if (is_unreserved(c) || (keep_slash && c == '/')) {
            out->data[out->len++] = c;
        } else {
            out->data[out->len++] = '%';
            out->data[out->len++] = (uint8_t)hex_upper[c >> 4];
            out->data[out->len++] = (uint8_t)hex_upper[c & 15];
        }
    }
    return E_OK;
}

/* Drops the last segment of a path that begins at `start` in out. */
static void drop_segment(struct buffer *out, size_t start)
{
    while (out->len > start && out->data[out->len - 1] != '/') {
        out->len--;
    }
    if (out->len > start) {
        out->len--;
    }
}

/* RFC 3986 section 5.2.4, with repeated slashes joined. The result always begins with '/'. Encoding is the caller's. */
static enum err append_resolved(struct buffer *out, struct bytes path)
{
    size_t start = out->len;
    size_t i = 0;
    bool slash_at_end = true;
    while (i < path.len) {
        while (i < path.len && path.data[i] == '/') {
            i++;
        }
        size_t end = i;
        while (end < path.len && path.data[end] != '/') {
            end++;
        }
        struct bytes segment = bytes_sub(path, i, end - i);
        i = end;
        slash_at_end = end < path.len;
        if (segment.len == 0 || bytes_equal(segment, BYTES("."))) {
            slash_at_end = true;
        } else if (bytes_equal(segment, BYTES(".."))) {
            drop_segment(out, start);
            slash_at_end = true;
        } else {
            enum err e = buffer_append_byte(out, '/');
            e = e ? e : buffer_append(out, segment);
            if (e) {
                return e;
            }
        }
    }
    return slash_at_end || out->len == start ? buffer_append_byte(out, '/') : E_OK;
}

enum err sigv4_append_path(struct buffer *out, struct bytes path, bool keep_path)
{
    if (path.len == 0 || path.data[0] != '/') {
        return E_MALFORMED;
    }
    if (keep_path) {
        return sigv4_append_encoded(out, path, true);
    }
    struct buffer resolved;
    buffer_init(&resolved, SIGV4_TEXT_MAX);
    enum err e = append_resolved(&resolved, path);
    e = e ? e : sigv4_append_encoded(out, buffer_bytes(&resolved), true);
    buffer_finish(&resolved);
    return e;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    uint8_t lower = c | 0x20u;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Percent-decodes and encodes again. A '%' without two hex digits stands for itself. */
static enum err append_recoded(struct buffer *out, struct bytes b)
{
    enum err e = E_OK;
    for (size_t i = 0; i < b.len && !e; i++) {
        uint8_t c = b.data[i];
        if (c == '%' && i + 2 < b.len) {
            int high = hex_digit(b.data[i + 1]);
            int low = hex_digit(b.data[i + 2]);
            if (high >= 0 && low >= 0) {
                c = (uint8_t)(high << 4 | low);
                i += 2;
            }
        }
        e = sigv4_append_encoded(out, bytes_make(&c, 1), false);
    }
    return e;
}

/* Where name and value stand in the scratch buffer: the buffer may move while it is filled. */
struct parameter {
    size_t name, name_len, value, value_len;
    const struct buffer *text;
};

static int compare_parameters(const void *a, const void *b)
{
    const struct parameter *x = a;
    const struct parameter *y = b;
    int order = bytes_compare(bytes_make(x->text->data + x->name, x->name_len),
                              bytes_make(y->text->data + y->name, y->name_len));
    return order ? order
                 : bytes_compare(bytes_make(x->text->data + x->value, x->value_len),
                                 bytes_make(y->text->data + y->value, y->value_len));
}

/* Takes the text up to `separator` off *rest; *rest is what follows it. */
static struct bytes split(struct bytes *rest, uint8_t separator)
{
    const uint8_t *at = rest->len ? memchr(rest->data, separator, rest->len) : NULL;
    size_t len = at ? (size_t)(at - rest->data) : rest->len;
    struct bytes head = bytes_sub(*rest, 0, len);
    *rest = bytes_sub(*rest, len + (at ? 1 : 0), rest->len);
    return head;
}

static enum err read_parameters(struct bytes query, struct buffer *text, struct parameter *list, size_t *count)
{
    enum err e = E_OK;
    while (query.len && !e) {
        struct bytes value = split(&query, '&');
        if (value.len == 0) {
            continue;
        }
        if (*count == SIGV4_PARAMETERS_MAX) {
            return E_TOO_LARGE;
        }
        struct bytes name = split(&value, '=');
        struct parameter *p = &list[(*count)++];
        *p = (struct parameter){.name = text->len, .text = text};
        e = append_recoded(text, name);
        p->name_len = text->len - p->name;
        p->value = text->len;
        e = e ? e : append_recoded(text, value);
        p->value_len = text->len - p->value;
    }
    return e;
}

enum err sigv4_append_query(struct buffer *out, struct bytes query)
{
    struct parameter list[SIGV4_PARAMETERS_MAX];
    size_t count = 0;
    struct buffer text;
    buffer_init(&text, SIGV4_TEXT_MAX);
    enum err e = read_parameters(query, &text, list, &count);
    if (!e && count && text.data) {
        qsort(list, count, sizeof(list[0]), compare_parameters);
    }
    for (size_t i = 0; i < count && !e && text.data; i++) {
        e = i ? buffer_append_byte(out, '&') : E_OK;
        e = e ? e : buffer_append(out, bytes_make(text.data + list[i].name, list[i].name_len));
        e = e ? e : buffer_append_byte(out, '=');
        e = e ? e : buffer_append(out, bytes_make(text.data + list[i].value, list[i].value_len));
    }
    buffer_finish(&text);
    return e == E_FULL ? E_TOO_LARGE : e;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static int compare_names(struct bytes a, struct bytes b)
{
    for (size_t i = 0; i < a.len && i < b.len; i++) {
        int difference = lower(a.data[i]) - lower(b.data[i]);
        if (difference) {
            return difference;
        }
    }
    return (a.len > b.len) - (a.len < b.len);
}

enum err sigv4_header_list_add(struct sigv4_header_list *l, struct bytes name, struct bytes value)
{
    if (l->count == SIGV4_HEADERS_MAX) {
        return E_TOO_LARGE;
    }
    size_t at = l->count++;
    while (at > 0 && compare_names(l->items[at - 1].name, name) > 0) {
        l->items[at] = l->items[at - 1];
        at--;
    }
    l->items[at] = (struct sigv4_header){name, value};
    return E_OK;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum err append_lower(struct buffer *out, struct bytes name)
{
    enum err e = buffer_reserve(out, name.len);
    for (size_t i = 0; i < name.len && !e; i++) {
        out->data[out->len++] = lower(name.data[i]);
    }
    return e;
}

static enum err append_value(struct buffer *out, struct bytes value)
{
    enum err e = buffer_reserve(out, value.len);
    size_t start = out->len;
    bool blank = false;
    for (size_t i = 0; i < value.len && !e; i++) {
        if (is_blank(value.data[i])) {
            blank = out->len > start;
            continue;
        }
        if (blank) {
            out->data[out->len++] = ' ';
            blank = false;
        }
        out->data[out->len++] = value.data[i];
    }
    return e;
}

enum err sigv4_append_headers(struct buffer *out, const struct sigv4_header_list *l)
{
    enum err e = E_OK;
    for (size_t i = 0; i < l->count && !e; i++) {
        bool repeated = i > 0 && compare_names(l->items[i - 1].name, l->items[i].name) == 0;
        if (repeated) {
            out->data[out->len - 1] = ','; /* in place of the newline */
        } else {
            e = append_lower(out, l->items[i].name);
            e = e ? e : buffer_append_byte(out, ':');
        }
        e = e ? e : append_value(out, l->items[i].value);
        e = e ? e : buffer_append_byte(out, '\n');
    }
    return e;
}

enum err sigv4_append_header_names(struct buffer *out, const struct sigv4_header_list *l)
{
    enum err e = E_OK;
    for (size_t i = 0; i < l->count && !e; i++) {
        if (i > 0 && compare_names(l->items[i - 1].name, l->items[i].name) == 0) {
            continue;
        }
        e = i ? buffer_append_byte(out, ';') : E_OK;
        e = e ? e : append_lower(out, l->items[i].name);
    }
    return e;
}
