/* A growable byte buffer that gets its ceiling at birth. One thread at a time. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include "base/bytes.h"
#include "base/err.h"

#include <stdarg.h>

struct buffer {
    uint8_t *data; /* owned; valid bytes are data[0..len) */
    size_t len;
    size_t cap;
    size_t max; /* cap never grows past this */
};

/* Empty buffer that may grow to `max` bytes; allocates nothing. */
void buffer_init(struct buffer *b, size_t max);

/* Frees the memory; the buffer is empty again with the same ceiling. */
void buffer_finish(struct buffer *b);

/* Makes room for `n` more bytes behind len: data + len may then be written to and len advanced by the caller.
 * E_FULL over the ceiling, E_NOMEM without memory; contents are untouched then. */
MUST_CHECK enum err buffer_reserve(struct buffer *b, size_t n);

/* `src` must not lie in the buffer itself. On failure of any append the buffer is as it was. */
MUST_CHECK enum err buffer_append(struct buffer *b, struct bytes src);
MUST_CHECK enum err buffer_append_str(struct buffer *b, const char *s);
MUST_CHECK enum err buffer_appendf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
MUST_CHECK enum err buffer_vappendf(struct buffer *b, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

MUST_CHECK static inline enum err buffer_append_byte(struct buffer *b, uint8_t byte)
{
    enum err err = b->len < b->cap ? E_OK : buffer_reserve(b, 1);
    if (err == E_OK) {
        b->data[b->len++] = byte;
    }
    return err;
}

/* Drops `n` bytes (at most len) from the front. Moves what remains: O(len). */
void buffer_consume(struct buffer *b, size_t n);

/* len = 0, memory kept. */
void buffer_clear(struct buffer *b);

/* The valid bytes; until the next change of the buffer. */
static inline struct bytes buffer_bytes(const struct buffer *b)
{
    return (struct bytes){b->data, b->len};
}

#endif
