/* The phone page and what belongs to it, from memory (built into the program; see cmake/embed.cmake). Any thread. */
#ifndef WEBSENSOR_PAGE_H
#define WEBSENSOR_PAGE_H

#include "base/bytes.h"

struct page_file {
    const char *path; /* of the URL */
    const char *type;
    const char *etag; /* with quotes */
    const uint8_t *data;
    size_t len;
    const uint8_t *gzip; /* the same compressed; NULL = not worth it */
    size_t gzip_len;
};

extern const struct page_file page_files[];
extern const size_t page_file_count;

/* NULL: no such file. `path` without a query. */
const struct page_file *page_find(struct bytes path);

/* Does an If-None-Match header name this file's ETag (RFC 9110 section 13.1.2)? */
bool page_not_modified(const struct page_file *f, struct bytes if_none_match);

#endif
