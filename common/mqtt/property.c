#include "mqtt/property.h"

#include "mqtt/topic.h"

/* Values as they stand on the wire (section 2.2.2.2, table 2-4). */
enum property_type {
    TYPE_NONE,
    TYPE_BYTE,
    TYPE_U16,
    TYPE_U32,
    TYPE_VARINT,
    TYPE_STRING,
    TYPE_TOPIC,
    TYPE_BINARY,
    TYPE_PAIR
};

/* Identifiers with the type and the range of their values. */
static const struct {
    uint8_t type;
    uint8_t min;  /* numbers: 1 where "it is a Protocol Error" to send 0 */
    uint32_t max; /* numbers */
} types[] = {
    [0x01] = {TYPE_BYTE, 0, 1},            /* Payload Format Indicator, 3.3.2.3.2 */
    [0x02] = {TYPE_U32, 0, UINT32_MAX},    /* Message Expiry Interval, 3.3.2.3.3 */
    [0x03] = {TYPE_STRING, 0, 0},          /* Content Type, 3.3.2.3.9 */
    [0x08] = {TYPE_TOPIC, 0, 0},           /* Response Topic, 3.3.2.3.5 */
    [0x09] = {TYPE_BINARY, 0, 0},          /* Correlation Data, 3.3.2.3.6 */
    [0x0B] = {TYPE_VARINT, 1, UINT32_MAX}, /* Subscription Identifier, 3.8.2.1.2 */
    [0x11] = {TYPE_U32, 0, UINT32_MAX},    /* Session Expiry Interval, 3.1.2.11.2 */
    [0x12] = {TYPE_STRING, 0, 0},          /* Assigned Client Identifier, 3.2.2.3.7 */
    [0x13] = {TYPE_U16, 0, UINT16_MAX},    /* Server Keep Alive, 3.2.2.3.14 */
    [0x15] = {TYPE_STRING, 0, 0},          /* Authentication Method, 3.1.2.11.9 */
    [0x16] = {TYPE_BINARY, 0, 0},          /* Authentication Data, 3.1.2.11.10 */
    [0x17] = {TYPE_BYTE, 0, 1},            /* Request Problem Information, 3.1.2.11.7 */
    [0x18] = {TYPE_U32, 0, UINT32_MAX},    /* Will Delay Interval, 3.1.3.2.2 */
    [0x19] = {TYPE_BYTE, 0, 1},            /* Request Response Information, 3.1.2.11.6 */
    [0x1A] = {TYPE_STRING, 0, 0},          /* Response Information, 3.2.2.3.15 */
    [0x1C] = {TYPE_STRING, 0, 0},          /* Server Reference, 3.2.2.3.16 */
    [0x1F] = {TYPE_STRING, 0, 0},          /* Reason String, 3.2.2.3.9 */
    [0x21] = {TYPE_U16, 1, UINT16_MAX},    /* Receive Maximum, 3.1.2.11.3 */
    [0x22] = {TYPE_U16, 0, UINT16_MAX},    /* Topic Alias Maximum, 3.1.2.11.5 */
    [0x23] = {TYPE_U16, 1, UINT16_MAX},    /* Topic Alias, 3.3.2.3.4 */
    [0x24] = {TYPE_BYTE, 0, 1},            /* Maximum QoS, 3.2.2.3.4 */
    [0x25] = {TYPE_BYTE, 0, 1},            /* Retain Available, 3.2.2.3.5 */
    [0x26] = {TYPE_PAIR, 0, 0},            /* User Property, 3.1.2.11.8 */
    [0x27] = {TYPE_U32, 1, UINT32_MAX},    /* Maximum Packet Size, 3.1.2.11.4 */
    [0x28] = {TYPE_BYTE, 0, 1},            /* Wildcard Subscription Available, 3.2.2.3.11 */
    [0x29] = {TYPE_BYTE, 0, 1},            /* Subscription Identifier Available, 3.2.2.3.12 */
    [0x2A] = {TYPE_BYTE, 0, 1},            /* Shared Subscription Available, 3.2.2.3.13 */
};

#define SUBSCRIPTION_ID 0x0B
#define IDENTIFIERS (sizeof(types) / sizeof(types[0]))
_Static_assert(IDENTIFIERS <= 64, "identifiers fit a 64-bit set");

struct property {
    uint8_t id;
    uint32_t number;
    struct bytes text;   /* string, binary data, name of a pair */
    struct bytes second; /* value of a pair */
};

static uint32_t read_number(struct wire_reader *r, uint8_t type)
{
    switch (type) {
    case TYPE_BYTE:
        return wire_get_byte(r);
    case TYPE_U16:
        return wire_get_u16(r);
    case TYPE_U32:
        return wire_get_u32(r);
    default:
        return wire_get_varint(r, true);
    }
}

/* Reads identifier and value; the outcome is in r->err. */
static void read_property(struct wire_reader *r, struct property *p)
{
    *p = (struct property){.id = wire_get_byte(r)};
    uint8_t type = p->id < IDENTIFIERS ? types[p->id].type : TYPE_NONE;
    switch (type) {
    case TYPE_NONE:
        wire_fail(r, E_MALFORMED);
        return;
    case TYPE_STRING:
        p->text = wire_get_string(r);
        return;
    case TYPE_TOPIC:
        p->text = wire_get_string(r);
        if (r->err == E_OK && !topic_name_valid(p->text)) {
            wire_fail(r, E_PROTOCOL);
        }
        return;
    case TYPE_BINARY:
        p->text = wire_get_binary(r);
        return;
    case TYPE_PAIR:
        p->text = wire_get_string(r);
        p->second = wire_get_string(r);
        return;
    default:
        p->number = read_number(r, type);
        if (r->err == E_OK && (p->number < types[p->id].min || p->number > types[p->id].max)) {
            wire_fail(r, E_PROTOCOL);
        }
        return;
    }
}

static void set_number(const struct property_row *row, void *packet, uint32_t value)
{
    void *field = (char *)packet + row->offset;
    switch (row->field) {
    case FIELD_BYTE:
        *(uint8_t *)field = (uint8_t)value;
        break;
    case FIELD_FLAG:
        *(bool *)field = value != 0;
        break;
    case FIELD_NOT:
        *(bool *)field = value == 0;
        break;
    case FIELD_U16:
        *(uint16_t *)field = (uint16_t)value;
        break;
    default:
        *(uint32_t *)field = value;
        break;
    }
}

static uint32_t get_number(const struct property_row *row, const void *packet)
{
    const void *field = (const char *)packet + row->offset;
    switch (row->field) {
    case FIELD_BYTE:
        return *(const uint8_t *)field;
    case FIELD_FLAG:
        return *(const bool *)field;
    case FIELD_NOT:
        return !*(const bool *)field;
    case FIELD_U16:
        return *(const uint16_t *)field;
    default:
        return *(const uint32_t *)field;
    }
}

static bool is_text(const struct property_row *row)
{
    return row->field == FIELD_BYTES || row->field == FIELD_LIST;
}

static struct bytes get_text(const struct property_row *row, const void *packet)
{
    return *(const struct bytes *)(const void *)((const char *)packet + row->offset);
}

/* Is the property of this row to be written? */
static bool is_present(const struct property_row *row, const void *packet)
{
    if (is_text(row)) {
        return get_text(row, packet).data != NULL;
    }
    if (row->has != 0) {
        return *(const bool *)((const char *)packet + row->has);
    }
    return get_number(row, packet) != row->skip;
}

void properties_absent(const struct property_table *t, void *packet)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct property_row *row = &t->rows[i];
        if (is_text(row)) {
            *(struct bytes *)(void *)((char *)packet + row->offset) = (struct bytes){NULL, 0};
            continue;
        }
        set_number(row, packet, row->absent);
        if (row->has != 0) {
            *(bool *)((char *)packet + row->has) = false;
        }
    }
}

static const struct property_row *find_row(const struct property_table *t, uint8_t id)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->rows[i].id == id) {
            return &t->rows[i];
        }
    }
    return NULL;
}

static void set_field(const struct property_row *row, void *packet, const struct property *p, const uint8_t *start,
                      const uint8_t *end)
{
    struct bytes *text = (struct bytes *)(void *)((char *)packet + row->offset);
    if (row->field == FIELD_LIST) {
        const uint8_t *first = text->data ? text->data : start;
        *text = (struct bytes){first, (size_t)(end - first)};
    } else if (row->field == FIELD_BYTES) {
        *text = p->text;
    } else {
        set_number(row, packet, p->number);
        if (row->has != 0) {
            *(bool *)((char *)packet + row->has) = true;
        }
    }
}

void properties_read(const struct property_table *t, struct wire_reader *r, void *packet)
{
    properties_absent(t, packet);
    uint32_t length = wire_get_varint(r, true);
    struct wire_reader block = wire_reader_make(wire_get_bytes(r, length));
    uint64_t seen = 0;
    while (block.err == E_OK && block.at < block.end) {
        const uint8_t *start = block.at;
        struct property p;
        read_property(&block, &p);
        if (block.err != E_OK) {
            break;
        }
        const struct property_row *row = find_row(t, p.id);
        if (!row) {
            wire_fail(&block, E_MALFORMED);
        } else if (row->field != FIELD_LIST && (seen & (UINT64_C(1) << p.id)) != 0) {
            wire_fail(&block, E_PROTOCOL);
        } else {
            set_field(row, packet, &p, start, block.at);
            seen |= UINT64_C(1) << p.id;
        }
    }
    if (block.err != E_OK) {
        wire_fail(r, block.err);
    }
}

/* Bytes of the properties with this identifier in a list; *err for what is no list. */
static enum err list_size(uint8_t id, struct bytes list, size_t *size)
{
    struct wire_reader r = wire_reader_make(list);
    *size = 0;
    while (r.at < r.end) {
        const uint8_t *start = r.at;
        struct property p;
        read_property(&r, &p);
        if (r.err != E_OK) {
            return E_INVALID;
        }
        if (p.id == id) {
            *size += (size_t)(r.at - start);
        }
    }
    return E_OK;
}

static uint8_t *list_write(uint8_t id, struct bytes list, uint8_t *at)
{
    struct wire_reader r = wire_reader_make(list);
    while (r.at < r.end) {
        const uint8_t *start = r.at;
        struct property p;
        read_property(&r, &p);
        if (r.err != E_OK) {
            break; /* list_size has seen the whole list */
        }
        if (p.id == id) {
            at = wire_put_bytes(at, (struct bytes){start, (size_t)(r.at - start)});
        }
    }
    return at;
}

static enum err text_size(uint8_t id, struct bytes text, size_t *size)
{
    *size = 1 + 2 + text.len;
    switch (types[id].type) {
    case TYPE_TOPIC:
        return topic_name_valid(text) ? E_OK : E_INVALID;
    case TYPE_STRING:
        return wire_is_string(text) ? E_OK : E_INVALID;
    default:
        return text.len <= MQTT_STRING_MAX ? E_OK : E_INVALID;
    }
}

static enum err number_size(uint8_t id, uint32_t value, size_t *size)
{
    if (value < types[id].min || value > types[id].max) {
        return E_INVALID;
    }
    switch (types[id].type) {
    case TYPE_BYTE:
        *size = 2;
        return E_OK;
    case TYPE_U16:
        *size = 3;
        return E_OK;
    case TYPE_U32:
        *size = 5;
        return E_OK;
    default:
        *size = 1 + wire_varint_size(value);
        return value <= MQTT_REMAINING_MAX ? E_OK : E_INVALID;
    }
}

enum err properties_size(const struct property_table *t, const void *packet, size_t *size)
{
    size_t total = 0;
    for (size_t i = 0; i < t->count; i++) {
        const struct property_row *row = &t->rows[i];
        if (!is_present(row, packet)) {
            continue;
        }
        size_t n = 0;
        enum err err;
        if (row->field == FIELD_LIST) {
            err = list_size(row->id, get_text(row, packet), &n);
        } else if (row->field == FIELD_BYTES) {
            err = text_size(row->id, get_text(row, packet), &n);
        } else {
            err = number_size(row->id, get_number(row, packet), &n);
        }
        if (err != E_OK) {
            return err;
        }
        total += n;
    }
    *size = total;
    return total <= MQTT_REMAINING_MAX ? E_OK : E_TOO_LARGE;
}

static uint8_t *number_write(uint8_t type, uint32_t value, uint8_t *at)
{
    switch (type) {
    case TYPE_BYTE:
        return wire_put_byte(at, (uint8_t)value);
    case TYPE_U16:
        return wire_put_u16(at, (uint16_t)value);
    case TYPE_U32:
        return wire_put_u32(at, value);
    default:
        return wire_put_varint(at, value);
    }
}

uint8_t *properties_write(const struct property_table *t, const void *packet, size_t size, uint8_t *at)
{
    at = wire_put_varint(at, (uint32_t)size);
    if (size == 0) {
        return at;
    }
    for (size_t i = 0; i < t->count; i++) {
        const struct property_row *row = &t->rows[i];
        if (!is_present(row, packet)) {
            continue;
        }
        if (row->field == FIELD_LIST) {
            at = list_write(row->id, get_text(row, packet), at);
            continue;
        }
        at = wire_put_byte(at, row->id);
        if (row->field == FIELD_BYTES) {
            at = wire_put_binary(at, get_text(row, packet));
        } else {
            at = number_write(types[row->id].type, get_number(row, packet), at);
        }
    }
    return at;
}

/* Takes properties off the list up to the next one with this identifier. */
static bool list_next(struct bytes *list, uint8_t id, struct property *p)
{
    struct wire_reader r = wire_reader_make(*list);
    bool found = false;
    while (!found && r.at < r.end) {
        read_property(&r, p);
        found = r.err == E_OK && p->id == id;
    }
    *list = (struct bytes){r.at, wire_left(&r)};
    return found;
}

bool mqtt_user_property_next(struct bytes *properties, struct bytes *name, struct bytes *value)
{
    struct property p;
    if (!list_next(properties, MQTT_USER_PROPERTY, &p)) {
        return false;
    }
    *name = p.text;
    *value = p.second;
    return true;
}

bool mqtt_subscription_id_next(struct bytes *properties, uint32_t *id)
{
    struct property p;
    if (!list_next(properties, SUBSCRIPTION_ID, &p)) {
        return false;
    }
    *id = p.number;
    return true;
}

enum err mqtt_user_property_append(struct buffer *properties, struct bytes name, struct bytes value)
{
    if (!wire_is_string(name) || !wire_is_string(value)) {
        return E_INVALID;
    }
    size_t size = 1 + 2 + name.len + 2 + value.len;
    enum err err = buffer_reserve(properties, size);
    if (err != E_OK) {
        return err;
    }
    uint8_t *at = wire_put_byte(properties->data + properties->len, MQTT_USER_PROPERTY);
    wire_put_binary(wire_put_binary(at, name), value);
    properties->len += size;
    return E_OK;
}

enum err mqtt_user_properties_from_pairs(struct bytes pairs, struct buffer *out)
{
    size_t before = out->len;
    struct wire_reader r = wire_reader_make(pairs);
    while (r.at < r.end) {
        struct bytes name = wire_get_string(&r);
        struct bytes value = wire_get_string(&r);
        enum err err = r.err == E_OK ? mqtt_user_property_append(out, name, value) : E_INVALID;
        if (err != E_OK) {
            out->len = before;
            return err;
        }
    }
    return E_OK;
}

enum err mqtt_user_properties_to_pairs(struct bytes properties, struct buffer *out)
{
    enum err err = buffer_reserve(out, properties.len);
    if (err != E_OK) {
        return err;
    }
    struct bytes name;
    struct bytes value;
    while (mqtt_user_property_next(&properties, &name, &value)) {
        uint8_t *at = out->data + out->len;
        out->len += (size_t)(wire_put_binary(wire_put_binary(at, name), value) - at);
    }
    return E_OK;
}
