/* Option tables: one const table per program is the master copy of names, types, limits, defaults and help.
 * Parsing, printing (--print-config), --help and the test that compares man pages and samples all read it.
 *
 * Values live in a plain struct of the program; each table row says where (offset). Types in that struct:
 *   OPTION_STRING, OPTION_PATH   char *   owned, NULL = not set
 *   OPTION_BOOL                  bool
 *   OPTION_UINT, OPTION_SIZE, OPTION_DURATION   uint64_t   (size in bytes; duration in milliseconds)
 *   OPTION_ENUM                  int      (a value of words[])
 *   OPTION_HOSTPORT              struct option_hostport
 *   OPTION_CUSTOM                whatever set() makes of it (repeatable and structured options)
 * One thread at a time.
 */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/err.h"

enum option_type {
    OPTION_STRING,
    OPTION_PATH,
    OPTION_BOOL,     /* true | false (1 and 0 are taken too, as in mosquitto.conf) */
    OPTION_UINT,     /* decimal */
    OPTION_SIZE,     /* decimal with k, M or G in either case (powers of 1024) */
    OPTION_DURATION, /* decimal with ms, s, m, h or d; without a unit: seconds */
    OPTION_ENUM,
    OPTION_HOSTPORT, /* HOST, HOST:PORT, [IPV6]:PORT */
    OPTION_CUSTOM,
};

struct option_word {
    const char *word;
    uint64_t value;
};

struct option_hostport {
    char *host;    /* owned; NULL = not set */
    uint16_t port; /* 0 = none given and no default in the row */
};

/* What is wrong with a value: one line in plain words that names the option. */
struct option_error {
    char text[320];
};

struct option_row {
    const char *name; /* as in the file, without prefix */
    enum option_type type;
    size_t offset; /* offsetof the value in the program's struct */
    /* Inclusive. Numbers: the value, in bytes or milliseconds where it has a unit; max 0 = no limit. STRING, PATH: the
     * length; min 0 = 1 (no value is ever empty), max 0 = 4096. HOSTPORT: max is the default port. */
    uint64_t min, max;
    const char *initial; /* default as it would be written; NULL = not set: NULL, 0, false */
    const struct option_word
        *words;      /* ENUM: the words; numbers: words besides, whatever the range; ends with {NULL, 0} */
    bool needs_unit; /* OPTION_DURATION: a number other than 0 must say its unit, where a wrong guess would cost data */
    bool repeatable; /* OPTION_CUSTOM only: may stand more than once */
    bool secret;     /* PATH: of a file, STRING: a value that nobody else should see (options_note_secrets) */
    /* OPTION_CUSTOM: takes one value (borrowed). On error fills `error` (without the option's name). */
    enum err (*set)(void *config, struct bytes value, struct option_error *error);
    /* OPTION_CUSTOM: appends one line "name value\n" per entry to out. */
    enum err (*print)(const void *config, const char *name, struct buffer *out);
    void (*finish)(void *config); /* OPTION_CUSTOM: frees its entries */
    const char *arg;              /* argument in help, e.g. "HOST[:PORT]"; NULL: one that fits the type */
    const char *text;             /* one sentence for help */
};

struct option_table {
    const struct option_row *rows;
    size_t count;
};

/* Sets every default. `config` must be zeroed memory of the program's struct. */
MUST_CHECK enum err options_init(const struct option_table *t, void *config);
/* Frees what the rows own and zeroes their values. */
void options_finish(const struct option_table *t, void *config);

/* The row of that name, or NULL. */
const struct option_row *options_find(const struct option_table *t, const char *name);

/* Says that there is no option of that name, and which one may be meant, where a name is close enough. */
void options_unknown(const struct option_table *t, const char *name, struct option_error *error);

/* Sets one option; blanks around the value do not count. Unknown name, no value, a second value for one that is not
 * repeatable (`seen`: count bools, zeroed by the caller; NULL: later values win), control characters, value out of
 * range: E_INVALID and a text that names the option. On error the value stays what it was. */
MUST_CHECK enum err options_set(const struct option_table *t, void *config, bool *seen, const char *name,
                                struct bytes value, struct option_error *error);

/* Reads a file in mosquitto.conf's syntax (name, blank, rest of line is the value; '#' at the start of a line is a
 * comment; empty lines). Errors name file and line. File up to 1 MiB, lines up to 4096 bytes, no NUL. A second value for
 * an option that is not repeatable is an error within the file; what was set before it is replaced. */
MUST_CHECK enum err options_read_file(const struct option_table *t, void *config, const char *path,
                                      struct option_error *error);
/* The same from memory; `name` stands for the path in errors. */
MUST_CHECK enum err options_read(const struct option_table *t, void *config, struct bytes text, const char *name,
                                 struct option_error *error);

/* For errors that show after the file was read (a key file that is missing, options that do not go together): puts "FILE:LINE: "
 * before a text that begins with "option NAME" or "options NAME", with the line of that option. Changes nothing where the file has
 * no such line, or more than one. */
void option_error_locate(struct option_error *error, const char *path);
/* Puts "option NAME: " before the text; an empty one becomes the error's name. */
void option_error_name(struct option_error *error, const char *name, enum err e);

/* Appends the configuration in file syntax, one line per set option, in table order; reading it back gives the same. On
 * failure `out` is as it was, here and in options_help. */
MUST_CHECK enum err options_print(const struct option_table *t, const void *config, struct buffer *out);
/* Appends help: one block per option with argument, default and text. */
MUST_CHECK enum err options_help(const struct option_table *t, struct buffer *out);

/* Logs a warning for each secret that every user of this machine can see: a file that is open to all, a value in such a file
 * (`file`: where the options stand, NULL = somewhere else) or on the command line (`arguments`: as in struct program_options). */
void options_note_secrets(const struct option_table *t, const void *config, const char *file, uint64_t arguments);

/* Parsers for OPTION_CUSTOM rows and others. E_MALFORMED: not of that form; E_INVALID: out of range. */
MUST_CHECK enum err option_parse_uint(struct bytes text, uint64_t min, uint64_t max, uint64_t *out);
MUST_CHECK enum err option_parse_size(struct bytes text, uint64_t *out);
MUST_CHECK enum err option_parse_duration(struct bytes text, uint64_t *out_ms);
/* `out` gets an owned host and, when none is given, `default_port`. HOST is a name, an IPv4 or an IPv6 address (in brackets
 * when a port follows), with letters, digits and ".-_:%" only, at most 255 bytes. E_NOMEM besides. */
MUST_CHECK enum err option_parse_hostport(struct bytes text, uint16_t default_port, struct option_hostport *out);
/* Without blanks (space, tab, CR) at either end. */
struct bytes option_trim(struct bytes text);
/* Takes the next word off *rest: separated by blanks, or in double quotes ("" is an empty word; the closing quote is the
 * first one before a blank or the end; without one the opening quote is part of a plain word). false at the end. */
bool option_next_word(struct bytes *rest, struct bytes *word);

/* Printers to match. A word is quoted where it must be. Numbers take the largest unit that divides them. */
MUST_CHECK enum err option_print_word(struct bytes word, struct buffer *out);
#define OPTION_NUMBER_SIZE 24
const char *option_format_size(uint64_t bytes, char out[OPTION_NUMBER_SIZE]);
const char *option_format_duration(uint64_t ms, char out[OPTION_NUMBER_SIZE]);

void option_error_set(struct option_error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
