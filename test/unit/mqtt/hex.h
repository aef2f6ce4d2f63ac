/* Packets as hexadecimal text, for test tables. Blanks are for the eye. */
#ifndef TEST_MQTT_HEX_H
#define TEST_MQTT_HEX_H

#include "base/bytes.h"

#include <stdlib.h>

/* Bytes into a block of exactly their size, so that a sanitizer sees any read behind the end; freed by the caller. */
static inline struct bytes hex_to_bytes(const char *hex)
{
    uint8_t *data = malloc(strlen(hex) / 2 + 1);
    size_t len = 0;
    for (const char *p = hex; data && *p;) {
        if (*p == ' ') {
            p++;
            continue;
        }
        char pair[3] = {p[0], p[1], '\0'};
        data[len++] = (uint8_t)strtoul(pair, NULL, 16);
        p += 2;
    }
    if (data && len > 0) {
        uint8_t *exact = realloc(data, len);
        data = exact ? exact : data;
    }
    return (struct bytes){data, len};
}

#endif
