#include "base/option.h"

enum { INDENT = 8, WIDTH = 80 };

static const char *default_arg(enum option_type type)
{
    switch (type) {
    case OPTION_STRING:
        return "TEXT";
    case OPTION_PATH:
        return "PATH";
    case OPTION_BOOL:
        return "true|false";
    case OPTION_UINT:
        return "N";
    case OPTION_SIZE:
        return "SIZE";
    case OPTION_DURATION:
        return "TIME";
    case OPTION_HOSTPORT:
        return "HOST[:PORT]";
    case OPTION_ENUM:
    case OPTION_CUSTOM:
        break;
    }
    return "VALUE";
}

static enum err append_words(const struct option_row *row, struct buffer *out)
{
    enum err err = E_OK;
    for (const struct option_word *w = row->words; w && w->word && err == E_OK; w++) {
        err = buffer_appendf(out, "%s%s", w == row->words ? "" : "|", w->word);
    }
    return err;
}

static enum err append_head(const struct option_row *row, struct buffer *out)
{
    enum err err = buffer_appendf(out, "  %s ", row->name);
    if (err == E_OK && row->type == OPTION_ENUM && !row->arg) {
        err = append_words(row, out);
    } else if (err == E_OK) {
        err = buffer_append_str(out, row->arg ? row->arg : default_arg(row->type));
    }
    return err == E_OK ? buffer_append_byte(out, '\n') : err;
}

/* Appends the words of text in lines of WIDTH, indented; *column is where the last line stands, 0 = at its start. */
static enum err append_wrapped(struct buffer *out, const char *text, size_t *column)
{
    struct bytes rest = bytes_str(text);
    while (rest.len > 0) {
        const uint8_t *blank = memchr(rest.data, ' ', rest.len);
        size_t n = blank ? (size_t)(blank - rest.data) : rest.len;
        bool fresh = *column == 0 || *column + 1 + n > WIDTH;
        enum err err = E_OK;
        if (n > 0 && fresh) {
            err = buffer_appendf(out, "%s%*s", *column > 0 ? "\n" : "", INDENT, "");
            *column = INDENT + n;
        } else if (n > 0) {
            err = buffer_append_byte(out, ' ');
            *column += 1 + n;
        }
        if (err == E_OK) {
            err = buffer_append(out, bytes_sub(rest, 0, n));
        }
        if (err != E_OK) {
            return err;
        }
        rest = bytes_sub(rest, n + 1, rest.len);
    }
    return E_OK;
}

static enum err append_block(const struct option_row *row, struct buffer *out)
{
    size_t column = 0;
    enum err err = append_head(row, out);
    if (err == E_OK && row->text) {
        err = append_wrapped(out, row->text, &column);
    }
    if (err == E_OK && row->initial) {
        err = append_wrapped(out, "Default:", &column);
        if (err == E_OK) {
            err = append_wrapped(out, row->initial, &column);
        }
    }
    if (err == E_OK && row->repeatable) {
        err = append_wrapped(out, "May be repeated.", &column);
    }
    return err == E_OK && column > 0 ? buffer_append_byte(out, '\n') : err;
}

enum err options_help(const struct option_table *t, struct buffer *out)
{
    size_t before = out->len;
    for (size_t i = 0; i < t->count; i++) {
        enum err err = append_block(&t->rows[i], out);
        if (err != E_OK) {
            out->len = before;
            return err;
        }
    }
    return E_OK;
}
