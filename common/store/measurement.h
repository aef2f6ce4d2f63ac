/* From a captured message to a measurement {sensor, timestamp, message}: the mapping of CONFIG.md "From message to
 * measurement", as pure functions. sensor and a provisional time are fixed at capture; what needs the payload parsed
 * (time=, message=, shadow, The Things Stack) is done when the message is stored. Any thread. */
#ifndef STORE_MEASUREMENT_H
#define STORE_MEASUREMENT_H

#include "base/buffer.h"
#include "base/clock.h"
#include "base/json.h"

/* Longest member path and literal of a mapping; they stand in every record. */
#define MEASUREMENT_PATH_MAX 256u
#define MEASUREMENT_LITERAL_MAX 1024u

/* A payload of JSON may be nested this deep: one level is kept for {"value": it}. */
#define MEASUREMENT_DEPTH_MAX (JSON_DEPTH_MAX - 1)

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

/* One line in plain words. */
struct measurement_error {
    char text[160];
};

void measurement_error_set(struct measurement_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Whether it can be the name or the ARN of a DynamoDB table ("Supported data types and naming rules in Amazon DynamoDB"). */
bool measurement_table_valid(struct bytes table);

/* Parses the words behind the filter of a `store` line ("sensor=topic(2) time=payload(ts)"). A word that contains blanks
 * stands in double quotes, all of it ("sensor=green house"). E_INVALID with a text that names the word. */
MUST_CHECK enum err measurement_mapping_parse(struct bytes filter, struct bytes words, struct measurement_mapping *out,
                                              struct measurement_error *error);
/* Appends the words, in the order sensor, time, message, table; nothing for what is default. Parsing them again gives the
 * same mapping. */
MUST_CHECK enum err measurement_mapping_print(const struct measurement_mapping *m, struct buffer *out);
/* Frees the strings; the mapping is all default then. */
void measurement_mapping_finish(struct measurement_mapping *m);

/* The sensor's name, decided on the broker's thread at capture. Result is borrowed from topic, client_id, mapping, payload
 * or `scratch` (used for PAYLOAD only, cleared first). E_NOT_FOUND: the mapping does not fit this message. Empty names come
 * out as such: the store refuses them. PAYLOAD takes a string or a number (its digits). */
MUST_CHECK enum err measurement_sensor(const struct measurement_mapping *m, struct bytes topic, struct bytes client_id,
                                       struct bytes payload, struct buffer *scratch, struct bytes *sensor);

/* A measurement ready to be stored. message is JSON text of an object, checked, white space as it was sent; numbers stand
 * as they were sent, digit by digit. A name may occur twice in one object, as sent: the last one counts. */
struct measurement {
    struct bytes sensor;
    int64_t timestamp_ms; /* since the epoch, never negative when it comes from the payload */
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

/* `text` is scratch memory (cleared first); the result borrows from it and from source. With a reason for rejected/:
 * E_INVALID, the mapping does not fit the message (also: sensor is empty or no UTF-8 text without NUL); E_TOO_LARGE, message does not fit into `text`.
 * E_NOMEM without. */
MUST_CHECK enum err measurement_make(const struct measurement_source *source, struct buffer *text,
                                     struct measurement *out, struct measurement_error *error);

#endif
