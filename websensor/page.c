#include "websensor/page.h"

#include "base/option.h"

const struct page_file *page_find(struct bytes path)
{
    for (size_t i = 0; i < page_file_count; i++) {
        if (bytes_equal(path, bytes_str(page_files[i].path))) {
            return &page_files[i];
        }
    }
    return NULL;
}

bool page_not_modified(const struct page_file *f, struct bytes if_none_match)
{
    while (if_none_match.len > 0) {
        const uint8_t *comma = memchr(if_none_match.data, ',', if_none_match.len);
        size_t n = comma ? (size_t)(comma - if_none_match.data) : if_none_match.len;
        struct bytes tag = option_trim(bytes_sub(if_none_match, 0, n));
        if_none_match = bytes_sub(if_none_match, n + 1, if_none_match.len);
        if (bytes_starts_with(tag, BYTES("W/"))) {
            tag = bytes_sub(tag, 2, tag.len);
        }
        if (bytes_equal(tag, bytes_str(f->etag)) || bytes_equal(tag, BYTES("*"))) {
            return true;
        }
    }
    return false;
}
