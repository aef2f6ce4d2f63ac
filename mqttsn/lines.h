/* Reads the gateway's line files (predefined_topics, clients_file, dtls_psk_file): words separated by blanks or in
 * double quotes, '#' at the start of a line is a comment, empty lines do not count. */
#ifndef MQTTSN_LINES_H
#define MQTTSN_LINES_H

#include "base/option.h"

/* Handles one line. `line` is trimmed and not empty, without NUL, valid during the call. On error fills `error`. */
typedef enum err lines_take_fn(void *ctx, struct bytes line, struct option_error *error);

#define LINES_FILE_MAX (64u << 20)
#define LINES_LINE_MAX 4096u

/* Stops at the first error, whose text then names file and line. */
MUST_CHECK enum err lines_read_file(const char *path, lines_take_fn *take, void *ctx, struct option_error *error);
/* The same from memory; `name` stands for the path in errors. */
MUST_CHECK enum err lines_read(struct bytes text, const char *name, lines_take_fn *take, void *ctx,
                               struct option_error *error);

#endif
