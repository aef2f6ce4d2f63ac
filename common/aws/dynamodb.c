#include "aws/dynamodb.h"

#include "aws/http_date.h"
#include "aws/profile.h"
#include "base/log.h"
#include "base/option.h"
#include "net/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define REQUEST_MAX (16u << 20) /* of AWS */
#define ANSWER_MAX (20u << 20)  /* unprocessed items may all come back */
#define SKEW_MS (4 * 60 * 1000) /* AWS takes 5 minutes; beyond this much a refused signature is the clock's fault */
#define CONTENT_TYPE "application/x-amz-json-1.0"
#define TARGET_PREFIX "DynamoDB_20120810."

LOG_POINT(log_clock, "dynamodb.clock", LOG_WARNING, "the clock here is wrong: requests are signed with AWS's time");
LOG_POINT(log_clock_right, "dynamodb.clock-right", LOG_NOTICE, "the clock here agrees with AWS's again");

struct dynamodb {
    struct http_client *http;
    struct credentials *credentials;
    struct sigv4_scope scope;
    struct sigv4_signed signature; /* of the request that is being made */
    char url[512];
    char host[300];
    int64_t clock_offset_ms;
    struct dynamodb_request *first; /* links requests under way */
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

struct dynamodb_request {
    struct dynamodb *d;
    struct dynamodb_request *next, *previous;
    struct http_request *http;
    dynamodb_done_fn *done;
    void *ctx;
    int64_t clock_offset_ms; /* that it was signed with */
};

/* "https://HOST[:PORT][/]" -> url with a slash at the end, and host as the Host header says it. */
static enum err set_endpoint(struct dynamodb *d, const char *endpoint, const char *region, struct aws_error *error)
{
    char made[300];
    if (!endpoint || !endpoint[0]) {
        snprintf(made, sizeof(made), "https://dynamodb.%s.%s", region, aws_region_domain(region));
        endpoint = made;
    }
    bool secure = strncmp(endpoint, "https://", 8) == 0;
    const char *host = secure ? endpoint + 8 : strncmp(endpoint, "http://", 7) == 0 ? endpoint + 7 : NULL;
    size_t len = host ? strcspn(host, "/") : 0;
    struct option_hostport parsed = {0};
    bool valid = len > 0 && len < sizeof(d->host) && !(host[len] == '/' && host[len + 1]) &&
                 option_parse_hostport(bytes_make(host, len), 0, &parsed) == E_OK;
    free(parsed.host);
    if (!valid) {
        aws_error_set(error,
                      "dynamodb_endpoint: http://HOST[:PORT] or https://HOST[:PORT], the name in ASCII (xn--...)");
        return E_INVALID;
    }
    snprintf(d->url, sizeof(d->url), "%.*s/", (int)(host - endpoint) + (int)len, endpoint);
    memcpy(d->host, host, len);
    d->host[len] = '\0';
    const char *port = secure ? ":443" : ":80";
    if (len > strlen(port) && strcmp(d->host + len - strlen(port), port) == 0) {
        d->host[len - strlen(port)] = '\0';
    }
    return E_OK;
}

enum err dynamodb_create(uv_loop_t *loop, const struct dynamodb_options *o, struct dynamodb **out,
                         struct aws_error *error)
{
    struct dynamodb *d = calloc(1, sizeof(*d));
    if (!d) {
        aws_error_set(error, "no memory");
        return E_NOMEM;
    }
    const char *bundle = getenv("AWS_CA_BUNDLE");
    struct http_client_options http = {.max_per_host = o->connections, .max_requests = o->connections};
    struct tls_error why = {.text = ""};
    sigv4_signed_init(&d->signature);
    d->credentials = o->credentials;
    enum err e = sigv4_scope_init(&d->scope, o->region, "dynamodb");
    if (e) {
        aws_error_set(error, "aws_region: no name of a region");
    }
    e = e ? e : set_endpoint(d, o->endpoint, o->region, error);
    if (!e) {
        if (strncmp(d->url, "https:", 6) == 0) { /* checking a bundle takes milliseconds */
            http.cafile = o->cafile ? o->cafile : bundle && *bundle ? bundle : NULL;
        }
        e = http_client_create(loop, &http, &d->http, &why);
        if (e) {
            aws_error_set(error, "%.250s", why.text);
        }
    }
    if (e) {
        sigv4_signed_finish(&d->signature);
        free(d);
        return e;
    }
    *out = d;
    return E_OK;
}

static void on_http_closed(void *ctx)
{
    struct dynamodb *d = ctx;
    void (*on_closed)(void *) = d->on_closed;
    void *closed_ctx = d->closed_ctx;
    sigv4_signed_finish(&d->signature);
    sigv4_scope_finish(&d->scope);
    free(d);
    if (on_closed) {
        on_closed(closed_ctx);
    }
}

void dynamodb_close(struct dynamodb *d, void (*on_closed)(void *ctx), void *ctx)
{
    if (!d) {
        if (on_closed) {
            on_closed(ctx);
        }
        return;
    }
    d->on_closed = on_closed;
    d->closed_ctx = ctx;
    for (struct dynamodb_request *r = d->first, *next; r; r = next) {
        next = r->next;
        http_cancel(r->http);
        free(r);
    }
    d->first = NULL;
    http_client_close(d->http, on_http_closed, d);
}

static void unlink_request(struct dynamodb_request *r)
{
    if (r->previous) {
        r->previous->next = r->next;
    } else {
        r->d->first = r->next;
    }
    if (r->next) {
        r->next->previous = r->previous;
    }
}

void dynamodb_cancel(struct dynamodb_request *r)
{
    unlink_request(r);
    http_cancel(r->http);
    free(r);
}

/* Answers. */

static uint64_t read_uint(struct bytes text, uint64_t otherwise)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || value > UINT32_MAX) {
            return otherwise;
        }
        value = value * 10 + (text.data[i] - '0');
    }
    return text.len ? value : otherwise;
}

static bool crc_is_good(const struct http_answer *a)
{
    struct bytes header = http_answer_header(a, "x-amz-crc32");
    return !header.data || read_uint(header, UINT64_MAX) == crc32_z(0, a->body.data, a->body.len);
}

static bool is_skewed(int64_t ms)
{
    return ms <= -SKEW_MS || ms >= SKEW_MS;
}

/* A refused signature: if AWS's clock is another one, ours is corrected and the request may go again. */
static void compare_clocks(const struct dynamodb_request *r, const struct http_answer *a, struct dynamodb_answer *out)
{
    struct dynamodb *d = r->d;
    struct wall theirs;
    if (http_date_parse(http_answer_header(a, "Date"), &theirs) != E_OK) {
        return;
    }
    int64_t offset = theirs.ms - wall_now().ms;
    if (!is_skewed(offset - r->clock_offset_ms)) {
        return;
    }
    out->outcome = DYNAMODB_CLOCK;
    if (is_skewed(offset - d->clock_offset_ms)) { /* the first of several that were under way together */
        d->clock_offset_ms = offset;
        log_emit(is_skewed(offset) ? &log_clock : &log_clock_right, "ahead_s=%lld", (long long)offset / 1000);
    }
}

static void describe_failure(const struct http_answer *a, struct dynamodb_answer *out)
{
    bool lasting = a->err == E_TLS_VERIFY || a->err == E_ACCESS;
    out->outcome = lasting ? DYNAMODB_CONFIGURATION : DYNAMODB_TRANSIENT;
    snprintf(out->type, sizeof(out->type), "%s", err_name(a->err));
    snprintf(out->text, sizeof(out->text), "%s", a->detail);
}

static void on_answer(void *ctx, const struct http_answer *a)
{
    struct dynamodb_request *r = ctx;
    struct dynamodb *d = r->d;
    struct dynamodb_answer answer = {.outcome = DYNAMODB_TRANSIENT};
    unlink_request(r);
    if (a->err) {
        describe_failure(a, &answer);
    } else if (!crc_is_good(a)) {
        snprintf(answer.type, sizeof(answer.type), "crc");
        snprintf(answer.text, sizeof(answer.text), "the answer's CRC-32 is wrong");
    } else {
        dynamodb_classify(a->status, a->body, &answer);
        uint64_t wait = read_uint(http_answer_header(a, "x-amz-retry-after"), 0);
        answer.retry_after_ms = wait < 60000 ? (uint32_t)wait : 60000;
    }
    if (answer.time_refused) {
        compare_clocks(r, a, &answer);
    }
    /* a signature that is wrong and not for its time: the secret key is, perhaps not in its source any more */
    bool wrong_secret = answer.time_refused && answer.outcome == DYNAMODB_CONFIGURATION;
    if (answer.outcome == DYNAMODB_CREDENTIALS || wrong_secret) {
        bool others = credentials_refused(d->credentials);
        answer.outcome = others && !wrong_secret ? DYNAMODB_CREDENTIALS : DYNAMODB_CONFIGURATION;
    }
    dynamodb_done_fn *done = r->done;
    void *done_ctx = r->ctx;
    free(r);
    done(done_ctx, &answer);
}

/* Requests. */

static enum err sign(struct dynamodb *d, const char *target, struct bytes body, const struct sigv4_identity *identity)
{
    char hash[SIGV4_HASH_HEX_SIZE];
    const struct sigv4_header headers[] = {
        {BYTES("host"), bytes_str(d->host)},
        {BYTES("content-type"), BYTES(CONTENT_TYPE)},
        {BYTES("x-amz-target"), bytes_str(target)},
    };
    struct sigv4_request r = {.method = BYTES("POST"),
                              .path = BYTES("/"),
                              .headers = headers,
                              .header_count = sizeof(headers) / sizeof(headers[0]),
                              .payload_hash = hash};
    struct wall now = {wall_now().ms + d->clock_offset_ms};
    enum err e = sigv4_hash(body, hash);
    return e ? e : sigv4_sign_headers(&d->scope, identity, &r, now, &d->signature);
}

enum err dynamodb_call(struct dynamodb *d, const char *operation, struct bytes body, uint32_t deadline_ms,
                       dynamodb_done_fn *done, void *ctx, struct dynamodb_request **out)
{
    char target[80];
    struct sigv4_identity identity;
    if (body.len > REQUEST_MAX ||
        (size_t)snprintf(target, sizeof(target), TARGET_PREFIX "%s", operation) >= sizeof(target)) {
        return E_TOO_LARGE;
    }
    enum err e = credentials_get(d->credentials, &identity);
    e = e ? e : sign(d, target, body, &identity);
    if (e) {
        return e;
    }
    struct dynamodb_request *r = calloc(1, sizeof(*r));
    if (!r) {
        return E_NOMEM;
    }
    *r = (struct dynamodb_request){.d = d, .done = done, .ctx = ctx, .clock_offset_ms = d->clock_offset_ms};
    struct http_header headers[] = {
        {"Content-Type", CONTENT_TYPE},
        {"X-Amz-Target", target},
        {"X-Amz-Date", d->signature.date},
        {"Authorization", (const char *)d->signature.authorization.data},
        {"X-Amz-Security-Token", (const char *)identity.session_token.data},
    };
    struct http_request_options o = {.method = HTTP_POST,
                                     .url = d->url,
                                     .headers = headers,
                                     .header_count = identity.session_token.len ? 5 : 4,
                                     .body = body,
                                     .deadline_ms = deadline_ms,
                                     .max_answer = ANSWER_MAX};
    e = http_request(d->http, &o, on_answer, r, &r->http);
    if (e) {
        free(r);
        return e;
    }
    r->next = d->first;
    if (d->first) {
        d->first->previous = r;
    }
    d->first = r;
    if (out) {
        *out = r;
    }
    return E_OK;
}

const char *dynamodb_endpoint(const struct dynamodb *d)
{
    return d->url;
}
