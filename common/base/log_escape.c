#include "base/log.h"

#include <stdio.h>

#define LONGEST_ESCAPE 5 /* \xNN and NUL */

static char short_escape(uint8_t c)
{
    switch (c) {
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '"':
    case '\\':
        return (char)c;
    default:
        return 0;
    }
}

/* Length of the printable UTF-8 sequence at the front of b; 0: its first byte must be escaped. U+0080 to U+009F are
 * control characters too. */
static size_t printable(struct bytes b)
{
    uint8_t c = b.data[0];
    if (c < 0x80) {
        return c >= 0x20 && c != 0x7F && !short_escape(c) ? 1 : 0;
    }
    size_t len = c < 0xE0 ? 2 : (c < 0xF0 ? 3 : 4);
    bool control = c == 0xC2 && b.len > 1 && b.data[1] < 0xA0;
    return b.len >= len && !control && bytes_is_utf8(bytes_sub(b, 0, len)) ? len : 0;
}

/* What stands for the front of b: writes it to piece, sets its length, returns how many bytes of b it is for. */
static size_t next_piece(struct bytes b, char piece[LONGEST_ESCAPE], size_t *piece_len)
{
    size_t n = printable(b);
    if (n > 0) {
        memcpy(piece, b.data, n);
        *piece_len = n;
        return n;
    }
    char c = short_escape(b.data[0]);
    if (c) {
        piece[0] = '\\';
        piece[1] = c;
        *piece_len = 2;
    } else {
        snprintf(piece, LONGEST_ESCAPE, "\\x%02x", b.data[0]);
        *piece_len = LONGEST_ESCAPE - 1;
    }
    return 1;
}

const char *log_escape(struct bytes b, char *out, size_t size)
{
    size_t len = 0;
    size_t dots = 0; /* where "..." goes if the rest does not fit */
    if (size == 0) {
        return out;
    }
    while (b.len > 0) {
        char piece[LONGEST_ESCAPE];
        size_t n;
        size_t used = next_piece(b, piece, &n);
        if (len + n >= size) {
            n = size - 1 - dots < 3 ? size - 1 - dots : 3;
            memcpy(out + dots, "...", n);
            len = dots + n;
            break;
        }
        memcpy(out + len, piece, n);
        len += n;
        if (len + 3 < size) {
            dots = len;
        }
        b = bytes_sub(b, used, b.len);
    }
    out[len] = '\0';
    return out;
}
