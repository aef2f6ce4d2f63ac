#include "mqttsn/config.h"

#include "mqttsn/session.h"

enum { DEFAULT_PORT = 10000 };

static enum err set_plain(void *config, struct bytes value, struct option_error *error)
{
    return listeners_add(&((struct mqttsn_config *)config)->plain, value, error);
}

static enum err print_plain(const void *config, const char *name, struct buffer *out)
{
    struct listeners list = mqttsn_config_plain(config);
    return listeners_print(&list, name, out);
}

static void finish_plain(void *config)
{
    ((struct mqttsn_config *)config)->plain.count = 0;
}

static enum err set_dtls(void *config, struct bytes value, struct option_error *error)
{
    return listeners_add(&((struct mqttsn_config *)config)->dtls, value, error);
}

static enum err print_dtls(const void *config, const char *name, struct buffer *out)
{
    return listeners_print(&((const struct mqttsn_config *)config)->dtls, name, out);
}

static void finish_dtls(void *config)
{
    ((struct mqttsn_config *)config)->dtls.count = 0;
}

#define AT(member) offsetof(struct mqttsn_config, member)

static const struct option_row rows[] = {
    {.name = "listener",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = set_plain,
     .print = print_plain,
     .finish = finish_plain,
     .arg = "PORT [ADDR]",
     .text =
         "UDP port for MQTT-SN, on one address or on all of IPv4 and IPv6; may stand more than once. Default: 10000, "
         "unless there is a dtls_listener."},
    {.name = "dtls_listener",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = set_dtls,
     .print = print_dtls,
     .finish = finish_dtls,
     .arg = "PORT [ADDR]",
     .text = "UDP port for MQTT-SN over DTLS 1.2; may stand more than once."},
    {.name = "dtls_certfile",
     .type = OPTION_PATH,
     .offset = AT(dtls_certfile),
     .text = "PEM file with the gateway's certificate for DTLS."},
    {.name = "dtls_keyfile",
     .type = OPTION_PATH,
     .offset = AT(dtls_keyfile),
     .secret = true,
     .text = "PEM file with the key of dtls_certfile."},
    {.name = "dtls_cafile",
     .type = OPTION_PATH,
     .offset = AT(dtls_cafile),
     .text = "PEM file with the CAs that sign devices' certificates; with it a device must show one, unless it uses a "
             "pre-shared key."},
    {.name = "dtls_psk_file",
     .type = OPTION_PATH,
     .offset = AT(dtls_psk_file),
     .secret = true,
     .text = "File of pre-shared keys, lines IDENTITY HEX-KEY."},
    {.name = "gateway_id",
     .type = OPTION_UINT,
     .offset = AT(gateway_id),
     .max = 255,
     .initial = "1",
     .text = "The id told in ADVERTISE and GWINFO."},
    {.name = "advertise_address",
     .type = OPTION_HOSTPORT,
     .offset = AT(advertise_address),
     .max = DEFAULT_PORT,
     .arg = "ADDR[:PORT]",
     .text = "Multicast or broadcast address that ADVERTISE goes to and SEARCHGW is heard on. Not set: no ADVERTISE."},
    {.name = "advertise_interval",
     .type = OPTION_DURATION,
     .offset = AT(advertise_interval_ms),
     .min = 1000,
     .max = 65535000,
     .initial = "15m",
     .text = "Time between two ADVERTISE."},
    {.name = "predefined_topics",
     .type = OPTION_PATH,
     .offset = AT(predefined_topics),
     .text = "File of predefined topic ids, lines CLIENT-ID|* TOPIC-ID TOPIC."},
    {.name = "max_clients",
     .type = OPTION_UINT,
     .offset = AT(max_clients),
     .min = 1,
     .max = 1000000,
     .initial = "10000",
     .text = "Connected clients, sleeping ones included; one more is refused (congestion)."},
    {.name = "retry_interval",
     .type = OPTION_DURATION,
     .offset = AT(retry_interval_ms),
     .min = 100,
     .max = 3600000,
     .initial = "10s",
     .text = "Time after which an unanswered packet to a device is sent again."},
    {.name = "retry_count",
     .type = OPTION_UINT,
     .offset = AT(retry_count),
     .max = 100,
     .initial = "3",
     .text = "How often it is sent again."},
    {.name = "sleep_queue",
     .type = OPTION_UINT,
     .offset = AT(sleep_queue),
     .min = 1,
     .max = 10000,
     .initial = "100",
     .text = "Messages kept for one device that sleeps or is slow."},
    {.name = "qos_minus_one",
     .type = OPTION_BOOL,
     .offset = AT(qos_minus_one),
     .initial = "true",
     .text = "Take PUBLISH with QoS -1 from devices that are not connected."},
    {.name = "forwarder",
     .type = OPTION_BOOL,
     .offset = AT(forwarder),
     .initial = "true",
     .text = "Take packets encapsulated by forwarders."},
    {.name = "clients_file",
     .type = OPTION_PATH,
     .offset = AT(clients_file),
     .secret = true,
     .text = "Per client credentials at the broker and DTLS identity, lines CLIENT-ID [username=..] [password=..] "
             "[dtls=..]."},
    {.name = "aggregate",
     .type = OPTION_BOOL,
     .offset = AT(aggregate),
     .initial = "false",
     .text = "One connection to the broker for all clients instead of one each."},
    UPLINK_OPTION_ROWS(struct mqttsn_config, uplink),
    PROGRAM_OPTION_ROWS,
};

const struct option_table mqttsn_option_table = {rows, sizeof(rows) / sizeof(rows[0])};

struct listeners mqttsn_config_plain(const struct mqttsn_config *c)
{
    if (c->plain.count > 0 || c->dtls.count > 0) {
        return c->plain;
    }
    return (struct listeners){.items = {{.port = DEFAULT_PORT}}, .count = 1};
}

enum err mqttsn_config_advertise(const struct mqttsn_config *c, struct address *out, struct option_error *error)
{
    if (!c->advertise_address.host) {
        return E_NOT_FOUND;
    }
    struct address a;
    enum err e = address_parse(c->advertise_address.host, c->advertise_address.port, &a);
    /* A subnet's broadcast address cannot be told from a host's: that one is taken as it is. */
    if (e != E_OK || (a.family == AF_INET6 && !address_is_multicast(&a))) {
        option_error_set(error, "option advertise_address: must be a multicast or broadcast address");
        return E_INVALID;
    }
    *out = a;
    return E_OK;
}

static enum err check_dtls(const struct mqttsn_config *c, struct option_error *error)
{
    if ((c->dtls_certfile != NULL) != (c->dtls_keyfile != NULL)) {
        option_error_set(error, "options dtls_certfile and dtls_keyfile: one needs the other");
    } else if (c->dtls.count > 0 && !c->dtls_certfile && !c->dtls_psk_file) {
        option_error_set(error, "option dtls_listener: needs dtls_certfile and dtls_keyfile, or dtls_psk_file");
    } else if (c->dtls_cafile && !c->dtls_certfile) {
        option_error_set(error, "option dtls_cafile: needs dtls_certfile and dtls_keyfile");
    } else {
        return E_OK;
    }
    return E_INVALID;
}

enum err mqttsn_config_check(const void *config, struct option_error *error)
{
    const struct mqttsn_config *c = config;
    struct address unused;
    enum err e = uplink_config_check(&c->uplink, error);
    if (e == E_OK) {
        e = check_dtls(c, error);
    }
    if (e == E_OK) {
        e = mqttsn_config_advertise(c, &unused, error);
        e = e == E_NOT_FOUND ? E_OK : e;
    }
    return e;
}
