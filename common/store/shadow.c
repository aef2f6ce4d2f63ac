#include "store/shadow.h"

#include "store/payload.h"

#include <stdlib.h>

enum { SHADOW_DEPTH_MAX = 8 };

/* One member of one section, as sent. */
struct member {
    struct json_token name;
    struct bytes key; /* the name with its escapes resolved */
    struct json_token value;
    bool reported;
};

/* Both sections of one level: first desired's members, then reported's. */
struct level {
    struct member *items;
    size_t count;
    size_t cap;
    struct buffer keys; /* resolved names; all that it may hold is reserved before a key points into it */
};

static enum err add_member(struct level *l, const struct member *m)
{
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        struct member *items = realloc(l->items, cap * sizeof(*items));
        if (!items) {
            return E_NOMEM;
        }
        l->items = items;
        l->cap = cap;
    }
    l->items[l->count++] = *m;
    return E_OK;
}

static enum err resolve_name(struct level *l, struct member *m)
{
    m->key = m->name.text;
    if (!m->name.escaped) {
        return E_OK;
    }
    size_t start = l->keys.len;
    enum err e = buffer_reserve(&l->keys, l->keys.max - start);
    if (e == E_OK) {
        e = json_unescape(&m->name, &l->keys);
    }
    m->key = bytes_sub(buffer_bytes(&l->keys), start, l->keys.len);
    return e;
}

static enum err collect(struct level *l, struct bytes object, bool reported)
{
    struct json_reader r;
    struct json_token t;
    struct member m = {.reported = reported};
    json_reader_init(&r, object, JSON_DEPTH_MAX);
    enum err e = json_next(&r, &t);
    while (e == E_OK && (e = json_next(&r, &m.name)) == E_OK && m.name.type == JSON_NAME) {
        e = json_next_whole(&r, &m.value);
        if (e == E_OK) {
            e = resolve_name(l, &m);
        }
        if (e == E_OK) {
            e = add_member(l, &m);
        }
    }
    return e;
}

/* By name, those of one name in the order in which they stand. */
static int compare_members(const void *a, const void *b)
{
    const struct member *const *ma = a;
    const struct member *const *mb = b;
    int order = bytes_compare((*ma)->key, (*mb)->key);
    return order ? order : (*ma > *mb) - (*ma < *mb);
}

static enum err merge(struct bytes desired, struct bytes reported, uint32_t depth, struct buffer *out);

/* `desired` and `reported`: what counts of the name's members, or NULL. */
static enum err append_merged(const struct member *first, const struct member *desired, const struct member *reported,
                              uint32_t depth, struct buffer *out)
{
    const struct member *top = reported ? reported : desired;
    enum err e = E_OK;
    if (out->data[out->len - 1] != '{') {
        e = buffer_append_byte(out, ',');
    }
    if (e == E_OK) {
        e = buffer_append(out, json_raw(&first->name));
    }
    if (e == E_OK) {
        e = buffer_append_byte(out, ':');
    }
    if (e != E_OK) {
        return e;
    }
    if (top->value.type != JSON_OBJECT || depth == SHADOW_DEPTH_MAX) {
        return buffer_append(out, json_raw(&top->value));
    }
    bool both = reported && desired && desired->value.type == JSON_OBJECT;
    return merge(both ? desired->value.text : BYTES("{}"), top->value.text, depth + 1, out);
}

static const struct member *unless_null(const struct member *m)
{
    return m && m->value.type != JSON_NULL ? m : NULL;
}

/* What the members of one name come to. */
struct merged {
    const struct member *first; /* as sent; NULL: not the first of its name */
    const struct member *desired;
    const struct member *reported;
};

/* For each member that is the first of its name, what counts: the last of each section, nothing if that is null. */
static void resolve_level(const struct level *l, const struct member **sorted, struct merged *merged)
{
    for (size_t i = 0; i < l->count; i++) {
        sorted[i] = &l->items[i];
    }
    qsort(sorted, l->count, sizeof(sorted[0]), compare_members);
    for (size_t i = 0, next; i < l->count; i = next) {
        struct merged m = {.first = sorted[i]};
        for (next = i; next < l->count && bytes_equal(sorted[next]->key, sorted[i]->key); next++) {
            if (sorted[next]->reported) {
                m.reported = sorted[next];
            } else {
                m.desired = sorted[next];
            }
        }
        m.desired = unless_null(m.desired);
        m.reported = unless_null(m.reported);
        merged[m.first - l->items] = m;
    }
}

static enum err append_level(const struct level *l, uint32_t depth, struct buffer *out)
{
    if (l->count == 0) {
        return buffer_append_str(out, "{}");
    }
    const struct member **sorted = calloc(l->count, sizeof(*sorted));
    struct merged *merged = calloc(l->count, sizeof(*merged));
    enum err e = sorted && merged ? buffer_append_byte(out, '{') : E_NOMEM;
    if (e == E_OK) {
        resolve_level(l, sorted, merged);
    }
    for (size_t i = 0; e == E_OK && i < l->count; i++) {
        const struct merged *m = &merged[i];
        if (m->desired || m->reported) {
            e = append_merged(m->first, m->desired, m->reported, depth, out);
        }
    }
    if (e == E_OK) {
        e = buffer_append_byte(out, '}');
    }
    free(merged);
    free(sorted);
    return e;
}

/* Appends the object that two objects make; both were checked before. */
static enum err merge(struct bytes desired, struct bytes reported, uint32_t depth, struct buffer *out)
{
    struct level l = {0};
    buffer_init(&l.keys, desired.len + reported.len);
    enum err e = collect(&l, desired, false);
    if (e == E_OK) {
        e = collect(&l, reported, true);
    }
    if (e == E_OK) {
        e = append_level(&l, depth, out);
    }
    buffer_finish(&l.keys);
    free(l.items);
    return e;
}

/* A section of the state is an object, or (left out, null) none. */
static enum err check_section(const struct json_token *section, const char *name, struct measurement_error *error)
{
    if (section->type == JSON_OBJECT || section->type == JSON_NULL || section->type == JSON_END) {
        return E_OK;
    }
    measurement_error_set(error, "state.%s of the shadow update is not an object", name);
    return E_INVALID;
}

enum err shadow_message(struct bytes payload, struct buffer *text, struct measurement_error *error)
{
    static const char *const names[] = {"desired", "reported"};
    struct json_token state;
    struct json_token sections[2];
    struct bytes objects[2];
    bool any = false;
    enum err e = payload_find(payload, BYTES("state"), &state, error);
    if (e == E_NOT_FOUND || (e == E_OK && state.type != JSON_OBJECT)) {
        measurement_error_set(error, "no shadow update: there is no object \"state\"");
        return E_INVALID;
    }
    if (e == E_OK) {
        e = payload_members(state.text, names, sections, 2, error);
    }
    for (size_t i = 0; e == E_OK && i < 2; i++) {
        e = check_section(&sections[i], names[i], error);
        any |= sections[i].type == JSON_OBJECT;
        objects[i] = sections[i].type == JSON_OBJECT ? sections[i].text : BYTES("{}");
    }
    if (e != E_OK) {
        return e;
    }
    if (!any) {
        measurement_error_set(error, "the shadow update has neither state.desired nor state.reported");
        return E_INVALID;
    }
    return merge(objects[0], objects[1], 1, text);
}
