#include "plugin/control.h"

#include <cjson/cJSON.h>

#include <stdlib.h>

LOG_POINT(log_changed, "control.changed", LOG_NOTICE, "a control command was carried out");
LOG_POINT(log_request, "control.request", LOG_WARNING, "a control request was not carried out or not answered");

enum { CLIENT_SIZE = 128 };

struct control {
    struct forwarder *forwarder;
    struct outbox *outbox;
};

/* A request on its way to the loop. */
struct job {
    struct control *control;
    char client[CLIENT_SIZE]; /* who asks, escaped */
    size_t len;
    char text[];
};

/* A rejected record on its way back into the spool. */
struct retry {
    struct control *control;
    struct buffer memory; /* what the record borrows from */
    struct record record;
    enum err result;
    char name[];
};

/* ---- getStatus ---- */

static void add_number(cJSON *to, const char *name, uint64_t value)
{
    cJSON_AddNumberToObject(to, name, (double)value);
}

static void add_spool(cJSON *data, const struct spool_stats *s)
{
    cJSON *spool = cJSON_AddObjectToObject(data, "spool");
    add_number(spool, "records", metric_get(&s->records));
    add_number(spool, "bytes", metric_get(&s->bytes));
    add_number(spool, "oldest_ms", metric_get(&s->oldest_ms));
    add_number(spool, "appended", metric_get(&s->appended));
    add_number(spool, "refused", metric_get(&s->refused));
    add_number(spool, "dropped", metric_get(&s->dropped));
    add_number(spool, "torn", metric_get(&s->torn));
    add_number(spool, "damaged", metric_get(&s->damaged));
}

static void add_sink(cJSON *sinks, struct forwarder *f, enum sink_id id)
{
    const struct sink_stats *stats = forwarder_sink_stats(f, id);
    if (!stats) {
        return;
    }
    const struct cursor *cursor = spool_cursor(forwarder_spool(f), id);
    cJSON *sink = cJSON_AddObjectToObject(sinks, forwarder_sink_type(id)->name);
    cJSON_AddStringToObject(sink, "state", sink_state_name((enum sink_state)metric_get(&stats->state)));
    add_number(sink, "sent", metric_get(&stats->sent));
    add_number(sink, "confirmed", metric_get(&stats->confirmed));
    add_number(sink, "retried", metric_get(&stats->retried));
    add_number(sink, "rejected", metric_get(&stats->rejected));
    add_number(sink, "dropped", cursor_dropped(cursor));
    add_number(sink, "lag", cursor_lag(cursor));
    add_number(sink, "latency_ms", metric_get(&stats->latency_ms));
}

static const char *get_status(struct control *c, const cJSON *command, cJSON *data)
{
    (void)command;
    add_spool(data, spool_stats(forwarder_spool(c->forwarder)));
    cJSON *sinks = cJSON_AddObjectToObject(data, "sinks");
    for (unsigned id = 0; id < SINK_COUNT; id++) {
        add_sink(sinks, c->forwarder, (enum sink_id)id);
    }
    add_number(data, "rejected", rejected_count(forwarder_rejected(c->forwarder)));
    return NULL;
}

/* ---- listRejected ---- */

struct listing {
    cJSON *list;
    int offset; /* still to be passed over */
    int count;  /* still wanted */
};

/* One file without its payload: names, reason and size say what it is. */
static bool list_one(void *ctx, const char *name, struct bytes json)
{
    struct listing *l = ctx;
    if (l->offset > 0) {
        l->offset--;
        return true;
    }
    cJSON *file = cJSON_ParseWithLength((const char *)json.data, json.len);
    if (!file) {
        file = cJSON_CreateObject();
    }
    cJSON_DeleteItemFromObject(file, "payload");
    cJSON_DeleteItemFromObject(file, "payload_base64");
    cJSON_AddStringToObject(file, "name", name);
    cJSON_AddItemToArray(l->list, file);
    return --l->count > 0;
}

/* A whole number of the command; `initial` when it is absent, -1 when it is no number or out of range. */
static int get_int(const cJSON *command, const char *name, int initial, int max)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(command, name);
    if (!item) {
        return initial;
    }
    bool good = cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= max &&
                item->valuedouble == (double)(int)item->valuedouble;
    return good ? (int)item->valuedouble : -1;
}

static const char *list_rejected(struct control *c, const cJSON *command, cJSON *data)
{
    struct rejected *r = forwarder_rejected(c->forwarder);
    struct listing l = {
        .offset = get_int(command, "offset", 0, INT32_MAX),
        .count = get_int(command, "count", 100, CONTROL_LIST_MAX),
    };
    if (l.offset < 0 || l.count < 1) {
        return "offset or count is not a number in range";
    }
    add_number(data, "totalCount", rejected_count(r));
    l.list = cJSON_AddArrayToObject(data, "rejected");
    rejected_list(r, list_one, &l);
    return NULL;
}

/* ---- retryRejected, dropRejected ---- */

static void free_retry(void *ctx)
{
    struct retry *retry = ctx;
    buffer_finish(&retry->memory);
    free(retry);
}

/* Loop's thread: the record is in the spool again, so its file can go. */
static void end_retry(void *ctx)
{
    struct retry *retry = ctx;
    enum err e = retry->result;
    e = e ? e : rejected_drop(forwarder_rejected(retry->control->forwarder), retry->name);
    if (e) {
        log_emit(&log_request, "command=retryRejected name=%s error=%s", retry->name, err_name(e));
    }
    free_retry(retry);
}

/* Broker's thread. */
static void append_retry(void *ctx)
{
    struct retry *retry = ctx;
    retry->result = spool_append_again(forwarder_spool(retry->control->forwarder), &retry->record);
    if (forwarder_post(retry->control->forwarder, end_retry, retry) != E_OK) {
        free_retry(retry);
    }
}

static enum err retry_one(struct control *c, const char *name)
{
    struct retry *retry = calloc(1, sizeof(*retry) + strlen(name) + 1);
    enum sink_id sink;
    if (!retry) {
        return E_NOMEM;
    }
    retry->control = c;
    memcpy(retry->name, name, strlen(name) + 1);
    buffer_init(&retry->memory, REJECTED_MAX_BYTES);
    enum err e = rejected_get(forwarder_rejected(c->forwarder), name, &retry->memory, &retry->record, &sink);
    if (!e) {
        retry->record.sinks = (uint8_t)SINK_BIT(sink);
        e = forwarder_sinks(c->forwarder) & SINK_BIT(sink) ? E_OK : E_NOT_FOUND;
    }
    e = e ? e : outbox_call(c->outbox, append_retry, free_retry, retry);
    if (e) {
        free_retry(retry);
    }
    return e;
}

static enum err drop_one(struct control *c, const char *name)
{
    return rejected_drop(forwarder_rejected(c->forwarder), name);
}

struct names {
    char **list;
    size_t count;
};

static bool collect_name(void *ctx, const char *name, struct bytes json)
{
    (void)json;
    struct names *n = ctx;
    n->list[n->count] = strdup(name);
    n->count += n->list[n->count] != NULL;
    return n->count < REJECTED_MAX_FILES;
}

static unsigned each_rejected(struct control *c, enum err (*fn)(struct control *c, const char *name))
{
    unsigned done = 0;
    struct names n = {.list = calloc(REJECTED_MAX_FILES, sizeof(*n.list))};
    if (n.list) {
        rejected_list(forwarder_rejected(c->forwarder), collect_name, &n);
    }
    for (size_t i = 0; i < n.count; i++) {
        done += fn(c, n.list[i]) == E_OK;
        free(n.list[i]);
    }
    free(n.list);
    return done;
}

/* "name": one file; without it: all. */
static const char *for_rejected(struct control *c, const cJSON *command, cJSON *data,
                                enum err (*fn)(struct control *c, const char *name))
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(command, "name");
    if (!name) {
        add_number(data, "count", each_rejected(c, fn));
        return NULL;
    }
    if (!cJSON_IsString(name)) {
        return "name is not a string";
    }
    enum err e = fn(c, name->valuestring);
    if (!e) {
        add_number(data, "count", 1);
    }
    return e == E_NOT_FOUND ? "there is no such file in rejected/" : e ? err_name(e) : NULL;
}

static const char *retry_rejected(struct control *c, const cJSON *command, cJSON *data)
{
    return for_rejected(c, command, data, retry_one);
}

static const char *drop_rejected(struct control *c, const cJSON *command, cJSON *data)
{
    return for_rejected(c, command, data, drop_one);
}

/* ---- pause, resume ---- */

static const char *set_paused(struct control *c, const cJSON *command, bool paused)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(command, "sink");
    if (!cJSON_IsString(name)) {
        return "sink is missing";
    }
    for (unsigned id = 0; id < SINK_COUNT; id++) {
        if (strcmp(forwarder_sink_type((enum sink_id)id)->name, name->valuestring) == 0) {
            enum err e = forwarder_pause(c->forwarder, (enum sink_id)id, paused);
            return e == E_NOT_FOUND ? "this sink is not configured" : e ? err_name(e) : NULL;
        }
    }
    return "no such sink";
}

static const char *pause_sink(struct control *c, const cJSON *command, cJSON *data)
{
    (void)data;
    return set_paused(c, command, true);
}

static const char *resume_sink(struct control *c, const cJSON *command, cJSON *data)
{
    (void)data;
    return set_paused(c, command, false);
}

/* ---- requests ---- */

static const struct {
    const char *name;
    /* Fills `data`; NULL, or what is wrong. */
    const char *(*carry_out)(struct control *c, const cJSON *command, cJSON *data);
    bool changes; /* is logged, with who asked */
} commands[] = {
    {"getStatus", get_status, false},
    {"listRejected", list_rejected, false},
    {"retryRejected", retry_rejected, true},
    {"dropRejected", drop_rejected, true},
    {"pause", pause_sink, true},
    {"resume", resume_sink, true},
};

static const char *dispatch(const struct job *job, const cJSON *command, const char *name, cJSON *data)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) != 0) {
            continue;
        }
        const char *problem = commands[i].carry_out(job->control, command, data);
        if (commands[i].changes && !problem) {
            log_emit(&log_changed, "command=%s client=\"%s\"", name, job->client);
        }
        return problem;
    }
    return "unknown command";
}

static void answer_command(const struct job *job, const cJSON *command, cJSON *responses)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(command, "command");
    const cJSON *correlation = cJSON_GetObjectItemCaseSensitive(command, "correlationData");
    cJSON *response = cJSON_CreateObject();
    cJSON *data = cJSON_CreateObject();
    const char *problem = "command is missing";
    cJSON_AddStringToObject(response, "command", cJSON_IsString(name) ? name->valuestring : "");
    if (cJSON_IsString(correlation)) {
        cJSON_AddStringToObject(response, "correlationData", correlation->valuestring);
    }
    if (cJSON_IsString(name)) {
        problem = dispatch(job, command, name->valuestring, data);
    }
    if (problem) {
        cJSON_AddStringToObject(response, "error", problem);
    }
    if (problem || !data || !data->child) {
        cJSON_Delete(data);
    } else {
        cJSON_AddItemToObject(response, "data", data);
    }
    cJSON_AddItemToArray(responses, response);
}

static void answer_error(cJSON *responses, const char *problem)
{
    cJSON *response = cJSON_CreateObject();
    cJSON_AddStringToObject(response, "error", problem);
    cJSON_AddItemToArray(responses, response);
}

static void publish_answer(struct control *c, const cJSON *answer)
{
    char *text = cJSON_PrintUnformatted(answer);
    const struct outbox_message m = {.topic = BYTES(CONTROL_RESPONSE_TOPIC), .payload = bytes_str(text)};
    enum err e = text ? outbox_publish(c->outbox, &m, NULL, NULL) : E_NOMEM;
    if (e) {
        log_emit(&log_request, "answer=no error=%s", err_name(e));
    }
    cJSON_free(text);
}

/* Loop's thread. */
static void run_job(void *arg)
{
    struct job *job = arg;
    cJSON *request = cJSON_ParseWithLength(job->text, job->len);
    cJSON *list = cJSON_GetObjectItemCaseSensitive(request, "commands");
    cJSON *answer = cJSON_CreateObject();
    cJSON *responses = cJSON_AddArrayToObject(answer, "responses");
    if (!cJSON_IsArray(list)) {
        answer_error(responses, "not a JSON object with an array 'commands'");
    } else if (cJSON_GetArraySize(list) > CONTROL_COMMANDS_MAX) {
        answer_error(responses, "too many commands");
    } else {
        const cJSON *command;
        cJSON_ArrayForEach(command, list)
        {
            answer_command(job, command, responses);
        }
    }
    publish_answer(job->control, answer);
    cJSON_Delete(answer);
    cJSON_Delete(request);
    free(job);
}

enum err control_create(struct forwarder *f, struct outbox *outbox, struct control **out)
{
    struct control *c = calloc(1, sizeof(*c));
    if (!c) {
        return E_NOMEM;
    }
    *c = (struct control){.forwarder = f, .outbox = outbox};
    *out = c;
    return E_OK;
}

void control_destroy(struct control *c)
{
    free(c);
}

void control_request(struct control *c, const char *client_id, struct bytes payload)
{
    enum err e = payload.len > CONTROL_PAYLOAD_MAX ? E_TOO_LARGE : E_OK;
    struct job *job = e ? NULL : malloc(sizeof(*job) + payload.len);
    if (!job) {
        log_emit(&log_request, "error=%s", err_name(e ? e : E_NOMEM));
        return;
    }
    job->control = c;
    log_escape(bytes_str(client_id), job->client, sizeof(job->client));
    job->len = payload.len;
    if (payload.len > 0) {
        memcpy(job->text, payload.data, payload.len);
    }
    if (forwarder_post(c->forwarder, run_job, job) != E_OK) {
        free(job);
    }
}
