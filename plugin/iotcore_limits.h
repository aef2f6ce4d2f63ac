/* What AWS IoT Core takes and what it refuses, as rules on a single message ("AWS IoT Core endpoints and quotas", message broker
 * and protocol limits; "Reserved topics", AWS IoT developer guide). A message that breaks one costs the connection, again with
 * each attempt: it must not be sent. Pure functions, any thread. */
#ifndef PLUGIN_IOTCORE_LIMITS_H
#define PLUGIN_IOTCORE_LIMITS_H

#include "plugin/record.h"

#define IOTCORE_TOPIC_MAX 256u
#define IOTCORE_SLASHES_MAX 7u
#define IOTCORE_CLIENT_ID_MAX 128u /* bytes, with -1, -2 ... behind it */
#define IOTCORE_FILTERS_PER_SUBSCRIBE 8u
#define IOTCORE_SUBSCRIPTIONS_MAX 50u /* per connection */
#define IOTCORE_SESSION_EXPIRY_S 3600u
#define IOTCORE_ALPN "x-amzn-mqtt-ca"
#define IOTCORE_ALPN_PORT 443u

/* The topic towards AWS. Borrowed from the record. */
struct bytes iotcore_topic(const struct record *r);

/* Why IoT Core would not take this message, in plain words for rejected/; NULL: it would. */
const char *iotcore_refusal(const struct record *r, uint64_t payload_max);

/* Why IoT Core would not take a subscription, NULL: it would. */
const char *iotcore_filter_refusal(struct bytes filter);

/* Reserved topics have no retained messages. */
bool iotcore_may_retain(struct bytes topic);

#endif
