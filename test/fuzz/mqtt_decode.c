/* Decodes a stream of packets (the first byte picks the version) and checks that what was decoded can be encoded again,
 * and that this form is stable. */
#include "mqtt/codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ITEMS_MAX = 64 };

static struct mqtt_subscription subscriptions[ITEMS_MAX];
static struct bytes filters[ITEMS_MAX];

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* Turns decoded lists into arrays; false when there are too many. */
static bool unpack_lists(enum mqtt_version version, struct mqtt_packet *p)
{
    size_t n = 0;
    if (p->type == MQTT_SUBSCRIBE) {
        struct bytes list = p->subscribe.list;
        while (n < ITEMS_MAX && mqtt_subscription_next(version, &list, &subscriptions[n])) {
            n++;
        }
        p->subscribe.items = subscriptions;
        return n == p->subscribe.count;
    }
    if (p->type == MQTT_UNSUBSCRIBE) {
        struct bytes list = p->unsubscribe.list;
        while (n < ITEMS_MAX && mqtt_unsubscribe_next(&list, &filters[n])) {
            n++;
        }
        p->unsubscribe.filters = filters;
        return n == p->unsubscribe.count;
    }
    return true;
}

static void one_packet(enum mqtt_version version, struct bytes packet)
{
    struct mqtt_packet p;
    if (mqtt_decode(version, packet, &p) != E_OK || !unpack_lists(version, &p)) {
        return;
    }
    version = p.type == MQTT_CONNECT ? p.connect.version : version;
    struct buffer first;
    struct buffer second;
    buffer_init(&first, 1u << 20);
    buffer_init(&second, 1u << 20);
    if (p.type == MQTT_CONNECT && version == MQTT_V311 && p.connect.client_id.len == 0 && !p.connect.clean_start) {
        return; /* for the server to refuse with a CONNACK: decoded, not encoded */
    }
    check(mqtt_encode(&first, version, &p) == E_OK);
    check(p.type != MQTT_PUBLISH || first.len == mqtt_publish_length(version, &p.publish));
    check(mqtt_decode(version, buffer_bytes(&first), &p) == E_OK && unpack_lists(version, &p));
    check(mqtt_encode(&second, version, &p) == E_OK);
    check(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
    buffer_finish(&first);
    buffer_finish(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum mqtt_version version = data[0] & 1 ? MQTT_V5 : MQTT_V311;
    struct bytes in = {data + 1, size - 1};
    size_t length;
    while (mqtt_frame(in, 1u << 16, &length) == E_OK) {
        one_packet(version, bytes_sub(in, 0, length));
        in = bytes_sub(in, length, SIZE_MAX);
    }
    return 0;
}
