/* Wires the parts together: the spool, the loop thread, and every configured sink on it with its cursor. Reads as the
 * picture in docs/ARCHITECTURE.md. Broker's thread, except where stated. */
#ifndef PLUGIN_FORWARDER_H
#define PLUGIN_FORWARDER_H

#include "plugin/sink.h"
#include "plugin/wills.h"

struct forwarder;

/* Opens the spool, creates the sinks and starts the loop thread. Quick: nothing waits for a peer. An error is one of the
 * configuration or of the spool; `error` says which, in one line. Takes a reference to `o`. */
MUST_CHECK enum err forwarder_create(const struct plugin_options *o, struct outbox *outbox, struct forwarder **out,
                                     struct option_error *error);

/* Drains for up to drain_ms, ends the thread, closes the spool, frees. NULL is allowed. */
void forwarder_destroy(struct forwarder *f, uint32_t drain_ms);

/* Hands new options to every sink. */
void forwarder_reload(struct forwarder *f, const struct plugin_options *o);

/* The broker's tick has come. When none comes within FORWARDER_TICK_DEADLINE_MS after the start, an error is logged, also to
 * standard error, because without ticks nothing drains the outbox (mosquitto 2.0.11 with per_listener_settings). */
#define FORWARDER_TICK_DEADLINE_MS 5000u
void forwarder_tick(struct forwarder *f);

struct spool *forwarder_spool(struct forwarder *f);
/* NULL without `will` lines. */
struct wills *forwarder_wills(struct forwarder *f);
/* SINK_BIT()s of the sinks that run. */
uint8_t forwarder_sinks(const struct forwarder *f);
/* NULL when this sink is not configured. Values may be read from any thread. */
const struct sink_stats *forwarder_sink_stats(const struct forwarder *f, enum sink_id id);
const struct sink_type *forwarder_sink_type(enum sink_id id);
/* Days until the certificate of iot_certfile expires; UINT64_MAX: there is none, or nobody has looked yet. Any thread. */
const metric_value *forwarder_certificate_days(const struct forwarder *f);
/* Pauses or resumes a sink. E_NOT_FOUND: it is not configured. Loop's thread. */
MUST_CHECK enum err forwarder_pause(struct forwarder *f, enum sink_id id, bool paused);

/* What was set aside. Loop's thread. */
struct rejected *forwarder_rejected(struct forwarder *f);
/* Runs fn(arg) on the loop's thread; waits a little for room in its queue. Logs when there is none. Any thread but the loop's. */
MUST_CHECK enum err forwarder_post(struct forwarder *f, void (*fn)(void *arg), void *arg);

#endif
