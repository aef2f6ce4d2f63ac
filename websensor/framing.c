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
    [FIELD_X_FORWARDED_FOR] = NAME("X-Forwarded-For"),
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
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
        if (!letter && (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))) {
            return false;
        }
    }
    return true;
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
    f->broken |= !is_token(name, name_len);
    if (i == FIELD_HOST) {
        f->hosts++;
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

bool framing_length_over(const struct framing *f, size_t max)
{
    struct bytes text = f->field[FIELD_CONTENT_LENGTH];
    uint64_t length;
    return text.len > 0 && (option_parse_uint(text, 0, UINT64_MAX, &length) != E_OK || length > max);
}
