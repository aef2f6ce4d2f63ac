/* A weather station for RIOT that speaks MQTT-SN through RIOT's own emcute: connects to a gateway, publishes a reading with
 * QoS 1 every few seconds as the desired state of an AWS IoT thing, and takes a new interval from its command topic.
 *
 *   publishes   $aws/things/<id>/shadow/update   {"state":{"desired":{"temperature":-12.4,...}}}
 *   subscribes  commands/<id>                    seconds between readings, as text
 *   will        status/<id>                      offline (retained); says online itself
 *
 * Set at build time (see Makefile): STATION_ID, GATEWAY, GATEWAY_PORT, INTERVAL_S. */
#include <stdio.h>
#include <string.h>

#include "msg.h"
#include "net/emcute.h"
#include "net/ipv6/addr.h"
#include "random.h"
#include "thread.h"
#include "ztimer.h"

#ifndef STATION_ID
#define STATION_ID "riot-1"
#endif
#ifndef GATEWAY
#define GATEWAY "fe80::1"
#endif
#ifndef GATEWAY_PORT
#define GATEWAY_PORT 10000
#endif
#ifndef INTERVAL_S
#define INTERVAL_S 10
#endif

enum {
    LOCAL_PORT = 1883,
    RETRY_S = 5,
    INTERVAL_MAX_S = 86400,
    PAYLOAD_SIZE = 160,
};

static char emcute_stack[THREAD_STACKSIZE_DEFAULT];
static msg_t main_queue[8];

static emcute_topic_t readings = {.name = "$aws/things/" STATION_ID "/shadow/update"};
static emcute_topic_t status = {.name = "status/" STATION_ID};
static emcute_sub_t commands;
static volatile unsigned interval_s = INTERVAL_S;

static void *run_emcute(void *arg)
{
    (void)arg;
    emcute_run(LOCAL_PORT, STATION_ID);
    return NULL;
}

/* On emcute's thread: quick, and no call of emcute. */
static void on_command(const emcute_topic_t *topic, void *data, size_t len)
{
    const char *text = data;
    unsigned seconds = 0;
    (void)topic;
    for (size_t i = 0; i < len && text[i] >= '0' && text[i] <= '9' && seconds <= INTERVAL_MAX_S; i++) {
        seconds = seconds * 10 + (unsigned)(text[i] - '0');
    }
    if (seconds >= 1 && seconds <= INTERVAL_MAX_S) {
        interval_s = seconds;
        printf("station: every %u s from now on\n", seconds);
    }
}

/* A random number of tenths from..to, as text with one decimal. */
static const char *tenths(int from, int to, char out[12])
{
    int n = from * 10 + (int)random_uint32_range(0, (uint32_t)(to - from) * 10 + 1);
    snprintf(out, 12, "%s%d.%d", n < 0 ? "-" : "", (n < 0 ? -n : n) / 10, (n < 0 ? -n : n) % 10);
    return out;
}

static size_t make_reading(char out[PAYLOAD_SIZE])
{
    char temperature[12], humidity[12], wind[12], rain[12];
    int n = snprintf(out, PAYLOAD_SIZE,
                     "{\"state\":{\"desired\":{\"temperature\":%s,\"humidity\":%s,\"wind_direction\":%u,\"wind\":%s,"
                     "\"rain\":%s}}}",
                     tenths(-50, 50, temperature), tenths(0, 100, humidity), (unsigned)random_uint32_range(0, 361),
                     tenths(0, 100, wind), tenths(0, 50, rain));
    return (size_t)n;
}

/* Connects and tells the gateway our topics. Ids may be others than before: they are asked for each time. */
static int station_connect(sock_udp_ep_t *gateway)
{
    int result = emcute_con(gateway, true, status.name, "offline", 7, EMCUTE_QOS_1 | EMCUTE_RETAIN);
    if (result == EMCUTE_OK) {
        result = emcute_reg(&readings);
    }
    if (result == EMCUTE_OK) {
        result = emcute_reg(&status);
    }
    if (result == EMCUTE_OK) {
        commands.topic.name = "commands/" STATION_ID;
        commands.cb = on_command;
        result = emcute_sub(&commands, EMCUTE_QOS_1);
        result = result > 0 ? EMCUTE_OK
                            : result; /* some versions give the topic id for a subscription that they had before */
    }
    if (result == EMCUTE_OK) {
        result = emcute_pub(&status, "online", 6, EMCUTE_QOS_1 | EMCUTE_RETAIN);
    }
    return result;
}

/* emcute holds on to a gateway until that has answered a DISCONNECT, and must not be told to connect before. The gateway answers
 * also when it knows nothing of us (any more). */
static void station_disconnect(void)
{
    while (emcute_discon() == EMCUTE_TIMEOUT) {
        puts("station: the gateway does not answer");
    }
}

/* Publishes until that fails. */
static void publish_readings(void)
{
    char reading[PAYLOAD_SIZE];
    int result = EMCUTE_OK;
    while (result == EMCUTE_OK) {
        size_t len = make_reading(reading);
        result = emcute_pub(&readings, reading, len, EMCUTE_QOS_1);
        printf("station: %s %s\n", result == EMCUTE_OK ? "published" : "NOT published", reading);
        if (result == EMCUTE_OK) {
            ztimer_sleep(ZTIMER_MSEC, interval_s * 1000);
        }
    }
    printf("station: connection lost (%d)\n", result);
}

int main(void)
{
    sock_udp_ep_t gateway = {.family = AF_INET6, .port = GATEWAY_PORT};
    if (ipv6_addr_from_str((ipv6_addr_t *)&gateway.addr.ipv6, GATEWAY) == NULL) {
        puts("station: GATEWAY is no IPv6 address");
        return 1;
    }
    msg_init_queue(main_queue, sizeof(main_queue) / sizeof(main_queue[0]));
    thread_create(emcute_stack, sizeof(emcute_stack), THREAD_PRIORITY_MAIN - 1, 0, run_emcute, NULL, "emcute");
    printf("station: %s, gateway [%s]:%u\n", STATION_ID, GATEWAY, (unsigned)GATEWAY_PORT);
    for (;;) {
        ztimer_sleep(ZTIMER_MSEC, RETRY_S * 1000); /* also gives the network time to come up */
        int result = station_connect(&gateway);
        if (result == EMCUTE_OK) {
            puts("station: connected");
            publish_readings();
        } else {
            printf("station: no connection (%d)\n", result);
        }
        station_disconnect();
    }
}
