#include "plugin/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TOPIC_MAX 96
#define VALUE_MAX 24

#define SPOOL_METRIC(field, text)                                                                                      \
    {                                                                                                                  \
        text, METRIC_GAUGE, offsetof(struct spool_stats, field), NULL                                                  \
    }
#define SINK_METRIC(field)                                                                                             \
    {                                                                                                                  \
#field, METRIC_GAUGE, offsetof(struct sink_stats, field), NULL                                                 \
    }

static const struct metric_row spool_metrics[] = {
    SPOOL_METRIC(records, "spool/records"),     SPOOL_METRIC(bytes, "spool/bytes"),
    SPOOL_METRIC(oldest_ms, "spool/oldest_ms"), SPOOL_METRIC(appended, "spool/appended"),
    SPOOL_METRIC(refused, "spool/refused"),     SPOOL_METRIC(dropped, "spool/dropped"),
    SPOOL_METRIC(torn, "spool/torn"),           SPOOL_METRIC(damaged, "spool/damaged"),
};

static const struct metric_row sink_metrics[] = {
    SINK_METRIC(sent), SINK_METRIC(confirmed), SINK_METRIC(retried), SINK_METRIC(rejected), SINK_METRIC(latency_ms),
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Per sink besides sink_metrics: state, dropped, lag. */
#define PER_SINK (COUNT(sink_metrics) + 3)

struct status {
    struct forwarder *forwarder;
    /* The last values told, in the order of publishing. UINT64_MAX: none yet. */
    uint64_t told[COUNT(spool_metrics) + SINK_COUNT * PER_SINK + 1];
};

struct publisher {
    struct status *status;
    status_publish_fn *publish;
    void *ctx;
    size_t next; /* index in told[] */
};

enum err status_create(struct forwarder *f, struct status **out)
{
    struct status *s = malloc(sizeof(*s));
    if (!s) {
        return E_NOMEM;
    }
    s->forwarder = f;
    memset(s->told, 0xff, sizeof(s->told));
    *out = s;
    return E_OK;
}

void status_destroy(struct status *s)
{
    free(s);
}

static void tell(struct publisher *p, const char *sink, const char *name, uint64_t number, const char *word)
{
    uint64_t *told = &p->status->told[p->next++];
    if (*told == number) {
        return;
    }
    char topic[TOPIC_MAX];
    char value[VALUE_MAX];
    snprintf(topic, sizeof(topic), "$SYS/broker/aws/%s%s%s", sink, *sink ? "/" : "", name);
    snprintf(value, sizeof(value), "%" PRIu64, number);
    if (p->publish(p->ctx, topic, word ? word : value) == E_OK) {
        *told = number;
    }
}

static void tell_sink(struct publisher *p, enum sink_id id)
{
    struct forwarder *f = p->status->forwarder;
    const struct sink_stats *stats = forwarder_sink_stats(f, id);
    if (!stats) {
        p->next += PER_SINK;
        return;
    }
    const char *name = forwarder_sink_type(id)->name;
    const struct cursor *cursor = spool_cursor(forwarder_spool(f), id);
    uint64_t state = metric_get(&stats->state);
    tell(p, name, "state", state, sink_state_name((enum sink_state)state));
    for (size_t i = 0; i < COUNT(sink_metrics); i++) {
        tell(p, name, sink_metrics[i].name, metric_row_get(&sink_metrics[i], stats), NULL);
    }
    tell(p, name, "dropped", cursor_dropped(cursor), NULL);
    tell(p, name, "lag", cursor_lag(cursor), NULL);
}

void status_publish(struct status *s, status_publish_fn *publish, void *ctx)
{
    struct publisher p = {.status = s, .publish = publish, .ctx = ctx};
    const struct spool_stats *spool = spool_stats(forwarder_spool(s->forwarder));
    for (size_t i = 0; i < COUNT(spool_metrics); i++) {
        tell(&p, "", spool_metrics[i].name, metric_row_get(&spool_metrics[i], spool), NULL);
    }
    for (unsigned id = 0; id < SINK_COUNT; id++) {
        tell_sink(&p, (enum sink_id)id);
    }
    uint64_t days = metric_get(forwarder_certificate_days(s->forwarder));
    if (days != UINT64_MAX) {
        tell(&p, "", "certificate/days_left", days, NULL);
    }
}
