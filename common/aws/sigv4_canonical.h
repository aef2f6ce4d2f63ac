/* Canonical forms that Signature Version 4 is computed over. Internal to sigv4. Any thread. */
#ifndef AWS_SIGV4_CANONICAL_H
#define AWS_SIGV4_CANONICAL_H

#include "aws/sigv4.h"

/* Appends the path: "." and ".." resolved and slashes joined unless keep_path, then percent-encoded (once more, as every
 * service but S3 wants it). E_MALFORMED: does not begin with '/'. */
MUST_CHECK enum err sigv4_append_path(struct buffer *out, struct bytes path, bool keep_path);

/* Appends the query string: each name and value decoded and encoded again in the one canonical way, sorted by name, then
 * value. */
MUST_CHECK enum err sigv4_append_query(struct buffer *out, struct bytes query);

/* Appends `b` percent-encoded: all but A-Z a-z 0-9 - . _ ~ (and '/' if keep_slash). */
MUST_CHECK enum err sigv4_append_encoded(struct buffer *out, struct bytes b, bool keep_slash);

/* Headers in the order of their lower-case names; equal names keep their order. E_TOO_LARGE beyond SIGV4_HEADERS_MAX. */
struct sigv4_header_list {
    struct sigv4_header items[SIGV4_HEADERS_MAX];
    size_t count;
};
MUST_CHECK enum err sigv4_header_list_add(struct sigv4_header_list *l, struct bytes name, struct bytes value);

/* Appends "name:value\n" for each name, and "name;name" without a newline. */
MUST_CHECK enum err sigv4_append_headers(struct buffer *out, const struct sigv4_header_list *l);
MUST_CHECK enum err sigv4_append_header_names(struct buffer *out, const struct sigv4_header_list *l);

#endif
