/* Metrics: a const table names the counters and gauges of a struct of atomics; printers walk the table. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/buffer.h"

#include <stdatomic.h>

typedef _Atomic uint64_t metric_value;

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric_row {
    const char *name; /* lower case with '_' (Prometheus) or '/' ($SYS) as the program needs */
    enum metric_kind kind;
    size_t offset; /* offsetof a metric_value in the program's struct */
    const char *help;
};

static inline void metric_add(metric_value *m, uint64_t n)
{
    atomic_fetch_add_explicit(m, n, memory_order_relaxed);
}

static inline void metric_set(metric_value *m, uint64_t v)
{
    atomic_store_explicit(m, v, memory_order_relaxed);
}

static inline uint64_t metric_get(const metric_value *m)
{
    return atomic_load_explicit(m, memory_order_relaxed);
}

static inline uint64_t metric_row_get(const struct metric_row *row, const void *values)
{
    return metric_get((const metric_value *)((const char *)values + row->offset));
}

/* Appends Prometheus text format (version 0.0.4): HELP, TYPE and value of each row, names prefixed. On failure `out` is as
 * it was. */
MUST_CHECK enum err metrics_print_prometheus(const struct metric_row *rows, size_t count, const void *values,
                                             const char *prefix, struct buffer *out);

#endif
