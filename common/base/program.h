/* What our daemons share around their work: the command line, --help and its kin, and where log lines go.
 *
 * The program's configuration struct begins with a struct program_options, and its option table with
 * PROGRAM_OPTION_ROWS. Main thread only, before other threads start; lines may then be logged from any thread.
 */
#ifndef BASE_PROGRAM_H
#define BASE_PROGRAM_H

#include "base/log.h"
#include "base/option.h"

/* First member of the configuration struct. */
struct program_options {
    unsigned log_dests;  /* bits of enum program_log_dest; 0 = standard output */
    unsigned log_levels; /* bit (1 << enum log_level); 0 = all but debug */
    char *log_file;      /* of `log_dest file PATH` */
    const char *file;    /* of -c: the argument itself; NULL = none */
    uint64_t arguments;  /* rows that the command line set: bit (1 << index) */
};

enum program_log_dest { PROGRAM_LOG_STDOUT = 1, PROGRAM_LOG_SYSLOG = 2, PROGRAM_LOG_FILE = 4 };

enum err program_set_log_dest(void *config, struct bytes value, struct option_error *error);
enum err program_print_log_dest(const void *config, const char *name, struct buffer *text);
void program_finish_log_dest(void *config);
enum err program_set_log_type(void *config, struct bytes value, struct option_error *error);
enum err program_print_log_type(const void *config, const char *name, struct buffer *text);
void program_finish_log_type(void *config);

#define PROGRAM_OPTION_ROWS                                                                                            \
    {.name = "log_dest",                                                                                               \
     .type = OPTION_CUSTOM,                                                                                            \
     .repeatable = true,                                                                                               \
     .set = program_set_log_dest,                                                                                      \
     .print = program_print_log_dest,                                                                                  \
     .finish = program_finish_log_dest,                                                                                \
     .arg = "stdout|syslog|file PATH",                                                                                 \
     .text = "Where log lines go; may stand more than once. Default: stdout."},                                        \
    {                                                                                                                  \
        .name = "log_type", .type = OPTION_CUSTOM, .repeatable = true, .set = program_set_log_type,                    \
        .print = program_print_log_type, .finish = program_finish_log_type,                                            \
        .arg = "error|warning|notice|information|debug|all|none ...",                                                  \
        .text = "Which lines are logged; may stand more than once. Default: all but debug."                            \
    }

struct program {
    const char *name;
    const char *version;
    const char *summary; /* one line for --help */
    const struct option_table *table;
    /* What the rows alone cannot check: which options need one another. NULL = nothing. Names the option in `error`. */
    enum err (*check)(const void *config, struct option_error *error);
};

/* Fills `config` (zeroed memory) with the defaults, `-c FILE`, then `--name value` (or `--name=value`) from the command line,
 * which win over the file (repeatable options: are added); `-v` stands for `--log_type all`. --help, --version and --print-config
 * print to standard output; then, and after an error (told on standard error), *run is false, *exit_code is set, and
 * nothing is left to free. */
void program_configure(const struct program *p, int argc, char **argv, void *config, bool *run, int *exit_code);

/* Tells on standard error why the program does not start: `error`, with file and line where it is about an option of the file; its
 * name when there is no text. */
void program_complain(const struct program *p, const struct program_options *o, enum err e, struct option_error *error);

/* options_note_secrets for a program's options. */
void program_note_secrets(const struct program *p, const struct program_options *o);

/* Opens the destinations and hands them to log_init. E_ACCESS and the like when the log file cannot be opened, told on
 * standard error. */
MUST_CHECK enum err program_log_open(const struct program *p, const struct program_options *o);
/* Opens the log file again by its name, for logrotate; call on SIGHUP. On failure the old file stays in use. */
void program_log_reopen(void);
/* Log lines go to standard error again. */
void program_log_close(void);

#endif
