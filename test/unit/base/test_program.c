#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct config {
    struct program_options program;
    uint64_t number;
    bool flag;
};

static const struct option_row rows[] = {
    PROGRAM_OPTION_ROWS,
    {.name = "number",
     .type = OPTION_UINT,
     .offset = offsetof(struct config, number),
     .max = 100,
     .initial = "7",
     .text = "A number."},
    {.name = "flag",
     .type = OPTION_BOOL,
     .offset = offsetof(struct config, flag),
     .initial = "false",
     .text = "A flag."},
};
static const struct option_table table = {rows, sizeof(rows) / sizeof(rows[0])};

static enum err check(const void *config, struct option_error *error)
{
    const struct config *c = config;
    if (c->number == 13) {
        option_error_set(error, "option number: not 13");
        return E_INVALID;
    }
    return E_OK;
}

static const struct program program = {
    .name = "testd", .version = "1.2.3", .summary = "tests", .table = &table, .check = check};

static char directory[] = "/tmp/mqa-program-XXXXXX";
static char path[128];

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(directory)) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/file", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void read_file(char *out, size_t size)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, size - 1, f);
    out[n] = '\0';
    fclose(f);
}

/* Runs with standard output and error going to `path`. */
static bool configure(struct config *c, int *exit_code, char **argv)
{
    int argc = 0;
    bool run;
    while (argv[argc]) {
        argc++;
    }
    fflush(stdout);
    fflush(stderr);
    int old_out = dup(1), old_err = dup(2);
    char shown[160];
    snprintf(shown, sizeof(shown), "%s/shown", directory);
    FILE *f = fopen(shown, "w");
    assert_non_null(f);
    dup2(fileno(f), 1);
    dup2(fileno(f), 2);
    *c = (struct config){0};
    program_configure(&program, argc, argv, c, &run, exit_code);
    fflush(stdout);
    fflush(stderr);
    dup2(old_out, 1);
    dup2(old_err, 2);
    close(old_out);
    close(old_err);
    fclose(f);
    rename(shown, path);
    return run;
}

#define CONFIGURE(c, code, ...) configure(c, code, (char *[]){(char[]){"testd"}, __VA_ARGS__, NULL})
#define ARG(s) ((char[]){s})

static void command_line_wins_over_file(void **state)
{
    (void)state;
    struct config c;
    int code;
    char conf[128];
    snprintf(conf, sizeof(conf), "%s/conf", directory);
    write_file("number 20\nflag true\nlog_dest stdout\n");
    rename(path, conf);
    assert_true(CONFIGURE(&c, &code, ARG("-c"), conf));
    assert_int_equal(c.number, 20);
    assert_true(c.flag);
    options_finish(&table, &c);
    assert_true(CONFIGURE(&c, &code, ARG("--number"), ARG("30"), ARG("-c"), conf, ARG("--flag=false")));
    assert_int_equal(c.number, 30);
    assert_false(c.flag);
    assert_int_equal(c.program.log_dests, PROGRAM_LOG_STDOUT);
    options_finish(&table, &c);
    unlink(conf);
}

static void prints_instead_of_running(void **state)
{
    (void)state;
    struct config c;
    int code;
    char text[8192];
    assert_false(CONFIGURE(&c, &code, ARG("--version")));
    assert_int_equal(code, 0);
    read_file(text, sizeof(text));
    assert_string_equal(text, "testd 1.2.3\n");
    assert_false(CONFIGURE(&c, &code, ARG("--help")));
    assert_int_equal(code, 0);
    read_file(text, sizeof(text));
    assert_non_null(strstr(text, "number"));
    assert_non_null(strstr(text, "log_type"));
    assert_false(CONFIGURE(&c, &code, ARG("--print-config"), ARG("--number"), ARG("9"), ARG("--log_type"),
                           ARG("warning error"), ARG("--log_dest"), ARG("file /tmp/x.log")));
    assert_int_equal(code, 0);
    read_file(text, sizeof(text));
    assert_string_equal(text, "log_dest file /tmp/x.log\nlog_type error warning\nnumber 9\nflag false\n");
}

static void mistakes_name_the_option(void **state)
{
    (void)state;
    struct config c;
    int code;
    char text[1024];
    struct {
        char *arguments[3];
        const char *say;
    } cases[] = {
        {{ARG("--number"), ARG("101"), NULL}, "number"},
        {{ARG("--number"), NULL, NULL}, "--number needs a value"},
        {{ARG("--nonsense"), ARG("1"), NULL}, "nonsense"},
        {{ARG("stray"), NULL, NULL}, "stray"},
        {{ARG("-c"), NULL, NULL}, "-c"},
        {{ARG("-c"), ARG("/nonexistent/file"), NULL}, "/nonexistent/file"},
        {{ARG("--number=13"), NULL, NULL}, "not 13"},
        {{ARG("--number=1"), ARG("--number=2"), NULL}, "number"},
        {{ARG("--log_type"), ARG("loud"), NULL}, "loud"},
        {{ARG("--log_dest"), ARG("file"), NULL}, "log_dest"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *argv[] = {ARG("testd"), cases[i].arguments[0], cases[i].arguments[1], NULL};
        assert_false(configure(&c, &code, argv));
        assert_int_equal(code, 2);
        read_file(text, sizeof(text));
        assert_non_null(strstr(text, cases[i].say));
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
    }
}

/* What shows only when options are used or seen together is placed, too: but not when the command line said it. */
static void mistakes_of_the_file_are_placed(void **state)
{
    (void)state;
    struct config c;
    int code;
    char conf[128], text[1024], expected[256];
    snprintf(conf, sizeof(conf), "%s/conf", directory);
    write_file("# number 1\n\nflag true\n  number\t13\n");
    rename(path, conf);
    assert_false(CONFIGURE(&c, &code, ARG("-c"), conf));
    assert_int_equal(code, 2);
    read_file(text, sizeof(text));
    snprintf(expected, sizeof(expected), "testd: %s:4: option number: not 13\n", conf);
    assert_string_equal(text, expected);
    write_file("number 20\nlog_dest file /nonexistent/log\nlog_type error\nlog_type debug\n");
    rename(path, conf);
    assert_false(CONFIGURE(&c, &code, ARG("-c"), conf, ARG("--number"), ARG("13")));
    read_file(text, sizeof(text));
    assert_string_equal(text, "testd: option number: not 13\n");
    static const struct {
        const char *text, *placed;
    } cases[] = {
        {"option log_dest: full", ":2: option log_dest: full"},
        {"options number and flag: no", ":1: options number and flag: no"},
        {"option flag: no", NULL},
        {"option log_type: which?", NULL},
        {"option num: no", NULL},
        {"number: no", NULL},
        {"option", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct option_error error;
        option_error_set(&error, "%s", cases[i].text);
        option_error_locate(&error, conf);
        snprintf(expected, sizeof(expected), "%s%s", cases[i].placed ? conf : "",
                 cases[i].placed ? cases[i].placed : cases[i].text);
        assert_string_equal(error.text, expected);
    }
    unlink(conf);
}

LOG_POINT(log_notice, "test.notice", LOG_NOTICE, "notice");
LOG_POINT(log_debug, "test.debug", LOG_DEBUG, "debug");

static void logs_to_a_file_and_reopens_it(void **state)
{
    (void)state;
    struct config c;
    int code;
    char dest[160], moved[160], text[1024];
    unlink(path);
    snprintf(dest, sizeof(dest), "file %s/log", directory);
    snprintf(moved, sizeof(moved), "%s/log.1", directory);
    assert_true(CONFIGURE(&c, &code, ARG("--log_dest"), dest, ARG("--log_type"), ARG("notice")));
    assert_int_equal(program_log_open(&program, &c.program), E_OK);
    log_emit(&log_notice, "n=%d", 1);
    log_emit(&log_debug, "n=%d", 2);
    rename(dest + 5, moved);
    program_log_reopen();
    log_emit(&log_notice, "n=%d", 3);
    program_log_close();

    rename(dest + 5, path);
    read_file(text, sizeof(text));
    assert_non_null(strstr(text, " notice: test.notice: notice n=3\n"));
    assert_null(strstr(text, "n=1"));
    rename(moved, path);
    read_file(text, sizeof(text));
    assert_non_null(strstr(text, "n=1"));
    assert_null(strstr(text, "n=2"));
    options_finish(&table, &c);

    assert_true(CONFIGURE(&c, &code, ARG("--log_dest"), ARG("file /nonexistent/log")));
    assert_int_not_equal(program_log_open(&program, &c.program), E_OK);
    program_log_close();
    options_finish(&table, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_line_wins_over_file),   cmocka_unit_test(prints_instead_of_running),
        cmocka_unit_test(mistakes_name_the_option),      cmocka_unit_test(mistakes_of_the_file_are_placed),
        cmocka_unit_test(logs_to_a_file_and_reopens_it),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
