/* From a captured message to a measurement {sensor, timestamp, message}: the mapping of CONFIG.md "From message to
 * measurement", as pure functions. sensor and a provisional time are fixed at capture; what needs the payload parsed
 * (time=, message=, shadow, The Things Stack) is done when the message is stored. Any thread. */
#ifndef STORE_MEASUREMENT_H
#define STORE_MEASUREMENT_H

#include "base/buffer.h"
#include "base/clock.h"

/* What a `store` line says besides its filter. Owned strings, NULL = default. */
struct measurement_mapping {
    enum measurement_sensor {
        MEASUREMENT_SENSOR_DEFAULT, /* by topic, see CONFIG.md */
        MEASUREMENT_SENSOR_TOPIC,   /* topic(N) */
        MEASUREMENT_SENSOR_CLIENT,  /* client() */
        MEASUREMENT_SENSOR_PAYLOAD, /* payload(a.b) */
        MEASUREMENT_SENSOR_LITERAL,
    } sensor;
    uint32_t sensor_level; /* TOPIC: from 1; DEFAULT: level of the filter's first '+', 0 = none */
    char *sensor_text;     /* PAYLOAD: member path; LITERAL: the text */
    char *time_path;       /* payload(a.b) -> "a.b" */
    char *message_path;
    char *table; /* DynamoDB table */
};

struct measurement_error {
    char text[160];
};

/* Parses the words behind the filter of a `store` line ("sensor=topic(2) time=payload(ts)"). */
MUST_CHECK enum err measurement_mapping_parse(struct bytes filter, struct bytes words, struct measurement_mapping *out,
                                              struct measurement_error *error);
MUST_CHECK enum err measurement_mapping_print(const struct measurement_mapping *m, struct buffer *out);
void measurement_mapping_finish(struct measurement_mapping *m);

/* The sensor's name, decided on the broker's thread at capture. Result is borrowed from topic, client_id, mapping or
 * `scratch` (needed for PAYLOAD only). E_NOT_FOUND: the mapping does not fit this message. Empty names come out as such:
 * the store refuses them. */
MUST_CHECK enum err measurement_sensor(const struct measurement_mapping *m, struct bytes topic, struct bytes client_id,
                                       struct bytes payload, struct buffer *scratch, struct bytes *sensor);

/* A measurement ready to be stored. message is JSON text of an object; numbers stand as they were sent, digit by digit. */
struct measurement {
    struct bytes sensor;
    int64_t timestamp_ms;
    struct bytes message;
};

struct measurement_source {
    struct bytes topic;
    struct bytes payload;
    struct bytes sensor;       /* from measurement_sensor() at capture */
    int64_t capture_ms;        /* unique per sensor */
    struct bytes time_path;    /* empty = by topic */
    struct bytes message_path; /* empty = by topic */
};

/* `text` receives the JSON of message; the result borrows from it and from source. E_INVALID with a reason for rejected/:
 * the mapping does not fit the message. */
MUST_CHECK enum err measurement_make(const struct measurement_source *source, struct buffer *text,
                                     struct measurement *out, struct measurement_error *error);

#endif
