/* The codec as a program, for comparison with another implementation (agree.js).
 *
 *   decode            reads lines `VERSION HEX`, writes the packet as JSON, or {"error": name}
 *   generate SEED N   writes N lines `VERSION HEX JSON`, packets made at random
 *
 * The JSON is that of mqtt-packet, with binary data in hexadecimal, lists of user properties as [name, value] and without the
 * properties whose value is that of their absence. */
#ifndef TEST_MQTT_CODEC_TOOL_H
#define TEST_MQTT_CODEC_TOOL_H

#include "mqtt/codec.h"

#include <cjson/cJSON.h>

/* The decoded packet as JSON; the caller deletes it. */
cJSON *codec_describe(enum mqtt_version version, const struct mqtt_packet *p);

/* A packet made from *random, which it advances. Borrows static memory until the next call. */
void codec_generate(uint64_t *random, enum mqtt_version version, struct mqtt_packet *p);

#endif
