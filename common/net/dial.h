/* From host name and port to a connected TCP socket. Internal to net/.
 *
 * Resolves on a thread of its own (an address is used as it is), then tries up to DIAL_ADDRESSES_MAX addresses, the two families in turn,
 * the next one 250 ms after the last or as soon as one fails, and keeps the first that connects (a plain form of RFC 8305).
 * There is no timeout here but the kernel's. All on the loop's thread. */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "base/err.h"

#include <stdint.h>
#include <uv.h>

struct dial;

#define DIAL_ADDRESSES_MAX 8
#define DIAL_STAGGER_MS 250

/* The end: E_OK and a non-blocking socket that now belongs to the receiver, or why not (fd is -1), in words that are valid
 * during the call. The dial frees itself. */
typedef void dial_done_fn(void *ctx, enum err err, int fd, const char *detail);

/* on_done is not called before this returns. E_INVALID: empty host or port 0; E_BUSY, E_NOMEM: as of
 * resolve_start. */
MUST_CHECK enum err dial_start(uv_loop_t *loop, const char *host, uint16_t port, dial_done_fn *on_done, void *ctx,
                               struct dial **out);
/* Gives up; on_done is not called. Before on_done only. */
void dial_cancel(struct dial *d);
/* What it is doing and what has gone wrong so far, in words. Valid until the next call. */
const char *dial_progress(struct dial *d);

#endif
