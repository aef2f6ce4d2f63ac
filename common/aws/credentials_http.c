/* Sources over HTTP: IoT credential provider ("Authorizing direct calls to AWS services using AWS IoT Core credential
 * provider"), container endpoint ("Container credential provider", AWS SDKs and Tools Reference Guide), instance metadata ("Use
 * IMDSv2", Amazon EC2 User Guide). */
#include "aws/credentials_source.h"
#include "aws/http_date.h"
#include "base/json.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROLE_ALIAS_DEADLINE_MS 20000u
#define CONTAINER_DEADLINE_MS 5000u
#define METADATA_DEADLINE_MS 2000u
#define METADATA_TOKEN_TTL "21600"
#define ANSWER_MAX 65536u
#define CONTAINER_HOST "http://169.254.170.2"
#define METADATA_PATH "/latest/meta-data/iam/security-credentials/"

/* Ends the question without credentials. */
static void fail(struct credential_fetch *f, enum err e, const char *text)
{
    f->done(f->ctx, e, NULL, text);
}

/* The clock of the server that answered; ours if it does not tell. */
static struct wall server_clock(const struct http_answer *a)
{
    struct wall now;
    if (http_date_parse(http_answer_header(a, "Date"), &now) != E_OK) {
        now = wall_now();
    }
    return now;
}

/* What the server says when it refuses: its message if it sent one. */
static void describe_refusal(const struct http_answer *a, struct aws_error *error)
{
    struct json_token message;
    char text[160] = "";
    if (json_find(a->body, BYTES("message"), 8, &message) == E_OK && message.type == JSON_STRING) {
        log_escape(message.text, text, sizeof(text));
    }
    aws_error_set(error, "status %d%s%s", a->status, text[0] ? ": " : "", text);
}

/* True for a complete answer of status 200; otherwise the question has ended. */
static bool is_good(struct credential_fetch *f, const struct http_answer *a)
{
    struct aws_error error;
    f->request = NULL;
    if (a->err == E_OK && a->status == 200) {
        return true;
    }
    if (a->err) {
        aws_error_set(&error, "%s: %.200s", err_name(a->err), a->detail);
    } else {
        describe_refusal(a, &error);
    }
    fail(f, a->err ? a->err : E_REFUSED, error.text);
    return false;
}

static void on_credentials(void *ctx, const struct http_answer *a)
{
    struct credential_fetch *f = ctx;
    if (!is_good(f, a)) {
        return;
    }
    struct credential_answer answer = {0};
    struct aws_error error;
    enum err e = credential_answer_parse(f->source, a->body, server_clock(a), &answer, &error);
    if (e) {
        fail(f, e, error.text);
    } else {
        f->done(f->ctx, E_OK, &answer, "");
    }
    aws_keys_finish(&answer.keys);
}

static enum err send_request(struct credential_fetch *f, enum http_method method, const char *url,
                             const struct http_header *header, uint32_t deadline_ms, http_done_fn *on_done)
{
    struct http_request_options o = {.method = method,
                                     .url = url,
                                     .headers = header,
                                     .header_count = header ? 1 : 0,
                                     .deadline_ms = deadline_ms,
                                     .max_answer = ANSWER_MAX,
                                     .direct = f->source != SOURCE_ROLE_ALIAS};
    return http_request(f->http, &o, on_done, f, &f->request);
}

void credential_fetch_cancel(struct credential_fetch *f)
{
    if (f->request) {
        http_cancel(f->request);
        f->request = NULL;
    }
}

/* IoT credential provider. */

enum err source_role_alias(struct credential_fetch *f, const struct credentials_options *o, struct aws_error *error)
{
    if (!o->role_alias || !o->role_alias[0]) {
        aws_error_set(error, "aws_role_alias is not set");
        return E_NOT_FOUND;
    }
    int n = snprintf(f->url, sizeof(f->url), "https://%s/role-aliases/%s/credentials", o->endpoint ? o->endpoint : "",
                     o->role_alias);
    enum err e = n < 0 || (size_t)n >= sizeof(f->url)
                     ? E_TOO_LARGE
                     : send_request(f, HTTP_GET, f->url, NULL, ROLE_ALIAS_DEADLINE_MS, on_credentials);
    if (e) {
        aws_error_set(error, "%s: %.200s", err_name(e), f->url);
    }
    return e;
}

/* Container endpoint. */

static bool has_host(const char *uri, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(uri, prefix, len) == 0 && strchr(":/?", uri[len]) != NULL;
}

/* http://127.x.y.z */
static bool is_loopback(const char *uri)
{
    static const char prefix[] = "http://127.";
    if (strncmp(uri, prefix, sizeof(prefix) - 1) != 0) {
        return false;
    }
    uri += sizeof(prefix) - 1;
    for (int part = 0; part < 3; part++) {
        size_t digits = strspn(uri, "0123456789");
        if (digits < 1 || digits > 3 || (part < 2 && uri[digits] != '.')) {
            return false;
        }
        uri += digits + (part < 2);
    }
    return strchr(":/?", *uri) != NULL;
}

bool container_uri_allowed(const char *uri)
{
    static const char *const hosts[] = {
        "http://localhost", "http://[::1]", "http://[fd00:ec2::23]", CONTAINER_HOST, "http://169.254.170.23",
    };
    if (strpbrk(uri, "@\\ \t\r\n")) {
        return false;
    }
    if (strncmp(uri, "https://", 8) == 0) {
        return uri[8] != '\0';
    }
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        if (has_host(uri, hosts[i])) {
            return true;
        }
    }
    return is_loopback(uri);
}

/* The token for the Authorization header: a file's content goes before the variable. */
static enum err container_token(char *out, size_t size, struct aws_error *error)
{
    const char *path = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    out[0] = '\0';
    if (path && path[0]) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;
        if (fd >= 0) {
            close(fd);
        }
        if (n < 0) {
            aws_error_set(error, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read");
            return E_ACCESS;
        }
        out[n] = '\0';
    } else if (token && (size_t)snprintf(out, size, "%s", token) >= size) {
        aws_error_set(error, "AWS_CONTAINER_AUTHORIZATION_TOKEN is too long");
        return E_TOO_LARGE;
    }
    out[strcspn(out, "\r\n")] = '\0';
    return E_OK;
}

enum err source_container(struct credential_fetch *f, struct aws_error *error)
{
    const char *relative = getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    int n;
    if (relative && relative[0]) {
        n = snprintf(f->url, sizeof(f->url), "%s%s%s", CONTAINER_HOST, relative[0] == '/' ? "" : "/", relative);
    } else if (full && full[0]) {
        n = snprintf(f->url, sizeof(f->url), "%s", full);
    } else {
        aws_error_set(error, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set");
        return E_NOT_FOUND;
    }
    if (n < 0 || (size_t)n >= sizeof(f->url) || !container_uri_allowed(f->url)) {
        aws_error_set(
            error,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor an address of this machine or container host");
        return E_INVALID;
    }
    char token[4096];
    enum err e = container_token(token, sizeof(token), error);
    if (e) {
        return e;
    }
    struct http_header header = {"Authorization", token};
    e = send_request(f, HTTP_GET, f->url, token[0] ? &header : NULL, CONTAINER_DEADLINE_MS, on_credentials);
    explicit_bzero(token, sizeof(token));
    if (e) {
        aws_error_set(error, "%s", err_name(e));
    }
    return e;
}

/* Instance metadata: a session token, the role's name, then its credentials. */

static void metadata_get(struct credential_fetch *f, const char *path, const char *name, http_done_fn *on_done)
{
    char url[sizeof(f->url) + sizeof(METADATA_PATH) + sizeof(f->role)];
    snprintf(url, sizeof(url), "%s%s%s", f->url, path, name);
    struct http_header header = {"X-aws-ec2-metadata-token", f->metadata_token};
    enum err e = send_request(f, HTTP_GET, url, &header, METADATA_DEADLINE_MS, on_done);
    if (e) {
        fail(f, e, err_name(e));
    }
}

/* Copies a line of an answer that goes into the next request. */
static bool copy_line(struct bytes body, const char *allowed_besides, char *out, size_t size)
{
    size_t len = 0;
    while (len < body.len && body.data[len] != '\n' && body.data[len] != '\r') {
        uint8_t c = body.data[len];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (len + 1 >= size || c == '\0' || !(plain || strchr(allowed_besides, c))) {
            return false;
        }
        out[len++] = (char)c;
    }
    out[len] = '\0';
    return len > 0;
}

static void on_metadata_role(void *ctx, const struct http_answer *a)
{
    struct credential_fetch *f = ctx;
    if (!is_good(f, a)) {
        return;
    }
    if (!copy_line(a->body, "+=,.@_-", f->role, sizeof(f->role))) {
        fail(f, E_MALFORMED, "the instance has no role, or one whose name makes no sense");
        return;
    }
    metadata_get(f, METADATA_PATH, f->role, on_credentials);
}

static void on_metadata_token(void *ctx, const struct http_answer *a)
{
    struct credential_fetch *f = ctx;
    if (!is_good(f, a)) {
        return;
    }
    if (!copy_line(a->body, "+/=,._-", f->metadata_token, sizeof(f->metadata_token))) {
        fail(f, E_MALFORMED, "no session token in the answer");
        return;
    }
    metadata_get(f, METADATA_PATH, "", on_metadata_role);
}

enum err source_metadata(struct credential_fetch *f, struct aws_error *error)
{
    const char *disabled = getenv("AWS_EC2_METADATA_DISABLED");
    const char *endpoint = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (disabled && strcasecmp(disabled, "true") == 0) {
        aws_error_set(error, "AWS_EC2_METADATA_DISABLED is true");
        return E_NOT_FOUND;
    }
    endpoint = endpoint && endpoint[0] ? endpoint : "http://169.254.169.254";
    if ((size_t)snprintf(f->url, sizeof(f->url), "%s", endpoint) >= sizeof(f->url)) {
        aws_error_set(error, "AWS_EC2_METADATA_SERVICE_ENDPOINT is too long");
        return E_TOO_LARGE;
    }
    while (f->url[0] && f->url[strlen(f->url) - 1] == '/') {
        f->url[strlen(f->url) - 1] = '\0';
    }
    char url[sizeof(f->url) + 32];
    snprintf(url, sizeof(url), "%s/latest/api/token", f->url);
    struct http_header header = {"X-aws-ec2-metadata-token-ttl-seconds", METADATA_TOKEN_TTL};
    enum err e = send_request(f, HTTP_PUT, url, &header, METADATA_DEADLINE_MS, on_metadata_token);
    if (e) {
        aws_error_set(error, "%s", err_name(e));
    }
    return e;
}
