/* What is right in a configuration, but may not be what was meant: said in the log when it is taken. */
#ifndef PLUGIN_OPTION_NOTES_H
#define PLUGIN_OPTION_NOTES_H

#include "plugin/options.h"

/* Topic lines that ask for QoS 2, lines for topics of which the broker shows nothing to a plugin, stores and an endpoint to which
 * no line sends. Broker's thread. */
void option_notes_log(const struct plugin_options *o);

/* Where permission was denied: adds for whom. The broker gave root's rights away before it loaded us, so that what root can read
 * need not do. */
void option_notes_add_user(struct option_error *error);

#endif
