#include "base/option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINE_SIZE_MAX = 4096, NAME_SIZE_MAX = 64 };
#define FILE_SIZE_MAX (1u << 20)

/* Puts "FILE:LINE: " before what `why` says. */
static void locate(struct option_error *error, const char *file, size_t line, const struct option_error *why)
{
    int room = (int)sizeof(error->text) / 2; /* a long path gives way to what is wrong: its end tells more */
    size_t length = strlen(file);
    const char *tail = length > (size_t)room ? file + length - (size_t)room : file;
    option_error_set(error, "%s:%zu: %s", tail, line, why->text);
}

static enum err read_line(const struct option_table *t, void *config, bool *seen, struct bytes line,
                          struct option_error *error)
{
    if (line.len > LINE_SIZE_MAX) {
        option_error_set(error, "the line is longer than %d bytes", LINE_SIZE_MAX);
        return E_INVALID;
    }
    if (line.len > 0 && memchr(line.data, 0, line.len)) {
        option_error_set(error, "a NUL byte");
        return E_INVALID;
    }
    line = option_trim(line);
    if (line.len == 0 || line.data[0] == '#') {
        return E_OK;
    }
    size_t n = 0;
    while (n < line.len && line.data[n] != ' ' && line.data[n] != '\t') {
        n++;
    }
    char name[NAME_SIZE_MAX + 1];
    snprintf(name, sizeof(name), "%.*s", (int)n, (const char *)line.data);
    return options_set(t, config, seen, name, bytes_sub(line, n, line.len), error);
}

enum err options_read(const struct option_table *t, void *config, struct bytes text, const char *name,
                      struct option_error *error)
{
    bool *seen = calloc(t->count > 0 ? t->count : 1, sizeof(*seen));
    if (!seen) {
        option_error_set(error, "%s: no memory", name);
        return E_NOMEM;
    }
    if (bytes_starts_with(text, BYTES("\xEF\xBB\xBF"))) { /* the mark that some editors put before UTF-8 */
        text = bytes_sub(text, 3, text.len);
    }
    enum err err = E_OK;
    for (size_t number = 1; text.len > 0 && err == E_OK; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        struct bytes line = bytes_sub(text, 0, end ? (size_t)(end - text.data) : text.len);
        struct option_error why;
        err = read_line(t, config, seen, line, &why);
        if (err != E_OK) {
            locate(error, name, number, &why);
        }
        text = bytes_sub(text, line.len + 1, text.len);
    }
    free(seen);
    return err;
}

static enum err read_all(FILE *f, struct buffer *text)
{
    for (;;) {
        enum err err = buffer_reserve(text, 4096);
        if (err != E_OK) {
            return err;
        }
        size_t n = fread(text->data + text->len, 1, text->cap - text->len, f);
        text->len += n;
        if (n == 0) {
            return ferror(f) ? E_IO : E_OK;
        }
    }
}

/* The name behind "option " or "options "; len 0: the text begins with something else. */
static struct bytes named_option(const char *text)
{
    struct bytes rest = bytes_str(text);
    struct bytes word;
    if (!option_next_word(&rest, &word) ||
        !(bytes_equal(word, BYTES("option")) || bytes_equal(word, BYTES("options"))) ||
        !option_next_word(&rest, &word)) {
        return BYTES("");
    }
    return word.data[word.len - 1] == ':' ? bytes_sub(word, 0, word.len - 1) : word;
}

void option_error_locate(struct option_error *error, const char *path)
{
    struct bytes name = named_option(error->text);
    FILE *f = name.len > 0 ? fopen(path, "re") : NULL;
    if (!f) {
        return;
    }
    char line[LINE_SIZE_MAX + 2];
    size_t found = 0;
    size_t times = 0;
    for (size_t number = 1; fgets(line, sizeof(line), f); number++) {
        struct bytes rest = bytes_str(line);
        struct bytes word;
        if (option_next_word(&rest, &word) && bytes_equal(word, name)) {
            found = number;
            times++;
        }
    }
    fclose(f);
    if (times == 1) {
        struct option_error why = *error;
        locate(error, path, found, &why);
    }
}

void option_error_name(struct option_error *error, const char *name, enum err e)
{
    struct option_error why = *error;
    option_error_set(error, "option %s: %s", name, why.text[0] ? why.text : err_name(e));
}

enum err options_read_file(const struct option_table *t, void *config, const char *path, struct option_error *error)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        enum err err = err_from_errno(errno);
        option_error_set(error, "%s: cannot open it: %m", path);
        return err;
    }
    struct buffer text;
    buffer_init(&text, FILE_SIZE_MAX + 4096);
    enum err err = read_all(f, &text);
    if (err == E_FULL || (err == E_OK && text.len > FILE_SIZE_MAX)) {
        option_error_set(error, "%s: the file is larger than 1 MiB", path);
        err = E_TOO_LARGE;
    } else if (err == E_IO) {
        option_error_set(error, "%s: cannot read it: %m", path);
    } else if (err != E_OK) {
        option_error_set(error, "%s: cannot read it: %s", path, err_name(err));
    } else {
        err = options_read(t, config, buffer_bytes(&text), path, error);
    }
    buffer_finish(&text);
    fclose(f);
    return err;
}
