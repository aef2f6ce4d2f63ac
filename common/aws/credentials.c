#include "aws/credentials.h"

#include "aws/credentials_source.h"
#include "base/backoff.h"
#include "base/log.h"
#include "base/option.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_BASE_MS 1000u
#define RETRY_CAP_MS 20000u
#define REFUSED_PAUSE_MS 2000u /* between questions that a refusal by AWS causes */
#define LIFETIME_MAX_MS (INT64_C(7) * 24 * 3600 * 1000)

LOG_POINT(log_ready, "credentials.ready", LOG_NOTICE, "AWS credentials are there");
LOG_POINT(log_renewed, "credentials.renewed", LOG_INFO, "AWS credentials were renewed");
LOG_POINT(log_renewal_failed, "credentials.renewal_failed", LOG_WARNING,
          "AWS credentials could not be renewed; those at hand are used until they expire");
LOG_POINT(log_none, "credentials.none", LOG_ERROR, "no source of AWS credentials answered; asking again");

static const char *const source_names[SOURCE_COUNT] = {
    [SOURCE_ROLE_ALIAS] = "iot-role-alias", [SOURCE_ENVIRONMENT] = "environment",    [SOURCE_FILES] = "shared-files",
    [SOURCE_CONTAINER] = "container",       [SOURCE_METADATA] = "instance-metadata",
};

/* Owned copies of credentials_options. */
struct settings {
    char *profile, *role_alias, *endpoint, *certfile, *keyfile, *cafile;
};

struct credentials {
    uv_loop_t *loop;
    struct settings settings;
    struct credentials_events events;
    void *ctx;

    struct http_client *iot;   /* with the device's certificate; NULL without a role alias */
    struct http_client *plain; /* for container and instance */
    uv_timer_t timer;          /* the next question: renewal, or another try */
    struct backoff retry;

    bool held; /* keys are valid until `expiry` */
    bool temporary;
    struct aws_keys keys;
    enum credential_source_id source; /* of keys */
    struct mono expiry;

    bool asking;
    enum credential_source_id next; /* source to be asked next in this round */
    bool only_source;               /* this round asks no other: a renewal */
    struct credential_fetch fetch;
    struct mono asked; /* when the last round began */
    char tried[1024];  /* what the sources of this round said */
    char told[1024];   /* what log_none said last: the same is not said again */
    bool reconfigured; /* the options changed: the next round begins at the chain's head */
    unsigned closing;  /* things that must close before on_closed */
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

/* Settings. */

static enum err copy_string(char **to, const char *from)
{
    *to = from && from[0] ? strdup(from) : NULL;
    return from && from[0] && !*to ? E_NOMEM : E_OK;
}

static void settings_finish(struct settings *s)
{
    char *all[] = {s->profile, s->role_alias, s->endpoint, s->certfile, s->keyfile, s->cafile};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        free(all[i]);
    }
    *s = (struct settings){0};
}

static enum err settings_copy(struct settings *to, const struct credentials_options *o)
{
    *to = (struct settings){0};
    enum err e = copy_string(&to->profile, o->profile);
    e = e ? e : copy_string(&to->role_alias, o->role_alias);
    e = e ? e : copy_string(&to->endpoint, o->endpoint);
    e = e ? e : copy_string(&to->certfile, o->certfile);
    e = e ? e : copy_string(&to->keyfile, o->keyfile);
    e = e ? e : copy_string(&to->cafile, o->cafile);
    if (e) {
        settings_finish(to);
    }
    return e;
}

static struct credentials_options settings_options(const struct settings *s)
{
    return (struct credentials_options){s->profile, s->role_alias, s->endpoint, s->certfile, s->keyfile, s->cafile};
}

static bool is_hostport(const char *text)
{
    struct option_hostport parsed = {0};
    bool valid = text && option_parse_hostport(bytes_str(text), 0, &parsed) == E_OK;
    free(parsed.host);
    return valid;
}

static enum err check_options(const struct credentials_options *o, struct aws_error *error)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_=,@-";
    if (!o->role_alias || !o->role_alias[0]) {
        return E_OK;
    }
    if (o->role_alias[strspn(o->role_alias, allowed)] != '\0') {
        aws_error_set(error, "aws_role_alias: a role alias has letters, digits and _=,@- only");
    } else if (!is_hostport(o->endpoint)) {
        aws_error_set(error, "aws_credentials_endpoint: aws_role_alias needs the host name of the credential provider");
    } else if (!o->certfile || !o->keyfile) {
        aws_error_set(error, "aws_role_alias: needs iot_certfile and iot_keyfile");
    } else {
        return E_OK;
    }
    return E_INVALID;
}

static enum err make_iot_client(uv_loop_t *loop, const struct credentials_options *o, struct http_client **out,
                                struct aws_error *error)
{
    *out = NULL;
    if (!o->role_alias || !o->role_alias[0]) {
        return E_OK;
    }
    struct http_client_options options = {
        .certfile = o->certfile, .keyfile = o->keyfile, .cafile = o->cafile, .max_per_host = 1, .max_requests = 4};
    struct tls_error why = {.text = ""};
    enum err e = http_client_create(loop, &options, out, &why);
    if (e) {
        aws_error_set(error, "iot_%s: %.235s", tls_error_option(&why), why.text);
    }
    return e;
}

/* One round of questions. */

static bool is_valid(const struct credentials *c)
{
    return c->held && (!c->temporary || !mono_reached(mono_now(), c->expiry));
}

static void forget(struct credentials *c)
{
    aws_keys_finish(&c->keys);
    c->held = false;
}

static void on_timer(uv_timer_t *timer);

static void plan(struct credentials *c, uint64_t ms)
{
    uv_timer_start(&c->timer, on_timer, ms, 0);
}

static void note(struct credentials *c, enum credential_source_id id, const char *text)
{
    size_t len = strlen(c->tried);
    snprintf(c->tried + len, sizeof(c->tried) - len, "%s%s: %s", len ? "; " : "", source_names[id], text);
}

/* Another try, before what is held expires if that is soon. */
static void plan_retry(struct credentials *c)
{
    uint64_t ms = backoff_next_ms(&c->retry);
    if (is_valid(c) && c->temporary) {
        uint64_t left = mono_ms_until(mono_now(), c->expiry);
        ms = ms < left / 2 + 1 ? ms : left / 2 + 1;
    }
    plan(c, ms);
}

static void end_round_without(struct credentials *c)
{
    c->asking = false;
    c->reconfigured = false;
    plan_retry(c);
    if (is_valid(c)) {
        log_emit(&log_renewal_failed, "source=%s valid_s=%llu answer=\"%s\"", source_names[c->source],
                 c->temporary ? (unsigned long long)mono_ms_until(mono_now(), c->expiry) / 1000 : 0ull, c->tried);
        return;
    }
    forget(c);
    if (strcmp(c->tried, c->told) != 0) {
        memcpy(c->told, c->tried, sizeof(c->told));
        log_emit(&log_none, "tried=\"%s\"", c->tried);
    }
    c->events.on_failed(c->ctx, c->tried);
}

static void plan_renewal(struct credentials *c, int64_t lifetime_ms)
{
    uint64_t lifetime = (uint64_t)(lifetime_ms < LIFETIME_MAX_MS ? lifetime_ms : LIFETIME_MAX_MS);
    c->expiry = mono_add_ms(mono_now(), lifetime);
    /* between 60 and 70 %: not every gateway at the same moment */
    plan(c, lifetime * (600 + random_seed() % 100) / 1000);
}

static void end_round_with(struct credentials *c, enum credential_source_id id, struct credential_answer *answer)
{
    bool first = !c->held || c->source != id;
    bool news = first || !aws_keys_equal(&c->keys, &answer->keys);
    aws_keys_finish(&c->keys);
    c->keys = answer->keys;
    answer->keys = (struct aws_keys){0};
    c->held = true;
    c->asking = false;
    c->reconfigured = false;
    c->source = id;
    c->temporary = answer->temporary;
    c->told[0] = '\0';
    backoff_reset(&c->retry);
    uv_timer_stop(&c->timer);
    if (c->temporary) {
        plan_renewal(c, answer->lifetime_ms);
    }
    if (news) {
        log_emit(first ? &log_ready : &log_renewed, "source=%s lifetime_s=%lld", source_names[id],
                 (long long)(c->temporary ? answer->lifetime_ms / 1000 : 0));
        c->events.on_ready(c->ctx);
    }
}

static void on_fetched(void *ctx, enum err e, struct credential_answer *answer, const char *text);

static enum err ask(struct credentials *c, enum credential_source_id id, struct credential_answer *answer,
                    struct aws_error *error)
{
    struct credentials_options o = settings_options(&c->settings);
    c->fetch = (struct credential_fetch){
        .source = id, .http = id == SOURCE_ROLE_ALIAS ? c->iot : c->plain, .done = on_fetched, .ctx = c};
    switch (id) {
    case SOURCE_ROLE_ALIAS:
        return source_role_alias(&c->fetch, &o, error);
    case SOURCE_ENVIRONMENT:
        return source_environment(answer, error);
    case SOURCE_FILES:
        return source_files(o.profile, answer, error);
    case SOURCE_CONTAINER:
        return source_container(&c->fetch, error);
    case SOURCE_METADATA:
        return source_metadata(&c->fetch, error);
    case SOURCE_COUNT:
        break;
    }
    return E_INVALID;
}

/* Asks from c->next on until a source answers or is going to. */
static void ask_next(struct credentials *c)
{
    while (c->next < SOURCE_COUNT) {
        enum credential_source_id id = c->next;
        struct credential_answer answer = {0};
        struct aws_error error = {""};
        enum err e = ask(c, id, &answer, &error);
        if (e == E_OK) {
            if (answer.keys.access_key) {
                end_round_with(c, id, &answer);
            }
            return;
        }
        note(c, id, error.text);
        if (c->only_source || e == E_UNSUPPORTED) {
            break;
        }
        c->next = id + 1;
    }
    end_round_without(c);
}

static void on_fetched(void *ctx, enum err e, struct credential_answer *answer, const char *text)
{
    struct credentials *c = ctx;
    if (e == E_OK) {
        end_round_with(c, c->next, answer);
        return;
    }
    note(c, c->next, text);
    c->next = c->only_source ? SOURCE_COUNT : c->next + 1;
    ask_next(c);
}

static void start_round(struct credentials *c)
{
    if (c->asking || c->closing) {
        return;
    }
    c->asking = true;
    c->asked = mono_now();
    c->tried[0] = '\0';
    c->only_source = is_valid(c) && !c->reconfigured;
    c->next = c->only_source ? c->source : SOURCE_ROLE_ALIAS;
    ask_next(c);
}

static void on_timer(uv_timer_t *timer)
{
    start_round(timer->data);
}

/* Public. */

enum err credentials_create(uv_loop_t *loop, const struct credentials_options *o,
                            const struct credentials_events *events, void *ctx, struct credentials **out,
                            struct aws_error *error)
{
    enum err e = check_options(o, error);
    if (e) {
        return e;
    }
    struct credentials *c = calloc(1, sizeof(*c));
    if (!c) {
        aws_error_set(error, "no memory");
        return E_NOMEM;
    }
    c->loop = loop;
    c->events = *events;
    c->ctx = ctx;
    backoff_init(&c->retry, RETRY_BASE_MS, RETRY_CAP_MS, random_seed());
    struct http_client_options plain = {.connect_timeout_ms = 1000, .max_per_host = 1, .max_requests = 4};
    struct tls_error why = {.text = ""};
    e = settings_copy(&c->settings, o);
    e = e ? e : make_iot_client(loop, o, &c->iot, error);
    if (!e) {
        e = http_client_create(loop, &plain, &c->plain, &why);
        if (e) {
            aws_error_set(error, "%.250s", why.text);
        }
    }
    if (e) {
        http_client_close(c->iot, NULL, NULL);
        settings_finish(&c->settings);
        free(c);
        return e;
    }
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    plan(c, 0);
    *out = c;
    return E_OK;
}

static void on_part_closed(void *ctx)
{
    struct credentials *c = ctx;
    if (--c->closing > 0) {
        return;
    }
    void (*on_closed)(void *) = c->on_closed;
    void *closed_ctx = c->closed_ctx;
    forget(c);
    settings_finish(&c->settings);
    free(c);
    if (on_closed) {
        on_closed(closed_ctx);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

void credentials_close(struct credentials *c, void (*on_closed)(void *ctx), void *ctx)
{
    if (!c) {
        if (on_closed) {
            on_closed(ctx);
        }
        return;
    }
    c->on_closed = on_closed;
    c->closed_ctx = ctx;
    c->closing = 3;
    credential_fetch_cancel(&c->fetch);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
    http_client_close(c->iot, on_part_closed, c);
    http_client_close(c->plain, on_part_closed, c);
}

enum err credentials_get(struct credentials *c, struct sigv4_identity *out)
{
    if (!is_valid(c)) {
        if (c->held) {
            plan(c, 0); /* they expired: ask the whole chain */
            forget(c);
        }
        return E_AGAIN;
    }
    *out = aws_keys_identity(&c->keys);
    return E_OK;
}

bool credentials_refused(struct credentials *c)
{
    if (!c->held) {
        return true;
    }
    if (!c->asking) {
        uint64_t since = mono_ms_until(c->asked, mono_now());
        plan(c, since >= REFUSED_PAUSE_MS ? 0 : REFUSED_PAUSE_MS - since);
    }
    return c->source != SOURCE_ENVIRONMENT;
}

enum err credentials_reload(struct credentials *c, const struct credentials_options *o, struct aws_error *error)
{
    struct settings settings;
    struct http_client *iot = NULL;
    enum err e = check_options(o, error);
    if (e) {
        return e;
    }
    e = settings_copy(&settings, o);
    if (e) {
        aws_error_set(error, "no memory");
        return e;
    }
    e = make_iot_client(c->loop, o, &iot, error);
    if (e) {
        settings_finish(&settings);
        return e;
    }
    credential_fetch_cancel(&c->fetch);
    http_client_close(c->iot, NULL, NULL);
    c->iot = iot;
    settings_finish(&c->settings);
    c->settings = settings;
    c->asking = false;
    c->reconfigured = true;
    plan(c, 0);
    return E_OK;
}

const char *credentials_source(const struct credentials *c)
{
    return c->held ? source_names[c->source] : "none";
}
