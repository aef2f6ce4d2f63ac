#include "websensor/framing.h"

#include "base/option.h"
#include "websensor/reply.h"

#include <strings.h>

struct framing {
    unsigned hosts, lengths, codings;
    bool broken;
};

static enum MHD_Result look_at_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct framing *f = cls;
    (void)kind;
    if (strcasecmp(name, "Host") == 0) {
        f->hosts++;
    } else if (strcasecmp(name, "Content-Length") == 0) {
        f->lengths++;
        f->broken |= !value || value[0] == '\0' || strspn(value, "0123456789") != strlen(value) || strlen(value) > 18;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        f->codings++;
        f->broken |= !value || strcasecmp(value, "chunked") != 0;
    }
    /* A field name is a token (RFC 9110 section 5.6.2): no blank before the colon. */
    for (const char *c = name; *c; c++) {
        f->broken |= *c <= ' ' || *c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", *c);
    }
    return MHD_YES;
}

bool framing_is_clear(struct MHD_Connection *connection, const char *version)
{
    struct framing f = {0};
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, look_at_header, &f);
    bool old = strcmp(version, "HTTP/1.0") == 0;
    return !f.broken && f.lengths <= 1 && f.codings <= 1 && f.lengths + f.codings <= 1 && (old || f.hosts == 1) &&
           !(old && f.codings) && (old || strcmp(version, "HTTP/1.1") == 0);
}

bool framing_length_over(struct MHD_Connection *connection, size_t max)
{
    struct bytes text = reply_header(connection, "Content-Length");
    uint64_t length;
    return text.len > 0 && (option_parse_uint(text, 0, UINT64_MAX, &length) != E_OK || length > max);
}

bool framing_has_body(struct MHD_Connection *connection)
{
    struct bytes length = reply_header(connection, "Content-Length");
    return reply_header(connection, "Transfer-Encoding").len > 0 ||
           (length.len > 0 && !bytes_equal(length, BYTES("0")));
}
