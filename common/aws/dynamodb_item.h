/* How measurements stand in a DynamoDB table, and the bodies of the requests that write and read them. No I/O. Any thread.
 *
 *   {"sensor": S, "timestamp": S or N (ms), "message": M, "ttl": N (s, optional)}
 */
#ifndef AWS_DYNAMODB_ITEM_H
#define AWS_DYNAMODB_ITEM_H

#include "aws/attribute.h"
#include "base/clock.h"

#define DYNAMODB_BATCH_MAX 25u            /* items in one BatchWriteItem */
#define DYNAMODB_ITEM_TEXT_MAX (8u << 20) /* bytes of an item as JSON; one of 400 KB has far fewer */
#define DYNAMODB_MESSAGE_ATTRIBUTE "message"
#define DYNAMODB_TTL_ATTRIBUTE "ttl"

/* Names and types of a table's attributes. Borrowed strings. */
struct dynamodb_layout {
    const char *sensor_key; /* partition key, S */
    const char *time_key;   /* sort key */
    char time_type;         /* 'S' or 'N' */
    uint64_t ttl_ms;        /* 0 = no attribute `ttl` */
};

struct dynamodb_reason {
    char text[200];
};

/* E_INVALID with a text that names the option: empty names, names longer than 255 bytes, the same name twice, a type that is
 * neither S nor N. */
MUST_CHECK enum err dynamodb_layout_check(const struct dynamodb_layout *l, struct dynamodb_reason *reason);

/* A measurement to be written; message is the text of a JSON object. */
struct dynamodb_measurement {
    struct bytes sensor;
    int64_t timestamp_ms;
    struct bytes message;
};

/* Appends the item. E_INVALID with a reason: DynamoDB would refuse it (empty or too long sensor, over 400 KB, nested too deeply,
 * not UTF-8). Limits that AWS does not define sharply are left to AWS. */
MUST_CHECK enum err dynamodb_item_build(const struct dynamodb_layout *l, struct attribute_encoder *encoder,
                                        const struct dynamodb_measurement *m, struct buffer *out,
                                        struct dynamodb_reason *reason);

/* Body of a BatchWriteItem, in three steps; at most DYNAMODB_BATCH_MAX items, no two with the same keys. */
MUST_CHECK enum err dynamodb_batch_begin(struct buffer *out, struct bytes table);
MUST_CHECK enum err dynamodb_batch_add(struct buffer *out, struct bytes item, bool first);
MUST_CHECK enum err dynamodb_batch_end(struct buffer *out);

/* Calls fn for each item that an answer to BatchWriteItem hands back unprocessed; `sensor` is valid during the call.
 * E_MALFORMED: this is no such answer (nothing may be taken as written). */
MUST_CHECK enum err dynamodb_unprocessed(const struct dynamodb_layout *l, struct bytes body,
                                         void (*fn)(void *ctx, struct bytes sensor, int64_t timestamp_ms), void *ctx);

/* Body of a Query for one sensor's measurements, from_ms and to_ms included. `start_key`: from the page before, or empty. As S, times
 * are compared as text: right for all that have 13 digits (2001 to 2286). */
struct dynamodb_query {
    struct bytes table;
    struct bytes sensor;
    int64_t from_ms, to_ms;
    uint32_t limit; /* items of a page, 0 = as many as DynamoDB gives (1 MB) */
    bool newest_first;
    struct bytes start_key;
};
MUST_CHECK enum err dynamodb_query_build(const struct dynamodb_layout *l, const struct dynamodb_query *q,
                                         struct buffer *out);

/* Body of a Scan that gives the keys of the items behind `start_key`; all of a table is costly to read. limit: items of a page, 0 =
 * as many as DynamoDB gives. A start key need not exist: with one behind the last of a partition the Scan goes on in the next. */
MUST_CHECK enum err dynamodb_scan_build(const struct dynamodb_layout *l, struct bytes table, uint32_t limit,
                                        struct bytes start_key, struct buffer *out);

/* Appends a start key behind every measurement of a sensor. */
MUST_CHECK enum err dynamodb_partition_end(const struct dynamodb_layout *l, struct bytes sensor, struct buffer *out);

/* An item of an answer. Valid during the call. */
struct dynamodb_item {
    struct bytes sensor;
    int64_t timestamp_ms;
    struct bytes message; /* JSON text of an object; empty when the item holds none */
};

/* Calls fn for each item of an answer to Query or Scan, until it returns false; items whose `ttl` lies before `now` are left
 * out (DynamoDB deletes them up to days later), and so are those without keys of the layout. `next_key` receives the text of
 * LastEvaluatedKey: not empty means that there are more pages; it is empty when fn has stopped. E_MALFORMED: no such answer, which may turn out after
 * fn has had some items. */
MUST_CHECK enum err dynamodb_items_parse(const struct dynamodb_layout *l, struct bytes body, struct wall now,
                                         bool (*fn)(void *ctx, const struct dynamodb_item *item), void *ctx,
                                         struct buffer *next_key);

#endif
