/* The plugin's options that may stand more than once, as an option table wants them (set, print, finish of an OPTION_CUSTOM row);
 * `config` is a struct plugin_options. */
#ifndef PLUGIN_OPTION_LISTS_H
#define PLUGIN_OPTION_LISTS_H

#include "plugin/options.h"

MUST_CHECK enum err option_add_topic(void *config, struct bytes value, struct option_error *error);
MUST_CHECK enum err option_print_topics(const void *config, const char *name, struct buffer *out);
void option_finish_topics(void *config);

MUST_CHECK enum err option_add_store(void *config, struct bytes value, struct option_error *error);
MUST_CHECK enum err option_print_stores(const void *config, const char *name, struct buffer *out);
void option_finish_stores(void *config);

MUST_CHECK enum err option_add_will(void *config, struct bytes value, struct option_error *error);
MUST_CHECK enum err option_print_wills(const void *config, const char *name, struct buffer *out);
void option_finish_wills(void *config);

/* E_NOMEM, with its text. */
MUST_CHECK enum err option_no_memory(struct option_error *error);

#endif
