/* What is right in a configuration, but may not be what was meant: said in the log when it is taken. */
#ifndef PLUGIN_OPTION_NOTES_H
#define PLUGIN_OPTION_NOTES_H

#include "plugin/options.h"

/* Topic lines that ask for QoS 2, lines for topics of which the broker shows nothing to a plugin, stores and an endpoint to which
 * no line sends, keys that everybody can read. Broker's thread. */
void option_notes_log(const struct plugin_options *o);

/* At the start: where a store or a spool is whose path is relative. That goes by the broker's working directory, as with mosquitto's
 * own files, and under systemd it is "/". Broker's thread. */
void option_notes_places(const struct plugin_options *o);

/* Where permission was denied: adds for whom. The broker gave root's rights away before it loaded us, so that what root can read
 * need not do. Where a relative path is the matter: adds the directory that it was looked for in. */
void option_notes_add_process(struct option_error *error);

#endif
