#include "websensor/access.h"

#include "base/base64.h"

#include <strings.h>

enum { CREDENTIAL_MAX = 4096 };

/* What stands behind the scheme's name, or empty. */
static struct bytes after_scheme(struct bytes authorization, const char *scheme)
{
    size_t n = strlen(scheme);
    if (authorization.len <= n || strncasecmp((const char *)authorization.data, scheme, n) != 0 ||
        authorization.data[n] != ' ') {
        return (struct bytes){0};
    }
    return option_trim(bytes_sub(authorization, n + 1, authorization.len));
}

bool access_basic(struct bytes authorization, struct buffer *user, struct buffer *password)
{
    struct bytes coded = after_scheme(authorization, "Basic");
    struct buffer plain;
    buffer_init(&plain, CREDENTIAL_MAX);
    buffer_clear(user);
    buffer_clear(password);
    bool good = false;
    if (coded.len > 0 && base64_decode(coded, &plain) == E_OK && plain.len > 0) {
        const uint8_t *colon = memchr(plain.data, ':', plain.len);
        size_t n = colon ? (size_t)(colon - plain.data) : plain.len;
        good = buffer_append(user, bytes_make(plain.data, n)) == E_OK &&
               (!colon || buffer_append(password, bytes_make(colon + 1, plain.len - n - 1)) == E_OK);
    }
    buffer_finish(&plain);
    return good;
}

/* The request's token into out (empty: none). Basic: the password; or the user name, when that is what is known. */
static void find_token(const struct access_rules *rules, const struct access_request *rq, const struct ingest *in,
                       struct buffer *out)
{
    struct bytes bearer = after_scheme(rq->authorization, "Bearer");
    struct bytes token = bearer.len > 0 ? bearer : after_scheme(rq->authorization, "Token");
    struct buffer user;
    buffer_init(&user, CREDENTIAL_MAX);
    if (in->token.len > 0) {
        token = buffer_bytes(&in->token);
    }
    if (token.len > 0) {
        (void)!buffer_append(out, token);
    } else if (access_basic(rq->authorization, &user, out) &&
               (out->len == 0 || (rules->tokens && tokens_known(rules->tokens, buffer_bytes(&user))))) {
        buffer_clear(out);
        (void)!buffer_append(out, buffer_bytes(&user));
    }
    buffer_finish(&user);
}

static bool secret_equal(const char *secret, struct bytes given)
{
    size_t n = strlen(secret);
    unsigned difference = n != given.len;
    for (size_t i = 0; i < given.len; i++) {
        difference |= (unsigned)given.data[i] ^ (unsigned char)secret[i % n];
    }
    return difference == 0;
}

/* A page of another site must not use the visitor's browser to publish with the trust that this address has. */
static bool from_another_site(const struct access_request *rq)
{
    if (bytes_equal(rq->fetch_site, BYTES("cross-site")) || bytes_equal(rq->fetch_site, BYTES("same-site"))) {
        return true;
    }
    if (rq->origin.len == 0) {
        return false;
    }
    for (size_t i = 0; i + 3 <= rq->origin.len; i++) {
        if (memcmp(rq->origin.data + i, "://", 3) == 0) {
            return !bytes_equal(bytes_sub(rq->origin, i + 3, rq->origin.len), rq->host);
        }
    }
    return true;
}

/* localhost, 127.x.x.x or [::1]: not a name that somebody's DNS makes point to this host. */
static bool names_loopback(struct bytes host)
{
    if (bytes_starts_with(host, BYTES("[::1]"))) {
        return true;
    }
    const uint8_t *colon = host.len > 0 ? memchr(host.data, ':', host.len) : NULL;
    struct bytes name = bytes_sub(host, 0, colon ? (size_t)(colon - host.data) : host.len);
    bool numeric = bytes_starts_with(name, BYTES("127."));
    for (size_t i = 0; i < name.len; i++) {
        numeric = numeric && (name.data[i] == '.' || (name.data[i] >= '0' && name.data[i] <= '9'));
    }
    return numeric || bytes_equal(name, BYTES("localhost"));
}

static int anonymous(const struct access_rules *rules, const struct access_request *rq, const char **reason)
{
    if (!rules->allow_anonymous && !rq->loopback) {
        *reason = "a token is needed";
        return 401;
    }
    bool trusted_for_address = !rules->allow_anonymous && rq->origin.len > 0;
    if (from_another_site(rq) || (trusted_for_address && !names_loopback(rq->host))) {
        *reason = "a request from another site needs a token";
        return 403;
    }
    return 200;
}

/* ThingsBoard names no topic: the token does. */
static int name_topics(const struct access_rules *rules, struct bytes token, struct ingest *in, const char **reason)
{
    struct buffer topic;
    buffer_init(&topic, 65535);
    enum err e = tokens_topic(rules->tokens, token, BYTES("telemetry"), &topic);
    size_t at = in->text.len;
    if (e == E_OK) {
        e = buffer_append(&in->text, buffer_bytes(&topic));
    }
    for (size_t i = 0; e == E_OK && i < in->count; i++) {
        in->messages[i].topic = at;
        in->messages[i].topic_len = topic.len;
    }
    buffer_finish(&topic);
    *reason = "the token's filter does not name one topic";
    return e == E_OK ? 200 : 403;
}

static int with_token(const struct access_rules *rules, struct bytes token, struct ingest *in, const char **reason)
{
    if (!tokens_known(rules->tokens, token)) {
        *reason = "unknown token";
        return 401;
    }
    int status = in->topic_by_token ? name_topics(rules, token, in, reason) : 200;
    for (size_t i = 0; status == 200 && i < in->count; i++) {
        /* Messages of one request often have one topic. */
        bool same = i > 0 && bytes_equal(ingest_topic(in, i), ingest_topic(in, i - 1));
        if (!same && !tokens_cover(rules->tokens, token, ingest_topic(in, i))) {
            *reason = "the token does not cover this topic";
            status = 403;
        }
    }
    return status;
}

static bool ttn_secret_given(const char *secret, const struct access_request *rq)
{
    return (rq->webhook_secret.len > 0 && secret_equal(secret, rq->webhook_secret)) ||
           secret_equal(secret, after_scheme(rq->authorization, "Bearer"));
}

int access_check(const struct access_rules *rules, const struct access_request *rq, struct ingest *in,
                 const char **reason)
{
    struct buffer token;
    bool ttn = in->auth == INGEST_AUTH_TTN && rules->ttn_secret;
    if (ttn && ttn_secret_given(rules->ttn_secret, rq)) {
        return 200;
    }
    buffer_init(&token, CREDENTIAL_MAX);
    find_token(rules, rq, in, &token);
    int status;
    if (rules->tokens && token.len > 0) {
        status = with_token(rules, buffer_bytes(&token), in, reason);
    } else if (ttn) {
        *reason = "the secret is missing or wrong";
        status = 401;
    } else {
        status = anonymous(rules, rq, reason);
    }
    buffer_finish(&token);
    return status;
}
