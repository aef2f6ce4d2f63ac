/* The addresses of a host name, asked for on a thread of their own. Internal to net/.
 *
 * Not uv_getaddrinfo: a query that gets no answer takes half a minute, libuv's pool cannot give it up, and a process does not end
 * before the pool is done. Here a query that nobody waits for any more is left behind, at the end of the process too. */
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include "base/err.h"

#include <netdb.h>
#include <stdint.h>
#include <uv.h>

struct resolve;

#define RESOLVE_THREADS 8u /* queries under way in the process, those left behind included; others wait for them */
#define RESOLVE_WAITING_MAX 16384u /* more than a gateway has connections */

/* `code` is 0, and the list, which is not empty, is the receiver's to free (freeaddrinfo); or why not (gai_strerror). The loop's
 * thread. `r` is gone. */
typedef void resolve_done_fn(void *ctx, int code, struct addrinfo *list);

/* Asks for addresses to connect to by TCP. on_done is not called before this returns. E_BUSY: RESOLVE_WAITING_MAX wait; E_NOMEM: no
 * thread. Loop's thread. */
MUST_CHECK enum err resolve_start(uv_loop_t *loop, const char *host, uint16_t port, resolve_done_fn *on_done, void *ctx,
                                  struct resolve **out);
/* Gives up; on_done is not called. Before on_done only. Loop's thread. */
void resolve_cancel(struct resolve *r);

#endif
