/* Where a request ends, by its headers. */
#ifndef WEBSENSOR_FRAMING_H
#define WEBSENSOR_FRAMING_H

#include "base/bytes.h"

#include <microhttpd.h>

/* false: a request whose length two programs in a row might see differently (RFC 9112 section 11.2), or a version that is not
 * known. To be refused, and the connection ended. */
bool framing_is_clear(struct MHD_Connection *connection, const char *version);
bool framing_has_body(struct MHD_Connection *connection);
/* Content-Length is there, and more than `max`. */
bool framing_length_over(struct MHD_Connection *connection, size_t max);

#endif
