#include "aws/sigv4.h"

#include "aws/sigv4_canonical.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#define HASH_SIZE 32u
#define ALGORITHM "AWS4-HMAC-SHA256"

/* Every step below stays under SIGV4_TEXT_MAX, so that a full buffer means too large a request. */
static enum err full_is_too_large(enum err e)
{
    return e == E_FULL ? E_TOO_LARGE : e;
}

static void to_hex(const uint8_t digest[static HASH_SIZE], char out[static SIGV4_HASH_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < HASH_SIZE; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[2 * HASH_SIZE] = '\0';
}

static enum err hash(struct bytes b, uint8_t out[static HASH_SIZE])
{
    return EVP_Digest(b.len ? b.data : (const uint8_t *)"", b.len, out, NULL, EVP_sha256(), NULL) == 1 ? E_OK : E_NOMEM;
}

static enum err hmac(struct bytes key, struct bytes text, uint8_t out[static HASH_SIZE])
{
    unsigned len = 0;
    return HMAC(EVP_sha256(), key.data, (int)key.len, text.data, text.len, out, &len) && len == HASH_SIZE ? E_OK
                                                                                                          : E_NOMEM;
}

enum err sigv4_hash(struct bytes body, char out[static SIGV4_HASH_HEX_SIZE])
{
    uint8_t digest[HASH_SIZE];
    enum err e = hash(body, digest);
    if (!e) {
        to_hex(digest, out);
    }
    return e;
}

static bool set_name(char *to, size_t size, const char *from)
{
    size_t len = from ? strlen(from) : 0;
    if (len == 0 || len >= size || strchr(from, '/')) {
        return false;
    }
    memcpy(to, from, len + 1);
    return true;
}

enum err sigv4_scope_init(struct sigv4_scope *s, const char *region, const char *service)
{
    *s = (struct sigv4_scope){0};
    if (!set_name(s->region, sizeof(s->region), region) || !set_name(s->service, sizeof(s->service), service)) {
        return E_INVALID;
    }
    return E_OK;
}

void sigv4_scope_finish(struct sigv4_scope *s)
{
    OPENSSL_cleanse(s, sizeof(*s));
}

void sigv4_signed_init(struct sigv4_signed *out)
{
    *out = (struct sigv4_signed){0};
    buffer_init(&out->authorization, SIGV4_TEXT_MAX);
}

void sigv4_signed_finish(struct sigv4_signed *out)
{
    buffer_finish(&out->authorization);
}

/* "20150830T123600Z"; its first eight characters are the day. */
static enum err format_date(struct wall now, char out[static SIGV4_DATE_SIZE])
{
    char text[WALL_ISO8601_SIZE];
    if (now.ms < 0 || now.ms > WALL_LATEST_MS) {
        return E_INVALID;
    }
    wall_format_iso8601(now, text); /* "2015-08-30T12:36:00.000Z" */
    snprintf(out, SIGV4_DATE_SIZE, "%.4s%.2s%.5s%.2s%.2sZ", text, text + 5, text + 8, text + 14, text + 17);
    return E_OK;
}

static enum err derive_key(struct sigv4_scope *s, struct bytes secret, const char *date)
{
    uint8_t digest[HASH_SIZE];
    enum err e = hash(secret, digest);
    if (e) {
        return e;
    }
    if (s->cached && memcmp(s->day, date, 8) == 0 && CRYPTO_memcmp(digest, s->secret_digest, HASH_SIZE) == 0) {
        return E_OK;
    }
    s->cached = false;
    struct buffer seed;
    buffer_init(&seed, SIGV4_TEXT_MAX);
    uint8_t step[2][HASH_SIZE];
    e = buffer_append(&seed, BYTES("AWS4"));
    e = e ? e : buffer_append(&seed, secret);
    e = e ? e : hmac(buffer_bytes(&seed), bytes_make(date, 8), step[0]);
    e = e ? e : hmac(bytes_make(step[0], HASH_SIZE), bytes_str(s->region), step[1]);
    e = e ? e : hmac(bytes_make(step[1], HASH_SIZE), bytes_str(s->service), step[0]);
    e = e ? e : hmac(bytes_make(step[0], HASH_SIZE), BYTES("aws4_request"), s->key);
    if (!e) {
        memcpy(s->day, date, 8);
        memcpy(s->secret_digest, digest, HASH_SIZE);
        s->cached = true;
    }
    if (seed.data) {
        OPENSSL_cleanse(seed.data, seed.cap);
    }
    OPENSSL_cleanse(step, sizeof(step));
    buffer_finish(&seed);
    return full_is_too_large(e);
}

static enum err append_scope(const struct sigv4_scope *s, const char *date, struct buffer *out)
{
    return buffer_appendf(out, "%.8s/%s/%s/aws4_request", date, s->region, s->service);
}

/* The headers that are signed: the caller's and the two that signing adds. */
static enum err collect_headers(const struct sigv4_request *r, const char *date, struct bytes token,
                                struct sigv4_header_list *l)
{
    enum err e = E_OK;
    l->count = 0;
    for (size_t i = 0; i < r->header_count && !e; i++) {
        e = sigv4_header_list_add(l, r->headers[i].name, r->headers[i].value);
    }
    if (!e) {
        e = sigv4_header_list_add(l, BYTES("x-amz-date"), bytes_str(date));
    }
    if (!e && token.len) {
        e = sigv4_header_list_add(l, BYTES("x-amz-security-token"), token);
    }
    return e;
}

static enum err append_canonical(const struct sigv4_request *r, const struct sigv4_header_list *l, struct buffer *out)
{
    enum err e = buffer_append(out, r->method);
    e = e ? e : buffer_append_byte(out, '\n');
    e = e ? e : sigv4_append_path(out, r->path, r->keep_path);
    e = e ? e : buffer_append_byte(out, '\n');
    e = e ? e : sigv4_append_query(out, r->query);
    e = e ? e : buffer_append_byte(out, '\n');
    e = e ? e : sigv4_append_headers(out, l);
    e = e ? e : buffer_append_byte(out, '\n');
    e = e ? e : sigv4_append_header_names(out, l);
    e = e ? e : buffer_append_byte(out, '\n');
    e = e ? e : buffer_append_str(out, r->payload_hash);
    return full_is_too_large(e);
}

enum err sigv4_canonical_request(const struct sigv4_identity *identity, const struct sigv4_request *r, struct wall now,
                                 struct buffer *out)
{
    char date[SIGV4_DATE_SIZE];
    struct sigv4_header_list headers;
    enum err e = format_date(now, date);
    e = e ? e : collect_headers(r, date, identity->session_token, &headers);
    return e ? e : append_canonical(r, &headers, out);
}

enum err sigv4_string_to_sign(const struct sigv4_scope *s, struct bytes canonical_request, struct wall now,
                              struct buffer *out)
{
    char date[SIGV4_DATE_SIZE];
    char digest[SIGV4_HASH_HEX_SIZE];
    enum err e = format_date(now, date);
    e = e ? e : sigv4_hash(canonical_request, digest);
    e = e ? e : buffer_appendf(out, ALGORITHM "\n%s\n", date);
    e = e ? e : append_scope(s, date, out);
    e = e ? e : buffer_appendf(out, "\n%s", digest);
    return full_is_too_large(e);
}

/* Signs a request whose headers are collected. */
static enum err sign(struct sigv4_scope *s, struct bytes secret, const struct sigv4_request *r,
                     const struct sigv4_header_list *l, struct wall now, char signature[static SIGV4_HASH_HEX_SIZE])
{
    char date[SIGV4_DATE_SIZE];
    uint8_t digest[HASH_SIZE];
    struct buffer canonical;
    struct buffer text;
    buffer_init(&canonical, SIGV4_TEXT_MAX);
    buffer_init(&text, SIGV4_TEXT_MAX);
    enum err e = format_date(now, date);
    e = e ? e : derive_key(s, secret, date);
    e = e ? e : append_canonical(r, l, &canonical);
    e = e ? e : sigv4_string_to_sign(s, buffer_bytes(&canonical), now, &text);
    e = e ? e : hmac(bytes_make(s->key, HASH_SIZE), buffer_bytes(&text), digest);
    if (!e) {
        to_hex(digest, signature);
    }
    buffer_finish(&canonical);
    buffer_finish(&text);
    return e;
}

enum err sigv4_sign_headers(struct sigv4_scope *s, const struct sigv4_identity *identity, const struct sigv4_request *r,
                            struct wall now, struct sigv4_signed *out)
{
    struct buffer *a = &out->authorization;
    struct sigv4_header_list headers;
    char signature[SIGV4_HASH_HEX_SIZE];
    buffer_clear(a);
    enum err e = format_date(now, out->date);
    e = e ? e : collect_headers(r, out->date, identity->session_token, &headers);
    e = e ? e : sign(s, identity->secret_key, r, &headers, now, signature);
    e = e ? e : buffer_append_str(a, ALGORITHM " Credential=");
    e = e ? e : buffer_append(a, identity->access_key);
    e = e ? e : buffer_append_byte(a, '/');
    e = e ? e : append_scope(s, out->date, a);
    e = e ? e : buffer_append_str(a, ", SignedHeaders=");
    e = e ? e : sigv4_append_header_names(a, &headers);
    e = e ? e : buffer_appendf(a, ", Signature=%s", signature);
    e = e ? e : buffer_append_byte(a, '\0');
    if (!e) {
        a->len--;
    }
    return full_is_too_large(e);
}
