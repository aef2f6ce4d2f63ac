#include "store/measurement.h"

#include "base/log.h"
#include "base/option.h"

#include <stdlib.h>

/* "name(argument)" taken apart. */
struct call {
    struct bytes name;
    struct bytes argument;
};

/* A value of this form is meant as a function; anything else is a literal. */
static bool parse_call(struct bytes value, struct call *call)
{
    size_t n = 0;
    while (n < value.len && value.data[n] >= 'a' && value.data[n] <= 'z') {
        n++;
    }
    if (n == 0 || value.len < n + 2 || value.data[n] != '(' || value.data[value.len - 1] != ')') {
        return false;
    }
    call->name = bytes_sub(value, 0, n);
    call->argument = bytes_sub(value, n + 1, value.len - n - 2);
    return true;
}

static enum err bad_value(struct measurement_error *error, const char *word, const char *expected)
{
    measurement_error_set(error, "%s= takes %s", word, expected);
    return E_INVALID;
}

static enum err set_text(char **out, struct bytes text)
{
    *out = bytes_dup_str(text);
    return *out ? E_OK : E_NOMEM;
}

/* Text that may stand in a mapping: not empty, within its limit, UTF-8 without NUL. */
static bool fits(struct bytes text, size_t max)
{
    return text.len > 0 && text.len <= max && !memchr(text.data, 0, text.len) && bytes_is_utf8(text);
}

static enum err set_sensor(struct measurement_mapping *m, struct bytes value, struct measurement_error *error)
{
    static const char expected[] = "topic(N), client(), payload(a.b) or a literal";
    struct call call;
    uint64_t level;
    if (!parse_call(value, &call)) {
        if (!fits(value, MEASUREMENT_LITERAL_MAX)) {
            return bad_value(error, "sensor", expected);
        }
        m->sensor = MEASUREMENT_SENSOR_LITERAL;
        return set_text(&m->sensor_text, value);
    }
    if (bytes_equal(call.name, BYTES("topic"))) {
        if (option_parse_uint(call.argument, 1, UINT16_MAX, &level) != E_OK) {
            return bad_value(error, "sensor", "topic(N) with a level from 1 on");
        }
        m->sensor = MEASUREMENT_SENSOR_TOPIC;
        m->sensor_level = (uint32_t)level;
        return E_OK;
    }
    if (bytes_equal(call.name, BYTES("client")) && call.argument.len == 0) {
        m->sensor = MEASUREMENT_SENSOR_CLIENT;
        return E_OK;
    }
    if (bytes_equal(call.name, BYTES("payload")) && fits(call.argument, MEASUREMENT_PATH_MAX)) {
        m->sensor = MEASUREMENT_SENSOR_PAYLOAD;
        return set_text(&m->sensor_text, call.argument);
    }
    return bad_value(error, "sensor", expected);
}

static enum err set_path(char **out, struct bytes value, const char *word, struct measurement_error *error)
{
    struct call call;
    if (!parse_call(value, &call) || !bytes_equal(call.name, BYTES("payload")) ||
        !fits(call.argument, MEASUREMENT_PATH_MAX)) {
        return bad_value(error, word, "payload(a.b)");
    }
    return set_text(out, call.argument);
}

static enum err set_time(struct measurement_mapping *m, struct bytes value, struct measurement_error *error)
{
    return set_path(&m->time_path, value, "time", error);
}

static enum err set_message(struct measurement_mapping *m, struct bytes value, struct measurement_error *error)
{
    return set_path(&m->message_path, value, "message", error);
}

bool measurement_table_valid(struct bytes table)
{
    bool arn = bytes_starts_with(table, BYTES("arn:"));
    const char *marks = arn ? "_-.:/" : "_-.";
    bool valid = table.len >= 3 && table.len <= (arn ? 1024 : 255);
    for (size_t i = 0; valid && i < table.len; i++) {
        uint8_t c = table.data[i];
        uint8_t lower = c | 0x20;
        valid = (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') || (c && strchr(marks, c));
    }
    return valid;
}

static enum err set_table(struct measurement_mapping *m, struct bytes value, struct measurement_error *error)
{
    if (!measurement_table_valid(value)) {
        return bad_value(error, "table", "the name or ARN of a DynamoDB table");
    }
    return set_text(&m->table, value);
}

static const struct {
    const char *prefix;
    enum err (*set)(struct measurement_mapping *m, struct bytes value, struct measurement_error *error);
} words_known[] = {
    {"sensor=", set_sensor},
    {"time=", set_time},
    {"message=", set_message},
    {"table=", set_table},
};

enum { WORD_COUNT = sizeof(words_known) / sizeof(words_known[0]) };

/* The level of the first '+', 0 for none. */
static uint32_t first_plus(struct bytes filter)
{
    uint32_t level = 1;
    for (size_t i = 0; i < filter.len; i++) {
        if (filter.data[i] == '+') {
            return level;
        }
        level += filter.data[i] == '/' ? 1 : 0;
    }
    return 0;
}

/* A level that no topic of the filter has: every message would be set aside. */
static enum err check_level(struct bytes filter, const struct measurement_mapping *m, struct measurement_error *error)
{
    uint32_t levels = 1;
    for (size_t i = 0; i < filter.len; i++) {
        levels += filter.data[i] == '/' ? 1 : 0;
    }
    bool open = filter.len > 0 && filter.data[filter.len - 1] == '#';
    if (m->sensor != MEASUREMENT_SENSOR_TOPIC || open || m->sensor_level <= levels) {
        return E_OK;
    }
    measurement_error_set(error, "sensor=topic(%u), but topics of this filter have %u levels", m->sensor_level, levels);
    return E_INVALID;
}

static enum err parse_word(struct bytes word, bool *seen, struct measurement_mapping *m,
                           struct measurement_error *error)
{
    for (size_t i = 0; i < WORD_COUNT; i++) {
        struct bytes prefix = bytes_str(words_known[i].prefix);
        if (!bytes_starts_with(word, prefix)) {
            continue;
        }
        if (seen[i]) {
            measurement_error_set(error, "%s stands twice", words_known[i].prefix);
            return E_INVALID;
        }
        seen[i] = true;
        return words_known[i].set(m, bytes_sub(word, prefix.len, word.len), error);
    }
    char shown[60];
    measurement_error_set(error, "unknown word \"%s\" (known: sensor= time= message= table=)",
                          log_escape(word, shown, sizeof(shown)));
    return E_INVALID;
}

enum err measurement_mapping_parse(struct bytes filter, struct bytes words, struct measurement_mapping *out,
                                   struct measurement_error *error)
{
    struct measurement_mapping m = {.sensor = MEASUREMENT_SENSOR_DEFAULT, .sensor_level = first_plus(filter)};
    bool seen[WORD_COUNT] = {false};
    struct bytes word;
    while (option_next_word(&words, &word)) {
        enum err e = parse_word(word, seen, &m, error);
        if (e != E_OK) {
            measurement_mapping_finish(&m);
            return e;
        }
    }
    enum err e = check_level(filter, &m, error);
    if (e != E_OK) {
        measurement_mapping_finish(&m);
        return e;
    }
    *out = m;
    return E_OK;
}

/* Appends a word, behind a blank unless it is the first, in quotes if it needs them. */
static enum err append_word(struct buffer *out, size_t start, const char *prefix, const char *text, const char *suffix)
{
    const char *quote = strpbrk(text, " \t\r") ? "\"" : "";
    const char *blank = out->len > start ? " " : "";
    return buffer_appendf(out, "%s%s%s%s%s%s", blank, quote, prefix, text, suffix, quote);
}

static enum err append_sensor(struct buffer *out, size_t start, const struct measurement_mapping *m)
{
    switch (m->sensor) {
    case MEASUREMENT_SENSOR_DEFAULT:
        break;
    case MEASUREMENT_SENSOR_TOPIC:
        return buffer_appendf(out, "sensor=topic(%u)", m->sensor_level);
    case MEASUREMENT_SENSOR_CLIENT:
        return buffer_append_str(out, "sensor=client()");
    case MEASUREMENT_SENSOR_PAYLOAD:
        return append_word(out, start, "sensor=payload(", m->sensor_text, ")");
    case MEASUREMENT_SENSOR_LITERAL:
        return append_word(out, start, "sensor=", m->sensor_text, "");
    }
    return E_OK;
}

enum err measurement_mapping_print(const struct measurement_mapping *m, struct buffer *out)
{
    size_t start = out->len;
    enum err e = append_sensor(out, start, m);
    if (e == E_OK && m->time_path) {
        e = append_word(out, start, "time=payload(", m->time_path, ")");
    }
    if (e == E_OK && m->message_path) {
        e = append_word(out, start, "message=payload(", m->message_path, ")");
    }
    if (e == E_OK && m->table) {
        e = append_word(out, start, "table=", m->table, "");
    }
    return e;
}

void measurement_mapping_finish(struct measurement_mapping *m)
{
    free(m->sensor_text);
    free(m->time_path);
    free(m->message_path);
    free(m->table);
    *m = (struct measurement_mapping){.sensor = MEASUREMENT_SENSOR_DEFAULT};
}
