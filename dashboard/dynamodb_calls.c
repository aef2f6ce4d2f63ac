#include "dashboard/dynamodb_calls.h"

#include "aws/profile.h"
#include "net/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

enum {
    BODY_MAX = 1 << 20,
    ANSWER_MAX = 64 << 20,
    REQUEST_DEADLINE_MS = 10000,
    CREDENTIALS_WAIT_MS = 10000,
    CREDENTIALS_AGAIN_MS = 1000, /* once they have failed */
    TRIES_MAX = 5,
    BACKOFF_BASE_MS = 50,
    BACKOFF_CAP_MS = 2000
};

struct dynamodb_calls {
    uv_loop_t loop;
    uv_timer_t timer; /* wakes the loop at the next hold or deadline */
    bool has_loop, has_timer;
    struct credentials *credentials;
    struct dynamodb *dynamodb;
    bool credentials_failed; /* the last time the chain was asked */
    bool credentials_came;   /* since requests were last started: those that waited for them are due */
    char tried[300];
};

void dynamodb_call_init(struct dynamodb_call *c, const char *operation)
{
    *c = (struct dynamodb_call){.operation = operation};
    buffer_init(&c->body, BODY_MAX);
    buffer_init(&c->answer, ANSWER_MAX);
    backoff_init(&c->backoff, BACKOFF_BASE_MS, BACKOFF_CAP_MS, random_seed());
}

void dynamodb_call_finish(struct dynamodb_call *c)
{
    buffer_finish(&c->body);
    buffer_finish(&c->answer);
}

/* --- opening and closing --- */

static void on_ready(void *ctx)
{
    struct dynamodb_calls *calls = ctx;
    calls->credentials_failed = false;
    calls->credentials_came = true;
    uv_stop(&calls->loop);
}

static void on_failed(void *ctx, const char *tried)
{
    struct dynamodb_calls *calls = ctx;
    calls->credentials_failed = true;
    snprintf(calls->tried, sizeof(calls->tried), "%s", tried);
    uv_stop(&calls->loop);
}

static const struct credentials_events credentials_events = {on_ready, on_failed};

/* Region and CA bundle may stand in the shared config file. */
static enum err create_client(struct dynamodb_calls *calls, const struct dashboard_config *c, struct aws_error *why)
{
    char region[AWS_REGION_SIZE];
    const char *const hosts[] = {c->dynamodb_endpoint, c->aws_credentials_endpoint};
    const char *bundle = getenv("AWS_CA_BUNDLE");
    struct aws_profile profile = {0};
    struct aws_error unread;
    enum err loaded = aws_profile_load(c->aws_profile, &profile, &unread);
    enum err e = aws_region_find(c->aws_region, &profile, hosts, sizeof(hosts) / sizeof(hosts[0]), region, why);
    if (e != E_OK && loaded != E_OK) {
        *why = unread;
    }
    if (e == E_OK) {
        struct dynamodb_options o = {.region = region,
                                     .endpoint = c->dynamodb_endpoint,
                                     .cafile = bundle && bundle[0] ? bundle : profile.ca_bundle,
                                     .connections = (uint32_t)c->dynamodb_connections,
                                     .credentials = calls->credentials};
        e = dynamodb_create(&calls->loop, &o, &calls->dynamodb, why);
    }
    aws_profile_finish(&profile);
    return e;
}

static enum err open_parts(struct dynamodb_calls *calls, const struct dashboard_config *c, struct aws_error *why)
{
    struct credentials_options o = {.profile = c->aws_profile,
                                    .role_alias = c->aws_role_alias,
                                    .endpoint = c->aws_credentials_endpoint,
                                    .certfile = c->iot_certfile,
                                    .keyfile = c->iot_keyfile,
                                    .cafile = c->iot_cafile};
    if (loop_check_files() != E_OK) {
        aws_error_set(why, LOOP_FULL_TEXT);
        return E_FULL;
    }
    if (uv_loop_init(&calls->loop) != 0) {
        return E_NOMEM;
    }
    calls->has_loop = true;
    if (uv_timer_init(&calls->loop, &calls->timer) != 0) {
        return E_NOMEM;
    }
    calls->has_timer = true;
    enum err e = credentials_create(&calls->loop, &o, &credentials_events, calls, &calls->credentials, why);
    return e ? e : create_client(calls, c, why);
}

enum err dynamodb_calls_create(const struct dashboard_config *c, struct dynamodb_calls **out,
                               struct option_error *error)
{
    struct dynamodb_calls *calls = calloc(1, sizeof(*calls));
    struct aws_error why = {"no memory"};
    if (!calls) {
        return E_NOMEM;
    }
    enum err e = open_parts(calls, c, &why);
    if (e != E_OK) {
        bool named = strncmp(why.text, "aws_", 4) == 0 || strncmp(why.text, "dynamodb_", 9) == 0 ||
                     strncmp(why.text, "iot_", 4) == 0;
        option_error_set(error, "option %s%s", named ? "" : "source: dynamodb: ", why.text);
        dynamodb_calls_destroy(calls);
        return e == E_NOMEM ? e : E_INVALID;
    }
    *out = calls;
    return E_OK;
}

/* Requests use the credentials: those end last. */
static void on_client_closed(void *ctx)
{
    struct dynamodb_calls *calls = ctx;
    credentials_close(calls->credentials, NULL, NULL);
}

void dynamodb_calls_destroy(struct dynamodb_calls *calls)
{
    if (!calls) {
        return;
    }
    if (calls->has_loop) {
        dynamodb_close(calls->dynamodb, on_client_closed, calls);
        if (calls->has_timer) {
            uv_close((uv_handle_t *)&calls->timer, NULL);
        }
        while (uv_run(&calls->loop, UV_RUN_DEFAULT) != 0) {
            /* credentials that came meanwhile have stopped it (on_ready) */
        }
        (void)uv_loop_close(&calls->loop);
    }
    free(calls);
}

/* --- running --- */

static void fail(struct dynamodb_call *c, enum source_fault fault, const char *type, const char *text)
{
    c->done = true;
    c->failed = true;
    c->error.fault = fault;
    snprintf(c->error.detail, sizeof(c->error.detail), "%s %s%s%s", c->operation, type, type[0] ? ": " : "", text);
}

static enum source_fault configuration_fault(const struct dynamodb_answer *a)
{
    if (strcmp(a->type, "ResourceNotFoundException") == 0) {
        return SOURCE_MISSING;
    }
    return strcmp(a->type, "AccessDeniedException") == 0 ? SOURCE_ACCESS : SOURCE_CONFIGURATION;
}

/* Again after a while, a few times: somebody waits, and the page asks again by itself. If the deadline comes first, the reason is
 * this one. */
static void hold(struct dynamodb_call *c, enum source_fault fault, const struct dynamodb_answer *a)
{
    uint32_t delay = backoff_next_ms(&c->backoff);
    if (c->backoff.tries > TRIES_MAX) {
        fail(c, fault, a->type, a->text);
        return;
    }
    c->hold = mono_add_ms(mono_now(), delay > a->retry_after_ms ? delay : a->retry_after_ms);
    c->error.fault = fault;
    snprintf(c->error.detail, sizeof(c->error.detail), "%s %s %s", c->operation, a->type, a->text);
}

static void on_done(void *ctx, const struct dynamodb_answer *a)
{
    struct dynamodb_call *c = ctx;
    c->request = NULL;
    /* It may come from a timer, before the loop waits: it must not wait then. */
    uv_stop(&c->owner->loop);
    switch (a->outcome) {
    case DYNAMODB_OK:
        c->done = true;
        if (buffer_append(&c->answer, a->body) != E_OK) {
            fail(c, SOURCE_MEMORY, "", "no memory for the answer");
        }
        break;
    case DYNAMODB_THROTTLED:
        hold(c, SOURCE_THROTTLED, a);
        break;
    case DYNAMODB_TRANSIENT:
        hold(c, SOURCE_UNREACHABLE, a);
        break;
    case DYNAMODB_CLOCK:
        c->hold = mono_now();
        break;
    case DYNAMODB_CREDENTIALS:
        hold(c, SOURCE_CREDENTIALS, a);
        if (!credentials_refused(c->owner->credentials) && c->backoff.tries > 1) {
            fail(c, SOURCE_CREDENTIALS, a->type, a->text);
        }
        break;
    case DYNAMODB_CONFIGURATION:
        fail(c, configuration_fault(a), a->type, a->text);
        break;
    case DYNAMODB_INVALID:
        fail(c, SOURCE_CONFIGURATION, a->type, a->text);
        break;
    }
}

/* Starts it, or holds it until there are credentials. */
static void start(struct dynamodb_calls *calls, struct dynamodb_call *c, struct mono now, struct mono give_up)
{
    enum err e = dynamodb_call(calls->dynamodb, c->operation, buffer_bytes(&c->body), REQUEST_DEADLINE_MS, on_done, c,
                               &c->request);
    c->waits_for_credentials = e == E_AGAIN;
    if (e == E_OK) {
        return;
    }
    c->request = NULL;
    if (e == E_AGAIN && mono_reached(now, give_up)) {
        fail(c, SOURCE_CREDENTIALS, "no credentials", calls->tried);
    } else if (e == E_AGAIN || e == E_FULL) {
        c->hold = mono_add_ms(now, 20);
    } else {
        fail(c, e == E_NOMEM ? SOURCE_MEMORY : SOURCE_CONFIGURATION, err_name(e), "");
    }
}

static void wake_up(uv_timer_t *timer)
{
    (void)timer;
}

/* Starts what is due. The time of the next thing to do; MONO_NEVER when all are done. */
static struct mono start_due(struct dynamodb_calls *calls, struct dynamodb_call *list, size_t count,
                             struct mono give_up, struct mono deadline)
{
    struct mono now = mono_now();
    struct mono next = MONO_NEVER;
    for (size_t i = 0; i < count; i++) {
        struct dynamodb_call *c = &list[i];
        if (c->waits_for_credentials && calls->credentials_came) {
            c->hold = now;
        }
        if (!c->done && !c->request && mono_reached(now, c->hold)) {
            start(calls, c, now, calls->credentials_failed ? mono_min(give_up, now) : give_up);
        }
        if (!c->done) {
            next = mono_min(next, c->request ? deadline : mono_min(c->hold, deadline));
        }
    }
    calls->credentials_came = false;
    return next;
}

static void stop_late(struct dynamodb_call *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct dynamodb_call *c = &list[i];
        if (c->request) {
            dynamodb_cancel(c->request);
            c->request = NULL;
        }
        if (!c->done) {
            c->error.fault = c->error.fault == SOURCE_OK ? SOURCE_TIMEOUT : c->error.fault;
            c->done = true;
            c->failed = true;
        }
    }
}

bool dynamodb_calls_run(struct dynamodb_calls *calls, struct dynamodb_call *list, size_t count, struct mono deadline,
                        struct source_error *error)
{
    struct mono begin = mono_now();
    uint64_t patience = calls->credentials_failed ? CREDENTIALS_AGAIN_MS : CREDENTIALS_WAIT_MS;
    struct mono give_up = mono_min(deadline, mono_add_ms(begin, patience));
    calls->credentials_failed = false;
    for (size_t i = 0; i < count; i++) {
        list[i].owner = calls;
        list[i].done = list[i].failed = list[i].waits_for_credentials = false;
        list[i].hold = begin;
        list[i].error = (struct source_error){SOURCE_OK, ""};
        backoff_reset(&list[i].backoff);
        buffer_clear(&list[i].answer);
    }
    /* The loop has slept since the call before; its clock has not moved. */
    uv_update_time(&calls->loop);
    for (;;) {
        struct mono next = start_due(calls, list, count, give_up, deadline);
        if (next.ns == MONO_NEVER.ns || mono_reached(mono_now(), deadline)) {
            break;
        }
        uv_timer_start(&calls->timer, wake_up, mono_ms_until(mono_now(), next), 0);
        uv_run(&calls->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&calls->timer);
    stop_late(list, count);
    for (size_t i = 0; i < count; i++) {
        if (list[i].failed) {
            *error = list[i].error;
            return false;
        }
    }
    return true;
}
