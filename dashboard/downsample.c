#include "dashboard/downsample.h"

#include "base/json.h"
#include "dashboard/flatten.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { GAP_FACTOR = 3, OTHER = DOWNSAMPLE_STATES_MAX };

struct bucket {
    int64_t offset_sum; /* of its measurements' times from its start, or from that of the range */
    uint32_t count;
};

struct number_cell {
    double min, max, sum;
    uint32_t count;
};

struct state_cell {
    uint16_t state; /* index + 1; 0 = none */
    uint16_t changes;
};

struct column {
    char name[FLATTEN_NAME_MAX];
    size_t name_len;
    struct number_cell *numbers; /* NULL until there is one; of all buckets */
    double last_number;          /* where there are numbers */
    struct state_cell *states;   /* as numbers */
    char (*texts)[DOWNSAMPLE_STATE_BYTES];
    uint8_t text_lens[DOWNSAMPLE_STATES_MAX];
    size_t text_count;
    uint16_t last_state; /* index + 1 */
};

struct downsample {
    struct flatten flatten;
    struct bytes metric;
    int64_t from_ms, to_ms;
    int64_t width; /* ms */
    int64_t first; /* number of the first bucket in the grid */
    size_t count;  /* buckets */
    struct bucket *buckets;
    struct column *columns[DOWNSAMPLE_METRICS_MAX];
    size_t column_count;
    size_t expected;  /* the column that the next value is likely to belong to: messages of a sensor look alike */
    uint64_t omitted; /* values of metrics beyond the ceiling */
    size_t at;        /* bucket of the message that is being added */
    enum err failed;
};

/* Buckets of that width that a range touches. */
static int64_t buckets_of(const struct downsample_options *o, int64_t width)
{
    return o->to_ms / width - o->from_ms / width + 1;
}

/* Never more buckets than points: where the grid would cut the range once more, they are a bit wider. */
static int64_t choose_width(const struct downsample_options *o)
{
    int64_t span = o->to_ms - o->from_ms + 1;
    int64_t width = (span + o->points - 1) / o->points;
    if (buckets_of(o, width) <= o->points) {
        return width;
    }
    return o->points > 1 ? (span + o->points - 2) / (o->points - 1) : o->to_ms + 1;
}

enum err downsample_create(const struct downsample_options *o, struct downsample **out)
{
    struct downsample *d = calloc(1, sizeof(*d));
    if (!d) {
        return E_NOMEM;
    }
    d->width = choose_width(o);
    d->first = o->from_ms / d->width;
    d->count = (size_t)buckets_of(o, d->width);
    d->from_ms = o->from_ms;
    d->to_ms = o->to_ms;
    d->metric = o->metric;
    flatten_init(&d->flatten);
    d->buckets = calloc(d->count, sizeof(*d->buckets));
    if (!d->buckets) {
        downsample_destroy(d);
        return E_NOMEM;
    }
    *out = d;
    return E_OK;
}

void downsample_destroy(struct downsample *d)
{
    if (!d) {
        return;
    }
    for (size_t i = 0; i < d->column_count; i++) {
        free(d->columns[i]->numbers);
        free(d->columns[i]->states);
        free(d->columns[i]->texts);
        free(d->columns[i]);
    }
    flatten_finish(&d->flatten);
    free(d->buckets);
    free(d);
}

int64_t downsample_bucket_start(const struct downsample *d, int64_t time_ms)
{
    return time_ms / d->width * d->width;
}

/* The same, but never before the range: sums of offsets stay small. */
static int64_t offset_base(const struct downsample *d, int64_t bucket)
{
    int64_t start = bucket * d->width;
    return start > d->from_ms ? start : d->from_ms;
}

/* --- adding --- */

static bool column_is(const struct column *c, struct bytes name)
{
    return bytes_equal(bytes_make(c->name, c->name_len), name);
}

/* The column of that name, made if there is none; NULL: there are too many, or no memory (then `failed` is set). */
static struct column *find_column(struct downsample *d, struct bytes name)
{
    for (size_t i = 0; i < d->column_count; i++) {
        size_t at = (d->expected + i) % d->column_count;
        if (column_is(d->columns[at], name)) {
            d->expected = at + 1;
            return d->columns[at];
        }
    }
    if (d->column_count == DOWNSAMPLE_METRICS_MAX) {
        d->omitted++;
        return NULL;
    }
    struct column *c = calloc(1, sizeof(*c));
    if (!c) {
        d->failed = E_NOMEM;
        return NULL;
    }
    memcpy(c->name, name.data, name.len);
    c->name_len = name.len;
    d->columns[d->column_count++] = c;
    d->expected = d->column_count;
    return c;
}

static void add_number(struct downsample *d, struct column *c, double value)
{
    if (!c->numbers && !(c->numbers = calloc(d->count, sizeof(*c->numbers)))) {
        d->failed = E_NOMEM;
        return;
    }
    struct number_cell *cell = &c->numbers[d->at];
    cell->min = cell->count == 0 || value < cell->min ? value : cell->min;
    cell->max = cell->count == 0 || value > cell->max ? value : cell->max;
    cell->sum += value;
    cell->count++;
    c->last_number = value;
}

/* Cut to whole characters. */
static struct bytes cut_state(struct bytes text)
{
    size_t len = text.len < DOWNSAMPLE_STATE_BYTES ? text.len : DOWNSAMPLE_STATE_BYTES;
    while (len < text.len && len > 0 && (text.data[len] & 0xC0) == 0x80) {
        len--;
    }
    return bytes_sub(text, 0, len);
}

static uint16_t state_index(struct column *c, struct bytes text)
{
    text = cut_state(text);
    for (size_t i = 0; i < c->text_count; i++) {
        if (bytes_equal(bytes_make(c->texts[i], c->text_lens[i]), text)) {
            return (uint16_t)i;
        }
    }
    if (c->text_count == DOWNSAMPLE_STATES_MAX) {
        return OTHER;
    }
    if (text.len > 0) {
        memcpy(c->texts[c->text_count], text.data, text.len);
    }
    c->text_lens[c->text_count] = (uint8_t)text.len;
    return (uint16_t)c->text_count++;
}

static void add_state(struct downsample *d, struct column *c, struct bytes text)
{
    c->states = c->states ? c->states : calloc(d->count, sizeof(*c->states));
    c->texts = c->texts ? c->texts : calloc(DOWNSAMPLE_STATES_MAX, sizeof(*c->texts));
    if (!c->states || !c->texts) {
        d->failed = E_NOMEM;
        return;
    }
    struct state_cell *cell = &c->states[d->at];
    cell->state = (uint16_t)(state_index(c, text) + 1);
    if (c->last_state != 0 && c->last_state != cell->state && cell->changes < UINT16_MAX) {
        cell->changes++;
    }
    c->last_state = cell->state;
}

static bool on_value(void *ctx, const struct flatten_value *value)
{
    struct downsample *d = ctx;
    if (d->metric.data && !bytes_equal(d->metric, value->name)) {
        return true;
    }
    struct column *c = find_column(d, value->name);
    if (c && value->is_number) {
        add_number(d, c, value->number);
    } else if (c) {
        add_state(d, c, value->text);
    }
    return d->failed == E_OK;
}

enum err downsample_add(struct downsample *d, int64_t time_ms, struct bytes message)
{
    if (time_ms < d->from_ms || time_ms > d->to_ms) {
        return E_OK;
    }
    d->at = (size_t)(time_ms / d->width - d->first);
    d->expected = 0;
    enum err e = flatten_message(&d->flatten, message, on_value, d);
    if (e == E_OK || e == E_MALFORMED) {
        struct bucket *b = &d->buckets[d->at];
        b->offset_sum += time_ms - offset_base(d, time_ms / d->width);
        b->count++;
        e = E_OK;
    }
    return d->failed ? d->failed : e;
}

/* --- writing --- */

/* A row of the answer: a bucket, or a gap before the next one. */
struct row {
    int64_t time;
    size_t bucket; /* GAP: none */
};

#define GAP SIZE_MAX

static int compare_int64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Distance between rows from which on there is a gap. */
static int64_t gap_limit(const struct downsample *d, const struct row *rows, size_t count)
{
    int64_t *distances = count > 2 ? malloc((count - 1) * sizeof(*distances)) : NULL;
    if (!distances) {
        return INT64_MAX;
    }
    for (size_t i = 1; i < count; i++) {
        distances[i - 1] = rows[i].time - rows[i - 1].time;
    }
    qsort(distances, count - 1, sizeof(*distances), compare_int64);
    int64_t usual = distances[(count - 2) / 2];
    free(distances);
    return GAP_FACTOR * usual > 2 * d->width ? GAP_FACTOR * usual : 2 * d->width;
}

/* Filled buckets with their times, and gaps between them; rows has room for two a bucket. */
static size_t collect_rows(const struct downsample *d, struct row *rows)
{
    size_t count = 0;
    for (size_t i = 0; i < d->count; i++) {
        const struct bucket *b = &d->buckets[i];
        if (b->count > 0) {
            rows[count++] = (struct row){offset_base(d, d->first + (int64_t)i) + b->offset_sum / b->count, i};
        }
    }
    int64_t limit = gap_limit(d, rows, count);
    size_t gaps = 0;
    for (size_t i = 1; i < count; i++) {
        gaps += rows[i].time - rows[i - 1].time > limit ? 1 : 0;
    }
    size_t to = count + gaps;
    for (size_t from = count; from-- > 0;) {
        rows[--to] = rows[from];
        if (from > 0 && rows[from].time - rows[from - 1].time > limit) {
            int64_t middle = rows[from - 1].time + (rows[from].time - rows[from - 1].time) / 2;
            rows[--to] = (struct row){middle, GAP};
        }
    }
    return count + gaps;
}

enum err downsample_append_number(struct buffer *out, double value)
{
    if (value == floor(value) && fabs(value) < 1e15) {
        return buffer_appendf(out, "%lld", (long long)value);
    }
    size_t start = out->len;
    enum err e = buffer_appendf(out, "%.15g", value);
    e = e ? e : buffer_append_byte(out, 0);
    if (e == E_OK && strtod((const char *)out->data + start, NULL) == value) {
        out->len--;
        return E_OK;
    }
    out->len = start;
    return e ? e : buffer_appendf(out, "%.17g", value);
}

enum cell_kind { CELL_MIN, CELL_MAX, CELL_AVG, CELL_COUNT, CELL_STATE, CELL_CHANGES };

static enum err append_cell(const struct column *c, enum cell_kind kind, size_t bucket, struct buffer *out)
{
    bool is_number = kind < CELL_STATE;
    if (bucket == GAP || (is_number ? c->numbers[bucket].count == 0 : c->states[bucket].state == 0)) {
        return buffer_append_str(out, "null");
    }
    switch (kind) {
    case CELL_MIN:
        return downsample_append_number(out, c->numbers[bucket].min);
    case CELL_MAX:
        return downsample_append_number(out, c->numbers[bucket].max);
    case CELL_AVG: {
        const struct number_cell *cell = &c->numbers[bucket];
        double average = cell->sum / cell->count;
        /* A sum may overflow (and be no number then) or round where the average does not. */
        average = average >= cell->min ? average : cell->min;
        average = average > cell->max ? cell->max : average;
        return cell->count == 1 || cell->min == cell->max ? downsample_append_number(out, cell->min)
                                                          : buffer_appendf(out, "%.12g", average);
    }
    case CELL_COUNT:
        return buffer_appendf(out, "%u", c->numbers[bucket].count);
    case CELL_STATE: {
        size_t state = c->states[bucket].state - 1u;
        return state == OTHER ? buffer_append_str(out, "\"(other)\"")
                              : json_append_string(out, bytes_make(c->texts[state], c->text_lens[state]));
    }
    case CELL_CHANGES:
        return buffer_appendf(out, "%u", c->states[bucket].changes);
    }
    return E_INVALID;
}

static enum err append_array(const struct column *c, enum cell_kind kind, const struct row *rows, size_t count,
                             struct buffer *out)
{
    static const char *const names[] = {"min", "max", "avg", "count", "state", "changes"};
    enum err e = buffer_appendf(out, "%s\"%s\":[", out->data[out->len - 1] == '{' ? "" : ",", names[kind]);
    for (size_t i = 0; e == E_OK && i < count; i++) {
        e = i > 0 ? buffer_append_byte(out, ',') : E_OK;
        e = e ? e : append_cell(c, kind, rows[i].bucket, out);
    }
    return e ? e : buffer_append_byte(out, ']');
}

/* Without one the counts say nothing: the array is left out. */
static bool has_shared_bucket(const struct column *c, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].bucket != GAP && c->numbers[rows[i].bucket].count > 1) {
            return true;
        }
    }
    return false;
}

static enum err append_name(const struct column *c, struct buffer *out)
{
    struct bytes name = bytes_make(c->name, c->name_len);
    char dotted[8];
    if (bytes_equal(name, BYTES("t")) || bytes_equal(name, BYTES("meta"))) {
        int n = snprintf(dotted, sizeof(dotted), ".%.*s", (int)c->name_len, c->name);
        name = bytes_make(dotted, (size_t)n);
    }
    enum err e = json_append_string(out, name);
    return e ? e : buffer_append_byte(out, ':');
}

static enum err append_column(const struct column *c, const struct row *rows, size_t count, struct buffer *out)
{
    enum err e = buffer_append_byte(out, ',');
    e = e ? e : append_name(c, out);
    e = e ? e : buffer_append_byte(out, '{');
    for (enum cell_kind kind = CELL_MIN; e == E_OK && kind <= CELL_CHANGES; kind++) {
        bool is_number = kind < CELL_STATE;
        bool is_there = is_number ? c->numbers != NULL : c->states != NULL;
        if (is_there && (kind != CELL_COUNT || has_shared_bucket(c, rows, count))) {
            e = append_array(c, kind, rows, count, out);
        }
    }
    return e ? e : buffer_append_byte(out, '}');
}

static enum err append_meta(const struct downsample *d, bool complete, struct buffer *out)
{
    uint64_t measurements = 0;
    for (size_t i = 0; i < d->count; i++) {
        measurements += d->buckets[i].count;
    }
    enum err e =
        buffer_appendf(out,
                       "\"meta\":{\"from\":%lld,\"to\":%lld,\"width\":%lld,\"measurements\":%llu,"
                       "\"omitted\":%llu,\"complete\":%s,\"last\":{",
                       (long long)d->from_ms, (long long)d->to_ms, (long long)d->width,
                       (unsigned long long)measurements, (unsigned long long)d->omitted, complete ? "true" : "false");
    bool first = true;
    for (size_t i = 0; e == E_OK && i < d->column_count; i++) {
        if (d->columns[i]->numbers) {
            e = first ? E_OK : buffer_append_byte(out, ',');
            e = e ? e : append_name(d->columns[i], out);
            e = e ? e : downsample_append_number(out, d->columns[i]->last_number);
            first = false;
        }
    }
    return e ? e : buffer_append_str(out, "}}");
}

static enum err append_rows(const struct downsample *d, bool complete, const struct row *rows, size_t count,
                            struct buffer *out)
{
    enum err e = buffer_append_str(out, "{\"t\":[");
    for (size_t i = 0; e == E_OK && i < count; i++) {
        e = buffer_appendf(out, "%s%lld", i ? "," : "", (long long)rows[i].time);
    }
    e = e ? e : buffer_append_str(out, "],");
    e = e ? e : append_meta(d, complete, out);
    for (size_t i = 0; e == E_OK && i < d->column_count; i++) {
        e = append_column(d->columns[i], rows, count, out);
    }
    return e ? e : buffer_append_byte(out, '}');
}

enum err downsample_write(const struct downsample *d, bool complete, struct buffer *out)
{
    struct row *rows = calloc(d->count, 2 * sizeof(*rows));
    if (!rows) {
        return E_NOMEM;
    }
    size_t count = collect_rows(d, rows);
    enum err e = append_rows(d, complete, rows, count, out);
    free(rows);
    return e;
}
