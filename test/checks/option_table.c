/* Shows one program's option table (OPTION_TABLE, set by CMake) to options.py.
 *
 *   without arguments   prints a line per option: name, 1 if it has a default, the default; separated by tabs
 *   NAME VALUE          sets one option on top of the defaults; says what is wrong with it
 */
#include "base/option.h"

#include <stdio.h>
#include <stdlib.h>

extern const struct option_table OPTION_TABLE;

enum { CONFIG_SIZE_MAX = 1 << 16 };

static int print_table(void)
{
    for (size_t i = 0; i < OPTION_TABLE.count; i++) {
        const struct option_row *row = &OPTION_TABLE.rows[i];
        printf("%s\t%d\t%s\n", row->name, row->initial != NULL, row->initial ? row->initial : "");
    }
    return EXIT_SUCCESS;
}

static int set_option(const char *name, const char *value)
{
    struct option_error error = {"the defaults are wrong"};
    void *config = calloc(1, CONFIG_SIZE_MAX); /* more than any program's struct */
    if (!config) {
        return EXIT_FAILURE;
    }
    enum err err = options_init(&OPTION_TABLE, config);
    if (err == E_OK) {
        err = options_set(&OPTION_TABLE, config, NULL, name, bytes_str(value), &error);
        options_finish(&OPTION_TABLE, config);
    }
    if (err != E_OK) {
        fprintf(stderr, "%s\n", error.text);
    }
    free(config);
    return err == E_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    return argc == 3 ? set_option(argv[1], argv[2]) : print_table();
}
