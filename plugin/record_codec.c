#include "plugin/record_codec.h"

#include "base/crc32c.h"
#include "plugin/little_endian.h"

#include <assert.h>

/* Offsets in the header of a record. */
enum {
    AT_LENGTH = 0,
    AT_CRC = 4,
    AT_SEQUENCE = 8, /* the CRC covers everything from here */
    AT_CAPTURE = 16,
    AT_SINKS = 24,
    AT_FLAGS = 25,
    AT_TOPIC_LENGTH = 26,
    AT_PAYLOAD_LENGTH = 28,
};

enum {
    FLAG_QOS = 0x03,
    FLAG_REMOTE_QOS = 0x04,
    FLAG_RETAIN = 0x08,
    FLAG_PAYLOAD_FORMAT = 0x10,
    FLAG_KNOWN = 0x1F,
};

#define FIELD_HEADER_SIZE 4u /* tag in the low byte, length in the other three */

/* Optional fields: an empty one takes no room. Tags stand on disk (index + 1): never reuse one, add at the end. */
static const size_t fields[] = {
    offsetof(struct record, client_id),        offsetof(struct record, remote_topic),
    offsetof(struct record, content_type),     offsetof(struct record, response_topic),
    offsetof(struct record, correlation_data), offsetof(struct record, user_properties),
    offsetof(struct record, sensor),           offsetof(struct record, time_path),
    offsetof(struct record, message_path),     offsetof(struct record, table),
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static const char *const sink_names[SINK_COUNT] = {
    [SINK_IOTCORE] = "iotcore",
    [SINK_DYNAMODB] = "dynamodb",
    [SINK_SQLITE] = "sqlite",
};

static const struct bytes *field_of(const struct record *r, size_t index)
{
    return (const struct bytes *)((const char *)r + fields[index]);
}

const char *sink_id_name(enum sink_id id)
{
    return (unsigned)id < SINK_COUNT ? sink_names[id] : "unknown";
}

bool sink_id_parse(struct bytes name, enum sink_id *out)
{
    for (unsigned id = 0; id < SINK_COUNT; id++) {
        if (bytes_equal(name, bytes_str(sink_names[id]))) {
            *out = (enum sink_id)id;
            return true;
        }
    }
    return false;
}

enum err record_length(const struct record *r, size_t *out)
{
    if (r->topic.len > UINT16_MAX || r->payload.len > UINT32_MAX / 2) {
        return E_TOO_LARGE;
    }
    size_t length = RECORD_HEADER_SIZE + r->topic.len + r->payload.len;
#pragma GCC unroll 16
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        size_t len = field_of(r, i)->len;
        if (len > 0) {
            if (len > RECORD_FIELD_MAX) {
                return E_TOO_LARGE;
            }
            length += FIELD_HEADER_SIZE + len;
        }
    }
    *out = length;
    return E_OK;
}

static uint8_t *put_bytes(uint8_t *at, struct bytes b)
{
    if (b.len > 0) {
        memcpy(at, b.data, b.len);
    }
    return at + b.len;
}

/* The length is the state in which the CRC starts: a wrong length makes a wrong CRC. */
static uint32_t record_crc(const uint8_t *data, size_t length)
{
    return crc32c((uint32_t)length, bytes_make(data + AT_SEQUENCE, length - AT_SEQUENCE));
}

void record_encode(const struct record *r, size_t length, uint8_t *out)
{
    uint8_t flags = (uint8_t)((r->qos & FLAG_QOS) | (r->remote_qos ? FLAG_REMOTE_QOS : 0) |
                              (r->retain ? FLAG_RETAIN : 0) | (r->payload_format ? FLAG_PAYLOAD_FORMAT : 0));
    put_le64(out + AT_SEQUENCE, r->sequence);
    put_le64(out + AT_CAPTURE, (uint64_t)r->capture_ms);
    out[AT_SINKS] = r->sinks;
    out[AT_FLAGS] = flags;
    put_le16(out + AT_TOPIC_LENGTH, (uint16_t)r->topic.len);
    put_le32(out + AT_PAYLOAD_LENGTH, (uint32_t)r->payload.len);
    uint8_t *at = put_bytes(out + RECORD_HEADER_SIZE, r->topic);
#pragma GCC unroll 16
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const struct bytes *field = field_of(r, i);
        if (field->len > 0) {
            put_le32(at, (uint32_t)(i + 1) | (uint32_t)field->len << 8);
            at = put_bytes(at + FIELD_HEADER_SIZE, *field);
        }
    }
    at = put_bytes(at, r->payload);
    assert(at == out + length);
    put_le32(out + AT_CRC, record_crc(out, length));
}

void record_commit(uint8_t *out, size_t length)
{
    store_le32_release(out + AT_LENGTH, (uint32_t)length);
}

bool record_peek(struct bytes data, struct record_head *out)
{
    if (data.len < RECORD_HEADER_SIZE) {
        return false;
    }
    out->length = get_le32(data.data + AT_LENGTH);
    out->sequence = get_le64(data.data + AT_SEQUENCE);
    out->sinks = data.data[AT_SINKS];
    return out->length >= RECORD_HEADER_SIZE && out->length <= data.len;
}

/* The optional fields of `r` from `data`, which holds nothing else. Tags ascend. */
static enum err decode_fields(struct bytes data, struct record *r)
{
    uint32_t last = 0;
    while (data.len > 0) {
        if (data.len < FIELD_HEADER_SIZE) {
            return E_MALFORMED;
        }
        uint32_t head = get_le32(data.data);
        uint32_t tag = head & 0xFF;
        size_t len = head >> 8;
        data = bytes_sub(data, FIELD_HEADER_SIZE, data.len);
        if (tag <= last || tag > FIELD_COUNT || len == 0 || len > data.len) {
            return E_MALFORMED;
        }
        *(struct bytes *)((char *)r + fields[tag - 1]) = bytes_sub(data, 0, len);
        data = bytes_sub(data, len, data.len);
        last = tag;
    }
    return E_OK;
}

enum err record_decode(struct bytes data, struct record *out)
{
    struct record_head head;
    if (!record_peek(data, &head) || get_le32(data.data + AT_CRC) != record_crc(data.data, head.length)) {
        return E_CORRUPT;
    }
    data = bytes_sub(data, 0, head.length);
    uint8_t flags = data.data[AT_FLAGS];
    size_t topic_length = get_le16(data.data + AT_TOPIC_LENGTH);
    size_t payload_length = get_le32(data.data + AT_PAYLOAD_LENGTH);
    size_t body = head.length - RECORD_HEADER_SIZE;
    if ((flags & ~FLAG_KNOWN) != 0 || (flags & FLAG_QOS) == FLAG_QOS || topic_length > body ||
        payload_length > body - topic_length) {
        return E_MALFORMED;
    }
    struct record r = {
        .sequence = head.sequence,
        .capture_ms = (int64_t)get_le64(data.data + AT_CAPTURE),
        .sinks = head.sinks,
        .qos = flags & FLAG_QOS,
        .remote_qos = (flags & FLAG_REMOTE_QOS) != 0,
        .retain = (flags & FLAG_RETAIN) != 0,
        .payload_format = (flags & FLAG_PAYLOAD_FORMAT) != 0,
        .topic = bytes_sub(data, RECORD_HEADER_SIZE, topic_length),
        .payload = bytes_sub(data, head.length - payload_length, payload_length),
    };
    size_t fields_at = RECORD_HEADER_SIZE + topic_length;
    enum err e = decode_fields(bytes_sub(data, fields_at, head.length - payload_length - fields_at), &r);
    if (e == E_OK) {
        *out = r;
    }
    return e;
}
