#include "websensor/config.h"

#include "mqtt/topic.h"

#include <stdio.h>

enum { DEFAULT_PORT = 8443 };

static enum err set_tls(void *config, struct bytes value, struct option_error *error)
{
    return listeners_add(&((struct websensor_config *)config)->tls, value, error);
}

static enum err print_tls(const void *config, const char *name, struct buffer *out)
{
    struct listeners list = websensor_config_tls(config);
    return listeners_print(&list, name, out);
}

static void finish_tls(void *config)
{
    ((struct websensor_config *)config)->tls.count = 0;
}

static enum err set_plain(void *config, struct bytes value, struct option_error *error)
{
    return listeners_add(&((struct websensor_config *)config)->plain, value, error);
}

static enum err print_plain(const void *config, const char *name, struct buffer *out)
{
    return listeners_print(&((const struct websensor_config *)config)->plain, name, out);
}

static void finish_plain(void *config)
{
    ((struct websensor_config *)config)->plain.count = 0;
}

static const struct option_word rate_words[] = {{"auto", RATE_LIMIT_AUTO}, {NULL, 0}};

#define AT(member) offsetof(struct websensor_config, member)

static const struct option_row rows[] = {
    {.name = "listener",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = set_tls,
     .print = print_tls,
     .finish = finish_tls,
     .arg = "PORT [ADDR]",
     .text = "TCP port for HTTPS, on one address or on all of IPv4 and IPv6; may stand more than once. Default: 8443 "
             "when there is a certfile."},
    {.name = "certfile",
     .type = OPTION_PATH,
     .offset = AT(certfile),
     .text = "PEM file with the server's certificate chain. Read again on SIGHUP."},
    {.name = "keyfile",
     .type = OPTION_PATH,
     .offset = AT(keyfile),
     .secret = true,
     .text = "PEM file with the key of certfile."},
    {.name = "http_listener",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = set_plain,
     .print = print_plain,
     .finish = finish_plain,
     .arg = "PORT [ADDR]",
     .text = "TCP port for plain HTTP, on loopback unless an address is given; may stand more than once."},
    {.name = "tokens",
     .type = OPTION_PATH,
     .offset = AT(tokens),
     .secret = true,
     .arg = "FILE",
     .text = "Who may publish what, lines TOKEN TOPIC-FILTER. Read again on SIGHUP."},
    {.name = "allow_anonymous",
     .type = OPTION_BOOL,
     .offset = AT(allow_anonymous),
     .initial = "false",
     .text = "Publish without a token from everywhere, not from loopback alone."},
    {.name = "max_body",
     .type = OPTION_SIZE,
     .offset = AT(max_body),
     .min = 1024,
     .max = 16u << 20,
     .initial = "128k",
     .text = "Largest request body, also after decompression."},
    {.name = "max_connections",
     .type = OPTION_UINT,
     .offset = AT(max_connections),
     .min = 1,
     .max = 100000,
     .initial = "1024",
     .text = "Connections at once; beyond that the one that has been idle longest is closed."},
    {.name = "rate_limit",
     .type = OPTION_UINT,
     .offset = AT(rate_limit),
     .min = 0,
     .max = 1000000,
     .initial = "auto",
     .words = rate_words,
     .arg = "N|auto",
     .text = "Requests per second of one client address, 0 = no limit; auto: 100, and no limit for loopback."},
    {.name = "walk_topic",
     .type = OPTION_STRING,
     .offset = AT(walk_topic),
     .initial = "$aws/things/%s/shadow/update",
     .text = "Topic of the walk sensors; %s is the thing's name."},
    {.name = "ttn_secret",
     .type = OPTION_STRING,
     .offset = AT(ttn_secret),
     .secret = true,
     .text =
         "What /ttn must bring in the header X-Webhook-Secret or as a bearer token. Not set: a token as elsewhere."},
    UPLINK_OPTION_ROWS(struct websensor_config, uplink),
    PROGRAM_OPTION_ROWS,
};

const struct option_table websensor_option_table = {rows, sizeof(rows) / sizeof(rows[0])};

struct listeners websensor_config_tls(const struct websensor_config *c)
{
    if (c->tls.count > 0 || !c->certfile) {
        return c->tls;
    }
    return (struct listeners){.items = {{.port = DEFAULT_PORT}}, .count = 1};
}

enum err websensor_walk_topic(const char *walk_topic, struct bytes thing, struct buffer *out)
{
    const char *place = strstr(walk_topic, "%s");
    if (!place) {
        return buffer_append_str(out, walk_topic);
    }
    enum err e = buffer_append(out, bytes_make(walk_topic, (size_t)(place - walk_topic)));
    if (e == E_OK) {
        e = buffer_append(out, thing);
    }
    return e == E_OK ? buffer_append_str(out, place + 2) : e;
}

static enum err check_walk_topic(const struct websensor_config *c, struct option_error *error)
{
    struct buffer topic;
    buffer_init(&topic, 65535);
    enum err e = websensor_walk_topic(c->walk_topic, BYTES("x"), &topic);
    if (e == E_OK && !topic_name_valid(buffer_bytes(&topic))) {
        option_error_set(error, "option walk_topic: is no topic that can be published to");
        e = E_INVALID;
    }
    buffer_finish(&topic);
    return e;
}

enum err websensor_config_check(const void *config, struct option_error *error)
{
    const struct websensor_config *c = config;
    enum err e = uplink_config_check(&c->uplink, error);
    if (e == E_OK) {
        e = check_walk_topic(c, error);
    }
    if (e != E_OK) {
        return e;
    }
    if ((c->certfile != NULL) != (c->keyfile != NULL)) {
        option_error_set(error, "options certfile and keyfile: one needs the other");
    } else if (c->tls.count > 0 && !c->certfile) {
        option_error_set(error, "option listener: needs certfile and keyfile");
    } else if (c->plain.count == 0 && !c->certfile) {
        option_error_set(error, "options certfile and keyfile are missing (or give http_listener for plain HTTP)");
    } else {
        return E_OK;
    }
    return E_INVALID;
}
