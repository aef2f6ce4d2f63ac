/* One request, from its first line to the end of its answer. */
#include "websensor/access.h"
#include "websensor/inflate.h"
#include "websensor/reply.h"
#include "websensor/server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    TARGET_MAX = 8192,
    RETRY_AWAY_S = 5,
    RETRY_SOON_S = 1,
    /* Bytes over the ceiling that are still read, so that the client gets to see its 413. */
    EXCESS_MAX = 1 << 20,
    AWAIT_MS = 5,
    /* Memory of all bodies that are being received; small ones are let in all the same. */
    BODIES_MAX = 32 << 20,
    BODY_SMALL = 4096,
};

/* HEAD --> BODY --published--> AWAITED --long--> SUSPENDED
 *            |                     \--PUBACK--\    | PUBACK
 *            \--refused--> ANSWERED <------ SETTLED <-/ */
enum exchange_state {
    EXCHANGE_HEAD,
    EXCHANGE_BODY,
    EXCHANGE_AWAITED, /* the broker has it, for a short time only: see front_await */
    EXCHANGE_SUSPENDED,
    EXCHANGE_SETTLED,
    EXCHANGE_ANSWERED,
};

struct exchange {
    struct delivery_job job; /* first member: on_done gets it */
    struct server *server;
    void *front; /* front_daemon */
    struct MHD_Connection *connection;
    struct conn *conn;
    char *target;
    enum exchange_state state;
    bool too_large;
    bool crowded; /* no memory for its body */
    bool gzip;
    size_t excess;
    struct buffer body;
    struct ingest in;
    struct walking_verdict verdict;
    uint64_t suspend_at; /* of the loop's clock, in ms; AWAITED */
    bool begun;          /* its key stands in the repetition table */
};

/* --- life */

static void drop_body(struct exchange *x)
{
    x->server->body_bytes -= x->body.cap;
    buffer_finish(&x->body);
}

void *exchange_on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct server *s = front_ctx(cls);
    struct exchange *x = calloc(1, sizeof(*x));
    size_t len = strlen(uri);
    if (!x) {
        return NULL;
    }
    x->server = s;
    x->front = cls;
    x->connection = connection;
    x->target = len <= TARGET_MAX ? bytes_dup_str(bytes_make(uri, len)) : NULL;
    buffer_init(&x->body, s->config->max_body);
    /* Topics and payloads: some formats say more in JSON than in their own words. */
    ingest_init(&x->in, 8 * s->config->max_body + 65536);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    x->conn = info ? info->socket_context : NULL;
    return x;
}

void exchange_on_completed(void *cls, struct MHD_Connection *connection, void **request,
                           enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *request;
    (void)cls;
    (void)connection;
    (void)code;
    if (!x) {
        return;
    }
    if (x->begun) { /* the client went away before we knew */
        seen_end(x->server->seen, x->in.key, SEEN_FAILED);
    }
    if (x->conn) {
        conn_enter(x->server->conns, x->conn, CONN_IDLE, mono_now());
    }
    if (x->state == EXCHANGE_AWAITED) {
        front_await_end(x->front);
    }
    delivery_forget(x->server->delivery, &x->job);
    drop_body(x);
    ingest_finish(&x->in);
    free(x->target);
    free(x);
    *request = NULL;
}

void exchange_on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                            enum MHD_ConnectionNotificationCode code)
{
    struct server *s = front_ctx(cls);
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*socket_context) {
            conn_close(s->conns, *socket_context);
        }
        return;
    }
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *address = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (fd && address) {
        int number = fd->connect_fd;
        *socket_context = conn_open(s->conns, number, address->client_addr, mono_now());
        if (!*socket_context) {
            shutdown(number, SHUT_RDWR);
        }
    }
}

/* --- answers */

static struct bytes target(const struct exchange *x)
{
    return bytes_str(x->target);
}

static enum MHD_Result send_reply(struct exchange *x, unsigned status, const char *type, struct bytes body,
                                  struct reply_extra extra)
{
    x->state = EXCHANGE_ANSWERED;
    if (x->conn) {
        conn_enter(x->server->conns, x->conn, CONN_ANSWER, mono_now());
    }
    extra.close |= front_is_draining(x->front) || x->server->stopping;
    return reply_send(x->connection, status, type, body, &extra);
}

/* An error as JSON. */
static enum MHD_Result refuse(struct exchange *x, int status, const char *reason, struct reply_extra extra)
{
    char text[256];
    struct server_metrics *m = &x->server->metrics;
    int n = snprintf(text, sizeof(text), "{\"error\":\"");
    for (const char *c = reason; *c && n < (int)sizeof(text) - 8; c++) {
        if (*c == '"' || *c == '\\') {
            text[n++] = '\\';
        }
        text[n++] = *c;
    }
    n += snprintf(text + n, sizeof(text) - (size_t)n, "\"}\n");
    metric_add(status == 503                    ? &m->unavailable
               : status == 429                  ? &m->limited
               : status == 401 || status == 403 ? &m->unauthorized
                                                : &m->refused,
               1);
    if (status == 401 && !extra.authenticate) {
        extra.authenticate = "Bearer realm=\"websensor\"";
    }
    return send_reply(x, (unsigned)status, "application/json", bytes_make(text, (size_t)n), extra);
}

static enum MHD_Result unavailable(struct exchange *x, const char *reason, unsigned retry_after_s)
{
    return refuse(x, 503, reason, (struct reply_extra){.retry_after_s = retry_after_s});
}

static enum MHD_Result accept_request(struct exchange *x)
{
    struct server *s = x->server;
    char text[160];
    int n = 0;
    unsigned long long id = s->trace++;
    const char *type = "application/json";
    switch (x->in.reply) {
    case INGEST_REPLY_MESSAGE:
        n = snprintf(text, sizeof(text), "{\"message\":\"OK\",\"traceId\":\"%016llx\"}\n", id);
        break;
    case INGEST_REPLY_OK:
        n = snprintf(text, sizeof(text), "OK");
        type = "text/plain; charset=utf-8";
        break;
    case INGEST_REPLY_VERDICT:
        n = snprintf(text, sizeof(text), "{\"walking\":%s,\"cadence\":%.1f,\"confidence\":%.2f}\n",
                     x->verdict.walking ? "true" : "false", x->verdict.cadence, x->verdict.confidence);
        break;
    case INGEST_REPLY_LIST:
        n = snprintf(text, sizeof(text), "[]");
        break;
    case INGEST_REPLY_ID:
        n = snprintf(text, sizeof(text), "{\"id\":\"%016llX\"}\n", id);
        break;
    case INGEST_REPLY_NO_CONTENT:
        return send_reply(x, 204, NULL, (struct bytes){0}, (struct reply_extra){0});
    }
    return send_reply(x, 200, type, bytes_make(text, (size_t)n), (struct reply_extra){0});
}

static enum MHD_Result answer_delivery(struct exchange *x)
{
    struct server *s = x->server;
    bool ok = x->job.result == DELIVERY_OK;
    if (x->begun) {
        seen_end(s->seen, x->in.key, ok ? SEEN_DONE : SEEN_FAILED);
        x->begun = false;
    }
    switch (x->job.result) {
    case DELIVERY_OK:
        metric_add(&s->metrics.published, x->in.count);
        return accept_request(x);
    case DELIVERY_FORBIDDEN:
        return refuse(x, 403, "the broker does not allow this topic", (struct reply_extra){0});
    case DELIVERY_TOO_LARGE:
        return refuse(x, 413, "larger than the broker takes", (struct reply_extra){0});
    case DELIVERY_REFUSED:
        return refuse(x, 502, "the broker refused the message", (struct reply_extra){0});
    case DELIVERY_AWAY:
        break;
    }
    return unavailable(x, "the broker is away", RETRY_AWAY_S);
}

/* --- requests that do not publish */

static enum MHD_Result answer_health(struct exchange *x)
{
    if (!uplink_is_up(x->server->uplink)) {
        return unavailable(x, "the broker is away", RETRY_AWAY_S);
    }
    return send_reply(x, 200, "application/json", BYTES("{\"status\":\"ok\"}\n"), (struct reply_extra){0});
}

static enum MHD_Result answer_metrics(struct exchange *x)
{
    struct buffer text;
    buffer_init(&text, 65536);
    enum err e = server_print_metrics(x->server, &text);
    enum MHD_Result r = e == E_OK ? send_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", buffer_bytes(&text),
                                               (struct reply_extra){0})
                                  : unavailable(x, "no memory", RETRY_SOON_S);
    buffer_finish(&text);
    return r;
}

/* GET and HEAD of what is no format's URL. MHD_NO and not answered: *known is false. */
static enum MHD_Result answer_get(struct exchange *x, struct bytes path, bool *known)
{
    const struct page_file *f = page_find(path);
    *known = true;
    if (f) {
        x->state = EXCHANGE_ANSWERED;
        if (x->conn) {
            conn_enter(x->server->conns, x->conn, CONN_ANSWER, mono_now());
        }
        return reply_page(x->connection, f, front_is_draining(x->front));
    }
    if (bytes_equal(path, BYTES("/healthz"))) {
        return answer_health(x);
    }
    if (bytes_equal(path, BYTES("/metrics"))) {
        return answer_metrics(x);
    }
    if (bytes_equal(path, BYTES("/walk-sensor/raw")) || bytes_equal(path, BYTES("/walk-sensor/proc"))) {
        return send_reply(x, 200, "text/plain; charset=utf-8", BYTES("OK"), (struct reply_extra){0});
    }
    if (bytes_equal(path, BYTES("/ping")) || bytes_equal(path, BYTES("/write"))) { /* InfluxDB's clients ask first */
        return send_reply(x, 204, NULL, (struct bytes){0}, (struct reply_extra){0});
    }
    *known = false;
    return MHD_NO;
}

/* --- the head */

struct framing {
    unsigned hosts, lengths, codings;
    bool chunked;
    bool broken;
};

static enum MHD_Result look_at_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct framing *f = cls;
    (void)kind;
    if (strcasecmp(name, "Host") == 0) {
        f->hosts++;
    } else if (strcasecmp(name, "Content-Length") == 0) {
        f->lengths++;
        f->broken |= !value || value[0] == '\0' || strspn(value, "0123456789") != strlen(value) || strlen(value) > 18;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        f->codings++;
        f->broken |= !value || strcasecmp(value, "chunked") != 0;
    }
    /* A field name is a token (RFC 9110 section 5.6.2): no blank before the colon. */
    for (const char *c = name; *c; c++) {
        f->broken |= *c <= ' ' || *c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", *c);
    }
    return MHD_YES;
}

/* Requests whose length two programs in a row might see differently are refused, and the connection ends (RFC 9112 section
 * 11.2). */
static bool well_framed(struct MHD_Connection *connection, const char *version)
{
    struct framing f = {0};
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, look_at_header, &f);
    bool old = strcmp(version, "HTTP/1.0") == 0;
    return !f.broken && f.lengths <= 1 && f.codings <= 1 && f.lengths + f.codings <= 1 && (old || f.hosts == 1) &&
           !(old && f.codings) && (old || strcmp(version, "HTTP/1.1") == 0);
}

static bool length_over(struct MHD_Connection *connection, size_t max)
{
    struct bytes text = reply_header(connection, "Content-Length");
    uint64_t length;
    return text.len > 0 && (option_parse_uint(text, 0, UINT64_MAX, &length) != E_OK || length > max);
}

static bool has_body(struct MHD_Connection *connection)
{
    struct bytes length = reply_header(connection, "Content-Length");
    return reply_header(connection, "Transfer-Encoding").len > 0 ||
           (length.len > 0 && !bytes_equal(length, BYTES("0")));
}

static bool starts_with_slash(const struct exchange *x)
{
    for (const char *c = x->target; c && *c; c++) {
        if (*c <= ' ' || *c == 0x7f || *c == '#') {
            return false;
        }
    }
    return x->target && x->target[0] == '/';
}

/* What the head alone decides. *answered: the request is settled. */
static enum MHD_Result take_head(struct exchange *x, const char *method, const char *version, bool *answered)
{
    struct server *s = x->server;
    const struct reply_extra close = {.close = true};
    struct bytes encoding = reply_header(x->connection, "Content-Encoding");
    const char *methods = NULL;
    bool get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    *answered = true;
    metric_add(&s->metrics.requests, 1);
    if (!well_framed(x->connection, version)) {
        return refuse(x, 400, "the request's framing is ambiguous or malformed", close);
    }
    if (!x->target) {
        return refuse(x, 414, "the URL is too long", close);
    }
    if (!starts_with_slash(x)) {
        return refuse(x, 400, "the URL is not a path", close);
    }
    if (!conn_take_request(s->conns, x->conn, mono_now())) {
        return refuse(x, 429, "too many requests from this address",
                      (struct reply_extra){.retry_after_s = RETRY_SOON_S});
    }
    if (get && has_body(x->connection)) {
        return refuse(x, 400, "a body has no meaning with this method", close);
    }
    if (!ingest_is_known(target(x), get, &methods)) {
        const char *mark = strchr(x->target, '?');
        struct bytes path = bytes_sub(target(x), 0, mark ? (size_t)(mark - x->target) : SIZE_MAX);
        bool known = false;
        enum MHD_Result r = get ? answer_get(x, path, &known) : MHD_NO;
        if (known) {
            return r;
        }
        bool other = ingest_is_known(target(x), false, &methods);
        return other ? refuse(x, 405, "method not allowed here", (struct reply_extra){.allow = methods, .close = true})
               : page_find(path) ? refuse(x, 405, "method not allowed here",
                                          (struct reply_extra){.allow = "GET, HEAD", .close = true})
                                 : refuse(x, 404, "no such URL", (struct reply_extra){.close = !get});
    }
    if (strcmp(method, "HEAD") == 0 || (!get && strcmp(method, "POST") != 0 && strcmp(method, "PUT") != 0)) {
        return refuse(x, 405, "method not allowed here", (struct reply_extra){.allow = methods, .close = true});
    }
    x->gzip = encoding.len == 4 && strncasecmp((const char *)encoding.data, "gzip", 4) == 0;
    if (encoding.len > 0 && !x->gzip && !bytes_equal(encoding, BYTES("identity"))) {
        return refuse(x, 415, "of the content encodings only gzip is taken", close);
    }
    if (length_over(x->connection, s->config->max_body)) {
        return refuse(x, 413, "the body is too large", close);
    }
    *answered = false;
    return MHD_YES;
}

/* --- the body, and what it says */

static void keep_body(struct exchange *x, struct bytes data)
{
    struct server *s = x->server;
    size_t before = x->body.cap;
    enum err e = buffer_append(&x->body, data);
    s->body_bytes += x->body.cap - before;
    if (s->body_bytes > BODIES_MAX) {
        conns_end_slowest_body(s->conns); /* whose memory is there soon */
        x->crowded = x->body.cap > BODY_SMALL;
    }
    x->too_large = e == E_FULL;
    x->crowded |= e == E_NOMEM;
    if (e != E_OK || x->crowded) {
        drop_body(x);
    }
}

static enum MHD_Result take_body(struct exchange *x, const char *data, size_t *len)
{
    if (x->too_large || x->crowded) {
        x->excess += *len;
    } else {
        keep_body(x, bytes_make(data, *len));
    }
    *len = 0;
    return x->excess <= EXCESS_MAX ? MHD_YES : MHD_NO;
}

static enum err inflate_body(struct exchange *x)
{
    struct buffer plain;
    buffer_init(&plain, x->server->config->max_body);
    enum err e = inflate_gzip(buffer_bytes(&x->body), &plain);
    drop_body(x);
    x->body = plain;
    x->server->body_bytes += plain.cap;
    return e;
}

static int parse(struct exchange *x, const char *method)
{
    struct buffer user, password;
    buffer_init(&user, 4096);
    buffer_init(&password, 4096);
    (void)access_basic(reply_header(x->connection, "Authorization"), &user, &password);
    struct ingest_request rq = {
        .method = bytes_str(method),
        .target = target(x),
        .body = buffer_bytes(&x->body),
        .user = buffer_bytes(&user),
        .limit_user = reply_header(x->connection, "X-Limit-U"),
        .limit_device = reply_header(x->connection, "X-Limit-D"),
        .walk_topic = x->server->config->walk_topic,
        .named_by_token = x->server->tokens != NULL,
    };
    int status = ingest_parse(&rq, &x->in);
    buffer_finish(&user);
    buffer_finish(&password);
    drop_body(x); /* what is published has been copied */
    return status;
}

static int check_access(struct exchange *x, const char **reason)
{
    struct server *s = x->server;
    struct access_rules rules = {s->tokens, s->config->ttn_secret, s->config->allow_anonymous};
    bool forwarded = reply_header(x->connection, "X-Forwarded-For").len > 0 ||
                     reply_header(x->connection, "Forwarded").len > 0 || reply_header(x->connection, "Via").len > 0;
    struct access_request rq = {
        .authorization = reply_header(x->connection, "Authorization"),
        .webhook_secret = reply_header(x->connection, "X-Webhook-Secret"),
        .origin = reply_header(x->connection, "Origin"),
        .host = reply_header(x->connection, "Host"),
        .fetch_site = reply_header(x->connection, "Sec-Fetch-Site"),
        .loopback = conn_is_loopback(x->conn) && !forwarded,
    };
    return access_check(&rules, &rq, &x->in, reason);
}

/* Is it a repetition? *fresh: seen for the first time. true: go on. */
static bool begin_once(struct exchange *x, bool *fresh, enum MHD_Result *answer)
{
    enum seen_state before = x->in.key ? seen_begin(x->server->seen, x->in.key) : SEEN_NEVER;
    *fresh = before == SEEN_NEVER;
    if (before == SEEN_UNDER_WAY) {
        *answer = unavailable(x, "the same message is being published", RETRY_SOON_S);
        return false;
    }
    if (before == SEEN_DONE) {
        metric_add(&x->server->metrics.repeated, 1);
        *answer = accept_request(x);
        return false;
    }
    x->begun = x->in.key != 0;
    return true;
}

static void on_done(struct delivery_job *job)
{
    struct exchange *x = (struct exchange *)job;
    if (x->state == EXCHANGE_SUSPENDED) {
        MHD_resume_connection(x->connection);
    } else {
        front_await_end(x->front);
    }
    x->state = EXCHANGE_SETTLED;
    front_wake(x->front);
}

static void await(struct exchange *x)
{
    if (front_await(x->front)) {
        x->state = EXCHANGE_AWAITED;
        x->suspend_at = uv_now(x->server->loop) + AWAIT_MS;
    } else {
        x->state = EXCHANGE_SUSPENDED;
        MHD_suspend_connection(x->connection);
    }
}

static void await_on(struct exchange *x)
{
    if (uv_now(x->server->loop) >= x->suspend_at) {
        front_await_end(x->front);
        x->state = EXCHANGE_SUSPENDED;
        MHD_suspend_connection(x->connection);
    }
}

static enum MHD_Result publish(struct exchange *x)
{
    struct server *s = x->server;
    x->job.on_done = on_done;
    enum err e = delivery_submit(s->delivery, &x->job, &x->in, mono_now());
    if (e != E_OK) {
        x->job.result = DELIVERY_AWAY;
        if (x->begun) {
            seen_end(s->seen, x->in.key, SEEN_FAILED);
            x->begun = false;
        }
        return e == E_FULL ? unavailable(x, "too many messages wait", RETRY_SOON_S)
                           : unavailable(x, "the broker is away", RETRY_AWAY_S);
    }
    if (!x->job.active) {
        return answer_delivery(x);
    }
    conn_enter(s->conns, x->conn, CONN_WORK, mono_now());
    await(x);
    return MHD_YES;
}

static enum MHD_Result take_request(struct exchange *x, const char *method)
{
    const char *reason = "";
    enum MHD_Result answer;
    bool fresh;
    if (x->crowded) {
        return unavailable(x, "too many large requests at once", RETRY_SOON_S);
    }
    enum err e = x->gzip && !x->too_large ? inflate_body(x) : E_OK;
    if (x->too_large || e == E_FULL) {
        return refuse(x, 413, "the body is too large", (struct reply_extra){.close = true});
    }
    if (e != E_OK) {
        return refuse(x, 400, "the body is not gzip", (struct reply_extra){0});
    }
    int status = parse(x, method);
    if (status != 200) {
        return status == 503 ? unavailable(x, x->in.reason, RETRY_SOON_S)
                             : refuse(x, status, x->in.reason, (struct reply_extra){0});
    }
    status = check_access(x, &reason);
    if (status != 200) {
        return refuse(x, status, reason, (struct reply_extra){0});
    }
    if (!begin_once(x, &fresh, &answer)) {
        return answer;
    }
    if (x->in.walk.present) {
        e = devices_judge(x->server->devices, &x->in, conn_address_hash(x->conn), fresh, mono_now(), &x->verdict);
        if (e == E_OK) {
            e = devices_message(&x->in, &x->verdict);
        }
        if (e != E_OK) {
            return unavailable(x, "no memory", RETRY_SOON_S);
        }
    }
    return publish(x);
}

enum MHD_Result exchange_on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                    const char *version, const char *upload_data, size_t *upload_data_size,
                                    void **request)
{
    struct exchange *x = *request;
    bool answered;
    (void)cls;
    (void)url;
    if (!x || !x->conn) {
        return MHD_NO;
    }
    switch (x->state) {
    case EXCHANGE_HEAD:
        x->state = EXCHANGE_BODY;
        conn_enter(x->server->conns, x->conn, CONN_BODY, mono_now());
        /* libmicrohttpd ends a connection that is answered here, so only what has a body is: its body need not be read. */
        return has_body(connection) ? take_head(x, method, version, &answered) : MHD_YES;
    case EXCHANGE_BODY:
        if (*upload_data_size > 0) {
            return take_body(x, upload_data, upload_data_size);
        }
        if (!has_body(connection)) {
            enum MHD_Result r = take_head(x, method, version, &answered);
            if (answered) {
                return r;
            }
        }
        return take_request(x, method);
    case EXCHANGE_SETTLED:
        return answer_delivery(x);
    case EXCHANGE_AWAITED:
        await_on(x);
        break;
    case EXCHANGE_SUSPENDED:
    case EXCHANGE_ANSWERED:
        break;
    }
    return MHD_YES;
}
