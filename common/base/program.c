#include "base/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, PRINT_MAX = 1024 * 1024 };

/* --name value, --name=value: the name without dashes, and where the value comes from. */
struct argument {
    char name[64];
    const char *value; /* NULL: none left */
    int used;          /* arguments taken */
};

static bool split_argument(int argc, char **argv, int i, struct argument *out)
{
    const char *text = argv[i] + 2;
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : strlen(text);
    if (len == 0 || len >= sizeof(out->name)) {
        return false;
    }
    memcpy(out->name, text, len);
    out->name[len] = '\0';
    out->value = equals ? equals + 1 : i + 1 < argc ? argv[i + 1] : NULL;
    out->used = equals ? 1 : 2;
    return true;
}

static enum err print_text(const struct program *p, const void *config, bool help)
{
    struct buffer out;
    buffer_init(&out, PRINT_MAX);
    enum err e = E_OK;
    if (help) {
        e = buffer_appendf(&out,
                           "%s %s: %s\n\n"
                           "usage: %s [-c FILE] [-v] [--OPTION VALUE ...]\n\n"
                           "  -c FILE         read options from FILE, one per line: NAME VALUE\n"
                           "  -v              log everything (log_type all)\n"
                           "  --print-config  print the resulting configuration and exit\n"
                           "  --version, --help\n\n"
                           "Options, in FILE or as --NAME VALUE:\n\n",
                           p->name, p->version, p->summary, p->name);
    }
    if (e == E_OK) {
        e = help ? options_help(p->table, &out) : options_print(p->table, config, &out);
    }
    if (e == E_OK && fwrite(out.data, 1, out.len, stdout) != out.len) {
        e = E_IO;
    }
    if (e == E_OK && fflush(stdout) != 0) {
        e = E_IO;
    }
    buffer_finish(&out);
    return e;
}

/* Where the last -c has its file name, 0 = there is none. E_INVALID: -c without a name. */
static enum err find_file(int argc, char **argv, int *index, struct option_error *error)
{
    *index = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-c") == 0) {
            if (i + 1 >= argc) {
                option_error_set(error, "-c needs a file name");
                return E_INVALID;
            }
            *index = ++i;
        }
    }
    return E_OK;
}

static bool is_flag(const char *argument)
{
    static const char *const flags[] = {"-v", "--verbose", "-h", "--help", "--version", "--print-config"};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (strcmp(argument, flags[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_argument(int argc, char **argv, const char *a, const char *b)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], a) == 0 || strcmp(argv[i], b) == 0) {
            return true;
        }
    }
    return false;
}

static enum err read_arguments(const struct program *p, int argc, char **argv, void *config, bool *seen,
                               struct option_error *error)
{
    for (int i = 1; i < argc;) {
        struct argument a;
        if (strcmp(argv[i], "-c") == 0) {
            i += 2;
        } else if (is_flag(argv[i])) {
            i++;
        } else if (strncmp(argv[i], "--", 2) == 0 && split_argument(argc, argv, i, &a)) {
            if (!a.value) {
                option_error_set(error, "--%s needs a value", a.name);
                if (!options_find(p->table, a.name)) {
                    options_unknown(p->table, a.name, error);
                }
                return E_INVALID;
            }
            enum err e = options_set(p->table, config, seen, a.name, bytes_str(a.value), error);
            if (e != E_OK) {
                return e;
            }
            i += a.used;
        } else {
            option_error_set(error, "unknown argument \"%s\" (see --help)", argv[i]);
            return E_INVALID;
        }
    }
    return E_OK;
}

/* An option that the command line set is not the one of the file. */
static void locate(const struct program *p, const struct program_options *o, struct option_error *error)
{
    struct option_error there = *error;
    if (!o->file) {
        return;
    }
    for (size_t i = 0; i < p->table->count && i < 64; i++) {
        const char *name = p->table->rows[i].name;
        const char *text = there.text + strcspn(there.text, " ");
        if ((o->arguments >> i & 1) && *text && strncmp(text + 1, name, strlen(name)) == 0 &&
            strchr(": ", text[1 + strlen(name)])) {
            return;
        }
    }
    option_error_locate(error, o->file);
}

static enum err configure(const struct program *p, int argc, char **argv, void *config, struct option_error *error)
{
    int file;
    enum err e = find_file(argc, argv, &file, error);
    if (e != E_OK) {
        return e;
    }
    bool *seen = calloc(p->table->count, sizeof(*seen));
    if (!seen) {
        option_error_set(error, "no memory");
        return E_NOMEM;
    }
    struct program_options *o = config;
    o->file = file > 0 ? argv[file] : NULL;
    o->arguments = 0;
    e = file > 0 ? options_read_file(p->table, config, argv[file], error) : E_OK;
    if (e == E_OK) {
        e = read_arguments(p, argc, argv, config, seen, error);
    }
    for (size_t i = 0; i < p->table->count && i < 64; i++) {
        o->arguments |= (uint64_t)seen[i] << i;
    }
    free(seen);
    if (e == E_OK && has_argument(argc, argv, "-v", "--verbose")) {
        e = options_set(p->table, config, NULL, "log_type", BYTES("all"), error);
    }
    if (e == E_OK && p->check) {
        e = p->check(config, error);
        if (e != E_OK) {
            locate(p, o, error);
        }
    }
    return e;
}

void program_complain(const struct program *p, const struct program_options *o, enum err e, struct option_error *error)
{
    locate(p, o, error);
    fprintf(stderr, "%s: %s\n", p->name, error->text[0] ? error->text : err_name(e));
}

void program_note_secrets(const struct program *p, const struct program_options *o)
{
    options_note_secrets(p->table, o, o->file, o->arguments);
}

void program_configure(const struct program *p, int argc, char **argv, void *config, bool *run, int *exit_code)
{
    struct option_error error = {""};
    *run = false;
    *exit_code = EXIT_SUCCESS;
    if (has_argument(argc, argv, "--version", "--version")) {
        printf("%s %s\n", p->name, p->version);
        return;
    }
    if (has_argument(argc, argv, "--help", "-h")) {
        *exit_code = print_text(p, NULL, true) == E_OK ? EXIT_SUCCESS : EXIT_FAILURE;
        return;
    }
    enum err e = options_init(p->table, config);
    if (e == E_OK) {
        e = configure(p, argc, argv, config, &error);
    }
    if (e != E_OK) {
        fprintf(stderr, "%s: %s\n", p->name, error.text[0] ? error.text : err_name(e));
        *exit_code = EXIT_USAGE;
    } else if (has_argument(argc, argv, "--print-config", "--print-config")) {
        *exit_code = print_text(p, config, false) == E_OK ? EXIT_SUCCESS : EXIT_FAILURE;
    } else {
        *run = true;
        return;
    }
    options_finish(p->table, config);
}
