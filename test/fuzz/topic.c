/* Filter, topic and prefixes, one per line: matching agrees with a plain model, rewriting with itself backwards. */
#include "mqtt/topic.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static struct bytes take_line(struct bytes *rest)
{
    const uint8_t *end = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
    size_t n = end ? (size_t)(end - rest->data) : rest->len;
    struct bytes line = bytes_sub(*rest, 0, n);
    *rest = bytes_sub(*rest, n + 1 > rest->len ? rest->len : n + 1, SIZE_MAX);
    return line;
}

/* Section 4.7 read literally, level by level from `i`. */
static bool model_matches(struct bytes filter, struct bytes topic, size_t i)
{
    struct bytes want;
    struct bytes have;
    bool more_filter = topic_level(filter, i, &want) == E_OK;
    bool more_topic = topic_level(topic, i, &have) == E_OK;
    if (more_filter && bytes_equal(want, BYTES("#"))) {
        return true;
    }
    if (!more_filter || !more_topic) {
        return more_filter == more_topic;
    }
    return (bytes_equal(want, BYTES("+")) || bytes_equal(want, have)) && model_matches(filter, topic, i + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = {data, size > 2048 ? 2048 : size};
    struct bytes filter = take_line(&rest);
    struct bytes topic = take_line(&rest);
    struct bytes strip = take_line(&rest);
    struct bytes add = take_line(&rest);
    if (topic_filter_valid(filter) && topic_name_valid(topic)) {
        bool dollar = topic.data[0] == '$' && (filter.data[0] == '+' || filter.data[0] == '#');
        check(topic_matches(filter, topic) == (!dollar && model_matches(filter, topic, 1)));
    } else {
        (void)topic_matches(filter, topic);
    }
    check(!topic_name_valid(topic) || topic_level_count(topic) < 65536);
    struct buffer there;
    struct buffer back;
    buffer_init(&there, 65535);
    buffer_init(&back, 65535);
    if (bytes_starts_with(topic, strip) && topic_rewrite(topic, strip, add, &there) == E_OK &&
        topic_rewrite(buffer_bytes(&there), add, strip, &back) == E_OK) {
        check(bytes_equal(buffer_bytes(&back), topic));
    }
    if (topic_prefix_filter(add, filter, &there) == E_OK) {
        check(topic_filter_valid(buffer_bytes(&there)));
    }
    buffer_finish(&there);
    buffer_finish(&back);
    return 0;
}
