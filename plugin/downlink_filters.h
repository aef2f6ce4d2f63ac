/* The subscriptions at IoT Core that the `topic` lines with direction in and both ask for. One thread at a time. */
#ifndef PLUGIN_DOWNLINK_FILTERS_H
#define PLUGIN_DOWNLINK_FILTERS_H

#include "plugin/options.h"

enum filter_state { FILTER_NEW, FILTER_ASKED, FILTER_GRANTED, FILTER_REFUSED };

struct downlink_filter {
    char *remote; /* REMOTE-PREFIX + FILTER; owned */
    char *strip;  /* REMOTE-PREFIX; owned */
    char *add;    /* LOCAL-PREFIX; owned */
    bool dollar;  /* LOCAL-PREFIX + FILTER begins with '$': otherwise no topic may that is given to the local broker */
    uint8_t qos;
    unsigned link; /* connection that it is subscribed on */
    enum filter_state state;
    uint64_t token; /* ASKED: of its SUBSCRIBE */
};

struct downlink_filters {
    struct downlink_filter *items; /* in the order of the lines; owned */
    size_t count;
};

/* Filters of `o`, spread over `links` links, the first ones filled first; a filter that stands twice is taken once. E_INVALID
 * with a text that names the option; E_NOMEM. */
MUST_CHECK enum err downlink_filters_make(const struct plugin_options *o, unsigned links, struct downlink_filters *out,
                                          char error[static 256]);
void downlink_filters_finish(struct downlink_filters *f);

/* The first whose filter matches this topic, NULL = none. */
struct downlink_filter *downlink_filters_match(const struct downlink_filters *f, struct bytes topic);
/* The same subscription in another list, NULL = none. */
struct downlink_filter *downlink_filters_find(const struct downlink_filters *f, const struct downlink_filter *same);

#endif
