#include "dashboard/config.h"

#include "aws/options.h"
#include "base/json.h"
#include "store/measurement.h"

#include <stdlib.h>

/* --- metric NAME [unit=..] [min=..] [max=..] --- */

static void finish_metric(struct config_metric *m)
{
    free(m->name);
    free(m->unit);
    free(m->min);
    free(m->max);
    *m = (struct config_metric){0};
}

/* One `key=value` word of a metric line. */
static enum err set_part(struct config_metric *m, struct bytes word, struct option_error *error)
{
    static const struct {
        const char *key;
        size_t offset;
        bool number;
    } parts[] = {{"unit=", offsetof(struct config_metric, unit), false},
                 {"min=", offsetof(struct config_metric, min), true},
                 {"max=", offsetof(struct config_metric, max), true}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct bytes key = bytes_str(parts[i].key);
        struct json_token token;
        if (!bytes_starts_with(word, key)) {
            continue;
        }
        struct bytes value = bytes_sub(word, key.len, word.len);
        char **at = (char **)(void *)((char *)m + parts[i].offset);
        if (*at || value.len == 0) {
            option_error_set(error, "%s given twice or without a value", parts[i].key);
            return E_INVALID;
        }
        if (parts[i].number && (json_parse(value, 0, &token) != E_OK || token.type != JSON_NUMBER)) {
            option_error_set(error, "%s takes a number", parts[i].key);
            return E_INVALID;
        }
        *at = bytes_dup_str(value);
        return *at ? E_OK : E_NOMEM;
    }
    option_error_set(error, "NAME is followed by unit=, min= and max= only");
    return E_INVALID;
}

static enum err set_metric(void *config, struct bytes value, struct option_error *error)
{
    struct dashboard_config *c = config;
    struct config_metric m = {0};
    struct bytes word;
    if (c->metric_count == CONFIG_METRICS_MAX) {
        option_error_set(error, "more than %u lines", CONFIG_METRICS_MAX);
        return E_TOO_LARGE;
    }
    if (!option_next_word(&value, &word) || word.len == 0 || !bytes_is_utf8(value) || !bytes_is_utf8(word)) {
        option_error_set(error, "must be NAME [unit=..] [min=..] [max=..] in UTF-8");
        return E_INVALID;
    }
    for (size_t i = 0; i < c->metric_count; i++) {
        if (bytes_equal(bytes_str(c->metrics[i].name), word)) {
            option_error_set(error, "%s is there already", c->metrics[i].name);
            return E_EXISTS;
        }
    }
    m.name = bytes_dup_str(word);
    enum err e = m.name ? E_OK : E_NOMEM;
    while (e == E_OK && option_next_word(&value, &word)) {
        e = set_part(&m, word, error);
    }
    if (e == E_OK && m.min && m.max && strtod(m.min, NULL) > strtod(m.max, NULL)) {
        option_error_set(error, "min= is above max=");
        e = E_INVALID;
    }
    if (e != E_OK) {
        finish_metric(&m);
        return e;
    }
    c->metrics[c->metric_count++] = m;
    return E_OK;
}

/* `key=value` as one word that option_next_word reads back. */
static enum err print_part(const char *key, const char *value, struct buffer *out)
{
    struct buffer word;
    if (!value) {
        return E_OK;
    }
    buffer_init(&word, 8192);
    enum err e = buffer_appendf(&word, "%s%s", key, value);
    e = e ? e : buffer_append_byte(out, ' ');
    e = e ? e : option_print_word(buffer_bytes(&word), out);
    buffer_finish(&word);
    return e;
}

static enum err print_metrics(const void *config, const char *name, struct buffer *out)
{
    const struct dashboard_config *c = config;
    enum err e = E_OK;
    for (size_t i = 0; !e && i < c->metric_count; i++) {
        const struct config_metric *m = &c->metrics[i];
        e = buffer_appendf(out, "%s ", name);
        e = e ? e : option_print_word(bytes_str(m->name), out);
        e = e ? e : print_part("unit=", m->unit, out);
        e = e ? e : print_part("min=", m->min, out);
        e = e ? e : print_part("max=", m->max, out);
        e = e ? e : buffer_append_byte(out, '\n');
    }
    return e;
}

static void finish_metrics(void *config)
{
    struct dashboard_config *c = config;
    for (size_t i = 0; i < c->metric_count; i++) {
        finish_metric(&c->metrics[i]);
    }
    c->metric_count = 0;
}

/* --- sensors NAME ... --- */

static enum err set_sensors(void *config, struct bytes value, struct option_error *error)
{
    struct dashboard_config *c = config;
    struct bytes word;
    while (option_next_word(&value, &word)) {
        if (word.len == 0 || !bytes_is_utf8(word)) {
            option_error_set(error, "a sensor's name is not empty and in UTF-8");
            return E_INVALID;
        }
        if (c->sensor_count == CONFIG_SENSORS_MAX) {
            option_error_set(error, "more than %u names", CONFIG_SENSORS_MAX);
            return E_TOO_LARGE;
        }
        if (c->sensor_count > 0 && dashboard_config_allows(c, word)) {
            continue;
        }
        char *name = bytes_dup_str(word);
        if (!name) {
            return E_NOMEM;
        }
        c->sensors[c->sensor_count++] = name;
    }
    return E_OK;
}

static enum err print_sensors(const void *config, const char *name, struct buffer *out)
{
    const struct dashboard_config *c = config;
    enum err e = E_OK;
    for (size_t i = 0; !e && i < c->sensor_count; i++) {
        e = buffer_appendf(out, "%s ", name);
        e = e ? e : option_print_word(bytes_str(c->sensors[i]), out);
        e = e ? e : buffer_append_byte(out, '\n');
    }
    return e;
}

static void finish_sensors(void *config)
{
    struct dashboard_config *c = config;
    for (size_t i = 0; i < c->sensor_count; i++) {
        free(c->sensors[i]);
    }
    c->sensor_count = 0;
}

bool dashboard_config_allows(const struct dashboard_config *c, struct bytes sensor)
{
    for (size_t i = 0; i < c->sensor_count; i++) {
        if (bytes_equal(bytes_str(c->sensors[i]), sensor)) {
            return true;
        }
    }
    return c->sensor_count == 0;
}

/* --- the table --- */

static const struct option_word source_words[] = {{"sqlite", CONFIG_SQLITE}, {"dynamodb", CONFIG_DYNAMODB}, {NULL, 0}};

#define AT(field) .offset = offsetof(struct dashboard_config, field)

static const struct option_row rows[] = {
    {.name = "source",
     .type = OPTION_ENUM,
     AT(source),
     .words = source_words,
     .initial = "sqlite",
     .arg = "sqlite|dynamodb",
     .text = "Where measurements are read from."},
    {.name = "sqlite_file",
     .type = OPTION_PATH,
     AT(sqlite_file),
     .arg = "FILE",
     .text = "The plugin's local store; only read."},
    AWS_IDENTITY_OPTION_ROWS(struct dashboard_config),
    AWS_ACCOUNT_OPTION_ROWS(struct dashboard_config),
    DYNAMODB_TABLE_OPTION_ROWS(struct dashboard_config, "The DynamoDB table with the measurements."),
    {.name = "title",
     .type = OPTION_STRING,
     AT(title),
     .max = 200,
     .initial = "Sensors",
     .arg = "TEXT",
     .text = "Title of the page."},
    {.name = "refresh",
     .type = OPTION_DURATION,
     AT(refresh),
     .min = 1000,
     .max = 3600000,
     .initial = "10s",
     .arg = "TIME",
     .text = "How often the page asks for what is new."},
    {.name = "points",
     .type = OPTION_UINT,
     AT(points),
     .min = 10,
     .max = CONFIG_POINTS_MAX,
     .initial = "500",
     .arg = "N",
     .text = "Points of a chart for which the request names no number."},
    {.name = "metric",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = set_metric,
     .print = print_metrics,
     .finish = finish_metrics,
     .arg = "NAME [unit=..] [min=..] [max=..]",
     .text = "Unit and thresholds of a metric; values outside are marked."},
    {.name = "sensors",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = set_sensors,
     .print = print_sensors,
     .finish = finish_sensors,
     .arg = "NAME ...",
     .text = "Only these sensors may be seen; with DynamoDB it also spares searching the table for their names."},
    {.name = "log_type",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = program_set_log_type,
     .print = program_print_log_type,
     .finish = program_finish_log_type,
     .arg = "error|warning|notice|information|debug|all|none ...",
     .text = "Which lines are logged, to standard error: the web server's log. Default: all but debug."},
};

const struct option_table dashboard_option_table = {rows, sizeof(rows) / sizeof(rows[0])};

enum err dashboard_config_check(const void *config, struct option_error *error)
{
    const struct dashboard_config *c = config;
    if (c->source == CONFIG_SQLITE && !c->sqlite_file) {
        option_error_set(error, "option source: sqlite needs sqlite_file");
    } else if (c->source == CONFIG_DYNAMODB && !c->dynamodb_table) {
        option_error_set(error, "option source: dynamodb needs dynamodb_table");
    } else if (c->dynamodb_table && !measurement_table_valid(bytes_str(c->dynamodb_table))) {
        option_error_set(error, "option dynamodb_table is not the name or ARN of a DynamoDB table");
    } else if (!c->iot_certfile != !c->iot_keyfile) {
        option_error_set(error, "options iot_certfile and iot_keyfile go together");
    } else if (!c->aws_role_alias != !c->aws_credentials_endpoint) {
        option_error_set(error, "options aws_role_alias and aws_credentials_endpoint go together");
    } else if (c->aws_role_alias && !c->iot_certfile) {
        option_error_set(error, "option aws_role_alias needs iot_certfile and iot_keyfile");
    } else if (!bytes_is_utf8(bytes_str(c->title))) {
        option_error_set(error, "option title: must be UTF-8");
    } else {
        return E_OK;
    }
    return E_INVALID;
}
