#include "net/http_curl.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static bool curl_ready;

static void init_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

/* --- the client --- */

static bool copy_string(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

/* Curl reads the files for each connection (a renewal needs no restart); whether they can be used is found out now. */
static enum err check_files(const struct http_client_options *o, struct tls_error *error)
{
    struct tls_options t = {.certfile = o->certfile, .keyfile = o->keyfile, .cafile = o->cafile};
    struct tls_context *context = NULL;
    if (!o->certfile && !o->keyfile && !o->cafile) {
        return E_OK;
    }
    enum err e = tls_client_create(&t, &context, error);
    tls_unref(e == E_OK ? context : NULL);
    return e;
}

static CURLM *create_multi(struct http_client *c)
{
    CURLM *multi = curl_multi_init();
    long per_host = (long)c->limits.per_host;
    if (multi) {
        curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, http_on_watch);
        curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, c);
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, http_on_timeout_change);
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, c);
        curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
        curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, per_host);
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, per_host * (long)HTTP_IDLE_PER_HOST);
    }
    return multi;
}

static void client_free(struct http_client *c)
{
    free(c->certfile);
    free(c->keyfile);
    free(c->cafile);
    free(c->user_agent);
    free(c);
}

enum err http_client_create(uv_loop_t *loop, const struct http_client_options *o, struct http_client **out,
                            struct tls_error *error)
{
    enum err e = check_files(o, error);
    if (e != E_OK) {
        return e;
    }
    pthread_once(&curl_once, init_curl);
    snprintf(error->text, sizeof(error->text), "no memory");
    struct http_client *c = calloc(1, sizeof(*c));
    if (!c || !curl_ready) {
        free(c);
        return E_NOMEM;
    }
    c->loop = loop;
    c->limits = http_limits_of(o);
    if (!copy_string(&c->certfile, o->certfile) || !copy_string(&c->keyfile, o->keyfile) ||
        !copy_string(&c->cafile, o->cafile) ||
        !copy_string(&c->user_agent, o->user_agent ? o->user_agent : "mosquitto-aws")) {
        goto fail;
    }
    c->multi = create_multi(c);
    if (!c->multi) {
        goto fail;
    }
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    c->handles = 1;
    error->text[0] = '\0';
    *out = c;
    return E_OK;

fail:
    client_free(c);
    return E_NOMEM;
}

void http_client_release(struct http_client *c)
{
    if (--c->handles == 0) {
        void (*on_closed)(void *ctx) = c->on_closed;
        void *ctx = c->on_closed_ctx;
        client_free(c);
        if (on_closed) {
            on_closed(ctx);
        }
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    http_client_release(handle->data);
}

void http_client_close(struct http_client *c, void (*on_closed)(void *ctx), void *ctx)
{
    if (!c) {
        if (on_closed) {
            on_closed(ctx);
        }
        return;
    }
    if (c->closing) {
        return;
    }
    c->closing = true;
    c->on_closed = on_closed;
    c->on_closed_ctx = ctx;
    while (c->active) {
        struct http_request *r = c->active;
        http_request_detach(r);
        http_request_end(r, E_CANCELLED, "the client was closed");
    }
    while (c->spare) {
        struct http_request *r = c->spare;
        http_request_unlink(r);
        http_request_free(r);
    }
    curl_multi_cleanup(c->multi);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

size_t http_client_active(const struct http_client *c)
{
    return c->active_count;
}

/* --- a request --- */

/* The trust of a connection. Without a CA file curl's own default bundle; its folder of CAs is switched off, because curl keeps
 * what it has read only from a file, and because a CA file is meant to be the only trust. */
static bool set_trust(CURL *easy, const struct http_client *c)
{
    int bad = 0;
    if (c->cafile) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CAINFO, c->cafile);
    }
    if (c->cafile || curl_version_info(CURLVERSION_NOW)->cainfo) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (c->certfile) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_SSLCERT, c->certfile);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_SSLKEY, c->keyfile);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_KEYPASSWD, ""); /* never ask on the terminal */
        /* A resumed session would go on with the certificate that it began with, after a renewal too. */
        bad |= (int)curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    }
    bad |= (int)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    return bad == 0;
}

/* What all requests of a client have in common. */
static bool set_common(CURL *easy, struct http_request *r)
{
    const struct http_client *c = r->client;
    int bad = 0;
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PRIVATE, r);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, r->error);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, http_on_body);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, http_on_header);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_HEADERDATA, r);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_USERAGENT, c->user_agent);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* A name that is still being resolved must not make us wait when its request is taken away. */
    bad |= (int)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)c->limits.connect_timeout_ms);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)(c->limits.idle_timeout_ms + 999) / 1000);
    return bad == 0 && set_trust(easy, c);
}

static struct http_request *request_create(struct http_client *c)
{
    struct http_request *r = calloc(1, sizeof(*r));
    if (!r) {
        return NULL;
    }
    r->client = c;
    buffer_init(&r->text, HTTP_HEADER_TEXT_MAX);
    r->headers.easy = curl_easy_init();
    if (!r->headers.easy || !set_common(r->headers.easy, r)) {
        curl_easy_cleanup(r->headers.easy);
        free(r);
        return NULL;
    }
    uv_timer_init(c->loop, &r->deadline);
    r->deadline.data = r;
    c->handles++;
    return r;
}

static struct http_request *request_take(struct http_client *c)
{
    struct http_request *r = c->spare;
    if (!r) {
        return request_create(c);
    }
    http_request_unlink(r);
    c->spare_count--;
    return r;
}

static void add_line(struct http_request *r, size_t *count, char *line)
{
    r->lines[*count] = (struct curl_slist){.data = line, .next = NULL};
    if (*count > 0) {
        r->lines[*count - 1].next = &r->lines[*count];
    }
    ++*count;
}

/* The header lines as curl wants them; "Name:" takes a header of curl's own away, "Name;" sends one without value. */
static enum err set_lines(struct http_request *r, const struct http_request_options *o)
{
    static char no_expect[] = "Expect:";
    static char no_accept[] = "Accept:";
    static char no_type[] = "Content-Type:";
    size_t count = 0;
    size_t size = 0;
    for (size_t i = 0; i < o->header_count; i++) {
        size += strlen(o->headers[i].name) + strlen(o->headers[i].value) + sizeof(": ");
    }
    buffer_clear(&r->text);
    enum err e = buffer_reserve(&r->text, size); /* now, so that the lines stay where they are */
    if (e != E_OK) {
        return e;
    }
    for (size_t i = 0; i < o->header_count; i++) {
        const struct http_header *h = &o->headers[i];
        char *line = (char *)r->text.data + r->text.len;
        int len = snprintf(line, r->text.cap - r->text.len, h->value[0] ? "%s: %s" : "%s;", h->name, h->value);
        r->text.len += (size_t)len + 1;
        add_line(r, &count, line);
    }
    add_line(r, &count, no_expect);
    if (!http_gives_header(o, "Accept")) {
        add_line(r, &count, no_accept);
    }
    if (!http_gives_header(o, "Content-Type")) {
        add_line(r, &count, no_type);
    }
    return E_OK;
}

static bool set_method(CURL *easy, const struct http_request_options *o)
{
    static const char *const custom[] = {[HTTP_PUT] = "PUT", [HTTP_DELETE] = "DELETE"};
    int bad = (int)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, custom[o->method]);
    if (o->method == HTTP_POST || o->method == HTTP_PUT) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body.len);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, o->body.len ? (const char *)o->body.data : "");
    } else if (o->method == HTTP_HEAD) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    return bad == 0;
}

static enum err request_set_up(struct http_request *r, const struct http_request_options *o)
{
    CURL *easy = r->headers.easy;
    enum err e = set_lines(r, o);
    if (e != E_OK) {
        return e;
    }
    bool ok = set_method(easy, o) && curl_easy_setopt(easy, CURLOPT_URL, o->url) == CURLE_OK &&
              curl_easy_setopt(easy, CURLOPT_HTTPHEADER, r->lines) == CURLE_OK &&
              curl_easy_setopt(easy, CURLOPT_PROXY, o->direct ? "" : NULL) == CURLE_OK;
    if (!ok) {
        return E_NOMEM;
    }
    size_t max = o->max_answer ? o->max_answer : HTTP_ANSWER_MAX;
    if (r->answer.cap > max) {
        buffer_finish(&r->answer);
    }
    r->answer.max = max;
    buffer_clear(&r->answer);
    r->header_bytes = 0;
    r->write_error = E_OK;
    r->error[0] = '\0';
    r->deadline_ms = o->deadline_ms ? o->deadline_ms : HTTP_DEADLINE_MS;
    return E_OK;
}

enum err http_request(struct http_client *c, const struct http_request_options *o, http_done_fn *on_done, void *ctx,
                      struct http_request **out)
{
    if (c->closing) {
        return E_CLOSED;
    }
    enum err e = http_check_request(o);
    if (e != E_OK) {
        return e;
    }
    if (c->active_count == c->limits.requests) {
        return E_FULL;
    }
    struct http_request *r = request_take(c);
    if (!r) {
        return E_NOMEM;
    }
    r->on_done = on_done;
    r->ctx = ctx;
    e = request_set_up(r, o);
    if (e == E_OK && curl_multi_add_handle(c->multi, r->headers.easy) != CURLM_OK) {
        e = E_NOMEM;
    }
    if (e != E_OK) {
        http_request_put_away(r);
        return e;
    }
    uv_update_time(c->loop);
    uv_timer_start(&r->deadline, http_on_deadline, r->deadline_ms, 0);
    http_request_link(r, &c->active);
    c->active_count++;
    if (out) {
        *out = r;
    }
    return E_OK;
}

void http_cancel(struct http_request *r)
{
    http_request_detach(r);
    http_request_put_away(r);
}
