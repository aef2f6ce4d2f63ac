/* Export as CSV (RFC 4180), streamed: memory does not grow with the range. The columns must be known before the first line, so the
 * range is read twice, unless the request names a metric; what is written meanwhile lies outside of it or adds no column. */
#include "dashboard/api.h"

#include "base/clock.h"
#include "dashboard/flatten.h"

#include <stdlib.h>

enum { COLUMNS_MAX = 256, CHUNK = 65536, LINE_MAX_BYTES = 32 << 20 };

struct csv {
    const struct exchange *x;
    struct flatten flatten;
    struct buffer names; /* of the columns, one after the other */
    size_t starts[COLUMNS_MAX + 1];
    size_t count;
    struct buffer out;           /* waits to be sent */
    struct buffer values;        /* of the row that is being written */
    size_t offsets[COLUMNS_MAX]; /* of the cells in it */
    size_t lens[COLUMNS_MAX];
    bool texts[COLUMNS_MAX]; /* not a number */
    bool any;                /* the sensor has measurements */
    enum err failed;
};

static struct bytes column_name(const struct csv *c, size_t i)
{
    return bytes_sub(buffer_bytes(&c->names), c->starts[i], c->starts[i + 1] - c->starts[i]);
}

static size_t find_column(const struct csv *c, struct bytes name)
{
    size_t i = 0;
    while (i < c->count && !bytes_equal(column_name(c, i), name)) {
        i++;
    }
    return i;
}

static enum err add_column(struct csv *c, struct bytes name)
{
    enum err e = buffer_append(&c->names, name);
    if (e == E_OK) {
        c->starts[++c->count] = c->names.len;
    }
    return e;
}

/* --- first reading: which columns --- */

static bool on_name(void *ctx, const struct flatten_value *value)
{
    struct csv *c = ctx;
    if (find_column(c, value->name) == c->count && c->count < COLUMNS_MAX) {
        c->failed = add_column(c, value->name);
    }
    return c->failed == E_OK;
}

static bool on_first_row(void *ctx, const struct source_row *row)
{
    struct csv *c = ctx;
    c->any = true;
    enum err e = flatten_message(&c->flatten, row->message, on_name, c);
    c->failed = c->failed ? c->failed : e == E_MALFORMED ? E_OK : e;
    return c->failed == E_OK;
}

/* --- second reading: the lines --- */

/* A cell that is text: quoted, and never taken for a formula by a spreadsheet (OWASP, "CSV Injection"). */
static enum err append_text(struct buffer *out, struct bytes text)
{
    bool formula = text.len > 0 && strchr("=+-@\t\r", text.data[0]);
    enum err e = buffer_append_str(out, formula ? "\"'" : "\"");
    for (size_t i = 0; e == E_OK && i < text.len; i++) {
        e = text.data[i] == '"' ? buffer_append_str(out, "\"\"") : buffer_append_byte(out, text.data[i]);
    }
    return e ? e : buffer_append_byte(out, '"');
}

static bool on_cell(void *ctx, const struct flatten_value *value)
{
    struct csv *c = ctx;
    size_t i = find_column(c, value->name);
    if (i < c->count) {
        c->offsets[i] = c->values.len;
        c->lens[i] = value->text.len;
        c->texts[i] = !value->is_number;
        c->failed = buffer_append(&c->values, value->text);
    }
    return c->failed == E_OK;
}

static enum err flush(struct csv *c, size_t threshold)
{
    if (c->out.len < threshold || c->out.len == 0) {
        return E_OK;
    }
    enum err e = c->x->is_head ? E_OK : c->x->write(c->x->ctx, buffer_bytes(&c->out));
    buffer_clear(&c->out);
    return e;
}

static enum err append_line(struct csv *c, int64_t time_ms)
{
    char iso[WALL_ISO8601_SIZE];
    wall_format_iso8601((struct wall){time_ms}, iso);
    enum err e = buffer_appendf(&c->out, "%lld,%s", (long long)time_ms, iso);
    for (size_t i = 0; e == E_OK && i < c->count; i++) {
        e = buffer_append_byte(&c->out, ',');
        struct bytes cell = bytes_sub(buffer_bytes(&c->values), c->offsets[i], c->lens[i]);
        if (e == E_OK && (cell.len > 0 || c->texts[i])) {
            e = c->texts[i] ? append_text(&c->out, cell) : buffer_append(&c->out, cell);
        }
    }
    return e ? e : buffer_append_str(&c->out, "\r\n");
}

static bool on_row(void *ctx, const struct source_row *row)
{
    struct csv *c = ctx;
    buffer_clear(&c->values);
    memset(c->lens, 0, sizeof(c->lens));
    memset(c->texts, 0, sizeof(c->texts));
    enum err e = flatten_message(&c->flatten, row->message, on_cell, c);
    c->failed = c->failed ? c->failed : e == E_MALFORMED ? E_OK : e;
    c->failed = c->failed ? c->failed : append_line(c, row->time_ms);
    c->failed = c->failed ? c->failed : flush(c, CHUNK);
    return c->failed == E_OK;
}

static enum err append_heading(struct csv *c)
{
    enum err e = buffer_append_str(&c->out, "timestamp,time");
    for (size_t i = 0; e == E_OK && i < c->count; i++) {
        e = buffer_append_byte(&c->out, ',');
        e = e ? e : append_text(&c->out, column_name(c, i));
    }
    return e ? e : buffer_append_str(&c->out, "\r\n");
}

/* attachment; filename="..." from the sensor's name: letters, digits, '.', '_' and '-' only. */
static void file_header(struct bytes sensor, char *out, size_t size)
{
    static const char start[] = "Content-Disposition: attachment; filename=\"";
    size_t n = sizeof(start) - 1;
    memcpy(out, start, n);
    for (size_t i = 0; i < sensor.len && n + 8 < size; i++) {
        uint8_t c = sensor.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '_' || (c == '.' && i > 0);
        out[n++] = plain ? (char)c : '_';
    }
    memcpy(out + n, ".csv\"", 6);
}

static enum err stream(const struct api *a, struct csv *c, const struct source_range *range, struct bytes sensor)
{
    char header[200];
    struct source_error error;
    bool complete;
    file_header(sensor, header, sizeof(header));
    struct reply r = {
        .status = 200, .type = "text/csv; charset=utf-8; header=present", .cache = REPLY_NEVER, .header = header};
    enum err e = reply_head(c->x, &r);
    if (e != E_OK || c->x->is_head) {
        return e;
    }
    c->failed = append_heading(c);
    if (c->failed == E_OK && !source_range(a->source, range, on_row, c, &complete, &error) && c->failed == E_OK) {
        /* The status is gone; the file itself must say that it ends too early. */
        c->failed = buffer_appendf(&c->out, "# incomplete: %s\r\n", source_fault_answer(error.fault)->text);
    }
    return c->failed ? c->failed : flush(c, 1);
}

static bool on_any_row(void *ctx, const struct source_row *row)
{
    struct csv *c = ctx;
    (void)row;
    c->any = true;
    return false;
}

/* An empty range of a sensor is an empty file; a sensor of which nothing is stored is a name that was misspelt. */
static bool look_for_any_row(const struct api *a, struct csv *c, struct bytes sensor, struct source_error *error)
{
    struct source_range newest = {.sensor = sensor, .to_ms = REQUEST_TIME_MAX, .limit = 1, .newest_first = true};
    bool complete;
    return c->any || source_range(a->source, &newest, on_any_row, c, &complete, error) || c->any;
}

static enum err export_csv(const struct api *a, const struct request *r, struct csv *c)
{
    struct source_range range = {.sensor = r->sensor, .limit = UINT64_MAX};
    struct source_error error = {SOURCE_OK, ""};
    bool complete;
    api_times(r, &range.from_ms, &range.to_ms);
    if (r->metric.data) {
        c->failed = add_column(c, r->metric);
    } else if (!source_range(a->source, &range, on_first_row, c, &complete, &error)) {
        return reply_fault(c->x, error.fault);
    }
    if (c->failed == E_OK && !look_for_any_row(a, c, r->sensor, &error)) {
        return reply_fault(c->x, error.fault);
    }
    if (c->failed == E_OK && !c->any) {
        return api_no_measurements(c->x);
    }
    return c->failed ? reply_fault(c->x, SOURCE_MEMORY) : stream(a, c, &range, r->sensor);
}

enum err api_csv(const struct api *a, const struct request *r, const struct exchange *x)
{
    struct csv *c = calloc(1, sizeof(*c));
    if (!c) {
        return reply_fault(x, SOURCE_MEMORY);
    }
    c->x = x;
    flatten_init(&c->flatten);
    buffer_init(&c->names, (size_t)COLUMNS_MAX * FLATTEN_NAME_MAX);
    buffer_init(&c->out, LINE_MAX_BYTES);
    buffer_init(&c->values, LINE_MAX_BYTES);
    enum err e = export_csv(a, r, c);
    flatten_finish(&c->flatten);
    buffer_finish(&c->names);
    buffer_finish(&c->out);
    buffer_finish(&c->values);
    free(c);
    return e;
}
