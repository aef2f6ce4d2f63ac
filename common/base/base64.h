/* Base64 (RFC 4648 section 4, with padding). Any thread. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/buffer.h"

MUST_CHECK enum err base64_encode(struct bytes in, struct buffer *out);

/* Strict: padding is required, no other characters, unused bits are 0. E_MALFORMED otherwise; out is untouched. */
MUST_CHECK enum err base64_decode(struct bytes in, struct buffer *out);

#endif
