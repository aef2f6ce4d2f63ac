#include "mqttsn/lines.h"

#include "base/buffer.h"

#include <errno.h>
#include <stdio.h>

static enum err take_line(struct bytes line, lines_take_fn *take, void *ctx, struct option_error *error)
{
    if (line.len > LINES_LINE_MAX) {
        option_error_set(error, "the line is longer than %u bytes", LINES_LINE_MAX);
        return E_INVALID;
    }
    if (line.len > 0 && memchr(line.data, 0, line.len)) {
        option_error_set(error, "a NUL byte");
        return E_INVALID;
    }
    line = option_trim(line);
    return line.len == 0 || line.data[0] == '#' ? E_OK : take(ctx, line, error);
}

enum err lines_read(struct bytes text, const char *name, lines_take_fn *take, void *ctx, struct option_error *error)
{
    for (size_t number = 1; text.len > 0; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        struct bytes line = bytes_sub(text, 0, end ? (size_t)(end - text.data) : text.len);
        struct option_error why = {"no memory"};
        enum err e = take_line(line, take, ctx, &why);
        if (e != E_OK) {
            option_error_set(error, "%.150s:%zu: %.150s", name, number, why.text);
            return e;
        }
        text = bytes_sub(text, line.len + 1, text.len);
    }
    return E_OK;
}

static enum err read_all(FILE *f, struct buffer *text)
{
    for (;;) {
        enum err e = buffer_reserve(text, 65536);
        if (e != E_OK) {
            return e == E_FULL ? E_TOO_LARGE : e;
        }
        size_t n = fread(text->data + text->len, 1, 65536, f);
        text->len += n;
        if (n == 0) {
            return ferror(f) ? err_from_errno(errno) : E_OK;
        }
    }
}

enum err lines_read_file(const char *path, lines_take_fn *take, void *ctx, struct option_error *error)
{
    struct buffer text;
    buffer_init(&text, LINES_FILE_MAX);
    FILE *f = fopen(path, "re");
    enum err e = f ? read_all(f, &text) : err_from_errno(errno);
    int errnum = f && !ferror(f) ? 0 : errno;
    if (f) {
        fclose(f);
    }
    if (e != E_OK) {
        option_error_set(error, "%.200s: %s", path, errnum != 0 ? strerror(errnum) : err_name(e));
    } else {
        e = lines_read(buffer_bytes(&text), path, take, ctx, error);
    }
    buffer_finish(&text);
    return e;
}
