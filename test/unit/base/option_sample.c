#include "option_sample.h"

#include <inttypes.h>
#include <stdlib.h>

#define SYNC_NEVER UINT64_MAX

/* entry FILTER [PREFIX] */
static enum err set_entry(void *config, struct bytes value, struct option_error *error)
{
    struct sample *s = config;
    struct bytes filter;
    struct bytes prefix = BYTES("");
    struct bytes more;
    if (!option_next_word(&value, &filter) || filter.len == 0) {
        option_error_set(error, "a filter is missing");
        return E_INVALID;
    }
    if (option_next_word(&value, &prefix) && option_next_word(&value, &more)) {
        option_error_set(error, "more than a filter and a prefix");
        return E_INVALID;
    }
    if (s->entry_count == SAMPLE_ENTRIES) {
        option_error_set(error, "more than %d entries", SAMPLE_ENTRIES);
        return E_FULL;
    }
    struct sample_entry e = {bytes_dup_str(filter), bytes_dup_str(prefix)};
    if (!e.filter || !e.prefix) {
        free(e.filter);
        free(e.prefix);
        return E_NOMEM;
    }
    s->entries[s->entry_count++] = e;
    return E_OK;
}

static enum err print_entry(const void *config, const char *name, struct buffer *out)
{
    const struct sample *s = config;
    for (size_t i = 0; i < s->entry_count; i++) {
        enum err err = buffer_appendf(out, "%s ", name);
        if (err == E_OK) {
            err = option_print_word(bytes_str(s->entries[i].filter), out);
        }
        if (err == E_OK) {
            err = buffer_append_byte(out, ' ');
        }
        if (err == E_OK) {
            err = option_print_word(bytes_str(s->entries[i].prefix), out);
        }
        if (err == E_OK) {
            err = buffer_append_byte(out, '\n');
        }
        if (err != E_OK) {
            return err;
        }
    }
    return E_OK;
}

static void finish_entry(void *config)
{
    struct sample *s = config;
    for (size_t i = 0; i < s->entry_count; i++) {
        free(s->entries[i].filter);
        free(s->entries[i].prefix);
    }
    s->entry_count = 0;
}

/* pair LOW HIGH: may stand once. */
static enum err set_pair(void *config, struct bytes value, struct option_error *error)
{
    struct sample *s = config;
    struct bytes low;
    struct bytes high;
    uint64_t a;
    uint64_t b;
    if (!option_next_word(&value, &low) || !option_next_word(&value, &high) ||
        option_parse_uint(low, 0, 99, &a) != E_OK || option_parse_uint(high, a, 99, &b) != E_OK) {
        option_error_set(error, "not two numbers up to 99 in order");
        return E_INVALID;
    }
    s->pair[0] = a;
    s->pair[1] = b;
    return E_OK;
}

static enum err print_pair(const void *config, const char *name, struct buffer *out)
{
    const struct sample *s = config;
    return buffer_appendf(out, "%s %" PRIu64 " %" PRIu64 "\n", name, s->pair[0], s->pair[1]);
}

#define AT(member) offsetof(struct sample, member)

static const struct option_row rows[] = {
    {.name = "name", .type = OPTION_STRING, .offset = AT(name), .initial = "sample", .text = "A name."},
    {.name = "path", .type = OPTION_PATH, .offset = AT(path), .arg = "FILE", .text = "A file."},
    {.name = "code", .type = OPTION_STRING, .offset = AT(code), .min = 3, .max = 5, .text = "Three to five bytes."},
    {.name = "enabled", .type = OPTION_BOOL, .offset = AT(enabled), .initial = "true", .text = "A switch."},
    {.name = "quiet", .type = OPTION_BOOL, .offset = AT(quiet), .text = "A switch without a default."},
    {.name = "count", .type = OPTION_UINT, .offset = AT(count), .min = 1, .max = 100, .initial = "10", .text = "N."},
    {.name = "port", .type = OPTION_UINT, .offset = AT(port), .min = 1, .max = 65535, .text = "Not set at first."},
    {.name = "any", .type = OPTION_UINT, .offset = AT(any), .text = "Any number."},
    {.name = "size", .type = OPTION_SIZE, .offset = AT(size), .min = 1024, .max = UINT64_C(1) << 40, .initial = "1G"},
    {.name = "interval", .type = OPTION_DURATION, .offset = AT(interval), .min = 10, .initial = "10s", .text = "T."},
    {.name = "sync",
     .type = OPTION_DURATION,
     .offset = AT(sync),
     .min = 1,
     .max = 3600000,
     .initial = "1s",
     .words = (const struct option_word[]){{"always", 0}, {"never", SYNC_NEVER}, {NULL, 0}},
     .arg = "TIME|always|never",
     .text =
         "How often what was written is made safe against a power cut, which is a long sentence that must be wrapped."},
    {.name = "colour",
     .type = OPTION_ENUM,
     .offset = AT(colour),
     .initial = "green",
     .words =
         (const struct option_word[]){{"red", SAMPLE_RED}, {"green", SAMPLE_GREEN}, {"blue", SAMPLE_BLUE}, {NULL, 0}},
     .text = "A colour."},
    {.name = "server", .type = OPTION_HOSTPORT, .offset = AT(server), .max = 8883, .text = "With a default port."},
    {.name = "peer", .type = OPTION_HOSTPORT, .offset = AT(peer), .initial = "localhost:1883", .text = "A peer."},
    {.name = "entry",
     .type = OPTION_CUSTOM,
     .repeatable = true,
     .set = set_entry,
     .print = print_entry,
     .finish = finish_entry,
     .arg = "FILTER [PREFIX]",
     .text = "An entry."},
    {.name = "pair",
     .type = OPTION_CUSTOM,
     .initial = "1 2",
     .set = set_pair,
     .print = print_pair,
     .arg = "LOW HIGH",
     .text = "A pair."},
};

const struct option_table sample_table = {rows, sizeof(rows) / sizeof(rows[0])};
