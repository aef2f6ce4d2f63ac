/* MQTT topic names and filters: validity, matching, levels, and the rewriting of a bridge's prefixes.
 * Pure functions, any thread. Section numbers are those of MQTT Version 5.0; 3.1.1 says the same. */
#ifndef MQTT_TOPIC_H
#define MQTT_TOPIC_H

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/err.h"

/* 1 to 65535 bytes of UTF-8 without U+0000 (sections 1.5.4, 4.7.3), and in a name no '+' or '#' (section 4.7.1). */
bool topic_name_valid(struct bytes topic);

/* As a name, with '+' as a whole level, '#' as the whole last level (section 4.7.1), and "$share/NAME/FILTER" with a NAME
 * free of '/', '+', '#' and a valid FILTER (section 4.8.2). */
bool topic_filter_valid(struct bytes filter);

/* Free of what a server may close the connection for although the specification lets it pass, and mosquitto does: control
 * characters and non-characters (section 1.5.4), more than 200 '/', "$share" alone. For names and filters from outside that go out on a connection
 * that others use, too: one such topic would cut them all off. */
bool topic_safe(struct bytes topic);

/* Does a valid filter match a valid name? "a/#" matches "a" (section 4.7.1.2). A filter that begins with a wildcard does not
 * match a name that begins with '$' (section 4.7.2). "$share/NAME/" is not taken off. */
bool topic_matches(struct bytes filter, struct bytes topic);

/* Is there a name that both of two valid filters match? "$share/NAME/" is not taken off. */
bool topic_filters_overlap(struct bytes a, struct bytes b);

/* Levels, from 1: "a/b" has 2, "/" has 2 empty ones. */
size_t topic_level_count(struct bytes topic);
/* E_NOT_FOUND when there is no such level. */
MUST_CHECK enum err topic_level(struct bytes topic, size_t number, struct bytes *level);

/* A bridge's prefixes (mosquitto.conf(5), "topic"): `strip` is taken off the front if it is there, then `add` is put before.
 * Outwards strip = local prefix and add = remote prefix; inwards the other way round. `out` is replaced.
 * E_TOO_LARGE: the result is over 65535 bytes (E_FULL: over the buffer's ceiling); E_INVALID: nothing would be left. */
MUST_CHECK enum err topic_rewrite(struct bytes topic, struct bytes strip, struct bytes add, struct buffer *out);

/* The filter of one side: prefix + pattern, either may be empty, not both. The result is checked with topic_filter_valid:
 * E_INVALID. A prefix must be free of wildcards. `out` is replaced. */
MUST_CHECK enum err topic_prefix_filter(struct bytes prefix, struct bytes pattern, struct buffer *out);

#endif
