/* A strict JSON reader (RFC 8259) that works on the text: a pull parser without allocation. Numbers and strings come out as
 * the text that was sent, so that no digit is lost in a double. The whole document is checked as it is read: grammar, UTF-8
 * in strings, depth. One byte order mark in front is ignored (RFC 8259 section 8.1 allows it); names that occur twice are
 * all given, and where this file looks one up the last one counts, as in ECMAScript's JSON.parse. Any thread, one at a time
 * per reader.
 *
 *   struct json_reader r;
 *   struct json_token t;
 *   json_reader_init(&r, document, JSON_DEPTH_MAX);
 *   do {
 *       e = json_next(&r, &t);
 *   } while (e == E_OK && t.type != JSON_END);
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buffer.h"

/* The deepest nesting that any reader takes; that of cJSON and of SQLite's JSON functions too. */
#define JSON_DEPTH_MAX 1000u

enum json_type {
    JSON_END, /* the document is complete and nothing follows it */
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_NAME, /* of a member; its value comes next */
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

struct json_token {
    enum json_type type;
    bool escaped; /* NAME, STRING: text contains a backslash, json_unescape() is needed to get at its value */
    struct bytes
        text; /* as it stands in the document; NAME and STRING without the quotes. Lives as long as the document */
};

struct json_reader {
    const uint8_t *start;
    const uint8_t *at; /* where reading stopped: after an error, near the offence */
    const uint8_t *end;
    uint32_t depth; /* of the brackets that are open */
    uint32_t depth_max;
    enum json_expect {
        JSON_EXPECT_VALUE,
        JSON_EXPECT_VALUE_OR_END, /* behind '[' */
        JSON_EXPECT_NAME,
        JSON_EXPECT_NAME_OR_END, /* behind '{' */
        JSON_EXPECT_COMMA_OR_END,
        JSON_EXPECT_NOTHING,
    } expect;
    enum err failed;                             /* the first error: every later call gives it again */
    uint8_t is_object[(JSON_DEPTH_MAX + 7) / 8]; /* one bit for each open bracket */
};

/* depth_max: 0 to JSON_DEPTH_MAX (more is taken as that); a scalar has depth 0, `[]` and `{}` have 1. */
void json_reader_init(struct json_reader *r, struct bytes document, uint32_t depth_max);

/* The next token. E_MALFORMED: not JSON; E_TOO_LARGE: nested deeper than depth_max. */
MUST_CHECK enum err json_next(struct json_reader *r, struct json_token *t);

/* As json_next, but an object or array is read to its end: type is JSON_OBJECT or JSON_ARRAY and text all of it, from
 * bracket to bracket. */
MUST_CHECK enum err json_next_whole(struct json_reader *r, struct json_token *t);

/* Offset of the reader in the document: behind the last token, or near the offence after an error. */
size_t json_offset(const struct json_reader *r);

/* Reads all of a document: `whole` is its value, as from json_next_whole. */
MUST_CHECK enum err json_parse(struct bytes document, uint32_t depth_max, struct json_token *whole);

/* The token with its quotes, where it has some: a piece of JSON. */
struct bytes json_raw(const struct json_token *t);

/* Whether this is a number of JSON's grammar and nothing else, blanks neither. */
bool json_is_number(struct bytes text);

bool json_text_equal_escaped(const struct json_token *t, struct bytes value); /* the next one's slow half */

/* Whether a NAME or STRING has this value (UTF-8), escapes resolved. */
static inline bool json_text_equal(const struct json_token *t, struct bytes value)
{
    return t->escaped ? json_text_equal_escaped(t, value) : bytes_equal(t->text, value);
}

/* The member of `object` (text of a whole object) at a path of names joined by dots ("a.b"; a name that contains a dot
 * cannot be reached). E_NOT_FOUND: no such member, or a step of the path is no object; otherwise as json_parse. The path
 * is not empty. */
MUST_CHECK enum err json_find(struct bytes object, struct bytes path, uint32_t depth_max, struct json_token *value);

/* Appends the value of a NAME or STRING as UTF-8. `\u0000` gives a NUL byte; the escape of a surrogate without its
 * other half has no UTF-8 and becomes U+FFFD. */
MUST_CHECK enum err json_unescape(const struct json_token *t, struct buffer *out);

/* Appends text as a JSON string, with quotes. E_MALFORMED: not UTF-8 (out is untouched). */
MUST_CHECK enum err json_append_string(struct buffer *out, struct bytes text);

#endif
