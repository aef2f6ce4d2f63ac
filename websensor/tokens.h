/* The tokens file: who may publish what. Lines `TOKEN TOPIC-FILTER`; blank lines and lines that begin with '#' do not count; a
 * token may stand on several lines. One thread at a time. */
#ifndef WEBSENSOR_TOKENS_H
#define WEBSENSOR_TOKENS_H

#include "base/option.h"

struct tokens;

#define TOKENS_MAX 4096u /* lines */

/* Reads the file. On failure `error` names file and line, and *out is untouched. */
MUST_CHECK enum err tokens_read(const char *path, struct tokens **out, struct option_error *error);
/* The same from memory; `name` stands for the path in errors. */
MUST_CHECK enum err tokens_parse(struct bytes text, const char *name, struct tokens **out, struct option_error *error);
/* NULL is allowed. */
void tokens_destroy(struct tokens *t);

/* Compares with every line, without stopping early and in a time that does not depend on how much of a token is right. */
bool tokens_known(const struct tokens *t, struct bytes token);
/* Does a line of this token have a filter that matches the topic? */
bool tokens_cover(const struct tokens *t, struct bytes token, struct bytes topic);

/* The topic that the token stands for by itself: its first filter without wildcards, or that before the `/#` of its first
 * filter that ends so, with `/rest` behind it. E_NOT_FOUND. Replaces out. */
MUST_CHECK enum err tokens_topic(const struct tokens *t, struct bytes token, struct bytes rest, struct buffer *out);

#endif
