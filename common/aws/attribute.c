#include "aws/attribute.h"

#include "base/json.h"

#include <stdlib.h>

#define MEMBERS_MAX (16u << 20) /* bytes of struct member: far more than any item can hold */
#define TEXT_MAX (16u << 20)
#define PAIRWISE_MAX 16u /* objects of up to this many members are compared pair by pair, larger ones sorted */

#define CONTAINER_SIZE 3u /* of a list or map, whatever it holds */
#define ELEMENT_SIZE 1u   /* for each element of one */

/* One member of an open object, as it was written. */
struct member {
    uint64_t hash; /* of the name */
    size_t start;  /* of the quoted name in out */
    size_t name_len;
    size_t size; /* that it adds to the object; 0 = dropped, another one of the same name follows */
};

/* An open object or array. */
struct frame {
    bool object;
    bool empty;
    size_t size;
    size_t first_member; /* index into the encoder's members */
    size_t member_size;  /* name and overhead of the element that is being read */
};

struct encoding {
    struct attribute_encoder *encoder;
    struct buffer *out;
    struct frame frames[ATTRIBUTE_NESTING_MAX];
    size_t depth;
    size_t size;
};

void attribute_encoder_init(struct attribute_encoder *encoder)
{
    buffer_init(&encoder->members, MEMBERS_MAX);
    buffer_init(&encoder->text, TEXT_MAX);
}

void attribute_encoder_finish(struct attribute_encoder *encoder)
{
    buffer_finish(&encoder->members);
    buffer_finish(&encoder->text);
}

enum err attribute_append_string(struct buffer *out, struct bytes text)
{
    size_t before = out->len;
    enum err e = buffer_append(out, BYTES("{\"S\":"));
    e = e ? e : json_append_string(out, text);
    e = e ? e : buffer_append_byte(out, '}');
    if (e) {
        out->len = before;
    }
    return e;
}

/* Numbers. */

struct number {
    bool negative;
    int64_t magnitude;        /* exponent of the first significant digit */
    size_t digits;            /* significant ones; 0 = the number is zero */
    char significant[38 + 1]; /* when digits <= 38 */
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* An exponent; far out of DynamoDB's range it stops counting. */
static int64_t read_exponent(struct bytes text)
{
    bool negative = text.len && text.data[0] == '-';
    int64_t value = 0;
    for (size_t i = 0; i < text.len && value < INT32_MAX; i++) {
        if (is_digit(text.data[i])) {
            value = value * 10 + (text.data[i] - '0');
        }
    }
    return negative ? -value : value;
}

static void read_number(struct bytes text, struct number *n)
{
    int64_t point = -1; /* digits in front of the decimal point */
    int64_t seen = 0;   /* digits so far */
    int64_t first = -1; /* place of the first significant digit */
    size_t zeros = 0;   /* zeros since the last digit that is none */
    int64_t exponent = 0;
    *n = (struct number){.negative = text.len && text.data[0] == '-'};
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '.') {
            point = seen;
        } else if (c == 'e' || c == 'E') {
            exponent = read_exponent(bytes_sub(text, i + 1, text.len));
            break;
        } else if (is_digit(c)) {
            if (c == '0') {
                zeros += first >= 0;
            } else {
                first = first < 0 ? seen : first;
                for (; zeros; zeros--, n->digits++) {
                    if (n->digits < sizeof(n->significant) - 1) {
                        n->significant[n->digits] = '0';
                    }
                }
                if (n->digits < sizeof(n->significant) - 1) {
                    n->significant[n->digits] = (char)c;
                }
                n->digits++;
            }
            seen++;
        }
    }
    n->magnitude = (point < 0 ? seen : point) - 1 - first + exponent;
}

static bool number_fits(const struct number *n)
{
    return n->digits <= 38 && n->magnitude >= -130 && n->magnitude <= 125;
}

/* As "-1.234E-5": texts of any length come down to their significant digits. */
static enum err append_scientific(struct buffer *out, const struct number *n)
{
    return buffer_appendf(out, "%s%c%s%.*sE%lld", n->negative ? "-" : "", n->significant[0], n->digits > 1 ? "." : "",
                          (int)n->digits - 1, n->significant + 1, (long long)n->magnitude);
}

enum err attribute_append_number(struct buffer *out, struct bytes number, size_t *size)
{
    struct number n;
    read_number(number, &n);
    size_t before = out->len;
    enum err e;
    if (n.digits == 0) {
        e = buffer_append(out, BYTES("{\"N\":\"0"));
        *size = 1;
    } else if (!number_fits(&n)) {
        e = buffer_append(out, BYTES("{\"S\":\""));
        e = e ? e : buffer_append(out, number);
        *size = number.len;
    } else {
        e = buffer_append(out, BYTES("{\"N\":\""));
        e = e ? e : number.len <= sizeof(n.significant) ? buffer_append(out, number) : append_scientific(out, &n);
        *size = (n.digits + 1) / 2 + 1;
    }
    e = e ? e : buffer_append(out, BYTES("\"}"));
    if (e) {
        out->len = before;
    }
    return e;
}

/* Objects: of several members with one name only the last may go out. */

static struct member *members_of(const struct encoding *c, const struct frame *f)
{
    return (struct member *)(void *)c->encoder->members.data + f->first_member;
}

static size_t member_count(const struct encoding *c)
{
    return c->encoder->members.len / sizeof(struct member);
}

static bool same_name(const struct buffer *out, const struct member *a, const struct member *b)
{
    return a->hash == b->hash && a->name_len == b->name_len &&
           memcmp(out->data + a->start, out->data + b->start, a->name_len) == 0;
}

static int by_hash(const void *a, const void *b)
{
    const struct member *x = a;
    const struct member *y = b;
    if (x->hash != y->hash) {
        return x->hash < y->hash ? -1 : 1;
    }
    return x->start < y->start ? -1 : x->start > y->start;
}

static int by_start(const void *a, const void *b)
{
    const struct member *x = a;
    const struct member *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* Marks members that another one of the same name follows. True if there are any; the order is by place again then. */
static bool mark_duplicates(const struct buffer *out, struct member *m, size_t count)
{
    bool found = false;
    if (count > PAIRWISE_MAX) {
        qsort(m, count, sizeof(*m), by_hash);
        for (size_t i = 0; i + 1 < count; i++) {
            for (size_t j = i + 1; j < count && m[j].hash == m[i].hash && m[i].size; j++) {
                if (same_name(out, &m[i], &m[j])) {
                    m[i].size = 0;
                    found = true;
                }
            }
        }
        if (found) {
            qsort(m, count, sizeof(*m), by_start);
        }
        return found;
    }
    for (size_t i = 0; i + 1 < count; i++) {
        for (size_t j = i + 1; j < count && m[i].size; j++) {
            if (same_name(out, &m[i], &m[j])) {
                m[i].size = 0;
                found = true;
            }
        }
    }
    return found;
}

/* Takes the marked members out of the text. The last member is never marked, so each one that goes takes the comma behind it along. */
static void remove_duplicates(struct encoding *c, struct frame *f)
{
    size_t count = member_count(c) - f->first_member;
    struct buffer *out = c->out;
    if (count < 2) {
        return;
    }
    struct member *m = members_of(c, f);
    if (!mark_duplicates(out, m, count)) {
        return;
    }
    size_t to = m[0].start;
    f->size = CONTAINER_SIZE;
    for (size_t i = 0; i < count; i++) {
        size_t end = i + 1 < count ? m[i + 1].start : out->len;
        if (m[i].size) {
            memmove(out->data + to, out->data + m[i].start, end - m[i].start);
            to += end - m[i].start;
            f->size += m[i].size;
        }
    }
    out->len = to;
}

/* A string or name, with quotes. Escapes are resolved first: a lone half of a surrogate pair would make AWS refuse the
 * request. */
static enum err append_text(struct encoding *c, const struct json_token *t, size_t *len)
{
    struct buffer *out = c->out;
    if (!t->escaped) {
        *len = t->text.len;
        enum err e = buffer_reserve(out, t->text.len + 2);
        e = e ? e : buffer_append_byte(out, '"');
        e = e ? e : buffer_append(out, t->text);
        return e ? e : buffer_append_byte(out, '"');
    }
    struct buffer *text = &c->encoder->text;
    buffer_clear(text);
    enum err e = json_unescape(t, text);
    *len = text->len;
    return e ? e : json_append_string(out, buffer_bytes(text));
}

static enum err on_name(struct encoding *c, const struct json_token *t)
{
    struct frame *f = &c->frames[c->depth - 1];
    enum err e = f->empty ? E_OK : buffer_append_byte(c->out, ',');
    f->empty = false;
    struct member m = {.start = c->out->len};
    size_t len = 0;
    e = e ? e : append_text(c, t, &len);
    if (e) {
        return e;
    }
    m.name_len = c->out->len - m.start;
    m.hash = bytes_hash(bytes_make(c->out->data + m.start, m.name_len), 0);
    f->member_size = len + ELEMENT_SIZE;
    e = buffer_append(&c->encoder->members, bytes_make(&m, sizeof(m)));
    return e ? e : buffer_append_byte(c->out, ':');
}

/* A value is complete: it counts for what it stands in. */
static void add_size(struct encoding *c, size_t size)
{
    if (c->depth == 0) {
        c->size = size;
        return;
    }
    struct frame *f = &c->frames[c->depth - 1];
    if (f->object) {
        size += f->member_size;
        members_of(c, f)[member_count(c) - f->first_member - 1].size = size;
    } else {
        size += ELEMENT_SIZE;
    }
    f->size += size;
}

static enum err open_frame(struct encoding *c, bool object)
{
    if (c->depth == ATTRIBUTE_NESTING_MAX) {
        return E_TOO_LARGE;
    }
    c->frames[c->depth++] =
        (struct frame){.object = object, .empty = true, .size = CONTAINER_SIZE, .first_member = member_count(c)};
    return buffer_append(c->out, object ? BYTES("{\"M\":{") : BYTES("{\"L\":["));
}

static enum err close_frame(struct encoding *c)
{
    struct frame *f = &c->frames[c->depth - 1];
    if (f->object) {
        remove_duplicates(c, f);
        c->encoder->members.len = f->first_member * sizeof(struct member);
    }
    c->depth--;
    add_size(c, f->size);
    return buffer_append(c->out, f->object ? BYTES("}}") : BYTES("]}"));
}

static enum err on_string(struct encoding *c, const struct json_token *t)
{
    size_t size = 0;
    enum err e = buffer_append(c->out, BYTES("{\"S\":"));
    e = e ? e : append_text(c, t, &size);
    add_size(c, size);
    return e ? e : buffer_append_byte(c->out, '}');
}

static enum err on_number(struct encoding *c, const struct json_token *t)
{
    size_t size = 0;
    enum err e = attribute_append_number(c->out, t->text, &size);
    add_size(c, size);
    return e;
}

static enum err on_word(struct encoding *c, struct bytes attribute)
{
    add_size(c, 1);
    return buffer_append(c->out, attribute);
}

static enum err on_token(struct encoding *c, const struct json_token *t)
{
    bool value = t->type != JSON_NAME && t->type != JSON_OBJECT_END && t->type != JSON_ARRAY_END;
    struct frame *f = c->depth ? &c->frames[c->depth - 1] : NULL;
    if (!value && !f) {
        return E_MALFORMED; /* the reader lets no name or end stand outside brackets */
    }
    if (value && f && !f->object) {
        enum err e = f->empty ? E_OK : buffer_append_byte(c->out, ',');
        f->empty = false;
        if (e) {
            return e;
        }
    }
    switch (t->type) {
    case JSON_OBJECT:
        return open_frame(c, true);
    case JSON_ARRAY:
        return open_frame(c, false);
    case JSON_OBJECT_END:
    case JSON_ARRAY_END:
        return close_frame(c);
    case JSON_NAME:
        return on_name(c, t);
    case JSON_STRING:
        return on_string(c, t);
    case JSON_NUMBER:
        return on_number(c, t);
    case JSON_TRUE:
        return on_word(c, BYTES("{\"BOOL\":true}"));
    case JSON_FALSE:
        return on_word(c, BYTES("{\"BOOL\":false}"));
    case JSON_NULL:
        return on_word(c, BYTES("{\"NULL\":true}"));
    case JSON_END:
        break;
    }
    return E_OK;
}

enum err attribute_encode(struct attribute_encoder *encoder, struct bytes json, struct buffer *out, size_t *size)
{
    struct encoding c;
    c.encoder = encoder;
    c.out = out;
    c.depth = 0;
    c.size = 0;
    size_t before = out->len;
    buffer_clear(&encoder->members);
    struct json_reader r;
    struct json_token t;
    json_reader_init(&r, json, ATTRIBUTE_NESTING_MAX);
    enum err e;
    do {
        e = json_next(&r, &t);
        e = e ? e : on_token(&c, &t);
    } while (!e && t.type != JSON_END);
    if (e) {
        out->len = before;
        return e;
    }
    *size = c.size;
    return E_OK;
}
