#include "broker_api.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLBACKS_MAX 32u
#define EXPORT __attribute__((visibility("default")))

struct callback {
    int event;
    MOSQ_FUNC_generic_callback fn;
    void *userdata;
};

static pthread_t broker_thread;
static struct callback callbacks[CALLBACKS_MAX];
static unsigned callback_count;
static struct broker_counters counters;

static void check_thread(const char *function)
{
    if (!pthread_equal(pthread_self(), broker_thread)) {
        fprintf(stderr, "host: %s called from another thread than the broker's\n", function);
        abort();
    }
}

void broker_api_init(void)
{
    broker_thread = pthread_self();
}

int broker_api_call(int event, void *event_data)
{
    int rc = MOSQ_ERR_SUCCESS;
    for (unsigned i = 0; i < callback_count; i++) {
        if (callbacks[i].event == event) {
            rc = callbacks[i].fn(event, event_data, callbacks[i].userdata);
            if (rc != MOSQ_ERR_SUCCESS && rc != MOSQ_ERR_PLUGIN_DEFER) {
                return rc;
            }
        }
    }
    return rc == MOSQ_ERR_PLUGIN_DEFER ? MOSQ_ERR_SUCCESS : rc;
}

unsigned broker_api_registered(void)
{
    return callback_count;
}

const struct broker_counters *broker_api_counters(void)
{
    return &counters;
}

/* ---- mosquitto_broker.h ---- */

EXPORT int mosquitto_callback_register(mosquitto_plugin_id_t *identifier, int event, MOSQ_FUNC_generic_callback cb_func,
                                       const void *event_data, void *userdata)
{
    (void)event_data;
    check_thread(__func__);
    if (!identifier || !cb_func) {
        return MOSQ_ERR_INVAL;
    }
    for (unsigned i = 0; i < callback_count; i++) {
        if (callbacks[i].event == event && callbacks[i].fn == cb_func) {
            return MOSQ_ERR_ALREADY_EXISTS;
        }
    }
    if (callback_count == CALLBACKS_MAX) {
        return MOSQ_ERR_NOMEM;
    }
    callbacks[callback_count++] = (struct callback){event, cb_func, userdata};
    return MOSQ_ERR_SUCCESS;
}

EXPORT int mosquitto_callback_unregister(mosquitto_plugin_id_t *identifier, int event,
                                         MOSQ_FUNC_generic_callback cb_func, const void *event_data)
{
    (void)event_data;
    check_thread(__func__);
    for (unsigned i = 0; identifier && i < callback_count; i++) {
        if (callbacks[i].event == event && callbacks[i].fn == cb_func) {
            callbacks[i] = callbacks[--callback_count];
            return MOSQ_ERR_SUCCESS;
        }
    }
    return MOSQ_ERR_NOT_FOUND;
}

EXPORT void mosquitto_log_printf(int level, const char *fmt, ...)
{
    char line[2048];
    va_list args;
    check_thread(__func__);
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (level == MOSQ_LOG_ERR) {
        counters.errors++;
    }
    printf("log %d %s\n", level, line);
}

EXPORT const char *mosquitto_client_id(const struct mosquitto *client)
{
    check_thread(__func__);
    return client->id;
}

EXPORT const char *mosquitto_client_username(const struct mosquitto *client)
{
    check_thread(__func__);
    return client->username;
}

EXPORT int mosquitto_client_protocol_version(const struct mosquitto *client)
{
    check_thread(__func__);
    return client->protocol_version;
}

EXPORT int mosquitto_broker_publish_copy(const char *clientid, const char *topic, int payloadlen, const void *payload,
                                         int qos, bool retain, mosquitto_property *properties)
{
    check_thread(__func__);
    if (!topic || payloadlen < 0 || (payloadlen > 0 && !payload) || qos < 0 || qos > 2) {
        return MOSQ_ERR_INVAL;
    }
    if (strncmp(topic, "$SYS/", 5) == 0) {
        counters.status++;
    } else {
        counters.published++;
    }
    printf("published %s%s %d %d %.*s\n", topic, clientid ? " (to one client)" : "", qos, retain, payloadlen,
           payloadlen ? (const char *)payload : "");
    mosquitto_property_free_all(&properties);
    return MOSQ_ERR_SUCCESS;
}

/* ---- properties, as mosquitto.h describes them ---- */

enum kind { KIND_BYTE, KIND_BINARY, KIND_STRING, KIND_PAIR };

struct mqtt5__property {
    struct mqtt5__property *next; /* links the properties of one packet, in order */
    int identifier;
    enum kind kind;
    uint8_t byte;
    uint16_t len;
    char *name; /* of a pair */
    char *value;
};

static int add(mosquitto_property **list, int identifier, enum kind kind, const char *name, const void *value,
               uint16_t len)
{
    mosquitto_property *p = calloc(1, sizeof(*p));
    if (!p) {
        return MOSQ_ERR_NOMEM;
    }
    p->identifier = identifier;
    p->kind = kind;
    p->len = len;
    p->name = name ? strdup(name) : NULL;
    p->value = value ? calloc(1, (size_t)len + 1) : NULL;
    if ((name && !p->name) || (value && !p->value)) {
        mosquitto_property_free_all(&p);
        return MOSQ_ERR_NOMEM;
    }
    if (value) {
        memcpy(p->value, value, len);
    }
    while (*list) {
        list = &(*list)->next;
    }
    *list = p;
    return MOSQ_ERR_SUCCESS;
}

EXPORT int mosquitto_property_add_byte(mosquitto_property **proplist, int identifier, uint8_t value)
{
    int rc = add(proplist, identifier, KIND_BYTE, NULL, NULL, 0);
    if (rc == MOSQ_ERR_SUCCESS) {
        mosquitto_property *last = *proplist;
        while (last->next) {
            last = last->next;
        }
        last->byte = value;
    }
    return rc;
}

EXPORT int mosquitto_property_add_binary(mosquitto_property **proplist, int identifier, const void *value, uint16_t len)
{
    return add(proplist, identifier, KIND_BINARY, NULL, value, len);
}

EXPORT int mosquitto_property_add_string(mosquitto_property **proplist, int identifier, const char *value)
{
    return add(proplist, identifier, KIND_STRING, NULL, value, (uint16_t)strlen(value));
}

EXPORT int mosquitto_property_add_string_pair(mosquitto_property **proplist, int identifier, const char *name,
                                              const char *value)
{
    return add(proplist, identifier, KIND_PAIR, name, value, (uint16_t)strlen(value));
}

EXPORT void mosquitto_property_free_all(mosquitto_property **properties)
{
    while (properties && *properties) {
        mosquitto_property *p = *properties;
        *properties = p->next;
        free(p->name);
        free(p->value);
        free(p);
    }
}

EXPORT int mosquitto_property_identifier(const mosquitto_property *property)
{
    return property ? property->identifier : 0;
}

EXPORT const mosquitto_property *mosquitto_property_next(const mosquitto_property *proplist)
{
    return proplist ? proplist->next : NULL;
}

static const mosquitto_property *find(const mosquitto_property *p, int identifier, enum kind kind, bool skip_first)
{
    if (p && skip_first) {
        p = p->next;
    }
    while (p && (p->identifier != identifier || p->kind != kind)) {
        p = p->next;
    }
    return p;
}

EXPORT const mosquitto_property *mosquitto_property_read_byte(const mosquitto_property *proplist, int identifier,
                                                              uint8_t *value, bool skip_first)
{
    const mosquitto_property *p = find(proplist, identifier, KIND_BYTE, skip_first);
    if (p && value) {
        *value = p->byte;
    }
    return p;
}

EXPORT const mosquitto_property *mosquitto_property_read_binary(const mosquitto_property *proplist, int identifier,
                                                                void **value, uint16_t *len, bool skip_first)
{
    const mosquitto_property *p = find(proplist, identifier, KIND_BINARY, skip_first);
    if (p && value) {
        *value = calloc(1, (size_t)p->len + 1);
        if (!*value) {
            return NULL;
        }
        memcpy(*value, p->value, p->len);
        *len = p->len;
    }
    return p;
}

EXPORT const mosquitto_property *mosquitto_property_read_string(const mosquitto_property *proplist, int identifier,
                                                                char **value, bool skip_first)
{
    const mosquitto_property *p = find(proplist, identifier, KIND_STRING, skip_first);
    if (p && value) {
        *value = strdup(p->value);
        return *value ? p : NULL;
    }
    return p;
}

EXPORT const mosquitto_property *mosquitto_property_read_string_pair(const mosquitto_property *proplist, int identifier,
                                                                     char **name, char **value, bool skip_first)
{
    const mosquitto_property *p = find(proplist, identifier, KIND_PAIR, skip_first);
    if (p && name && value) {
        *name = strdup(p->name);
        *value = strdup(p->value);
        return *name && *value ? p : NULL;
    }
    return p;
}

mosquitto_property *broker_api_sample_properties(void)
{
    mosquitto_property *list = NULL;
    if (mosquitto_property_add_byte(&list, 1, 1) != MOSQ_ERR_SUCCESS ||
        mosquitto_property_add_string(&list, 3, "application/json") != MOSQ_ERR_SUCCESS ||
        mosquitto_property_add_string(&list, 8, "answers/here") != MOSQ_ERR_SUCCESS ||
        mosquitto_property_add_binary(&list, 9, "\0\1\2", 3) != MOSQ_ERR_SUCCESS ||
        mosquitto_property_add_string_pair(&list, 38, "unit", "celsius") != MOSQ_ERR_SUCCESS ||
        mosquitto_property_add_string_pair(&list, 38, "unit", "kelvin") != MOSQ_ERR_SUCCESS) {
        mosquitto_property_free_all(&list);
    }
    return list;
}
