#include "plugin/properties.h"

#include "base/log.h"

#include <mosquitto.h>
#include <mqtt_protocol.h>

#include <dlfcn.h>
#include <stdlib.h>

#define LIBRARY "libmosquitto.so.1"

LOG_POINT(log_unreadable, "plugin.properties", LOG_ERROR,
          "MQTT 5 properties cannot be read: this mosquitto needs " LIBRARY " of its own version (apt install "
          "libmosquitto1)");

struct property_reader {
    __typeof__(&mosquitto_property_next) next;
    __typeof__(&mosquitto_property_identifier) identifier;
    __typeof__(&mosquitto_property_read_byte) read_byte;
    __typeof__(&mosquitto_property_read_string) read_string;
    __typeof__(&mosquitto_property_read_binary) read_binary;
    __typeof__(&mosquitto_property_read_string_pair) read_string_pair;
    void *library; /* NULL: they are the broker's */
    /* Of the list at hand. What mosquitto gives are copies to free. */
    char *content_type;
    char *response_topic;
    void *correlation_data;
    struct buffer user_properties;
};

/* ---- reading ---- */

static enum err append_half(struct buffer *out, const char *text)
{
    size_t len = strlen(text);
    const uint8_t length[2] = {(uint8_t)(len >> 8), (uint8_t)len};
    enum err e = buffer_append(out, bytes_make(length, sizeof(length)));
    return e ? e : buffer_append(out, bytes_make(text, len));
}

static enum err append_pair(struct property_reader *p, const mosquitto_property *at)
{
    char *name = NULL;
    char *value = NULL;
    enum err e = E_NOMEM;
    if (p->read_string_pair(at, MQTT_PROP_USER_PROPERTY, &name, &value, false)) {
        e = append_half(&p->user_properties, name ? name : "");
        e = e ? e : append_half(&p->user_properties, value ? value : "");
    }
    free(name);
    free(value);
    return e;
}

static void forget(struct property_reader *p)
{
    free(p->content_type);
    free(p->response_topic);
    free(p->correlation_data);
    p->content_type = NULL;
    p->response_topic = NULL;
    p->correlation_data = NULL;
    buffer_clear(&p->user_properties);
}

static enum err take_one(struct property_reader *p, const mosquitto_property *at, struct record *r)
{
    uint16_t len;
    switch (p->identifier(at)) {
    case MQTT_PROP_PAYLOAD_FORMAT_INDICATOR:
        p->read_byte(at, MQTT_PROP_PAYLOAD_FORMAT_INDICATOR, &r->payload_format, false);
        return E_OK;
    case MQTT_PROP_CONTENT_TYPE:
        if (!p->content_type) {
            p->read_string(at, MQTT_PROP_CONTENT_TYPE, &p->content_type, false);
            r->content_type = bytes_str(p->content_type);
        }
        return E_OK;
    case MQTT_PROP_RESPONSE_TOPIC:
        if (!p->response_topic) {
            p->read_string(at, MQTT_PROP_RESPONSE_TOPIC, &p->response_topic, false);
            r->response_topic = bytes_str(p->response_topic);
        }
        return E_OK;
    case MQTT_PROP_CORRELATION_DATA:
        if (!p->correlation_data && p->read_binary(at, MQTT_PROP_CORRELATION_DATA, &p->correlation_data, &len, false)) {
            r->correlation_data = bytes_make(p->correlation_data, len);
        }
        return E_OK;
    case MQTT_PROP_USER_PROPERTY:
        return append_pair(p, at);
    default:
        return E_OK;
    }
}

enum err property_reader_take(struct property_reader *p, const mosquitto_property *list, struct record *r)
{
    enum err e = E_OK;
    forget(p);
    for (const mosquitto_property *at = list; at && !e; at = p->next(at)) {
        e = take_one(p, at, r);
    }
    r->user_properties = buffer_bytes(&p->user_properties);
    return e == E_FULL ? E_TOO_LARGE : e; /* nor would they fit the next time */
}

/* ---- making ---- */

static char *pair_half(struct bytes *rest)
{
    if (rest->len < 2) {
        return NULL;
    }
    size_t len = (size_t)rest->data[0] << 8 | rest->data[1];
    char *text = bytes_dup_str(bytes_sub(*rest, 2, len));
    *rest = bytes_sub(*rest, 2 + len, SIZE_MAX);
    return text;
}

static int add_string(mosquitto_property **list, int identifier, struct bytes value)
{
    char *text = bytes_dup_str(value);
    int rc = text ? mosquitto_property_add_string(list, identifier, text) : MOSQ_ERR_NOMEM;
    free(text);
    return rc;
}

static int add_user_properties(mosquitto_property **list, struct bytes pairs)
{
    int rc = MOSQ_ERR_SUCCESS;
    while (rc == MOSQ_ERR_SUCCESS && pairs.len > 0) {
        char *name = pair_half(&pairs);
        char *value = pair_half(&pairs);
        rc = name && value ? mosquitto_property_add_string_pair(list, MQTT_PROP_USER_PROPERTY, name, value)
                           : MOSQ_ERR_NOMEM;
        free(name);
        free(value);
    }
    return rc;
}

int properties_make(const struct outbox_message *m, mosquitto_property **list)
{
    int rc = MOSQ_ERR_SUCCESS;
    if (m->content_type.len > 0) {
        rc = add_string(list, MQTT_PROP_CONTENT_TYPE, m->content_type);
    }
    if (rc == MOSQ_ERR_SUCCESS && m->response_topic.len > 0) {
        rc = add_string(list, MQTT_PROP_RESPONSE_TOPIC, m->response_topic);
    }
    if (rc == MOSQ_ERR_SUCCESS && m->correlation_data.len > 0) {
        rc = mosquitto_property_add_binary(list, MQTT_PROP_CORRELATION_DATA, m->correlation_data.data,
                                           (uint16_t)m->correlation_data.len);
    }
    return rc == MOSQ_ERR_SUCCESS ? add_user_properties(list, m->user_properties) : rc;
}

/* ---- whose functions ---- */

static bool find(struct property_reader *p, void *where)
{
    const struct {
        const char *name;
        void *slot;
    } functions[] = {
        {"mosquitto_property_next", &p->next},
        {"mosquitto_property_identifier", &p->identifier},
        {"mosquitto_property_read_byte", &p->read_byte},
        {"mosquitto_property_read_string", &p->read_string},
        {"mosquitto_property_read_binary", &p->read_binary},
        {"mosquitto_property_read_string_pair", &p->read_string_pair},
    };
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        void *function = dlsym(where, functions[i].name);
        if (!function) {
            return false;
        }
        memcpy(functions[i].slot, &function, sizeof(function)); /* what POSIX has for a cast that ISO C forbids */
    }
    return true;
}

static bool proven(struct property_reader *p)
{
    static const char pairs[] = "\0\1k\0\2vv\0\1k\0\0";
    const struct outbox_message m = {.content_type = bytes_str("type"),
                                     .response_topic = bytes_str("a/topic"),
                                     .correlation_data = bytes_make("\0\1", 2),
                                     .user_properties = bytes_make(pairs, sizeof(pairs) - 1)};
    mosquitto_property *list = NULL;
    struct record r;
    record_init(&r);
    bool good = properties_make(&m, &list) == MOSQ_ERR_SUCCESS && property_reader_take(p, list, &r) == E_OK &&
                bytes_equal(r.content_type, m.content_type) && bytes_equal(r.response_topic, m.response_topic) &&
                bytes_equal(r.correlation_data, m.correlation_data) &&
                bytes_equal(r.user_properties, m.user_properties);
    mosquitto_property_free_all(&list);
    return good;
}

enum err property_reader_create(struct property_reader **out)
{
    *out = NULL;
    struct property_reader *p = calloc(1, sizeof(*p));
    if (!p) {
        return E_NOMEM;
    }
    buffer_init(&p->user_properties, USER_PROPERTIES_MAX);
    bool found = find(p, RTLD_DEFAULT);
    if (!found && (p->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL)) != NULL) {
        found = find(p, p->library);
    }
    if (!found || !proven(p)) {
        const char *why = found ? "what the broker makes reads otherwise" : dlerror();
        log_emit(&log_unreadable, "reason='%s'", why ? why : "none");
        property_reader_destroy(p);
        return E_UNSUPPORTED;
    }
    *out = p;
    return E_OK;
}

void property_reader_destroy(struct property_reader *p)
{
    if (!p) {
        return;
    }
    forget(p);
    buffer_finish(&p->user_properties);
    if (p->library) {
        dlclose(p->library);
    }
    free(p);
}
