/* The broker's side of the plugin interface (mosquitto_broker.h, mosquitto.h) for the test host: what the plugin may call, with
 * the rules that the real broker does not check. Any call from another thread than the broker's ends the process with a
 * message. */
#ifndef HOST_BROKER_API_H
#define HOST_BROKER_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* mosquitto_broker.h of 2.0.11 needs these before it */
#include <time.h>

#include <mosquitto.h>

#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

struct mosquitto {
    const char *id;
    const char *username;
    int protocol_version;
};

/* What the plugin published on the local broker, and how much it logged. */
struct broker_counters {
    unsigned published; /* not under $SYS */
    unsigned status;    /* under $SYS */
    unsigned errors;    /* log lines of level error */
};

/* The calling thread is the broker's from now on. */
void broker_api_init(void);
/* Calls the registered callbacks of an event until one returns other than success or defer, as the broker does; that code. */
int broker_api_call(int event, void *event_data);
/* Callbacks that are registered now. */
unsigned broker_api_registered(void);
const struct broker_counters *broker_api_counters(void);

/* A list of MQTT 5 properties as an incoming PUBLISH has them; free with mosquitto_property_free_all(). */
mosquitto_property *broker_api_sample_properties(void);

#endif
