#include "aws/keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void aws_error_set(struct aws_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
}

static bool is_visible(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        if (b.data[i] < 0x21 || b.data[i] > 0x7E) {
            return false;
        }
    }
    return true;
}

static enum err check(const char *name, struct bytes value, size_t min, size_t max, struct aws_error *error)
{
    if (value.len < min) {
        aws_error_set(error, "no %s", name);
    } else if (value.len > max) {
        aws_error_set(error, "%s of %zu bytes, longer than %zu", name, value.len, max);
    } else if (!is_visible(value)) {
        aws_error_set(error, "%s holds characters that none has", name);
    } else {
        return E_OK;
    }
    return E_INVALID;
}

enum err aws_keys_set(struct aws_keys *keys, struct bytes access_key, struct bytes secret_key,
                      struct bytes session_token, struct aws_error *error)
{
    enum err e = check("access key id", access_key, 1, AWS_KEY_MAX, error);
    e = e ? e : check("secret access key", secret_key, 1, AWS_KEY_MAX, error);
    e = e ? e : check("session token", session_token, 0, AWS_TOKEN_MAX, error);
    if (e) {
        return e;
    }
    struct aws_keys made = {bytes_dup_str(access_key), bytes_dup_str(secret_key),
                            session_token.len ? bytes_dup_str(session_token) : NULL};
    if (!made.access_key || !made.secret_key || (session_token.len && !made.session_token)) {
        aws_keys_finish(&made);
        aws_error_set(error, "no memory");
        return E_NOMEM;
    }
    aws_keys_finish(keys);
    *keys = made;
    return E_OK;
}

static void wipe(char *s)
{
    if (s) {
        explicit_bzero(s, strlen(s));
        free(s);
    }
}

void aws_keys_finish(struct aws_keys *keys)
{
    wipe(keys->access_key);
    wipe(keys->secret_key);
    wipe(keys->session_token);
    *keys = (struct aws_keys){0};
}

bool aws_keys_equal(const struct aws_keys *a, const struct aws_keys *b)
{
    return bytes_equal(bytes_str(a->access_key), bytes_str(b->access_key)) &&
           bytes_equal(bytes_str(a->secret_key), bytes_str(b->secret_key)) &&
           bytes_equal(bytes_str(a->session_token), bytes_str(b->session_token));
}

struct sigv4_identity aws_keys_identity(const struct aws_keys *keys)
{
    return (struct sigv4_identity){bytes_str(keys->access_key), bytes_str(keys->secret_key),
                                   bytes_str(keys->session_token)};
}
