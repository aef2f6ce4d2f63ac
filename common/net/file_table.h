/* A table of open files of a thread's own (unshare(2), CLONE_FILES).
 *
 * Why: while several threads share a table, the kernel counts a reference up and down, atomically, at every read(2) and write(2) of
 * each of them. In a broker of one thread, which calls read(2) four times for a message, a second thread that sleeps costs 8 % of
 * the throughput.
 *
 * What follows: after the split a descriptor is a number that means nothing to the other side. What was open before has the same
 * number on both sides and has to be closed on both; what is opened later belongs to the side that opened it. A descriptor can only be
 * handed over as a copy (loop_hand_over). Threads that are started later share the table of the thread that started them. */
#ifndef NET_FILE_TABLE_H
#define NET_FILE_TABLE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define FILE_LIST_MAX 1024u

struct file_list {
    size_t count;
    int fds[FILE_LIST_MAX];
};

/* Lists the descriptors from 3 on that are open now. E_FULL: there are more than FILE_LIST_MAX; E_NOT_FOUND: no /proc. */
MUST_CHECK enum err file_list_read(struct file_list *out);

/* Gives the calling thread a table of its own, in which those of the list, except `keep`, are closed. False, and nothing has changed:
 * the kernel is older than Linux 5.9, or a sandbox does not allow it. Not under ThreadSanitizer, which knows one table only. */
bool file_table_split(const struct file_list *close_these, int keep);

#endif
