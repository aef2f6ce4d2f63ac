#include "dashboard/reply.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>

enum { HEAD_MAX = 4096, ERROR_MAX = 1024, ETAG_SIZE = 20 };

static const char *status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {{200, "OK"},
                 {304, "Not Modified"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {414, "URI Too Long"},
                 {500, "Internal Server Error"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].status == status) {
            return texts[i].text;
        }
    }
    return "Error";
}

static const char *const cache_lines[] = {
    [REPLY_REVALIDATE] = "private, no-cache",
    [REPLY_FOR_A_DAY] = "public, max-age=86400",
    [REPLY_FOR_EVER] = "public, max-age=31536000, immutable",
    [REPLY_NEVER] = "no-store",
};

/* Everything comes from here; no inline script or style, no plug-ins, no framing by others. */
static const char page_policy[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'\r\n";

static enum err append_head(struct buffer *out, const struct reply *r, const char *etag)
{
    enum err e = buffer_appendf(out,
                                "Status: %d %s\r\n"
                                "Cache-Control: %s\r\n"
                                "X-Content-Type-Options: nosniff\r\n"
                                "Referrer-Policy: no-referrer\r\n"
                                "Cross-Origin-Resource-Policy: same-origin\r\n",
                                r->status, status_text(r->status), cache_lines[r->cache]);
    if (e == E_OK && r->status != 304) {
        e = buffer_appendf(out, "Content-Type: %s\r\n", r->type);
    }
    if (e == E_OK && etag) {
        e = buffer_appendf(out, "ETag: %s\r\n", etag);
    }
    if (e == E_OK && r->retry_after_s) {
        e = buffer_appendf(out, "Retry-After: %d\r\n", r->retry_after_s);
    }
    if (e == E_OK && r->is_page) {
        e = buffer_append_str(out, page_policy);
    }
    if (e == E_OK && r->header) {
        e = buffer_appendf(out, "%s\r\n", r->header);
    }
    return e;
}

static enum err send_head(const struct exchange *x, const struct reply *r, const char *etag, const size_t *length)
{
    struct buffer head;
    buffer_init(&head, HEAD_MAX + REPLY_HEADER_MAX);
    enum err e = append_head(&head, r, etag);
    if (e == E_OK && length) {
        e = buffer_appendf(&head, "Content-Length: %zu\r\n", *length);
    }
    e = e ? e : buffer_append_str(&head, "\r\n");
    e = e ? e : x->write(x->ctx, buffer_bytes(&head));
    buffer_finish(&head);
    return e;
}

enum err reply_head(const struct exchange *x, const struct reply *r)
{
    return send_head(x, r, NULL, NULL);
}

/* The tag may have been made weak or got a suffix on its way (compression): its digits decide. */
static bool has_it_already(const struct exchange *x, const char *digits)
{
    return x->if_none_match && strstr(x->if_none_match, digits);
}

enum err reply_send(const struct exchange *x, const struct reply *r, struct bytes body)
{
    char etag[ETAG_SIZE] = "";
    char digits[ETAG_SIZE] = "";
    bool tagged = r->status == 200 && r->cache != REPLY_NEVER;
    if (tagged) {
        snprintf(digits, sizeof(digits), "%016" PRIx64, bytes_hash(body, 0));
        snprintf(etag, sizeof(etag), "\"%.16s\"", digits);
        if (has_it_already(x, digits)) {
            struct reply same = *r;
            same.status = 304;
            return send_head(x, &same, etag, NULL);
        }
    }
    enum err e = send_head(x, r, tagged ? etag : NULL, &body.len);
    return e == E_OK && !x->is_head ? x->write(x->ctx, body) : e;
}

static enum err send_error(const struct exchange *x, struct reply r, const char *code, const char *text)
{
    struct buffer body;
    buffer_init(&body, ERROR_MAX);
    r.type = "application/json";
    r.cache = REPLY_NEVER;
    enum err e = buffer_append_str(&body, "{\"error\":");
    e = e ? e : json_append_string(&body, bytes_str(text));
    e = e ? e : buffer_append_str(&body, ",\"code\":");
    e = e ? e : json_append_string(&body, bytes_str(code));
    e = e ? e : buffer_append_str(&body, "}\n");
    e = e ? e : reply_send(x, &r, buffer_bytes(&body));
    buffer_finish(&body);
    return e;
}

enum err reply_error(const struct exchange *x, int status, const char *code, const char *text)
{
    struct reply r = {.status = status, .header = status == 405 ? "Allow: GET, HEAD" : NULL};
    return send_error(x, r, code, text);
}

enum err reply_fault(const struct exchange *x, enum source_fault fault)
{
    const struct source_fault_answer *a = source_fault_answer(fault);
    return send_error(x, (struct reply){.status = a->status, .retry_after_s = a->retry_after_s}, a->code, a->text);
}
