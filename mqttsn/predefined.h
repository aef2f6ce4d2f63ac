/* Predefined topic ids (specification 3.6): the file of the option `predefined_topics`, lines `CLIENT-ID|* TOPIC-ID TOPIC`.
 * What is said for a client goes before what is said for all ("*"). Immutable once read: a reload makes a new table. */
#ifndef MQTTSN_PREDEFINED_H
#define MQTTSN_PREDEFINED_H

#include "base/option.h"

struct predefined;

#define PREDEFINED_MAX 1000000u /* lines */

/* Reads the file; E_INVALID and the like with a text that names file and line. */
MUST_CHECK enum err predefined_read_file(const char *path, struct predefined **out, struct option_error *error);
/* The same from memory; `name` stands for the path in errors. */
MUST_CHECK enum err predefined_read(struct bytes text, const char *name, struct predefined **out,
                                    struct option_error *error);
void predefined_destroy(struct predefined *p); /* NULL is allowed */

/* `p` NULL is an empty table. Empty bytes: no such topic id. Borrowed from the table. */
struct bytes predefined_topic(const struct predefined *p, struct bytes client_id, uint16_t id);
/* 0: the topic has no predefined id for this client. */
uint16_t predefined_id(const struct predefined *p, struct bytes client_id, struct bytes topic);

#endif
