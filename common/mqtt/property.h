/* MQTT 5 properties (section 2.2.2) of the codec's own files: one table per packet says which property stands in which
 * field; reading and writing walk the table. */
#ifndef MQTT_PROPERTY_H
#define MQTT_PROPERTY_H

#include "mqtt/wire.h"

/* How a field holds its property. */
enum property_field {
    FIELD_BYTE,   /* uint8_t */
    FIELD_FLAG,   /* bool */
    FIELD_NOT,    /* bool, true = 0 */
    FIELD_U16,    /* uint16_t */
    FIELD_U32,    /* uint32_t */
    FIELD_VARINT, /* uint32_t */
    FIELD_BYTES,  /* struct bytes: string or binary data; data NULL = absent */
    FIELD_LIST, /* struct bytes: the part of the property block from the first to the last property with this identifier */
};

struct property_row {
    uint8_t id;
    uint8_t field;   /* enum property_field */
    uint16_t offset; /* of the field in the packet's struct */
    uint16_t has;  /* offset of a bool that says whether it is present; 0 = there is none (no struct begins with one) */
    uint32_t skip; /* numbers without `has`: a field of this value is not written */
    uint32_t absent; /* numbers: value of the field when the property is absent */
};

struct property_table {
    const struct property_row *rows;
    size_t count;
};

extern const struct property_table connect_properties;
extern const struct property_table will_properties;
extern const struct property_table connack_properties;
extern const struct property_table publish_properties;
extern const struct property_table ack_properties;
extern const struct property_table subscribe_properties;
extern const struct property_table suback_properties;
extern const struct property_table unsubscribe_properties;
extern const struct property_table disconnect_properties;
extern const struct property_table auth_properties;

/* Sets every field of the table to what absence means. */
void properties_absent(const struct property_table *t, void *packet);

/* Reads length and properties. Every field is set. Unknown or misplaced property, value outside its type: E_MALFORMED;
 * a second one, or a value that the specification forbids: E_PROTOCOL (sections 2.2.2.2 and each property's own). */
void properties_read(const struct property_table *t, struct wire_reader *r, void *packet);

/* Size of the properties without their length. E_INVALID: a field holds what its property cannot. */
MUST_CHECK enum err properties_size(const struct property_table *t, const void *packet, size_t *size);
/* Writes length and properties; `size` is what properties_size said. */
uint8_t *properties_write(const struct property_table *t, const void *packet, size_t size, uint8_t *at);

#endif
