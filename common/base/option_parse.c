#include "base/option.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { HOST_MAX = 255 };

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},         {"k", 1u << 10}, {"K", 1u << 10}, {"m", 1u << 20},
    {"M", 1u << 20}, {"g", 1u << 30}, {"G", 1u << 30}, {NULL, 0},
};

static const struct unit duration_units[] = {
    {"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};

/* Decimal digits off the front of *rest: at least one, no sign, no overflow. */
static bool take_digits(struct bytes *rest, uint64_t *out)
{
    uint64_t n = 0;
    size_t i = 0;
    for (; i < rest->len && rest->data[i] >= '0' && rest->data[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(rest->data[i] - '0');
        if (n > (UINT64_MAX - digit) / 10) {
            return false;
        }
        n = n * 10 + digit;
    }
    *rest = bytes_sub(*rest, i, rest->len);
    *out = n;
    return i > 0;
}

enum err option_parse_uint(struct bytes text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t n;
    if (!take_digits(&text, &n) || text.len > 0) {
        return E_MALFORMED;
    }
    if (n < min || n > max) {
        return E_INVALID;
    }
    *out = n;
    return E_OK;
}

static enum err parse_with_unit(struct bytes text, const struct unit *units, uint64_t *out)
{
    uint64_t n;
    if (!take_digits(&text, &n)) {
        return E_MALFORMED;
    }
    for (const struct unit *u = units; u->name; u++) {
        if (bytes_equal(text, bytes_str(u->name))) {
            if (n > UINT64_MAX / u->factor) {
                return E_INVALID;
            }
            *out = n * u->factor;
            return E_OK;
        }
    }
    return E_MALFORMED;
}

enum err option_parse_size(struct bytes text, uint64_t *out)
{
    return parse_with_unit(text, size_units, out);
}

enum err option_parse_duration(struct bytes text, uint64_t *out_ms)
{
    return parse_with_unit(text, duration_units, out_ms);
}

static bool is_host(struct bytes host)
{
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alphanumeric && (c == 0 || !strchr(".-_:%", c))) {
            return false;
        }
    }
    return host.len > 0 && host.len <= HOST_MAX;
}

static struct bytes up_to(struct bytes text, uint8_t end)
{
    const uint8_t *p = text.len > 0 ? memchr(text.data, end, text.len) : NULL;
    return bytes_sub(text, 0, p ? (size_t)(p - text.data) : text.len);
}

/* Splits "HOST", "HOST:PORT", "[HOST]", "[HOST]:PORT" and a bare IPv6 address; *port is empty when no colon introduces one. */
static bool split_hostport(struct bytes text, struct bytes *host, struct bytes *port, bool *has_port)
{
    if (bytes_starts_with(text, BYTES("["))) {
        *host = up_to(bytes_sub(text, 1, text.len), ']');
        if (host->len + 2 > text.len) {
            return false;
        }
        text = bytes_sub(text, host->len + 2, text.len);
    } else {
        *host = up_to(text, ':');
        struct bytes rest = bytes_sub(text, host->len + 1, text.len);
        if (up_to(rest, ':').len < rest.len) {
            *host = text;
        }
        text = bytes_sub(text, host->len, text.len);
    }
    *has_port = text.len > 0;
    *port = bytes_sub(text, 1, text.len);
    return text.len == 0 || text.data[0] == ':';
}

enum err option_parse_hostport(struct bytes text, uint16_t default_port, struct option_hostport *out)
{
    struct bytes host;
    struct bytes port_text;
    bool has_port;
    uint64_t port = default_port;
    if (!split_hostport(text, &host, &port_text, &has_port) || !is_host(host)) {
        return E_MALFORMED;
    }
    if (has_port) {
        enum err err = option_parse_uint(port_text, 1, UINT16_MAX, &port);
        if (err != E_OK) {
            return err;
        }
    }
    char *copy = bytes_dup_str(host);
    if (!copy) {
        return E_NOMEM;
    }
    *out = (struct option_hostport){.host = copy, .port = (uint16_t)port};
    return E_OK;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

struct bytes option_trim(struct bytes text)
{
    size_t start = 0;
    size_t end = text.len;
    while (start < end && is_blank(text.data[start])) {
        start++;
    }
    while (end > start && is_blank(text.data[end - 1])) {
        end--;
    }
    return bytes_sub(text, start, end - start);
}

/* Position of the quote that closes the one at the front of text; 0 if there is none. */
static size_t closing_quote(struct bytes text)
{
    for (size_t i = 1; i < text.len; i++) {
        if (text.data[i] == '"' && (i + 1 == text.len || is_blank(text.data[i + 1]))) {
            return i;
        }
    }
    return 0;
}

bool option_next_word(struct bytes *rest, struct bytes *word)
{
    struct bytes text = option_trim(*rest);
    if (text.len == 0) {
        *rest = text;
        return false;
    }
    size_t close = text.data[0] == '"' ? closing_quote(text) : 0;
    if (close > 0) {
        *word = bytes_sub(text, 1, close - 1);
        *rest = bytes_sub(text, close + 1, text.len);
        return true;
    }
    size_t n = 0;
    while (n < text.len && !is_blank(text.data[n])) {
        n++;
    }
    *word = bytes_sub(text, 0, n);
    *rest = bytes_sub(text, n, text.len);
    return true;
}

void option_error_set(struct option_error *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
}
