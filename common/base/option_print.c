#include "base/option.h"

#include <inttypes.h>
#include <stdio.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first. */
static const struct unit size_units[] = {{"G", 1u << 30}, {"M", 1u << 20}, {"k", 1u << 10}, {"", 1}};
static const struct unit duration_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

static const char *format_with_unit(uint64_t n, const struct unit *unit, char out[OPTION_NUMBER_SIZE])
{
    while (n % unit->factor != 0) {
        unit++;
    }
    snprintf(out, OPTION_NUMBER_SIZE, "%" PRIu64 "%s", n / unit->factor, n > 0 ? unit->name : "");
    return out;
}

const char *option_format_size(uint64_t bytes, char out[OPTION_NUMBER_SIZE])
{
    return format_with_unit(bytes, size_units, out);
}

const char *option_format_duration(uint64_t ms, char out[OPTION_NUMBER_SIZE])
{
    return format_with_unit(ms, duration_units, out);
}

enum err option_print_word(struct bytes word, struct buffer *out)
{
    bool quote = word.len == 0 || word.data[0] == '"' || memchr(word.data, ' ', word.len) ||
                 memchr(word.data, '\t', word.len) || memchr(word.data, '\r', word.len);
    size_t before = out->len;
    enum err err = quote ? buffer_append_byte(out, '"') : E_OK;
    if (err == E_OK) {
        err = buffer_append(out, word);
    }
    if (err == E_OK && quote) {
        err = buffer_append_byte(out, '"');
    }
    if (err != E_OK) {
        out->len = before;
    }
    return err;
}

static const char *word_for(const struct option_word *words, uint64_t value)
{
    for (const struct option_word *w = words; w && w->word; w++) {
        if (w->value == value) {
            return w->word;
        }
    }
    return NULL;
}

static enum err print_number(const struct option_row *row, uint64_t n, struct buffer *out)
{
    char text[OPTION_NUMBER_SIZE];
    const char *word = word_for(row->words, n);
    if (word) {
        return buffer_appendf(out, "%s %s\n", row->name, word);
    }
    if (n == 0 && !row->initial) {
        return E_OK;
    }
    if (row->type == OPTION_UINT) {
        return buffer_appendf(out, "%s %" PRIu64 "\n", row->name, n);
    }
    bool size = row->type == OPTION_SIZE;
    return buffer_appendf(out, "%s %s\n", row->name,
                          size ? option_format_size(n, text) : option_format_duration(n, text));
}

static enum err print_hostport(const struct option_row *row, const struct option_hostport *value, struct buffer *out)
{
    if (!value->host) {
        return E_OK;
    }
    bool brackets = strchr(value->host, ':') != NULL;
    enum err err = brackets ? buffer_appendf(out, "%s [%s]", row->name, value->host)
                            : buffer_appendf(out, "%s %s", row->name, value->host);
    if (err == E_OK && value->port > 0) {
        err = buffer_appendf(out, ":%u", (unsigned)value->port);
    }
    return err == E_OK ? buffer_append_byte(out, '\n') : err;
}

static enum err print_value(const struct option_row *row, const void *config, struct buffer *out)
{
    const void *value = (const char *)config + row->offset;
    switch (row->type) {
    case OPTION_STRING:
    case OPTION_PATH: {
        const char *s = *(char *const *)value;
        return s ? buffer_appendf(out, "%s %s\n", row->name, s) : E_OK;
    }
    case OPTION_BOOL: {
        bool yes = *(const bool *)value;
        return yes || row->initial ? buffer_appendf(out, "%s %s\n", row->name, yes ? "true" : "false") : E_OK;
    }
    case OPTION_UINT:
    case OPTION_SIZE:
    case OPTION_DURATION:
        return print_number(row, *(const uint64_t *)value, out);
    case OPTION_ENUM: {
        const char *word = word_for(row->words, (uint64_t) * (const int *)value);
        return word ? buffer_appendf(out, "%s %s\n", row->name, word) : E_OK;
    }
    case OPTION_HOSTPORT:
        return print_hostport(row, value, out);
    case OPTION_CUSTOM:
        return row->print(config, row->name, out);
    }
    return E_INVALID;
}

enum err options_print(const struct option_table *t, const void *config, struct buffer *out)
{
    size_t before = out->len;
    for (size_t i = 0; i < t->count; i++) {
        enum err err = print_value(&t->rows[i], config, out);
        if (err != E_OK) {
            out->len = before;
            return err;
        }
    }
    return E_OK;
}
