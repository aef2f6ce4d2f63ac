/* Mapped files without SIGBUS. Touching a mapped page whose file has become shorter, whose sector cannot be read or whose block
 * cannot be allocated raises SIGBUS, which would end the broker. While a mapping is guarded, such a page is replaced by an
 * anonymous page of zeros and the guard remembers it: a reader then sees zeros (which no CRC accepts), a writer asks
 * map_guard_hit() before it believes that its bytes are in the file.
 *
 * The handler is process-wide. SIGBUS at any other address goes to whoever handled it before. Threads that touch guarded
 * mappings must not block SIGBUS (map_guard_unblock): a blocked one kills the process. */
#ifndef PLUGIN_MAP_GUARD_H
#define PLUGIN_MAP_GUARD_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define MAP_GUARD_MAX 1024u /* mappings at a time */

struct map_guard; /* a place in a fixed table */

/* Installs the handler at the first call; counted. Any thread. */
MUST_CHECK enum err map_guard_install(void);
/* Puts the previous handler back at the last call, if ours is still in place. */
void map_guard_uninstall(void);

/* Unblocks SIGBUS on the calling thread. */
void map_guard_unblock(void);

/* Guards [start, start + size), a mapping in whole pages. E_FULL: the table is full. Any thread. */
MUST_CHECK enum err map_guard_add(void *start, size_t size, struct map_guard **out);
/* Before the mapping goes away. NULL is allowed. Any thread. */
void map_guard_remove(struct map_guard *g);

/* True once a page of the mapping was replaced. Any thread. */
bool map_guard_hit(const struct map_guard *g);

#endif
