/* Where measurements come from: one interface, two stores behind it. Calls wait for the answer; nothing is written. One thread
 * at a time. */
#ifndef DASHBOARD_SOURCE_H
#define DASHBOARD_SOURCE_H

#include "base/bytes.h"
#include "base/err.h"
#include "dashboard/config.h"

/* Why a source did not answer; each has its place in the table of source_fault_answer. */
enum source_fault {
    SOURCE_OK,
    SOURCE_BUSY,          /* locked by somebody else */
    SOURCE_MISSING,       /* there is no such file or table */
    SOURCE_EMPTY,         /* there, and nothing was ever stored */
    SOURCE_ACCESS,        /* we may not read it */
    SOURCE_BROKEN,        /* not a store of ours, or damaged */
    SOURCE_THROTTLED,     /* AWS says: slower */
    SOURCE_UNREACHABLE,   /* no way to AWS, or its servers fail */
    SOURCE_CREDENTIALS,   /* none, or refused */
    SOURCE_TIMEOUT,       /* too slow */
    SOURCE_CONFIGURATION, /* keys, region or permissions are not as configured */
    SOURCE_MEMORY,
    SOURCE_FAULT_COUNT_ /* number of faults; not a fault */
};

/* Where the browser is told to look: log lines go to standard error, and where that ends is the web server's choice. */
#define SOURCE_LOG "The log (journalctl -u lighttpd, or the web server's error log)"

struct source_error {
    enum source_fault fault;
    char detail[400]; /* for the log, never for the browser */
};

struct source_sensor {
    struct bytes sensor;
    int64_t last_ms;
    struct bytes message; /* the newest one; JSON object */
};

struct source_row {
    int64_t time_ms;
    struct bytes message; /* JSON object; borrowed during the callback, as above */
};

struct source_range {
    struct bytes sensor;
    int64_t from_ms; /* inclusive, both */
    int64_t to_ms;
    uint64_t limit; /* rows; 0 = as many as the source reads for one request */
    bool newest_first;
};

typedef bool source_sensor_fn(void *ctx, const struct source_sensor *sensor);
typedef bool source_row_fn(void *ctx, const struct source_row *row);

struct source;

struct source_ops {
    bool (*sensors)(struct source *s, source_sensor_fn *fn, void *ctx, struct source_error *error);
    bool (*range)(struct source *s, const struct source_range *range, source_row_fn *fn, void *ctx, bool *complete,
                  struct source_error *error);
    void (*close)(struct source *s);
};

/* What the sources have in common; first member of each. */
struct source {
    const struct source_ops *ops;
    const struct dashboard_config *config;
};

/* Opens what the configuration names; it must outlive the source. Does not yet look at the store: what is wrong there, the
 * calls tell, again each time, until it is right. E_NOMEM, or E_INVALID with a text that names the option. */
MUST_CHECK enum err source_open(const struct dashboard_config *c, struct source **out, struct option_error *error);
void source_close(struct source *s); /* NULL is allowed */

/* Calls fn for each sensor that has measurements and may be seen, until it returns false. At most SOURCE_SENSORS_MAX. false:
 * it failed, `error` says why. */
#define SOURCE_SENSORS_MAX 10000u
MUST_CHECK bool source_sensors(struct source *s, source_sensor_fn *fn, void *ctx, struct source_error *error);

/* Calls fn for each measurement of a range until it returns false. *complete: there are no more than were given; false when a source
 * stops early because the range holds too many. */
MUST_CHECK bool source_range(struct source *s, const struct source_range *range, source_row_fn *fn, void *ctx,
                             bool *complete, struct source_error *error);

/* Each source's own way to be opened. */
MUST_CHECK enum err source_sqlite_open(const struct dashboard_config *c, struct source **out);
MUST_CHECK enum err source_dynamodb_open(const struct dashboard_config *c, struct source **out,
                                         struct option_error *error);

/* What the browser is told. */
struct source_fault_answer {
    int status;
    int retry_after_s; /* 0 = none */
    const char *code;  /* for scripts */
    const char *text;  /* for people: what is wrong and what to do */
};
const struct source_fault_answer *source_fault_answer(enum source_fault fault);

#endif
