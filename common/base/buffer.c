#include "base/buffer.h"

#include <stdio.h>
#include <stdlib.h>

enum { SMALLEST_CAP = 64 };

void buffer_init(struct buffer *b, size_t max)
{
    /* One byte stays in reserve: what is allocated is cap + 1. */
    *b = (struct buffer){.max = max < SIZE_MAX ? max : SIZE_MAX - 1};
}

void buffer_finish(struct buffer *b)
{
    free(b->data);
    buffer_init(b, b->max);
}

enum err buffer_reserve(struct buffer *b, size_t n)
{
    if (n <= b->cap - b->len) {
        return E_OK;
    }
    if (n > b->max - b->len) {
        return E_FULL;
    }
    size_t need = b->len + n;
    size_t cap = b->cap > b->max / 2 ? b->max : b->cap * 2;
    if (cap < SMALLEST_CAP) {
        cap = b->max < SMALLEST_CAP ? b->max : SMALLEST_CAP;
    }
    if (cap < need) {
        cap = need;
    }
    /* The byte behind cap takes the NUL that vsnprintf writes, so that formatting can fill the buffer to its ceiling. */
    uint8_t *data = realloc(b->data, cap + 1);
    if (!data) {
        return E_NOMEM;
    }
    b->data = data;
    b->cap = cap;
    return E_OK;
}

enum err buffer_append(struct buffer *b, struct bytes src)
{
    enum err err = buffer_reserve(b, src.len);
    if (err == E_OK && src.len > 0) {
        memcpy(b->data + b->len, src.data, src.len);
        b->len += src.len;
    }
    return err;
}

enum err buffer_append_str(struct buffer *b, const char *s)
{
    return buffer_append(b, bytes_str(s));
}

enum err buffer_vappendf(struct buffer *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    enum err err = length < 0 ? E_INVALID : buffer_reserve(b, (size_t)length);
    if (err == E_OK && length > 0) {
        vsnprintf((char *)b->data + b->len, (size_t)length + 1, format, again);
        b->len += (size_t)length;
    }
    va_end(again);
    return err;
}

enum err buffer_appendf(struct buffer *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum err err = buffer_vappendf(b, format, args);
    va_end(args);
    return err;
}

void buffer_consume(struct buffer *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
    } else if (n > 0) {
        memmove(b->data, b->data + n, b->len - n);
        b->len -= n;
    }
}

void buffer_clear(struct buffer *b)
{
    b->len = 0;
}
