#include "plugin/iotcore_limits.h"

#include "mqtt/topic.h"

/* Reserved topics by feature. Those below `family` may be published to only as the patterns of `publishable` say. What belongs to no
 * family may be a feature younger than this table: it is tried, and set aside when it costs the connection. */
static const char *const families[] = {
    "$aws/rules/#",
    "$aws/events/#",
    "$aws/things/+/shadow/#",
    "$aws/things/+/jobs/#",
    "$aws/things/+/defender/#",
    "$aws/things/+/streams/#",
    "$aws/commands/#",
    "$aws/device_location/#",
    "$aws/certificates/#",
    "$aws/provisioning-templates/#",
};

static const char *const publishable[] = {
    "$aws/rules/+/+/#",
    "$aws/things/+/shadow/get",
    "$aws/things/+/shadow/update",
    "$aws/things/+/shadow/delete",
    "$aws/things/+/shadow/name/+/get",
    "$aws/things/+/shadow/name/+/update",
    "$aws/things/+/shadow/name/+/delete",
    "$aws/things/+/jobs/get",
    "$aws/things/+/jobs/start-next",
    "$aws/things/+/jobs/+/get",
    "$aws/things/+/jobs/+/update",
    "$aws/things/+/defender/metrics/json",
    "$aws/things/+/defender/metrics/cbor",
    "$aws/things/+/streams/+/describe/json",
    "$aws/things/+/streams/+/describe/cbor",
    "$aws/things/+/streams/+/get/json",
    "$aws/things/+/streams/+/get/cbor",
    "$aws/commands/+/+/executions/+/response",
    "$aws/commands/+/+/executions/+/response/json",
    "$aws/commands/+/+/executions/+/response/cbor",
    "$aws/device_location/+/get_position_estimate",
    "$aws/certificates/create/json",
    "$aws/certificates/create/cbor",
    "$aws/certificates/create-from-csr/json",
    "$aws/certificates/create-from-csr/cbor",
    "$aws/provisioning-templates/+/provision/json",
    "$aws/provisioning-templates/+/provision/cbor",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool matches_any(const char *const *patterns, size_t count, struct bytes topic)
{
    for (size_t i = 0; i < count; i++) {
        if (topic_matches(bytes_str(patterns[i]), topic)) {
            return true;
        }
    }
    return false;
}

/* The part that the limits count: "$aws/rules/RULE/" of basic ingest is left out. */
static struct bytes counted_part(struct bytes topic)
{
    const struct bytes prefix = BYTES("$aws/rules/");
    if (!bytes_starts_with(topic, prefix)) {
        return topic;
    }
    struct bytes rest = bytes_sub(topic, prefix.len, SIZE_MAX);
    const uint8_t *slash = rest.len > 0 ? memchr(rest.data, '/', rest.len) : NULL;
    return slash ? bytes_sub(rest, (size_t)(slash - rest.data) + 1, SIZE_MAX) : rest;
}

static const char *size_refusal(struct bytes topic)
{
    struct bytes counted = counted_part(topic);
    if (counted.len > IOTCORE_TOPIC_MAX) {
        return "topic longer than the 256 bytes that IoT Core takes";
    }
    if (topic_level_count(counted) > IOTCORE_SLASHES_MAX + 1) {
        return "topic with more than the 7 slashes that IoT Core takes";
    }
    return NULL;
}

struct bytes iotcore_topic(const struct record *r)
{
    return r->remote_topic.len > 0 ? r->remote_topic : r->topic;
}

const char *iotcore_refusal(const struct record *r, uint64_t payload_max)
{
    struct bytes topic = iotcore_topic(r);
    if (r->payload.len > payload_max) {
        return "payload larger than iot_max_payload";
    }
    if (!topic_name_valid(topic)) {
        return "topic is not a valid MQTT topic name";
    }
    if (topic.data[0] == '$' && !matches_any(publishable, COUNT(publishable), topic) &&
        (!bytes_starts_with(topic, BYTES("$aws/")) || matches_any(families, COUNT(families), topic))) {
        return "reserved topic that IoT Core does not let clients publish to";
    }
    return size_refusal(topic);
}

const char *iotcore_filter_refusal(struct bytes filter)
{
    if (!topic_filter_valid(filter)) {
        return "not a valid MQTT topic filter";
    }
    if (filter.data[0] == '$' && !bytes_starts_with(filter, BYTES("$aws/")) &&
        !bytes_starts_with(filter, BYTES("$share/"))) {
        return "reserved topic that IoT Core does not know";
    }
    return size_refusal(filter);
}

bool iotcore_may_retain(struct bytes topic)
{
    return topic.len > 0 && topic.data[0] != '$';
}
