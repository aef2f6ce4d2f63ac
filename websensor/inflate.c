#include "websensor/inflate.h"

#include <zlib.h>

enum { STEP = 16384, GZIP_WINDOW = 15 + 16 };

static enum err step(z_stream *z, struct buffer *out, bool *end)
{
    uint8_t space[STEP];
    z->next_out = space;
    z->avail_out = sizeof(space);
    int r = inflate(z, Z_NO_FLUSH);
    if (r != Z_OK && r != Z_STREAM_END) {
        return r == Z_MEM_ERROR ? E_NOMEM : E_MALFORMED;
    }
    *end = r == Z_STREAM_END;
    return buffer_append(out, bytes_make(space, sizeof(space) - z->avail_out));
}

enum err inflate_gzip(struct bytes in, struct buffer *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.data, .avail_in = (uInt)in.len};
    bool end = false;
    if (in.len == 0 || in.len > UINT32_MAX || inflateInit2(&z, GZIP_WINDOW) != Z_OK) {
        return E_MALFORMED;
    }
    enum err e = E_OK;
    while (e == E_OK && !end) {
        e = step(&z, out, &end);
        if (e == E_OK && end && z.avail_in > 0) { /* one member behind the other (RFC 1952 section 2.2) */
            end = false;
            e = inflateReset(&z) == Z_OK ? E_OK : E_MALFORMED;
        }
    }
    inflateEnd(&z);
    return e;
}
