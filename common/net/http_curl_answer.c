#include "net/http_curl.h"

#include <stdio.h>
#include <stdlib.h>

#define SPARE_REQUESTS_MAX 16u /* kept with their curl handle for the next request */

size_t http_on_body(char *data, size_t size, size_t count, void *request)
{
    struct http_request *r = request;
    enum err e = buffer_append(&r->answer, bytes_make(data, size * count));
    if (e != E_OK) {
        r->write_error = e == E_FULL ? E_TOO_LARGE : e;
        return 0;
    }
    return size * count;
}

size_t http_on_header(char *data, size_t size, size_t count, void *request)
{
    struct http_request *r = request;
    (void)data;
    r->header_bytes += size * count;
    if (r->header_bytes > HTTP_ANSWER_HEADERS_MAX) {
        r->write_error = E_PROTOCOL;
        return 0;
    }
    return size * count;
}

/* Curl passes a TLS alert of the server on only as OpenSSL's words for it. */
static enum err err_from_alert(const char *text, enum err otherwise)
{
    if (!strstr(text, " alert ")) {
        return otherwise;
    }
    bool ours = strstr(text, "certificate") || strstr(text, "unknown ca") || strstr(text, "access denied");
    return ours ? E_REFUSED : E_TLS;
}

static enum err err_from_curl(CURLcode code, const char *text)
{
    switch (code) {
    case CURLE_OK:
        return E_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return E_DNS;
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
        return E_UNREACHABLE;
    case CURLE_OPERATION_TIMEDOUT:
        return E_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        return E_TLS_VERIFY;
    case CURLE_SSL_CLIENTCERT:
        return E_REFUSED;
    case CURLE_SSL_CONNECT_ERROR:
        return err_from_alert(text, E_TLS);
    case CURLE_SSL_CIPHER:
        return E_TLS;
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return E_ACCESS;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
        return E_RESET;
    case CURLE_RECV_ERROR:
        if (strstr(text, "CONNECT tunnel failed")) {
            return E_UNREACHABLE; /* the proxy said no */
        }
        /* "... in chunked-encoding", "chunk hex-length ...", "invalid chunk size" */
        if (strstr(text, "chunk")) {
            return E_PROTOCOL;
        }
        return err_from_alert(text, E_RESET); /* TLS 1.3 refuses a client after its handshake */
    case CURLE_OUT_OF_MEMORY:
        return E_NOMEM;
    case CURLE_URL_MALFORMAT:
        return E_INVALID;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 */
    default:
        return E_PROTOCOL;
    }
}

void http_request_unlink(struct http_request *r)
{
    *r->link = r->next;
    if (r->next) {
        r->next->link = r->link;
    }
}

void http_request_link(struct http_request *r, struct http_request **list)
{
    r->next = *list;
    r->link = list;
    if (r->next) {
        r->next->link = &r->next;
    }
    *list = r;
}

static void on_deadline_closed(uv_handle_t *handle)
{
    struct http_request *r = handle->data;
    struct http_client *c = r->client;
    free(r);
    http_client_release(c);
}

void http_request_free(struct http_request *r)
{
    curl_easy_cleanup(r->headers.easy);
    buffer_finish(&r->answer);
    buffer_finish(&r->text);
    uv_close((uv_handle_t *)&r->deadline, on_deadline_closed);
}

/* Takes a request out of the work. It is neither active nor spare then. */
void http_request_detach(struct http_request *r)
{
    uv_timer_stop(&r->deadline);
    curl_multi_remove_handle(r->client->multi, r->headers.easy);
    http_request_unlink(r);
    r->client->active_count--;
}

void http_request_put_away(struct http_request *r)
{
    struct http_client *c = r->client;
    if (c->closing || c->spare_count == SPARE_REQUESTS_MAX) {
        http_request_free(r);
        return;
    }
    if (r->answer.cap > HTTP_SPARE_ANSWER_MAX) {
        buffer_finish(&r->answer);
    }
    http_request_link(r, &c->spare);
    c->spare_count++;
}

/* The end of a request that has been detached. */
void http_request_end(struct http_request *r, enum err err, const char *detail)
{
    long status = 0;
    long sent = 0;
    curl_easy_getinfo(r->headers.easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(r->headers.easy, CURLINFO_REQUEST_SIZE, &sent);
    struct http_answer answer = {
        .err = err,
        .status = err == E_OK ? (int)status : 0,
        .body = err == E_OK ? buffer_bytes(&r->answer) : bytes_make(NULL, 0),
        .detail = detail,
        .reached = sent > 0,
        .headers = err == E_OK ? &r->headers : NULL,
    };
    r->on_done(r->ctx, &answer);
    http_request_put_away(r);
}

static void request_done(struct http_request *r, CURLcode code)
{
    const char *detail = r->error[0] ? r->error : curl_easy_strerror(code);
    enum err e = err_from_curl(code, detail);
    if (r->write_error != E_OK) {
        e = r->write_error;
        detail = e == E_TOO_LARGE ? "the answer is too large" : e == E_NOMEM ? "no memory" : "too many headers";
    }
    http_request_detach(r);
    http_request_end(r, e, e == E_OK ? "" : detail);
}

void http_take_messages(struct http_client *c)
{
    int left = 0;
    while (!c->closing) {
        CURLMsg *m = curl_multi_info_read(c->multi, &left);
        if (!m) {
            return;
        }
        if (m->msg == CURLMSG_DONE) {
            struct http_request *r = NULL;
            CURLcode code = m->data.result;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &r);
            request_done(r, code);
        }
    }
}

/* What a request was waiting for when its time ran out. */
static const char *phase(CURL *easy)
{
    curl_off_t resolved = 0, connected = 0, secured = 0, sending = 0, answered = 0;
    long fresh = 0;
    curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
    curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connected);
    curl_easy_getinfo(easy, CURLINFO_APPCONNECT_TIME_T, &secured);
    curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sending);
    curl_easy_getinfo(easy, CURLINFO_STARTTRANSFER_TIME_T, &answered);
    curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &fresh);
    if (answered > 0) {
        return "in the answer";
    }
    if (sending > 0) {
        return "waiting for the answer";
    }
    if (connected > 0) {
        return "in the TLS handshake";
    }
    return resolved > 0 ? "connecting" : "resolving or waiting for a free connection";
}

void http_on_deadline(uv_timer_t *timer)
{
    struct http_request *r = timer->data;
    char detail[96];
    snprintf(detail, sizeof(detail), "no complete answer within %u ms: %s", r->deadline_ms, phase(r->headers.easy));
    http_request_detach(r);
    http_request_end(r, E_TIMEOUT, detail);
}

struct bytes http_answer_header(const struct http_answer *answer, const char *name)
{
    struct curl_header *h = NULL;
    CURL *easy = answer->headers ? answer->headers->easy : NULL;
    if (!easy || curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK) {
        return bytes_make(NULL, 0);
    }
    if (h->amount > 1 && curl_easy_header(easy, name, h->amount - 1, CURLH_HEADER, -1, &h) != CURLHE_OK) {
        return bytes_make(NULL, 0);
    }
    return bytes_str(h->value);
}
