/* The bytes of an uplink: what formatter.js reads. Fixed point, most significant byte first; 5 bytes fit every data rate.

   offset  size  content
   0       1     version: 1
   1       2     temperature, hundredths of a degree Celsius, two's complement
   3       1     relative humidity, half percent
   4       1     battery, 2000 mV + 10 mV for each step */
#ifndef PAYLOAD_H
#define PAYLOAD_H

#include <stdint.h>

#define PAYLOAD_VERSION 1
#define PAYLOAD_SIZE 5

/* Writes PAYLOAD_SIZE bytes. Values outside of what a field holds become the nearest that it does. */
static inline void payload_encode(uint8_t out[PAYLOAD_SIZE], int temperature_centi, unsigned humidity_half,
                                  unsigned battery_mv)
{
    if (temperature_centi < INT16_MIN) {
        temperature_centi = INT16_MIN;
    } else if (temperature_centi > INT16_MAX) {
        temperature_centi = INT16_MAX;
    }
    unsigned battery = battery_mv < 2000 ? 0 : (battery_mv - 2000) / 10;
    uint16_t temperature = (uint16_t)temperature_centi;
    out[0] = PAYLOAD_VERSION;
    out[1] = (uint8_t)(temperature >> 8);
    out[2] = (uint8_t)(temperature & 0xff);
    out[3] = (uint8_t)(humidity_half > 200 ? 200 : humidity_half);
    out[4] = (uint8_t)(battery > 255 ? 255 : battery);
}

#endif
