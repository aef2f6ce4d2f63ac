/* A server that sends anything, in any pieces, to a session that publishes, subscribes and lets time pass: the window is kept, the
 * tables stay in order, and everything that the session sends is a valid packet. */
#include "mqtt/session.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mqtt_session session;
static struct buffer out;
static struct mono now;

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static struct bytes take(struct bytes *in, size_t n)
{
    struct bytes taken = bytes_sub(*in, 0, n);
    *in = bytes_sub(*in, taken.len, SIZE_MAX);
    return taken;
}

static bool handle(enum err err, const struct mqtt_event *event)
{
    if (err == E_OK && event->type == MQTT_EVENT_MESSAGE && event->message.qos == 1) {
        enum err acked = mqtt_session_ack(&session, now, &out, event->message.packet_id, 0);
        check(acked == E_OK || acked == E_FULL);
    }
    return err == E_OK;
}

static void feed(struct bytes piece)
{
    struct mqtt_event event = {.type = MQTT_EVENT_CONNECTED};
    enum err err = E_OK;
    while (handle(err, &event)) {
        err = mqtt_session_input(&session, now, &piece, &out, &event);
    }
    check(err != E_AGAIN || piece.len == 0);
    check((err == E_AGAIN) == (session.state == MQTT_SESSION_OPEN || session.state == MQTT_SESSION_CONNECTING));
}

static void act(uint8_t what)
{
    static const struct mqtt_subscription items[] = {{.filter = BYTES("a/#"), .qos = 1}, {.filter = BYTES("b")}};
    static const struct bytes filters[] = {BYTES("a/#")};
    struct mqtt_publish p = {.topic = BYTES("t"), .payload = BYTES("x"), .qos = what % 3, .retain = (what & 0x40) != 0};
    enum err err = E_OK;
    switch (what % 5) {
    case 0:
    case 1:
        err = mqtt_session_publish(&session, now, &out, &p, what);
        break;
    case 2:
        err = mqtt_session_subscribe(&session, now, &out, items, 2, what);
        break;
    case 3:
        err = mqtt_session_unsubscribe(&session, now, &out, filters, 1, what);
        break;
    default:
        now = mono_add_ms(now, (uint64_t)what * 100);
        err = mqtt_session_service(&session, now, &out);
        break;
    }
    check(err != E_INVALID && err != E_MALFORMED);
}

static void check_sent(void)
{
    struct bytes sent = buffer_bytes(&out);
    size_t length;
    struct mqtt_packet p;
    while (sent.len > 0) {
        check(mqtt_frame(sent, 0, &length) == E_OK);
        check(mqtt_decode(session.version, bytes_sub(sent, 0, length), &p) == E_OK);
        sent = bytes_sub(sent, length, SIZE_MAX);
    }
    buffer_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = {data, size};
    uint8_t mode = size > 0 ? data[0] : 0;
    struct mqtt_session_options o = {.version = mode & 1 ? MQTT_V5 : MQTT_V311,
                                     .client_id = BYTES("id"),
                                     .clean_start = true,
                                     .keepalive_s = 10,
                                     .packet_max = 4096,
                                     .max_inflight = 4,
                                     .receive_max = 4,
                                     .first_packet_id = mode};
    now = (struct mono){1};
    buffer_init(&out, 1u << 16);
    check(mqtt_session_init(&session, &o) == E_OK && mqtt_session_start(&session, now, &out) == E_OK);
    take(&in, 1);
    while (in.len > 0) {
        uint8_t op = in.data[0];
        take(&in, 1);
        if (op < 0xC0) {
            feed(take(&in, op & 0x3F));
        } else {
            act(op & 0x3F);
        }
        check(session.publishes <= session.window && session.publishes <= session.flights.used);
        check_sent();
    }
    mqtt_session_finish(&session);
    buffer_finish(&out);
    return 0;
}
