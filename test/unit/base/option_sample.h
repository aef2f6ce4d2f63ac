/* A table with an option of every type, for the unit tests and the fuzz target. */
#ifndef OPTION_SAMPLE_H
#define OPTION_SAMPLE_H

#include "base/option.h"

enum { SAMPLE_ENTRIES = 8 };

enum sample_colour { SAMPLE_RED, SAMPLE_GREEN, SAMPLE_BLUE = 7 };

struct sample_entry {
    char *filter;
    char *prefix; /* "" = none */
};

struct sample {
    char *name;
    char *path;
    char *code;
    bool enabled;
    bool quiet;
    uint64_t count;
    uint64_t port;
    uint64_t any;
    uint64_t size;
    uint64_t interval;
    uint64_t sync;
    int colour;
    struct option_hostport server;
    struct option_hostport peer;
    struct sample_entry entries[SAMPLE_ENTRIES];
    size_t entry_count;
    uint64_t pair[2];
};

extern const struct option_table sample_table;

#endif
