#include "mqttsn/predefined.h"

#include "mqtt/topic.h"
#include "mqttsn/lines.h"

#include <stdlib.h>

struct row {
    char *client; /* owned; "*" = all */
    char *topic;  /* owned */
    uint16_t id;
};

/* Two sorted views of the same rows. */
struct predefined {
    struct row *by_id;    /* owns the strings; by client, id */
    struct row *by_topic; /* by client, topic */
    size_t count;
    size_t cap;
};

static int compare_ids(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int order = strcmp(x->client, y->client);
    return order != 0 ? order : (int)x->id - (int)y->id;
}

static int compare_topics(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int order = strcmp(x->client, y->client);
    order = order != 0 ? order : strcmp(x->topic, y->topic);
    return order != 0 ? order : (int)x->id - (int)y->id; /* of two ids the lower is the one to publish with */
}

static enum err grow(struct predefined *p)
{
    if (p->count < p->cap) {
        return E_OK;
    }
    size_t cap = p->cap ? p->cap * 2 : 64;
    struct row *rows = p->count < PREDEFINED_MAX ? realloc(p->by_id, cap * sizeof(*rows)) : NULL;
    if (!rows) {
        return p->count < PREDEFINED_MAX ? E_NOMEM : E_TOO_LARGE;
    }
    p->by_id = rows;
    p->cap = cap;
    return E_OK;
}

static enum err take_line(void *ctx, struct bytes line, struct option_error *error)
{
    struct predefined *p = ctx;
    struct bytes client, number, topic;
    uint64_t id;
    if (!option_next_word(&line, &client) || !option_next_word(&line, &number) || !option_next_word(&line, &topic) ||
        option_trim(line).len > 0) {
        option_error_set(error, "must be CLIENT-ID|* TOPIC-ID TOPIC");
        return E_INVALID;
    }
    if (option_parse_uint(number, 1, 0xfffe, &id) != E_OK) {
        option_error_set(error, "the topic id must be 1 to 65534");
        return E_INVALID;
    }
    if (!topic_name_valid(topic) || !topic_safe(topic) || client.len == 0) {
        option_error_set(error, client.len == 0 ? "the client id is empty" : "no topic name that can be published to");
        return E_INVALID;
    }
    enum err e = grow(p);
    if (e != E_OK) {
        option_error_set(error, e == E_NOMEM ? "no memory" : "more than %u lines", PREDEFINED_MAX);
        return e;
    }
    struct row row = {.client = bytes_dup_str(client), .topic = bytes_dup_str(topic), .id = (uint16_t)id};
    if (!row.client || !row.topic) {
        free(row.client);
        free(row.topic);
        return E_NOMEM;
    }
    p->by_id[p->count++] = row;
    return E_OK;
}

static enum err index_rows(struct predefined *p, const char *name, struct option_error *error)
{
    if (p->count == 0) {
        return E_OK;
    }
    qsort(p->by_id, p->count, sizeof(*p->by_id), compare_ids);
    for (size_t i = 1; i < p->count; i++) {
        if (compare_ids(&p->by_id[i - 1], &p->by_id[i]) == 0) {
            option_error_set(error, "%.150s: client %.60s has topic id %u twice", name, p->by_id[i].client,
                             p->by_id[i].id);
            return E_INVALID;
        }
    }
    p->by_topic = malloc(p->count * sizeof(*p->by_topic));
    if (!p->by_topic) {
        return E_NOMEM;
    }
    memcpy(p->by_topic, p->by_id, p->count * sizeof(*p->by_topic));
    qsort(p->by_topic, p->count, sizeof(*p->by_topic), compare_topics);
    return E_OK;
}

static enum err finish_reading(struct predefined *p, enum err e, const char *name, struct predefined **out,
                               struct option_error *error)
{
    if (e == E_OK) {
        e = index_rows(p, name, error);
    }
    if (e != E_OK) {
        predefined_destroy(p);
        return e;
    }
    *out = p;
    return E_OK;
}

enum err predefined_read(struct bytes text, const char *name, struct predefined **out, struct option_error *error)
{
    struct predefined *p = calloc(1, sizeof(*p));
    return p ? finish_reading(p, lines_read(text, name, take_line, p, error), name, out, error) : E_NOMEM;
}

enum err predefined_read_file(const char *path, struct predefined **out, struct option_error *error)
{
    struct predefined *p = calloc(1, sizeof(*p));
    return p ? finish_reading(p, lines_read_file(path, take_line, p, error), path, out, error) : E_NOMEM;
}

void predefined_destroy(struct predefined *p)
{
    if (!p) {
        return;
    }
    for (size_t i = 0; i < p->count; i++) {
        free(p->by_id[i].client);
        free(p->by_id[i].topic);
    }
    free(p->by_id);
    free(p->by_topic);
    free(p);
}

/* Order of a row against what is looked for. */
static int against_id(const struct row *row, struct bytes client, uint16_t id)
{
    int order = bytes_compare(bytes_str(row->client), client);
    return order != 0 ? order : (int)row->id - (int)id;
}

static int against_topic(const struct row *row, struct bytes client, struct bytes topic)
{
    int order = bytes_compare(bytes_str(row->client), client);
    return order != 0 ? order : bytes_compare(bytes_str(row->topic), topic);
}

static const struct row *find_id(const struct predefined *p, struct bytes client, uint16_t id)
{
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = against_id(&p->by_id[middle], client, id);
        if (order == 0) {
            return &p->by_id[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* The first of equal ones: the lowest id. */
static const struct row *find_topic(const struct predefined *p, struct bytes client, struct bytes topic)
{
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (against_topic(&p->by_topic[middle], client, topic) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < p->count && against_topic(&p->by_topic[low], client, topic) == 0 ? &p->by_topic[low] : NULL;
}

struct bytes predefined_topic(const struct predefined *p, struct bytes client_id, uint16_t id)
{
    if (!p) {
        return (struct bytes){0};
    }
    const struct row *row = find_id(p, client_id, id);
    if (!row) {
        row = find_id(p, BYTES("*"), id);
    }
    return row ? bytes_str(row->topic) : (struct bytes){0};
}

uint16_t predefined_id(const struct predefined *p, struct bytes client_id, struct bytes topic)
{
    if (!p) {
        return 0;
    }
    const struct row *row = find_topic(p, client_id, topic);
    if (!row) {
        row = find_topic(p, BYTES("*"), topic);
        if (row && find_id(p, client_id, row->id)) {
            row = NULL; /* that id means another topic to this client */
        }
    }
    return row ? row->id : 0;
}
