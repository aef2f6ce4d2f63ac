#include "dashboard/source.h"

#include "base/log.h"

LOG_POINT(log_failed, "dashboard.store-failed", LOG_WARNING, "the store did not answer");

static const struct source_fault_answer answers[SOURCE_FAULT_COUNT_] = {
    [SOURCE_OK] = {200, 0, "ok", ""},
    [SOURCE_BUSY] = {503, 1, "store-busy", "The store is locked by another program at the moment."},
    [SOURCE_MISSING] = {503, 5, "store-missing",
                        "There is no store yet. Is the plugin running, and does it store where the dashboard reads?"},
    [SOURCE_EMPTY] = {503, 5, "store-empty",
                      "Nothing has been stored yet. Publish something that a store line matches."},
    [SOURCE_ACCESS] =
        {500, 0, "store-access",
         "The web server's user may not read the store: usermod -a -G mosquitto www-data, and restart the web "
         "server. " SOURCE_LOG " names the file or table."},
    [SOURCE_BROKEN] = {500, 0, "store-broken", "The store cannot be read. " SOURCE_LOG " says why."},
    [SOURCE_THROTTLED] = {503, 2, "store-throttled",
                          "DynamoDB is throttling: the table gets more requests than its capacity."},
    [SOURCE_UNREACHABLE] = {503, 5, "store-unreachable", "DynamoDB cannot be reached from the gateway at the moment."},
    [SOURCE_CREDENTIALS] = {503, 10, "store-credentials",
                            "There are no valid AWS credentials. " SOURCE_LOG " says which were tried."},
    [SOURCE_TIMEOUT] = {504, 5, "store-timeout", "The store took too long to answer. Try a shorter time range."},
    [SOURCE_CONFIGURATION] = {500, 0, "store-configuration",
                              "DynamoDB refused the request: check table, keys, region and permissions. " SOURCE_LOG
                              " says more."},
    [SOURCE_MEMORY] = {503, 5, "no-memory", "Not enough memory for this answer. Try a shorter time range."},
};

const struct source_fault_answer *source_fault_answer(enum source_fault fault)
{
    return &answers[fault < SOURCE_FAULT_COUNT_ ? fault : SOURCE_BROKEN];
}

enum err source_open(const struct dashboard_config *c, struct source **out, struct option_error *error)
{
    enum err e = c->source == CONFIG_DYNAMODB ? source_dynamodb_open(c, out, error) : source_sqlite_open(c, out);
    if (e == E_NOMEM) {
        option_error_set(error, "no memory");
    }
    return e;
}

void source_close(struct source *s)
{
    if (s) {
        s->ops->close(s);
    }
}

static bool tell(bool ok, const struct source_error *error)
{
    if (!ok) {
        log_emit(&log_failed, "code=%s detail=\"%s\"", source_fault_answer(error->fault)->code, error->detail);
    }
    return ok;
}

bool source_sensors(struct source *s, source_sensor_fn *fn, void *ctx, struct source_error *error)
{
    error->detail[0] = '\0';
    return tell(s->ops->sensors(s, fn, ctx, error), error);
}

bool source_range(struct source *s, const struct source_range *range, source_row_fn *fn, void *ctx, bool *complete,
                  struct source_error *error)
{
    error->detail[0] = '\0';
    *complete = true;
    if (!dashboard_config_allows(s->config, range->sensor)) {
        return true;
    }
    return tell(s->ops->range(s, range, fn, ctx, complete, error), error);
}
