/* The page's files: built into the program, but for the chart library, which is read from where Debian's package has it. */
#ifndef DASHBOARD_PAGE_H
#define DASHBOARD_PAGE_H

#include "dashboard/reply.h"

struct page_file {
    const char *name;
    const unsigned char *data;
    size_t size;
};

/* Made from page/ by the build; ends with a NULL name. */
extern const struct page_file page_files[];

/* Sends the file of that name; 404 when there is none: names are looked up, never opened. `versioned`: its URL carries the build's
 * version, so that it may be kept for ever. */
MUST_CHECK enum err page_send(const struct exchange *x, struct bytes name, bool versioned);

#endif
