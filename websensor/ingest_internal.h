/* Between ingest.c and the files of the formats. */
#ifndef WEBSENSOR_INGEST_INTERNAL_H
#define WEBSENSOR_INGEST_INTERNAL_H

#include "websensor/ingest.h"

/* Each takes the request and the part of the path behind its prefix (decoded). Returns the HTTP status. */
typedef int ingest_format_fn(const struct ingest_request *rq, struct bytes rest, struct ingest *in);

ingest_format_fn ingest_topics;
ingest_format_fn ingest_emqx;
ingest_format_fn ingest_walk_raw;
ingest_format_fn ingest_walk_proc;
ingest_format_fn ingest_ttn;
ingest_format_fn ingest_thingsboard;
ingest_format_fn ingest_sensorlogger;
ingest_format_fn ingest_phyphox;
ingest_format_fn ingest_phyphox_get;
ingest_format_fn ingest_owntracks;
ingest_format_fn ingest_influx;

/* Sets the reason and returns the status. */
int ingest_refuse(struct ingest *in, int status, const char *reason);
/* The status for an error of building messages. */
int ingest_failed(struct ingest *in, enum err e);

/* Writing a JSON object: call begin, members, end; the first error stays in *e. */
struct ingest_object {
    struct buffer *out;
    enum err e;
    bool any;
};
void ingest_object_begin(struct ingest_object *o, struct buffer *out);
void ingest_object_string(struct ingest_object *o, struct bytes name, struct bytes value);
void ingest_object_raw(struct ingest_object *o, struct bytes name, struct bytes json);
void ingest_object_u64(struct ingest_object *o, const char *name, uint64_t value);
MUST_CHECK enum err ingest_object_end(struct ingest_object *o);

/* sensors/DEVICE/REST (REST may be empty) into out, which is replaced. */
MUST_CHECK enum err ingest_sensor_topic(struct buffer *out, struct bytes device, struct bytes rest);

/* A key of the repetition table; never 0. */
uint64_t ingest_key(struct bytes sender, struct bytes session, struct bytes message);

#endif
