#include "plugin/iotcore_identity.h"

#include "plugin/iotcore_limits.h"

#include <stdio.h>

enum { IDENTITY_FILE_MAX = 1 << 20 };

/* Of the first IDENTITY_FILE_MAX bytes; a file that cannot be read changes nothing. */
static uint64_t hash_file(const char *path, uint64_t seed)
{
    uint64_t hash = seed;
    uint8_t piece[4096];
    FILE *f = path ? fopen(path, "re") : NULL;
    size_t n = f ? fread(piece, 1, sizeof(piece), f) : 0;
    for (size_t total = 0; n > 0 && total < IDENTITY_FILE_MAX; total += n) {
        hash = bytes_hash(bytes_make(piece, n), hash);
        n = fread(piece, 1, sizeof(piece), f);
    }
    if (f) {
        fclose(f);
    }
    return hash;
}

uint64_t iotcore_identity_hash(const struct plugin_options *o)
{
    return hash_file(o->iot_cafile, hash_file(o->iot_keyfile, hash_file(o->iot_certfile, 1)));
}

uint64_t iotcore_identity_dates(const struct plugin_options *o, struct wall now)
{
    (void)tls_dates_check("iot_cafile", o->iot_cafile, TLS_DATES_CA, now);
    return tls_dates_check("iot_certfile", o->iot_certfile, TLS_DATES_IDENTITY, now);
}

enum err iotcore_tls_create(const struct plugin_options *o, uint16_t port, struct tls_context **out,
                            char error[static 256])
{
    const struct tls_options options = {.certfile = o->iot_certfile,
                                        .keyfile = o->iot_keyfile,
                                        .cafile = o->iot_cafile,
                                        .alpn = port == IOTCORE_ALPN_PORT ? IOTCORE_ALPN : NULL};
    struct tls_error why = {.text = ""};
    enum err err = tls_client_create(&options, out, &why);
    if (err != E_OK) {
        struct option_error named;
        option_error_set(&named, "option iot_%s: %s", tls_error_option(&why), why.text);
        plugin_options_locate(o, &named);
        snprintf(error, 256, "%.255s", named.text);
    }
    return err;
}
