/* From an HTTP request to MQTT messages: which URL, which format, which topics and payloads, and how the client wants to be
 * answered. Pure functions without I/O, any thread. One file per family of formats:
 *
 *   ingest_topics.c       /topics/TOPIC (AWS IoT), /api/v5/publish (EMQX, NanoMQ)
 *   ingest_walk.c         /walk-sensor/raw, /walk-sensor/proc
 *   ingest_ttn.c          /ttn (The Things Stack v3)
 *   ingest_thingsboard.c  /api/v1/TOKEN/telemetry
 *   ingest_phone.c        /sensorlogger, /phyphox, /owntracks
 *   ingest_influx.c       /write, /api/v2/write
 */
#ifndef WEBSENSOR_INGEST_H
#define WEBSENSOR_INGEST_H

#include "base/buffer.h"

#define INGEST_MESSAGES_MAX 4096u /* out of one request */
#define INGEST_NAME_MAX 128u      /* a device's or a thing's name, in bytes */
#define INGEST_SAMPLES_MAX 8192u  /* per axis in one request */

/* Borrowed; absent headers are empty. */
struct ingest_request {
    struct bytes method;
    struct bytes target; /* as it came: path and query, percent-encoded */
    struct bytes body;
    struct bytes user;         /* of Basic credentials */
    struct bytes limit_user;   /* X-Limit-U */
    struct bytes limit_device; /* X-Limit-D */
    const char *walk_topic;    /* with %s */
    bool named_by_token;       /* tokens are checked: ThingsBoard's path holds one */
};

/* What the client expects on success. */
enum ingest_reply {
    INGEST_REPLY_MESSAGE,    /* 200 {"message":"OK","traceId":"..."} */
    INGEST_REPLY_OK,         /* 200 OK */
    INGEST_REPLY_VERDICT,    /* 200 {"walking":...} */
    INGEST_REPLY_LIST,       /* 200 [] */
    INGEST_REPLY_ID,         /* 200 {"id":"..."} */
    INGEST_REPLY_NO_CONTENT, /* 204 */
};

/* Places in the text of struct ingest (which moves as it grows). */
struct ingest_message {
    size_t topic, topic_len;
    size_t payload, payload_len;
};

/* Accelerometer samples, judged by the owner (devices.h), who adds the message. */
struct ingest_walk {
    bool present;
    bool sums;                        /* the original's array: x holds x+y+z without gravity, y and z are NULL */
    char device[INGEST_NAME_MAX + 1]; /* "" = none given */
    double rate;                      /* Hz */
    double *x, *y, *z;                /* owned */
    size_t count;
    uint64_t time_ms; /* when the batch was taken, epoch; 0 = not told */
    double sum;       /* of all x+y+z */
    bool numbered;    /* session and seq are told: the stream goes on only from seq to seq + 1 */
    uint64_t session; /* a hash */
    uint64_t seq;
};

enum ingest_auth {
    INGEST_AUTH_HEADER, /* Authorization, or ?token= */
    INGEST_AUTH_PATH,   /* `token` below */
    INGEST_AUTH_TTN,    /* ttn_secret goes before a token */
};

/* A piece of `text` below; len 0 = absent. */
struct ingest_text {
    size_t at, len;
};

struct ingest {
    struct buffer text; /* topics and payloads, and the pieces */
    struct ingest_message *messages;
    size_t count;
    size_t room;
    uint8_t qos;
    bool retain;
    struct ingest_text content_type, response_topic; /* MQTT 5 properties of the messages */
    bool has_message_expiry;
    uint32_t message_expiry_s;
    enum ingest_reply reply;
    enum ingest_auth auth;
    bool topic_by_token; /* ThingsBoard: messages have an empty topic until the token's filter names one */
    struct buffer token; /* from the path or the query; may be empty */
    uint64_t key;        /* of (sender, session, message): the same again is a repetition; 0 = not told */
    struct ingest_walk walk;
    const char *reason; /* of a refusal */
};

/* Empty; text may grow to `text_max` bytes. */
void ingest_init(struct ingest *in, size_t text_max);
void ingest_finish(struct ingest *in);

/* Is this a URL that publishes? Then *methods says how ("POST, PUT"), for Allow. A cheap check before the body is read. */
bool ingest_is_known(struct bytes target, bool is_get, const char **methods);

/* Fills `in`. Returns the HTTP status: 200 when the messages are to be published (there may be none), or 4xx/5xx with
 * in->reason. Topics are valid names; whether they are allowed is for the caller to see. */
int ingest_parse(const struct ingest_request *rq, struct ingest *in);

/* May this topic be published to over HTTP? No wildcards, valid UTF-8, nothing that the broker ends our connection for (topic_safe), `$`
 * topics only below $aws/things/. */
bool ingest_topic_allowed(struct bytes topic);

/* Appends a message. E_FULL over the ceilings. */
MUST_CHECK enum err ingest_add(struct ingest *in, struct bytes topic, struct bytes payload);
struct bytes ingest_topic(const struct ingest *in, size_t i);
struct bytes ingest_payload(const struct ingest *in, size_t i);
/* data is NULL when it is absent. */
struct bytes ingest_piece(const struct ingest *in, struct ingest_text piece);

/* A name of 1 to INGEST_NAME_MAX bytes that is one level of a topic: no '/', '+', '#', control characters, no '$' in front. */
bool ingest_name_valid(struct bytes name);
/* As AWS names things: letters, digits, ':', '_' and '-' only. */
bool ingest_thing_valid(struct bytes name);

/* Percent-decoding; plus: '+' means a blank. E_MALFORMED: a broken escape or a NUL. Appends to out. */
MUST_CHECK enum err ingest_decode(struct bytes text, bool plus, struct buffer *out);
/* The value of a query parameter, decoded, appended to out. E_NOT_FOUND; E_MALFORMED. */
MUST_CHECK enum err ingest_query(struct bytes target, const char *name, struct buffer *out);

#endif
