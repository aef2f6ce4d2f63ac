/* One request, from its first line to the end of its answer. */
#include "websensor/access.h"
#include "websensor/exchange_internal.h"
#include "websensor/inflate.h"

#include <stdlib.h>
#include <strings.h>

enum {
    TARGET_MAX = 8192,
    /* Bytes over the ceiling that are still read, so that the client gets to see its 413. */
    EXCESS_MAX = 1 << 20,
    AWAIT_MS = 20,
    /* Memory of all bodies that are being received; small ones are let in all the same. */
    BODIES_MAX = 32 << 20,
    BODY_SMALL = 4096,
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
    buffer_init(&x->body, (size_t)s->config->max_body);
    /* Topics and payloads: some formats say more in JSON than in their own words. */
    ingest_init(&x->in, 8 * (size_t)s->config->max_body + 65536);
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
    } else if (x->state == EXCHANGE_ANSWERED) {
        front_answer_end(x->front);
    }
    delivery_forget(x->server->delivery, &x->job);
    reply_put_back(&x->server->replies, x->kept);
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
    /* libmicrohttpd 1.0 has one place for what it tells of a connection: each answer is gone with the next question. */
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    int fd = info ? info->connect_fd : -1;
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (fd >= 0 && info) {
        *socket_context = conn_open(s->conns, fd, info->client_addr, mono_now());
        if (!*socket_context) {
            shutdown(fd, SHUT_RDWR);
        }
    }
}

/* --- the head */

static struct bytes target(const struct exchange *x)
{
    return bytes_str(x->target);
}

/* RFC 9112 section 3.2.2: "http://HOST/..." is to be taken, too. Left as it is when HOST is not that of the Host field. */
static void drop_authority(struct exchange *x)
{
    struct bytes host = x->framing.field[FIELD_HOST];
    size_t scheme = !x->target                                   ? 0
                    : strncasecmp(x->target, "http://", 7) == 0  ? 7
                    : strncasecmp(x->target, "https://", 8) == 0 ? 8
                                                                 : 0;
    if (scheme == 0 || host.len == 0 || strncmp(x->target + scheme, (const char *)host.data, host.len) != 0) {
        return;
    }
    const char *path = x->target + scheme + host.len;
    if (*path == '/') {
        memmove(x->target, path, strlen(path) + 1);
    }
}

static bool starts_with_slash(const struct exchange *x)
{
    for (const char *c = x->target; c && *c; c++) {
        if (*c <= ' ' || *c >= 0x7f || *c == '#') { /* char may be signed or not */
            return false;
        }
    }
    return x->target && x->target[0] == '/';
}

/* RFC 9110 section 8.4.1: whatever their case. */
static bool is_coding(struct bytes encoding, const char *name)
{
    return encoding.len == strlen(name) && strncasecmp((const char *)encoding.data, name, encoding.len) == 0;
}

/* What the head alone decides. *answered: the request is settled. */
static enum MHD_Result take_head(struct exchange *x, const char *method, const char *version, bool *answered)
{
    struct server *s = x->server;
    const struct reply_extra close = {.close = true};
    struct bytes encoding = x->framing.field[FIELD_CONTENT_ENCODING];
    const char *methods = NULL;
    bool get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    *answered = true;
    metric_add(&s->metrics.requests, 1);
    if (!framing_is_clear(&x->framing, version)) {
        return exchange_refuse(x, 400, "the request's framing is ambiguous or malformed", close);
    }
    drop_authority(x);
    if (!x->target) {
        return exchange_refuse(x, 414, "the URL is too long", close);
    }
    if (!starts_with_slash(x)) {
        return exchange_refuse(x, 400, "the URL is not a path", close);
    }
    if (!conn_take_request(s->conns, x->conn, mono_now())) {
        return exchange_refuse(x, 429, "too many requests from this address",
                               (struct reply_extra){.retry_after_s = RETRY_SOON_S});
    }
    if (get && framing_has_body(&x->framing)) {
        return exchange_refuse(x, 400, "a body has no meaning with this method", close);
    }
    if (!ingest_is_known(target(x), get, &methods)) {
        const char *mark = strchr(x->target, '?');
        struct bytes path = bytes_sub(target(x), 0, mark ? (size_t)(mark - x->target) : SIZE_MAX);
        bool known = false;
        enum MHD_Result r = get ? exchange_answer_get(x, path, &known) : MHD_NO;
        if (known) {
            return r;
        }
        bool other = ingest_is_known(target(x), false, &methods);
        return other                      ? exchange_refuse(x, 405, "method not allowed here",
                                                            (struct reply_extra){.allow = methods, .close = true})
               : exchange_only_gets(path) ? exchange_refuse(x, 405, "method not allowed here",
                                                            (struct reply_extra){.allow = "GET, HEAD", .close = true})
                                          : exchange_refuse(x, 404, "no such URL", (struct reply_extra){.close = !get});
    }
    if (strcmp(method, "HEAD") == 0 || (!get && strcmp(method, "POST") != 0 && strcmp(method, "PUT") != 0)) {
        return exchange_refuse(x, 405, "method not allowed here",
                               (struct reply_extra){.allow = methods, .close = true});
    }
    if (!get && !framing_has_length(&x->framing)) { /* without, a body would be lost, or taken for the next request */
        return exchange_refuse(x, 411, "a Content-Length is needed", close);
    }
    x->gzip = is_coding(encoding, "gzip") || is_coding(encoding, "x-gzip");
    if (encoding.len > 0 && !x->gzip && !is_coding(encoding, "identity")) {
        return exchange_refuse(x, 415, "of the content encodings only gzip is taken",
                               (struct reply_extra){.accept_encoding = "gzip", .close = true});
    }
    if (framing_length_over(&x->framing, (size_t)s->config->max_body)) {
        return exchange_refuse(x, 413, "the body is too large", close);
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
    buffer_init(&plain, (size_t)x->server->config->max_body);
    enum err e = inflate_gzip(buffer_bytes(&x->body), &plain);
    drop_body(x);
    x->body = plain;
    x->server->body_bytes += plain.cap;
    return e;
}

static int parse(struct exchange *x, const char *method)
{
    const struct bytes *field = x->framing.field;
    struct buffer user, password;
    buffer_init(&user, 4096);
    buffer_init(&password, 4096);
    (void)access_basic(field[FIELD_AUTHORIZATION], &user, &password);
    struct ingest_request rq = {
        .method = bytes_str(method),
        .target = target(x),
        .body = buffer_bytes(&x->body),
        .user = buffer_bytes(&user),
        .limit_user = field[FIELD_LIMIT_USER],
        .limit_device = field[FIELD_LIMIT_DEVICE],
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
    const struct bytes *field = x->framing.field;
    struct access_rules rules = {s->tokens, s->config->ttn_secret, s->config->allow_anonymous};
    struct access_request rq = {
        .authorization = field[FIELD_AUTHORIZATION],
        .webhook_secret = field[FIELD_WEBHOOK_SECRET],
        .origin = field[FIELD_ORIGIN],
        .host = field[FIELD_HOST],
        .fetch_site = field[FIELD_FETCH_SITE],
        .loopback = conn_is_loopback(x->conn) && !x->framing.forwarded,
    };
    return access_check(&rules, &rq, &x->in, reason);
}

/* Is it a repetition? *fresh: seen for the first time. true: go on. */
static bool begin_once(struct exchange *x, bool *fresh, enum MHD_Result *answer)
{
    enum seen_state before = x->in.key ? seen_begin(x->server->seen, x->in.key) : SEEN_NEVER;
    *fresh = before == SEEN_NEVER;
    if (before == SEEN_UNDER_WAY) {
        *answer = exchange_unavailable(x, "the same message is being published", RETRY_SOON_S);
        return false;
    }
    if (before == SEEN_DONE) {
        metric_add(&x->server->metrics.repeated, 1);
        *answer = exchange_accept(x);
        return false;
    }
    x->begun = x->in.key != 0;
    return true;
}

static void on_done(struct delivery_job *job)
{
    struct exchange *x = (struct exchange *)job;
    void *front = x->front;
    bool awaited = x->state == EXCHANGE_AWAITED;
    x->state = EXCHANGE_SETTLED;
    if (!awaited) {
        MHD_resume_connection(x->connection);
    } else {
        front_await_end(front);
        if (!front_is_running(front)) {
            (void)exchange_answer_delivery(x); /* a failure ends x at once, or when libmicrohttpd asks again */
        }
    }
    front_wake(front);
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
        return e == E_FULL ? exchange_unavailable(x, "too many messages wait", RETRY_SOON_S)
                           : exchange_unavailable(x, "the broker is away", RETRY_AWAY_S);
    }
    if (!x->job.active) {
        return exchange_answer_delivery(x);
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
        return exchange_unavailable(x, "too many large requests at once", RETRY_SOON_S);
    }
    enum err e = x->gzip && !x->too_large ? inflate_body(x) : E_OK;
    if (x->too_large || e == E_FULL) {
        return exchange_refuse(x, 413, "the body is too large", (struct reply_extra){.close = true});
    }
    if (e != E_OK) {
        return exchange_refuse(x, 400, "the body is not gzip", (struct reply_extra){0});
    }
    int status = parse(x, method);
    if (status != 200) {
        return status == 503 ? exchange_unavailable(x, x->in.reason, RETRY_SOON_S)
                             : exchange_refuse(x, status, x->in.reason, (struct reply_extra){0});
    }
    status = check_access(x, &reason);
    if (status != 200) {
        return exchange_refuse(x, status, reason, (struct reply_extra){0});
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
            return exchange_unavailable(x, "no memory", RETRY_SOON_S);
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
        framing_read(&x->framing, connection);
        conn_enter(x->server->conns, x->conn, CONN_BODY, mono_now());
        /* libmicrohttpd ends a connection that is answered here, so only what has a body is: its body need not be read. */
        return framing_has_body(&x->framing) ? take_head(x, method, version, &answered) : MHD_YES;
    case EXCHANGE_BODY:
        if (*upload_data_size > 0) {
            return take_body(x, upload_data, upload_data_size);
        }
        if (!framing_has_body(&x->framing)) {
            enum MHD_Result r = take_head(x, method, version, &answered);
            if (answered) {
                return r;
            }
        }
        return take_request(x, method);
    case EXCHANGE_SETTLED:
        return exchange_answer_delivery(x);
    case EXCHANGE_AWAITED:
        await_on(x);
        break;
    case EXCHANGE_SUSPENDED:
        break;
    case EXCHANGE_ANSWERED: /* libmicrohttpd could not take the answer */
        return MHD_NO;
    }
    return MHD_YES;
}
