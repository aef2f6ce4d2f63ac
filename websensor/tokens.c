#include "websensor/tokens.h"

#include "mqtt/topic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_MAX = 1 << 20 };

struct line {
    char *token;
    char *filter;
};

struct tokens {
    struct line *lines;
    size_t count;
};

/* Equal, in a time that depends on the lengths alone. */
static bool equal(const char *known, struct bytes given)
{
    size_t n = strlen(known);
    unsigned difference = n != given.len;
    for (size_t i = 0; i < given.len; i++) {
        difference |= (unsigned)given.data[i] ^ (unsigned char)known[n ? i % n : 0];
    }
    return difference == 0 && n > 0;
}

static enum err add(struct tokens *t, struct bytes token, struct bytes filter)
{
    struct line *more = realloc(t->lines, (t->count + 1) * sizeof(*more));
    if (!more) {
        return E_NOMEM;
    }
    t->lines = more;
    struct line l = {.token = bytes_dup_str(token), .filter = bytes_dup_str(filter)};
    if (!l.token || !l.filter) {
        free(l.token);
        free(l.filter);
        return E_NOMEM;
    }
    t->lines[t->count++] = l;
    return E_OK;
}

static enum err take_line(struct tokens *t, struct bytes line, struct option_error *error)
{
    struct bytes token, filter, more;
    line = option_trim(line);
    if (line.len == 0 || line.data[0] == '#') {
        return E_OK;
    }
    if (memchr(line.data, 0, line.len) || !option_next_word(&line, &token) || !option_next_word(&line, &filter) ||
        option_next_word(&line, &more) || token.len == 0) {
        option_error_set(error, "must be TOKEN TOPIC-FILTER");
        return E_INVALID;
    }
    if (!topic_filter_valid(filter) || bytes_starts_with(filter, BYTES("$share/"))) {
        option_error_set(error, "the topic filter is not valid");
        return E_INVALID;
    }
    if (t->count == TOKENS_MAX) {
        option_error_set(error, "more than %u tokens", TOKENS_MAX);
        return E_INVALID;
    }
    return add(t, token, filter);
}

enum err tokens_parse(struct bytes text, const char *name, struct tokens **out, struct option_error *error)
{
    struct tokens *t = calloc(1, sizeof(*t));
    enum err e = t ? E_OK : E_NOMEM;
    for (size_t number = 1; e == E_OK && text.len > 0; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        struct bytes line = bytes_sub(text, 0, end ? (size_t)(end - text.data) : text.len);
        struct option_error why = {"no memory"};
        e = take_line(t, line, &why);
        if (e != E_OK) {
            option_error_set(error, "%.150s:%zu: %.120s", name, number, why.text);
        }
        text = bytes_sub(text, line.len + 1, text.len);
    }
    if (e != E_OK) {
        tokens_destroy(t);
        return e;
    }
    *out = t;
    return E_OK;
}

enum err tokens_read(const char *path, struct tokens **out, struct option_error *error)
{
    struct buffer text;
    buffer_init(&text, FILE_MAX + 1);
    FILE *f = fopen(path, "re");
    enum err e = f ? buffer_reserve(&text, FILE_MAX + 1) : err_from_errno(errno);
    if (e == E_OK) {
        text.len = fread(text.data, 1, FILE_MAX + 1, f);
        e = ferror(f) ? E_IO : text.len > FILE_MAX ? E_TOO_LARGE : E_OK;
    }
    int errnum = f && !ferror(f) ? 0 : errno;
    if (f) {
        fclose(f);
    }
    if (e == E_OK) {
        e = tokens_parse(buffer_bytes(&text), path, out, error);
        if (e != E_OK) {
            option_error_name(error, "tokens", e);
        }
    } else {
        option_error_set(error, "option tokens: %.200s: %s", path, errnum != 0 ? strerror(errnum) : err_name(e));
    }
    buffer_finish(&text);
    return e;
}

void tokens_destroy(struct tokens *t)
{
    for (size_t i = 0; t && i < t->count; i++) {
        free(t->lines[i].token);
        free(t->lines[i].filter);
    }
    if (t) {
        free(t->lines);
    }
    free(t);
}

bool tokens_known(const struct tokens *t, struct bytes token)
{
    bool known = false;
    for (size_t i = 0; i < t->count; i++) {
        known |= equal(t->lines[i].token, token);
    }
    return known;
}

bool tokens_cover(const struct tokens *t, struct bytes token, struct bytes topic)
{
    bool covered = false;
    for (size_t i = 0; i < t->count; i++) {
        bool same = equal(t->lines[i].token, token);
        covered |= same && topic_matches(bytes_str(t->lines[i].filter), topic);
    }
    return covered;
}

enum err tokens_topic(const struct tokens *t, struct bytes token, struct bytes rest, struct buffer *out)
{
    for (size_t i = 0; i < t->count; i++) {
        struct bytes filter = bytes_str(t->lines[i].filter);
        if (!equal(t->lines[i].token, token)) {
            continue;
        }
        buffer_clear(out);
        if (topic_name_valid(filter)) {
            return buffer_append(out, filter);
        }
        struct bytes front = bytes_sub(filter, 0, filter.len - 1);
        if (filter.data[filter.len - 1] == '#' && topic_name_valid(front)) {
            enum err e = buffer_append(out, front);
            return e == E_OK ? buffer_append(out, rest) : e;
        }
    }
    return E_NOT_FOUND;
}
