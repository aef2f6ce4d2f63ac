#include "websensor/framing.h"

#include "base/option.h"

#include <strings.h>

enum { LENGTH_DIGITS_MAX = 18 };

#define NAME(text)                                                                                                     \
    {                                                                                                                  \
        text, sizeof(text) - 1                                                                                         \
    }

static const struct {
    const char *text;
    size_t len;
} names[FRAMING_FIELDS] = {
    [FIELD_AUTHORIZATION] = NAME("Authorization"),
    [FIELD_CONTENT_ENCODING] = NAME("Content-Encoding"),
    [FIELD_CONTENT_LENGTH] = NAME("Content-Length"),
    [FIELD_FETCH_SITE] = NAME("Sec-Fetch-Site"),
    [FIELD_FORWARDED] = NAME("Forwarded"),
    [FIELD_HOST] = NAME("Host"),
    [FIELD_LIMIT_DEVICE] = NAME("X-Limit-D"),
    [FIELD_LIMIT_USER] = NAME("X-Limit-U"),
    [FIELD_ORIGIN] = NAME("Origin"),
    [FIELD_TRANSFER_ENCODING] = NAME("Transfer-Encoding"),
    [FIELD_VIA] = NAME("Via"),
    [FIELD_WEBHOOK_SECRET] = NAME("X-Webhook-Secret"),
};

static enum framing_field find(const char *name, size_t len)
{
    for (unsigned i = 0; i < FRAMING_FIELDS; i++) {
        if (names[i].len == len && strncasecmp(names[i].text, name, len) == 0) {
            return (enum framing_field)i;
        }
    }
    return FRAMING_FIELDS;
}

/* RFC 9110 section 5.6.2: no blank before the colon. */
static bool is_token(const char *name, size_t len)
{
    if (len == 0) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
        if (!letter && (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))) {
            return false;
        }
    }
    return true;
}

/* X-Forwarded-For, -Proto, ..., X-Real-IP. */
static bool is_proxy_field(const char *name, size_t len)
{
    return (len > 12 && strncasecmp(name, "X-Forwarded-", 12) == 0) ||
           (len == 9 && strncasecmp(name, "X-Real-IP", 9) == 0);
}

/* libmicrohttpd 0.9 appends what a folded line (RFC 9112 section 5.2) goes on with to the field's name: "Content-Length3". 1.0 reads the
 * fold as a blank, as the RFC says. */
static bool is_folded_length(const char *name, size_t len)
{
    static const enum framing_field fields[] = {FIELD_CONTENT_LENGTH, FIELD_TRANSFER_ENCODING};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (len > names[fields[i]].len && strncasecmp(names[fields[i]].text, name, names[fields[i]].len) == 0) {
            return true;
        }
    }
    return false;
}

/* RFC 9110 section 5.5: a CR alone ends a line for some, and is a blank for others. */
static bool is_value(struct bytes v)
{
    for (size_t i = 0; i < v.len; i++) {
        if ((v.data[i] < ' ' && v.data[i] != '\t') || v.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* RFC 9112 section 3.2: what cannot be a host is to be refused. */
static bool is_host(struct bytes v)
{
    return v.len == 0 || !(memchr(v.data, ' ', v.len) || memchr(v.data, '\t', v.len) || memchr(v.data, '/', v.len) ||
                           memchr(v.data, '@', v.len) || memchr(v.data, ',', v.len));
}

static bool is_length(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
    }
    return text.len > 0 && text.len <= LENGTH_DIGITS_MAX;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                 const char *value, size_t value_len)
{
    struct framing *f = cls;
    struct bytes v = bytes_make(value ? value : "", value ? value_len : 0);
    enum framing_field i = find(name, name_len);
    (void)kind;
    f->forwarded |= i == FIELD_FORWARDED || i == FIELD_VIA || is_proxy_field(name, name_len);
    f->broken |= !is_token(name, name_len) || is_folded_length(name, name_len) || !is_value(v);
    if (i == FIELD_HOST) {
        f->hosts++;
        f->broken |= !is_host(v);
    } else if (i == FIELD_CONTENT_LENGTH) {
        f->lengths++;
        f->broken |= !is_length(v);
    } else if (i == FIELD_TRANSFER_ENCODING) {
        f->codings++;
        f->broken |= v.len != 7 || strncasecmp((const char *)v.data, "chunked", 7) != 0;
    }
    if (i < FRAMING_FIELDS && f->field[i].len == 0) {
        f->field[i] = v;
    }
    return MHD_YES;
}

void framing_read(struct framing *f, struct MHD_Connection *connection)
{
    *f = (struct framing){0};
    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, on_header, f);
}

bool framing_is_clear(const struct framing *f, const char *version)
{
    bool old = strcmp(version, "HTTP/1.0") == 0;
    return !f->broken && f->lengths <= 1 && f->codings <= 1 && f->lengths + f->codings <= 1 && (old || f->hosts == 1) &&
           !(old && f->codings) && (old || strcmp(version, "HTTP/1.1") == 0);
}

bool framing_has_body(const struct framing *f)
{
    struct bytes length = f->field[FIELD_CONTENT_LENGTH];
    return f->field[FIELD_TRANSFER_ENCODING].len > 0 || (length.len > 0 && !bytes_equal(length, BYTES("0")));
}

bool framing_has_length(const struct framing *f)
{
    return f->lengths + f->codings > 0;
}

bool framing_length_over(const struct framing *f, size_t max)
{
    struct bytes text = f->field[FIELD_CONTENT_LENGTH];
    uint64_t length;
    return text.len > 0 && (option_parse_uint(text, 0, UINT64_MAX, &length) != E_OK || length > max);
}
