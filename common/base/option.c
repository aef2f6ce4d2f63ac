#include "base/option.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { STRING_MAX = 4096, SHOWN_SIZE = 80 };

static void *value_of(const struct option_row *row, void *config)
{
    return (char *)config + row->offset;
}

const struct option_row *options_find(const struct option_table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->rows[i].name, name) == 0) {
            return &t->rows[i];
        }
    }
    return NULL;
}

static bool find_word(const struct option_word *words, struct bytes text, uint64_t *out)
{
    for (const struct option_word *w = words; w && w->word; w++) {
        if (bytes_equal(text, bytes_str(w->word))) {
            *out = w->value;
            return true;
        }
    }
    return false;
}

/* What the value should have been, for a malformed one. */
static const char *expected(enum option_type type)
{
    switch (type) {
    case OPTION_BOOL:
        return "true or false";
    case OPTION_UINT:
        return "a number";
    case OPTION_SIZE:
        return "a size (a number, with k, M or G)";
    case OPTION_DURATION:
        return "a time (a number with ms, s, m, h or d)";
    case OPTION_HOSTPORT:
        return "a host and port (HOST, HOST:PORT or [ADDRESS]:PORT)";
    case OPTION_ENUM:
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_CUSTOM:
        break;
    }
    return "a valid value";
}

/* "true", "a number, always or never", "mqttv5 or mqttv311" */
static void describe(const struct option_row *row, char *out, size_t size)
{
    size_t len = 0;
    int n = row->type == OPTION_ENUM ? 0 : snprintf(out, size, "%s", expected(row->type));
    for (const struct option_word *w = row->words; w && w->word && n >= 0 && len + (size_t)n < size; w++) {
        len += (size_t)n;
        const char *before = len == 0 ? "" : (w[1].word ? ", " : " or ");
        n = snprintf(out + len, size - len, "%s%s", before, w->word);
    }
}

static bool has_beyond_ascii(struct bytes text)
{
    size_t i = 0;
    while (i < text.len && text.data[i] < 0x80) {
        i++;
    }
    return i < text.len;
}

static enum err malformed(const struct option_row *row, struct bytes value, struct option_error *error)
{
    char shown[SHOWN_SIZE];
    char wanted[160] = "";
    if (row->type == OPTION_HOSTPORT && has_beyond_ascii(value)) {
        option_error_set(
            error,
            "option %s: \"%s\" has letters that a host name cannot have: write it as DNS knows it, with xn-- "
            "(idn2 NAME prints it so)",
            row->name, log_escape(value, shown, sizeof(shown)));
        return E_INVALID;
    }
    describe(row, wanted, sizeof(wanted));
    option_error_set(error, "option %s: \"%s\" is not %s", row->name, log_escape(value, shown, sizeof(shown)), wanted);
    return E_INVALID;
}

static const char *format_number(const struct option_row *row, uint64_t n, char out[OPTION_NUMBER_SIZE])
{
    if (row->type == OPTION_SIZE) {
        return option_format_size(n, out);
    }
    if (row->type == OPTION_DURATION) {
        return option_format_duration(n, out);
    }
    snprintf(out, OPTION_NUMBER_SIZE, "%" PRIu64, n);
    return out;
}

static bool is_bare_number(struct bytes value, uint64_t n)
{
    uint8_t last = value.len > 0 ? value.data[value.len - 1] : 0;
    return n > 0 && last >= '0' && last <= '9';
}

static enum err set_number(const struct option_row *row, void *config, struct bytes value, struct option_error *error)
{
    uint64_t *out = value_of(row, config);
    uint64_t max = row->max > 0 ? row->max : UINT64_MAX;
    uint64_t n = 0;
    if (find_word(row->words, value, &n)) {
        *out = n;
        return E_OK;
    }
    enum err err;
    if (row->type == OPTION_SIZE) {
        err = option_parse_size(value, &n);
    } else if (row->type == OPTION_DURATION) {
        err = option_parse_duration(value, &n);
    } else {
        err = option_parse_uint(value, 0, UINT64_MAX, &n);
    }
    if (err == E_MALFORMED) {
        return malformed(row, value, error);
    }
    if (err == E_OK && row->needs_unit && is_bare_number(value, n)) {
        option_error_set(error, "option %s: %.*s of what? give the unit: ms, s, m, h or d", row->name, (int)value.len,
                         (const char *)value.data);
        return E_INVALID;
    }
    if (err != E_OK || n < row->min || n > max) {
        char shown[SHOWN_SIZE];
        char low[OPTION_NUMBER_SIZE];
        char high[OPTION_NUMBER_SIZE];
        log_escape(value, shown, sizeof(shown));
        format_number(row, row->min, low);
        if (row->max > 0) {
            option_error_set(error, "option %s: %s is out of range (%s to %s)", row->name, shown, low,
                             format_number(row, max, high));
        } else {
            option_error_set(error, "option %s: %s is out of range (%s or more)", row->name, shown, low);
        }
        return E_INVALID;
    }
    *out = n;
    return E_OK;
}

static enum err no_memory(const struct option_row *row, struct option_error *error)
{
    option_error_set(error, "option %s: no memory", row->name);
    return E_NOMEM;
}

static enum err set_string(const struct option_row *row, void *config, struct bytes value, struct option_error *error)
{
    char **out = value_of(row, config);
    uint64_t max = row->max > 0 ? row->max : STRING_MAX;
    if (value.len < row->min || value.len > max) {
        option_error_set(error, "option %s: %zu bytes are too %s (%" PRIu64 " to %" PRIu64 ")", row->name, value.len,
                         value.len > max ? "long" : "short", row->min > 0 ? row->min : 1, max);
        return E_INVALID;
    }
    char *copy = bytes_dup_str(value);
    if (!copy) {
        return no_memory(row, error);
    }
    free(*out);
    *out = copy;
    return E_OK;
}

static enum err set_bool(const struct option_row *row, void *config, struct bytes value, struct option_error *error)
{
    bool *out = value_of(row, config);
    bool yes = bytes_equal(value, BYTES("true")) || bytes_equal(value, BYTES("1"));
    if (!yes && !bytes_equal(value, BYTES("false")) && !bytes_equal(value, BYTES("0"))) {
        return malformed(row, value, error);
    }
    *out = yes;
    return E_OK;
}

static enum err set_enum(const struct option_row *row, void *config, struct bytes value, struct option_error *error)
{
    int *out = value_of(row, config);
    uint64_t n;
    if (!find_word(row->words, value, &n)) {
        return malformed(row, value, error);
    }
    *out = (int)n;
    return E_OK;
}

static enum err set_hostport(const struct option_row *row, void *config, struct bytes value, struct option_error *error)
{
    struct option_hostport *out = value_of(row, config);
    struct option_hostport parsed;
    enum err err = option_parse_hostport(value, (uint16_t)row->max, &parsed);
    if (err == E_NOMEM) {
        return no_memory(row, error);
    }
    if (err != E_OK) {
        return malformed(row, value, error);
    }
    free(out->host);
    *out = parsed;
    return E_OK;
}

static enum err set_custom(const struct option_row *row, void *config, struct bytes value, struct option_error *error)
{
    struct option_error why = {""};
    enum err err = row->set(config, value, &why);
    if (err != E_OK) {
        option_error_set(error, "option %s: %.*s", row->name, (int)(sizeof(error->text) / 2 + SHOWN_SIZE),
                         why.text[0] ? why.text : err_name(err));
    }
    return err;
}

static enum err set_value(const struct option_row *row, void *config, struct bytes value, struct option_error *error)
{
    switch (row->type) {
    case OPTION_STRING:
    case OPTION_PATH:
        return set_string(row, config, value, error);
    case OPTION_BOOL:
        return set_bool(row, config, value, error);
    case OPTION_UINT:
    case OPTION_SIZE:
    case OPTION_DURATION:
        return set_number(row, config, value, error);
    case OPTION_ENUM:
        return set_enum(row, config, value, error);
    case OPTION_HOSTPORT:
        return set_hostport(row, config, value, error);
    case OPTION_CUSTOM:
        return set_custom(row, config, value, error);
    }
    return E_INVALID;
}

static bool has_control(struct bytes value)
{
    for (size_t i = 0; i < value.len; i++) {
        if ((value.data[i] < 0x20 && value.data[i] != '\t') || value.data[i] == 0x7F) {
            return true;
        }
    }
    return false;
}

enum err options_set(const struct option_table *t, void *config, bool *seen, const char *name, struct bytes value,
                     struct option_error *error)
{
    const struct option_row *row = options_find(t, name);
    if (!row) {
        options_unknown(t, name, error);
        return E_INVALID;
    }
    value = option_trim(value);
    if (value.len == 0) {
        option_error_set(error, "option %s: a value is missing", name);
        return E_INVALID;
    }
    if (has_control(value)) {
        option_error_set(error, "option %s: a control character in the value", name);
        return E_INVALID;
    }
    bool *row_seen = seen ? &seen[row - t->rows] : NULL;
    if (row_seen && *row_seen && !row->repeatable) {
        option_error_set(error, "option %s: it is set more than once", name);
        return E_INVALID;
    }
    enum err err = set_value(row, config, value, error);
    if (err == E_OK && row_seen) {
        *row_seen = true;
    }
    return err;
}

enum err options_init(const struct option_table *t, void *config)
{
    for (size_t i = 0; i < t->count; i++) {
        struct option_error error;
        if (!t->rows[i].initial) {
            continue;
        }
        enum err err = set_value(&t->rows[i], config, bytes_str(t->rows[i].initial), &error);
        if (err != E_OK) {
            options_finish(t, config);
            return err;
        }
    }
    return E_OK;
}

static void finish_value(const struct option_row *row, void *config)
{
    void *value = value_of(row, config);
    switch (row->type) {
    case OPTION_STRING:
    case OPTION_PATH:
        free(*(char **)value);
        *(char **)value = NULL;
        break;
    case OPTION_BOOL:
        *(bool *)value = false;
        break;
    case OPTION_UINT:
    case OPTION_SIZE:
    case OPTION_DURATION:
        *(uint64_t *)value = 0;
        break;
    case OPTION_ENUM:
        *(int *)value = 0;
        break;
    case OPTION_HOSTPORT:
        free(((struct option_hostport *)value)->host);
        *(struct option_hostport *)value = (struct option_hostport){.host = NULL};
        break;
    case OPTION_CUSTOM:
        if (row->finish) {
            row->finish(config);
        }
        break;
    }
}

void options_finish(const struct option_table *t, void *config)
{
    for (size_t i = 0; i < t->count; i++) {
        finish_value(&t->rows[i], config);
    }
}
