/* A LoRaWAN sensor for The Things Stack: joins over the air, then sends temperature, humidity and battery every PERIOD_S seconds.
   Keys come from the Makefile (DEVEUI, APPEUI, APPKEY). Needs RIOT 2022.04 or later and a board with an SX127x radio. */
#include <stdio.h>

#include "fmt.h"
#include "net/loramac.h"
#include "payload.h"
#include "phydat.h"
#include "saul_reg.h"
#include "semtech_loramac.h"
#include "ztimer.h"

#ifndef PERIOD_S
#define PERIOD_S 300
#endif
#define JOIN_PAUSE_S 60

extern semtech_loramac_t loramac;

/* The value in units of 10^-digits; `missing` when there is no such sensor. */
static int read_sensor(uint8_t type, int digits, int missing)
{
    phydat_t data;
    saul_reg_t *sensor = saul_reg_find_type(type);
    if (!sensor || saul_reg_read(sensor, &data) < 1) {
        return missing;
    }
    long value = data.val[0];
    for (int scale = data.scale + digits; scale > 0; scale--) {
        value *= 10;
    }
    for (int scale = data.scale + digits; scale < 0; scale++) {
        value /= 10;
    }
    return (int)value;
}

static void join(void)
{
    uint8_t deveui[LORAMAC_DEVEUI_LEN], appeui[LORAMAC_APPEUI_LEN], appkey[LORAMAC_APPKEY_LEN];
    fmt_hex_bytes(deveui, DEVEUI);
    fmt_hex_bytes(appeui, APPEUI);
    fmt_hex_bytes(appkey, APPKEY);
    semtech_loramac_set_deveui(&loramac, deveui);
    semtech_loramac_set_appeui(&loramac, appeui);
    semtech_loramac_set_appkey(&loramac, appkey);
    semtech_loramac_set_dr(&loramac, LORAMAC_DR_5);
    while (semtech_loramac_join(&loramac, LORAMAC_JOIN_OTAA) != SEMTECH_LORAMAC_JOIN_SUCCEEDED) {
        puts("not joined yet");
        ztimer_sleep(ZTIMER_MSEC, JOIN_PAUSE_S * 1000u);
    }
    semtech_loramac_set_adr(&loramac, true);
    semtech_loramac_set_tx_mode(&loramac, LORAMAC_TX_UNCNF);
    semtech_loramac_set_tx_port(&loramac, 1);
}

int main(void)
{
    join();
    while (1) {
        uint8_t payload[PAYLOAD_SIZE];
        int humidity = read_sensor(SAUL_SENSE_HUM, 1, 0);
        payload_encode(payload, read_sensor(SAUL_SENSE_TEMP, 2, INT16_MIN), humidity < 0 ? 0 : (unsigned)humidity / 5,
                       (unsigned)read_sensor(SAUL_SENSE_VOLTAGE, 3, 0));
        uint8_t result = semtech_loramac_send(&loramac, payload, sizeof(payload));
        if (result != SEMTECH_LORAMAC_TX_DONE && result != SEMTECH_LORAMAC_TX_OK) {
            printf("not sent: %u\n", result);
        }
        ztimer_sleep(ZTIMER_MSEC, PERIOD_S * 1000u);
    }
    return 0;
}
