/* The Things Stack v3's uplink webhook ("Webhooks", "Data Formats"): on to the topic that its own MQTT server uses, as it is; the
 * store knows that form. Webhooks for other events (join, down ...) go to the topic of the event. */
#include "websensor/ingest_internal.h"

#include "base/json.h"

#include <stdio.h>

enum { DEPTH = 64 };

/* A string member that is one level of a topic; empty when it is not there. false: it is something else. */
static bool level(struct bytes body, const char *path, struct buffer *out)
{
    struct json_token t;
    enum err e = json_find(body, bytes_str(path), DEPTH, &t);
    return e == E_NOT_FOUND || (e == E_OK && t.type == JSON_NULL) ||
           (e == E_OK && t.type == JSON_STRING && json_unescape(&t, out) == E_OK &&
            ingest_name_valid(buffer_bytes(out)));
}

static const struct {
    const char *member;
    const char *event;
} events[] = {
    {"uplink_message", "up"},           {"join_accept", "join"},
    {"downlink_ack", "down/ack"},       {"downlink_nack", "down/nack"},
    {"downlink_sent", "down/sent"},     {"downlink_failed", "down/failed"},
    {"downlink_queued", "down/queued"}, {"location_solved", "location/solved"},
    {"service_data", "service/data"},
};

static const char *event_of(struct bytes body)
{
    struct json_token t;
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (json_find(body, bytes_str(events[i].member), DEPTH, &t) == E_OK && t.type == JSON_OBJECT) {
            return events[i].event;
        }
    }
    return NULL;
}

static int build(struct bytes body, struct ingest *in, struct buffer *device, struct buffer *app, struct buffer *tenant)
{
    const char *event = event_of(body);
    struct buffer topic;
    if (!event || !level(body, "end_device_ids.device_id", device) || device->len == 0 ||
        !level(body, "end_device_ids.application_ids.application_id", app) || app->len == 0 ||
        !level(body, "uplink_message.network_ids.tenant_id", tenant)) {
        return ingest_refuse(in, 400, "no message of The Things Stack v3: end_device_ids or the event is missing");
    }
    buffer_init(&topic, 65535);
    struct bytes t = tenant->len > 0 ? buffer_bytes(tenant) : BYTES("ttn");
    enum err e = buffer_append_str(&topic, "v3/");
    e = e == E_OK ? buffer_append(&topic, buffer_bytes(app)) : e;
    e = e == E_OK ? buffer_append_byte(&topic, '@') : e;
    e = e == E_OK ? buffer_append(&topic, t) : e;
    e = e == E_OK ? buffer_append_str(&topic, "/devices/") : e;
    e = e == E_OK ? buffer_append(&topic, buffer_bytes(device)) : e;
    e = e == E_OK ? buffer_appendf(&topic, "/%s", event) : e;
    e = e == E_OK ? ingest_add(in, buffer_bytes(&topic), body) : e;
    buffer_finish(&topic);
    return e == E_OK ? 200 : ingest_failed(in, e);
}

int ingest_ttn(const struct ingest_request *rq, struct bytes rest, struct ingest *in)
{
    (void)rest;
    struct json_token whole;
    struct buffer device, app, tenant;
    in->auth = INGEST_AUTH_TTN;
    in->reply = INGEST_REPLY_OK;
    if (json_parse(rq->body, DEPTH, &whole) != E_OK || whole.type != JSON_OBJECT) {
        return ingest_refuse(in, 400, "the body must be a JSON object");
    }
    buffer_init(&device, 1024);
    buffer_init(&app, 1024);
    buffer_init(&tenant, 1024);
    int status = build(whole.text, in, &device, &app, &tenant);
    buffer_finish(&device);
    buffer_finish(&app);
    buffer_finish(&tenant);
    return status;
}
