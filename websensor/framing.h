/* The headers of a request, read once, and where it ends by them. */
#ifndef WEBSENSOR_FRAMING_H
#define WEBSENSOR_FRAMING_H

#include "base/bytes.h"

#include <microhttpd.h>

/* What websensor looks at. */
enum framing_field {
    FIELD_AUTHORIZATION,
    FIELD_CONTENT_ENCODING,
    FIELD_CONTENT_LENGTH,
    FIELD_FETCH_SITE,
    FIELD_FORWARDED,
    FIELD_HOST,
    FIELD_LIMIT_DEVICE,
    FIELD_LIMIT_USER,
    FIELD_ORIGIN,
    FIELD_TRANSFER_ENCODING,
    FIELD_VIA,
    FIELD_WEBHOOK_SECRET,
    FRAMING_FIELDS,
};

struct framing {
    struct bytes
        field[FRAMING_FIELDS]; /* empty: not there; the first, if there are more. Lives as long as the request */
    unsigned hosts, lengths, codings;
    bool forwarded; /* a proxy says that it is for somebody else */
    bool broken;    /* a name or a length that is none */
};

void framing_read(struct framing *f, struct MHD_Connection *connection);

/* false: a request whose length two programs in a row might see differently (RFC 9112 section 11.2), or a version that is not
 * known. To be refused, and the connection ended. */
bool framing_is_clear(const struct framing *f, const char *version);
bool framing_has_body(const struct framing *f);
/* Does it say how long its body is, be it empty? */
bool framing_has_length(const struct framing *f);
/* Content-Length is there, and more than `max`. */
bool framing_length_over(const struct framing *f, size_t max);

#endif
