#include "base/metrics.h"

#include <inttypes.h>

/* HELP texts escape backslash and newline ("Text-based format" of the Prometheus documentation). */
static enum err append_help(struct buffer *out, const char *help)
{
    enum err err = E_OK;
    for (; *help && err == E_OK; help++) {
        if (*help == '\n') {
            err = buffer_append_str(out, "\\n");
        } else if (*help == '\\') {
            err = buffer_append_str(out, "\\\\");
        } else {
            err = buffer_append_byte(out, (uint8_t)*help);
        }
    }
    return err;
}

static enum err append_row(const struct metric_row *row, const void *values, const char *prefix, struct buffer *out)
{
    enum err err = E_OK;
    if (row->help) {
        err = buffer_appendf(out, "# HELP %s%s ", prefix, row->name);
        if (err == E_OK) {
            err = append_help(out, row->help);
        }
        if (err == E_OK) {
            err = buffer_append_byte(out, '\n');
        }
    }
    if (err == E_OK) {
        const char *type = row->kind == METRIC_COUNTER ? "counter" : "gauge";
        err = buffer_appendf(out, "# TYPE %s%s %s\n%s%s %" PRIu64 "\n", prefix, row->name, type, prefix, row->name,
                             metric_row_get(row, values));
    }
    return err;
}

enum err metrics_print_prometheus(const struct metric_row *rows, size_t count, const void *values, const char *prefix,
                                  struct buffer *out)
{
    size_t before = out->len;
    for (size_t i = 0; i < count; i++) {
        enum err err = append_row(&rows[i], values, prefix, out);
        if (err != E_OK) {
            out->len = before;
            return err;
        }
    }
    return E_OK;
}
