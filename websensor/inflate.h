/* gzip bodies (RFC 1952), with a ceiling on what they inflate to. Any thread. */
#ifndef WEBSENSOR_INFLATE_H
#define WEBSENSOR_INFLATE_H

#include "base/buffer.h"

/* Appends the contents of one gzip member to out. E_MALFORMED: not gzip, cut off, or bytes behind it. E_FULL: more than the
 * buffer's ceiling; no more than that is ever inflated. */
MUST_CHECK enum err inflate_gzip(struct bytes in, struct buffer *out);

#endif
