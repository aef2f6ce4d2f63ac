/* A captured message, as it stands in the spool. It carries everything that was decided at capture (which sinks, the
 * topic towards AWS, sensor, time, mapping), so that a later change of the configuration cannot change a key or send a message
 * elsewhere. */
#ifndef PLUGIN_RECORD_H
#define PLUGIN_RECORD_H

#include "base/bytes.h"

#include <stddef.h>

/* Sinks as bits of record.sinks. The numbers stand on disk: never reuse one. */
enum sink_id {
    SINK_IOTCORE = 0,
    SINK_DYNAMODB = 1,
    SINK_SQLITE = 2,
    SINK_COUNT = 3,
};
#define SINK_BIT(id) (1u << (id))

/* "iotcore", "dynamodb", "sqlite": names in files, topics and logs. Never NULL. Any thread. */
const char *sink_id_name(enum sink_id id);
bool sink_id_parse(struct bytes name, enum sink_id *out);

/* One MQTT 5 user property list stands in `user_properties` as on the wire: for each, UTF-8 string pair (2-byte big-endian
 * length and text, twice). */
struct record {
    uint64_t sequence;  /* from 1, set by spool_append */
    int64_t capture_ms; /* wall clock at capture, made unique per sensor when `sensor` is not empty */
    uint8_t sinks;      /* SINK_BIT()s */
    uint8_t qos;        /* as published, 0-2 */
    uint8_t remote_qos; /* towards AWS, 0-1 */
    bool retain;
    uint8_t payload_format; /* MQTT 5 payload format indicator, 0 or 1 */
    struct bytes topic;
    struct bytes remote_topic; /* empty = same as topic */
    struct bytes payload;
    struct bytes client_id;
    struct bytes content_type;
    struct bytes response_topic;
    struct bytes correlation_data;
    struct bytes user_properties;
    struct bytes sensor;    /* for the stores */
    struct bytes time_path; /* mapping of the store route, empty = default */
    struct bytes message_path;
    struct bytes table; /* DynamoDB table, empty = default */
};

/* A field more has to be emptied below too. */
_Static_assert(sizeof(struct record) == offsetof(struct record, topic) + 12 * sizeof(struct bytes),
               "record_init names every field");

/* Empties every field. One by one: compilers clear the whole with an instruction that takes longer than all the rest of capturing a
 * message. */
static inline void record_init(struct record *r)
{
    static const struct bytes none = {NULL, 0};
    r->sequence = 0;
    r->capture_ms = 0;
    r->sinks = 0;
    r->qos = 0;
    r->remote_qos = 0;
    r->retain = false;
    r->payload_format = 0;
    r->topic = none;
    r->remote_topic = none;
    r->payload = none;
    r->client_id = none;
    r->content_type = none;
    r->response_topic = none;
    r->correlation_data = none;
    r->user_properties = none;
    r->sensor = none;
    r->time_path = none;
    r->message_path = none;
    r->table = none;
}

#endif
