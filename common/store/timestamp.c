#include "store/timestamp.h"

#include "base/clock.h"

/* Decimal exponents of the leading digit: from the first on it is milliseconds, from the second on no time. */
enum { MS_FROM = 11, TOO_LATE = 14 };

/* Room for any ISO 8601 text once its escapes are resolved. */
enum { ISO_MAX = 64 };

/* Exponent of a JSON number behind its 'e', kept small enough to add to. */
static int64_t parse_exponent(struct bytes digits)
{
    int64_t n = 0;
    bool negative = digits.data[0] == '-';
    for (size_t i = digits.data[0] == '-' || digits.data[0] == '+' ? 1 : 0; i < digits.len; i++) {
        n = n < INT32_MAX ? n * 10 + (digits.data[i] - '0') : n;
    }
    return negative ? -n : n;
}

/* A JSON number in pieces: value = 0.d1d2d3... * 10^point with d1 != 0; no digits for zero. */
struct decimal {
    bool negative;
    struct bytes digits; /* may contain the '.' */
    int64_t point;
};

static struct decimal take_apart(struct bytes number)
{
    struct decimal d = {0};
    size_t end = 0;
    while (end < number.len && (number.data[end] | 0x20) != 'e') {
        end++;
    }
    if (end < number.len) {
        d.point = parse_exponent(bytes_sub(number, end + 1, number.len));
    }
    size_t at = number.data[0] == '-' ? 1 : 0;
    d.negative = at == 1;
    bool fraction = false;
    while (at < end && (number.data[at] == '0' || number.data[at] == '.')) {
        fraction |= number.data[at] == '.';
        d.point -= fraction && number.data[at] == '0' ? 1 : 0;
        at++;
    }
    d.digits = bytes_sub(number, at, end - at);
    for (size_t i = 0; !fraction && i < d.digits.len && d.digits.data[i] != '.'; i++) {
        d.point++;
    }
    return d;
}

static enum err parse_number(struct bytes number, int64_t *ms)
{
    struct decimal d = take_apart(number);
    if (d.digits.len == 0) {
        *ms = 0;
        return E_OK;
    }
    if (d.negative || d.point - 1 >= TOO_LATE) {
        return E_MALFORMED;
    }
    int64_t whole = d.point - 1 >= MS_FROM ? d.point : d.point + 3;
    int64_t value = 0;
    size_t at = 0;
    for (; whole > 0; whole--) {
        if (at < d.digits.len && d.digits.data[at] == '.') {
            at++;
        }
        value = value * 10 + (at < d.digits.len ? d.digits.data[at++] - '0' : 0);
    }
    *ms = value;
    return E_OK;
}

static enum err parse_string(struct bytes text, int64_t *ms)
{
    struct json_token number;
    if (json_parse(text, 0, &number) == E_OK && number.type == JSON_NUMBER) {
        return parse_number(number.text, ms);
    }
    struct wall t;
    enum err e = wall_parse_iso8601(text, &t);
    if (e != E_OK || t.ms < 0) {
        return E_MALFORMED;
    }
    *ms = t.ms;
    return E_OK;
}

enum err timestamp_parse(const struct json_token *value, int64_t *ms)
{
    if (value->type == JSON_NUMBER) {
        return parse_number(value->text, ms);
    }
    if (value->type != JSON_STRING) {
        return E_MALFORMED;
    }
    if (!value->escaped) {
        return parse_string(value->text, ms);
    }
    /* Some encoders write the '+' of the offset as \u002B. */
    struct buffer plain;
    buffer_init(&plain, ISO_MAX * 6);
    enum err e = json_unescape(value, &plain);
    if (e == E_OK) {
        e = parse_string(buffer_bytes(&plain), ms);
    }
    buffer_finish(&plain);
    return e == E_FULL ? E_MALFORMED : e;
}
