#include "aws/credentials_source.h"
#include "base/json.h"
#include "base/log.h"

#define DEPTH_MAX 8u

/* Names of the members, by the form of the answer. */
struct names {
    struct bytes access_key, secret_key, token, expiration;
};

static const struct names role_alias_names = {
    BYTES("credentials.accessKeyId"),
    BYTES("credentials.secretAccessKey"),
    BYTES("credentials.sessionToken"),
    BYTES("credentials.expiration"),
};
static const struct names metadata_names = {
    BYTES("AccessKeyId"),
    BYTES("SecretAccessKey"),
    BYTES("Token"),
    BYTES("Expiration"),
};

/* The text at a path, unescaped into `memory`; empty if there is none. Borrowed from body or memory. */
static enum err find_text(struct bytes body, struct bytes path, struct buffer *memory, struct bytes *out)
{
    struct json_token t;
    *out = bytes_make(NULL, 0);
    enum err e = json_find(body, path, DEPTH_MAX, &t);
    if (e == E_NOT_FOUND || (!e && t.type == JSON_NULL)) {
        return E_OK;
    }
    if (e || t.type != JSON_STRING) {
        return E_MALFORMED;
    }
    if (!t.escaped) {
        *out = t.text;
        return E_OK;
    }
    size_t start = memory->len;
    e = json_unescape(&t, memory);
    *out = bytes_make(memory->data + start, memory->len - start);
    return e;
}

static enum err read_lifetime(struct bytes text, struct wall now, int64_t *lifetime_ms, struct aws_error *error)
{
    struct wall expiration;
    if (wall_parse_iso8601(text, &expiration) != E_OK) {
        aws_error_set(error, "no expiration time that makes sense");
        return E_MALFORMED;
    }
    *lifetime_ms = expiration.ms - now.ms;
    if (*lifetime_ms <= 0) {
        aws_error_set(error, "what it gave has already expired");
        return E_INVALID;
    }
    return E_OK;
}

/* Instance metadata says "Code": "Success", or what went wrong. */
static enum err check_code(struct bytes body, struct aws_error *error)
{
    struct json_token t;
    char text[100];
    enum err e = json_find(body, BYTES("Code"), DEPTH_MAX, &t);
    if (e == E_NOT_FOUND || (!e && json_text_equal(&t, BYTES("Success")))) {
        return E_OK;
    }
    aws_error_set(error, "answered with code %s", e ? "?" : log_escape(t.text, text, sizeof(text)));
    return e ? E_MALFORMED : E_REFUSED;
}

enum err credential_answer_parse(enum credential_source_id source, struct bytes body, struct wall now,
                                 struct credential_answer *out, struct aws_error *error)
{
    const struct names *names = source == SOURCE_ROLE_ALIAS ? &role_alias_names : &metadata_names;
    struct json_token whole;
    if (json_parse(body, DEPTH_MAX, &whole) != E_OK || whole.type != JSON_OBJECT) {
        aws_error_set(error, "the answer is no JSON object");
        return E_MALFORMED;
    }
    struct buffer memory; /* room for all, so that what was found does not move */
    struct bytes access_key, secret_key, token, expiration;
    buffer_init(&memory, body.len + 1);
    enum err e = buffer_reserve(&memory, body.len + 1);
    e = e ? e : check_code(whole.text, error);
    if (e) {
        buffer_finish(&memory);
        return e;
    }
    e = find_text(whole.text, names->access_key, &memory, &access_key);
    e = e ? e : find_text(whole.text, names->secret_key, &memory, &secret_key);
    e = e ? e : find_text(whole.text, names->token, &memory, &token);
    e = e ? e : find_text(whole.text, names->expiration, &memory, &expiration);
    if (e) {
        aws_error_set(error, "the answer's members are no text");
    }
    struct credential_answer made = {0};
    made.temporary = !e && expiration.len > 0;
    if (!e && (made.temporary || source != SOURCE_CONTAINER)) {
        e = read_lifetime(expiration, now, &made.lifetime_ms, error);
        made.temporary = true;
    }
    e = e ? e : aws_keys_set(&made.keys, access_key, secret_key, token, error);
    if (!e) {
        *out = made;
    }
    explicit_bzero(memory.data, memory.cap);
    buffer_finish(&memory);
    return e;
}
