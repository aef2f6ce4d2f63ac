/* Lines of the input are `topic` and `store` lines (the first word says which) or, behind an empty line, topics to match and
 * rewrite. What parses must print to something that parses to the same; the trie must agree with a match line by line. */
#include "plugin/routes.h"
#include "mqtt/topic.h"

#include <stdlib.h>

#define LINES_MAX 16

struct lines {
    struct topic_route topics[LINES_MAX];
    size_t topic_count;
    struct store_route stores[LINES_MAX];
    size_t store_count;
};

static void require(bool truth)
{
    if (!truth) {
        abort();
    }
}

static struct bytes take_line(struct bytes *rest)
{
    const uint8_t *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
    struct bytes line = {rest->data, end ? (size_t)(end - rest->data) : rest->len};
    *rest = bytes_sub(*rest, line.len + 1, SIZE_MAX);
    return line;
}

static void check_topic_prints(const struct topic_route *r)
{
    struct buffer text;
    struct option_error why;
    struct topic_route again;
    buffer_init(&text, 1 << 20);
    require(topic_route_print(r, &text) == E_OK);
    require(topic_route_parse(buffer_bytes(&text), &again, &why) == E_OK);
    require(strcmp(r->filter, again.filter) == 0 && strcmp(r->local_prefix, again.local_prefix) == 0 &&
            strcmp(r->remote_prefix, again.remote_prefix) == 0 && r->qos == again.qos &&
            r->direction == again.direction);
    topic_route_finish(&again);
    buffer_finish(&text);
}

static void read_line(struct bytes line, struct lines *l)
{
    struct option_error why;
    if (bytes_starts_with(line, BYTES("topic ")) && l->topic_count < LINES_MAX) {
        if (topic_route_parse(bytes_sub(line, 6, SIZE_MAX), &l->topics[l->topic_count], &why) == E_OK) {
            check_topic_prints(&l->topics[l->topic_count++]);
        }
    } else if (bytes_starts_with(line, BYTES("store ")) && l->store_count < LINES_MAX) {
        if (store_route_parse(bytes_sub(line, 6, SIZE_MAX), &l->stores[l->store_count], &why) == E_OK) {
            l->store_count++;
        }
    }
}

static bool topic_line_matches(const struct topic_route *r, struct bytes topic)
{
    struct buffer filter;
    buffer_init(&filter, 1 << 20);
    require(buffer_append_str(&filter, r->local_prefix) == E_OK && buffer_append_str(&filter, r->filter) == E_OK);
    bool matches = r->direction != ROUTE_IN && topic_matches(buffer_bytes(&filter), topic);
    buffer_finish(&filter);
    return matches;
}

static void check_match(const struct lines *l, const struct routes *routes, struct bytes topic)
{
    struct route_match m;
    routes_match(routes, topic, &m);
    const struct topic_route *expected = NULL;
    for (size_t i = 0; i < l->topic_count && !expected; i++) {
        expected = topic_line_matches(&l->topics[i], topic) ? &l->topics[i] : NULL;
    }
    require(m.topic == expected);
    const struct store_route *store = NULL;
    for (size_t i = 0; i < l->store_count && !store; i++) {
        store = topic_matches(bytes_str(l->stores[i].filter), topic) ? &l->stores[i] : NULL;
    }
    require(m.store == store);
    if (m.topic) {
        struct buffer scratch;
        struct bytes remote;
        buffer_init(&scratch, 140000);
        if (topic_route_remote(m.topic, topic, &scratch, &remote) == E_OK && remote.len > 0) {
            require(bytes_starts_with(remote, bytes_str(m.topic->remote_prefix)));
        }
        buffer_finish(&scratch);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lines l = {0};
    struct bytes rest = {data, size};
    while (rest.len > 0) {
        struct bytes line = take_line(&rest);
        if (line.len == 0) {
            break;
        }
        read_line(line, &l);
    }
    struct routes *routes;
    require(routes_compile(l.topics, l.topic_count, l.stores, l.store_count, &routes) == E_OK);
    while (rest.len > 0) {
        struct bytes topic = take_line(&rest);
        if (topic_name_valid(topic)) {
            check_match(&l, routes, topic);
        }
    }
    routes_destroy(routes);
    for (size_t i = 0; i < l.topic_count; i++) {
        topic_route_finish(&l.topics[i]);
    }
    for (size_t i = 0; i < l.store_count; i++) {
        store_route_finish(&l.stores[i]);
    }
    return 0;
}
