/* Who we are to IoT Core: certificate, key and CA files. Any thread. */
#ifndef PLUGIN_IOTCORE_IDENTITY_H
#define PLUGIN_IOTCORE_IDENTITY_H

#include "net/tls.h"
#include "net/tls_dates.h"
#include "plugin/options.h"

/* Reads the files; with port 443 ALPN is used. Errors of tls_client_create with a text that names option and file. */
MUST_CHECK enum err iotcore_tls_create(const struct plugin_options *o, uint16_t port, struct tls_context **out,
                                       char error[static 256]);

/* Changes when the contents of a file do. */
uint64_t iotcore_identity_hash(const struct plugin_options *o);

/* Logs what has to be said about the dates of certificate and CA file (tls_dates_check). Returns the days that are left of the
 * certificate, TLS_DATES_UNKNOWN without one. */
uint64_t iotcore_identity_dates(const struct plugin_options *o, struct wall now);

#endif
