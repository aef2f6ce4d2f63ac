#include "unit.h"

#include "option_sample.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup(void **state)
{
    struct sample *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    assert_int_equal(options_init(&sample_table, s), E_OK);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    options_finish(&sample_table, *state);
    free(*state);
    return 0;
}

static enum err set(struct sample *s, const char *name, const char *value, struct option_error *error)
{
    return options_set(&sample_table, s, NULL, name, bytes_str(value), error);
}

static void assert_set(struct sample *s, const char *name, const char *value)
{
    struct option_error error = {""};
    enum err err = set(s, name, value, &error);
    assert_string_equal(error.text, "");
    assert_int_equal(err, E_OK);
}

static void assert_refused(struct sample *s, const char *name, const char *value, const char *text)
{
    struct option_error error = {""};
    assert_int_equal(set(s, name, value, &error), E_INVALID);
    assert_string_equal(error.text, text);
}

static void assert_prints(const struct sample *s, const char *expected)
{
    struct buffer out;
    buffer_init(&out, 100000);
    assert_int_equal(options_print(&sample_table, s, &out), E_OK);
    assert_int_equal(buffer_append_byte(&out, 0), E_OK);
    assert_string_equal((const char *)out.data, expected);
    buffer_finish(&out);
}

static void test_defaults(void **state)
{
    const struct sample *s = *state;
    assert_string_equal(s->name, "sample");
    assert_null(s->path);
    assert_true(s->enabled);
    assert_false(s->quiet);
    assert_int_equal(s->count, 10);
    assert_int_equal(s->port, 0);
    assert_int_equal(s->size, 1u << 30);
    assert_int_equal(s->interval, 10000);
    assert_int_equal(s->sync, 1000);
    assert_int_equal(s->colour, SAMPLE_GREEN);
    assert_null(s->server.host);
    assert_string_equal(s->peer.host, "localhost");
    assert_int_equal(s->peer.port, 1883);
    assert_int_equal(s->entry_count, 0);
    assert_int_equal(s->pair[1], 2);
    assert_prints(s, "name sample\nenabled true\ncount 10\nsize 1G\ninterval 10s\nsync 1s\ncolour green\n"
                     "peer localhost:1883\npair 1 2\n");
}

static void test_values(void **state)
{
    struct sample *s = *state;
    assert_set(s, "name", "  two words # and more \t");
    assert_set(s, "path", "/etc/mosquitto/aws.pem");
    assert_set(s, "code", "abcde");
    assert_set(s, "enabled", "false");
    assert_set(s, "quiet", "1");
    assert_set(s, "count", "100");
    assert_set(s, "port", "65535");
    assert_set(s, "any", "18446744073709551615");
    assert_set(s, "size", "1025k");
    assert_set(s, "interval", "1d");
    assert_set(s, "sync", "never");
    assert_set(s, "colour", "blue");
    assert_set(s, "server", "[2001:db8::1]");
    assert_set(s, "peer", "example.org:1");
    assert_set(s, "entry", "a/+/b");
    assert_set(s, "entry", "\"x y\" pre/");
    assert_set(s, "pair", "3 4");
    assert_string_equal(s->name, "two words # and more");
    assert_false(s->enabled);
    assert_true(s->quiet);
    assert_int_equal(s->sync, UINT64_MAX);
    assert_int_equal(s->colour, SAMPLE_BLUE);
    assert_int_equal(s->server.port, 8883);
    assert_prints(s, "name two words # and more\npath /etc/mosquitto/aws.pem\ncode abcde\nenabled false\nquiet true\n"
                     "count 100\nport 65535\nany 18446744073709551615\nsize 1025k\ninterval 1d\nsync never\n"
                     "colour blue\nserver [2001:db8::1]:8883\npeer example.org:1\nentry a/+/b \"\"\n"
                     "entry \"x y\" pre/\npair 3 4\n");
    assert_set(s, "sync", "always");
    assert_int_equal(s->sync, 0);
    assert_set(s, "sync", "3600");
    assert_int_equal(s->sync, 3600000);
}

static void test_unknown_names_get_a_suggestion(void **state)
{
    struct sample *s = *state;
    char shown[] = "very_long_and_not_like_any_other_name_of_this_table_at_all";
    assert_refused(s, "inteval", "1s", "unknown option inteval; did you mean interval?");
    assert_refused(s, "color", "red", "unknown option color; did you mean colour?");
    assert_refused(s, "prot", "1", "unknown option prot; did you mean port?");
    assert_refused(s, "Colour", "red", "unknown option Colour; did you mean colour?");
    assert_refused(s, "coulor", "red", "unknown option coulor; did you mean colour?");
    assert_refused(s, "inte", "1s", "unknown option inte; did you mean interval?");
    assert_refused(s, "serv-er", "h", "unknown option serv-er; did you mean server?");
    assert_refused(s, "count=1", "x", "unknown option count=1: name and value stand without '=': count VALUE");
    assert_refused(s, "x=1", "x", "unknown option x=1");
    assert_refused(s, "x", "x", "unknown option x");
    assert_refused(s, "bogus", "x", "unknown option bogus");
    assert_refused(s, shown, "x", "unknown option very_long_and_not_like_any_other_name_of_this_table_at_all");
    assert_refused(s, "\xff\xfe", "x", "unknown option \\xff\\xfe");
}

static void test_errors_name_the_option(void **state)
{
    struct sample *s = *state;
    assert_refused(s, "nmae", "x", "unknown option nmae; did you mean name?");
    assert_refused(s, "", "x", "unknown option ");
    assert_refused(s, "name", "", "option name: a value is missing");
    assert_refused(s, "name", " \t ", "option name: a value is missing");
    assert_refused(s, "name", "a\nb", "option name: a control character in the value");
    assert_refused(s, "code", "ab", "option code: 2 bytes are too short (3 to 5)");
    assert_refused(s, "code", "abcdef", "option code: 6 bytes are too long (3 to 5)");
    assert_refused(s, "enabled", "yes", "option enabled: \"yes\" is not true or false");
    assert_refused(s, "count", "ten", "option count: \"ten\" is not a number");
    assert_refused(s, "count", "-1", "option count: \"-1\" is not a number");
    assert_refused(s, "count", "0", "option count: 0 is out of range (1 to 100)");
    assert_refused(s, "count", "101", "option count: 101 is out of range (1 to 100)");
    assert_refused(s, "size", "1T", "option size: \"1T\" is not a size (a number, with k, M or G)");
    assert_refused(s, "size", "1023", "option size: 1023 is out of range (1k to 1024G)");
    assert_refused(s, "size", "99999999999G", "option size: 99999999999G is out of range (1k to 1024G)");
    assert_refused(s, "interval", "1week", "option interval: \"1week\" is not a time (a number with ms, s, m, h or d)");
    assert_refused(s, "interval", "9ms", "option interval: 9ms is out of range (10ms or more)");
    assert_refused(s, "sync", "sometimes",
                   "option sync: \"sometimes\" is not a time (a number with ms, s, m, h or d), always or never");
    assert_refused(s, "sync", "0", "option sync: 0 is out of range (1ms to 1h)");
    assert_refused(s, "colour", "pink", "option colour: \"pink\" is not red, green or blue");
    assert_refused(s, "server", "host:99999",
                   "option server: \"host:99999\" is not a host and port (HOST, HOST:PORT or [ADDRESS]:PORT)");
    assert_refused(
        s, "server", "m\xc3\xbcller.example:1883",
        "option server: \"m\xc3\xbcller.example:1883\" has letters that a host name cannot have: write it as DNS "
        "knows it, with xn-- (idn2 NAME prints it so)");
    assert_refused(s, "pair", "2 1", "option pair: not two numbers up to 99 in order");
    assert_refused(s, "entry", "\"\"", "option entry: a filter is missing");
    assert_refused(s, "count", "\"\x80\"",
                   "option count: \"\\\"\\x80\\\"\" is not a number"); /* escaped, so that it is safe to print */
}

static void test_error_keeps_the_value(void **state)
{
    struct sample *s = *state;
    struct option_error error;
    char *long_value = calloc(1, 4098);
    assert_non_null(long_value);
    memset(long_value, 'x', 4097);
    assert_int_equal(set(s, "name", long_value, &error), E_INVALID);
    assert_string_equal(error.text, "option name: 4097 bytes are too long (1 to 4096)");
    assert_int_equal(set(s, "count", long_value, &error), E_INVALID);
    assert_non_null(strstr(error.text, "xxx...\" is not a number"));
    assert_int_equal(set(s, "peer", "bad:", &error), E_INVALID);
    assert_int_equal(set(s, "colour", "x", &error), E_INVALID);
    assert_int_equal(set(s, "enabled", "x", &error), E_INVALID);
    test_defaults(state);
    long_value[4096] = '\0';
    assert_set(s, "name", long_value);
    free(long_value);
}

static void test_custom_error_code(void **state)
{
    struct sample *s = *state;
    struct option_error error;
    for (int i = 0; i < SAMPLE_ENTRIES; i++) {
        assert_set(s, "entry", "x");
    }
    assert_int_equal(set(s, "entry", "x", &error), E_FULL);
    assert_string_equal(error.text, "option entry: more than 8 entries");
}

static void test_seen(void **state)
{
    struct sample *s = *state;
    struct option_error error;
    bool seen[32] = {false};
    assert_int_equal(options_set(&sample_table, s, seen, "count", BYTES("bad"), &error), E_INVALID);
    assert_int_equal(options_set(&sample_table, s, seen, "count", BYTES("1"), &error), E_OK);
    assert_int_equal(options_set(&sample_table, s, seen, "count", BYTES("2"), &error), E_INVALID);
    assert_string_equal(error.text, "option count: it is set more than once");
    assert_int_equal(s->count, 1);
    assert_int_equal(options_set(&sample_table, s, seen, "entry", BYTES("a"), &error), E_OK);
    assert_int_equal(options_set(&sample_table, s, seen, "entry", BYTES("b"), &error), E_OK);
    assert_int_equal(options_set(&sample_table, s, seen, "pair", BYTES("3 4"), &error), E_OK);
    assert_int_equal(options_set(&sample_table, s, seen, "pair", BYTES("3 4"), &error), E_INVALID);
    assert_int_equal(s->entry_count, 2);
    assert_set(s, "count", "3"); /* without `seen` the later one wins */
    assert_int_equal(s->count, 3);
}

static void test_finish(void **state)
{
    struct sample *s = *state;
    test_values(state);
    options_finish(&sample_table, s);
    s->pair[0] = s->pair[1] = 0;
    static const struct sample zero;
    assert_null(s->name);
    assert_null(s->server.host);
    assert_int_equal(s->entry_count, 0);
    assert_int_equal(s->size, zero.size);
    assert_int_equal(s->colour, 0);
    assert_false(s->quiet);
    options_finish(&sample_table, s);
}

static void test_bad_default(void **state)
{
    (void)state;
    static const struct option_row rows[] = {
        {.name = "name", .type = OPTION_STRING, .offset = offsetof(struct sample, name), .initial = "x"},
        {.name = "count", .type = OPTION_UINT, .offset = offsetof(struct sample, count), .max = 5, .initial = "6"},
    };
    static const struct option_table table = {rows, 2};
    struct sample s = {0};
    assert_int_equal(options_init(&table, &s), E_INVALID);
    assert_null(s.name);
}

static void test_find(void **state)
{
    (void)state;
    assert_ptr_equal(options_find(&sample_table, "name"), &sample_table.rows[0]);
    assert_null(options_find(&sample_table, "Name"));
    assert_null(options_find(&sample_table, "nam"));
    assert_null(options_find(&sample_table, ""));
}

static void test_print_ceiling(void **state)
{
    const struct sample *s = *state;
    for (size_t max = 6; max < 600; max++) {
        struct buffer out;
        buffer_init(&out, max);
        assert_int_equal(buffer_append_str(&out, "before"), E_OK);
        enum err err = max % 2 ? options_print(&sample_table, s, &out) : options_help(&sample_table, &out);
        assert_true(err == E_OK || (err == E_FULL && out.len == 6));
        buffer_finish(&out);
    }
}

static void test_help(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 10000);
    assert_int_equal(options_help(&sample_table, &out), E_OK);
    assert_int_equal(buffer_append_byte(&out, 0), E_OK);
    const char *help = (const char *)out.data;
    assert_int_equal(strncmp(help, "  name TEXT\n        A name. Default: sample\n", 44), 0);
    assert_non_null(strstr(help, "\n  path FILE\n        A file.\n"));
    assert_non_null(strstr(help, "\n  colour red|green|blue\n        A colour. Default: green\n"));
    assert_non_null(strstr(help, "\n  size SIZE\n        Default: 1G\n"));
    assert_non_null(strstr(help, "\n  entry FILTER [PREFIX]\n        An entry. May be repeated.\n"));
    assert_non_null(strstr(help, "\n  sync TIME|always|never\n        How often"));
    for (const char *line = help; *line;) {
        size_t n = strcspn(line, "\n");
        assert_true(n <= 80);
        assert_true(n == 0 || line[n - 1] != ' ');
        line += n + (line[n] == '\n');
    }
    buffer_finish(&out);
}

/* --- secrets */

static char logged[1024];

static void keep_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    assert_int_equal(level, LOG_WARNING);
    snprintf(logged + strlen(logged), sizeof(logged) - strlen(logged), "%s\n", line);
}

static const char *note(const struct option_table *t, const struct sample *s, const char *file, uint64_t arguments)
{
    logged[0] = '\0';
    log_init(keep_line, NULL, LOG_DEBUG);
    options_note_secrets(t, s, file, arguments);
    log_init(NULL, NULL, LOG_INFO);
    return logged;
}

static void test_secrets_that_others_see(void **state)
{
    (void)state;
    const struct option_row rows[] = {
        {.name = "key", .type = OPTION_PATH, .offset = offsetof(struct sample, path), .secret = true},
        {.name = "password", .type = OPTION_STRING, .offset = offsetof(struct sample, name), .secret = true},
        {.name = "plain", .type = OPTION_PATH, .offset = offsetof(struct sample, code)},
    };
    const struct option_table t = {rows, 3};
    char folder[] = "/tmp/option.XXXXXX";
    char path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/key", folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    struct sample s = {.path = path, .code = path};
    assert_int_equal(chmod(path, 0604), 0);
    assert_string_equal(note(&t, &s, NULL, 0), ""); /* nobody else gets into the folder */
    assert_int_equal(chmod(folder, 0755), 0);
    assert_non_null(strstr(note(&t, &s, NULL, 0), "config.open: "));
    assert_non_null(strstr(logged, "option=key file=\"/tmp/option."));
    assert_int_equal(chmod(path, 0602), 0);
    assert_non_null(strstr(note(&t, &s, NULL, 0), "option=key"));
    assert_int_equal(chmod(path, 0640), 0);
    assert_string_equal(note(&t, &s, NULL, 0), "");
    s = (struct sample){.name = path, .code = path}; /* a value: the file that it stands in, or the command line */
    assert_string_equal(note(&t, &s, path, 0), "");
    assert_string_equal(note(&t, &s, path, 2),
                        "config.shown: a secret on the command line: every user of this machine can "
                        "see it option=password\n");
    assert_int_equal(chmod(path, 0644), 0);
    assert_non_null(strstr(note(&t, &s, path, 0), "option=password file="));
    assert_string_equal(note(&t, &s, NULL, 0), "");
    s = (struct sample){.path = folder, .name = NULL};
    assert_string_equal(note(&t, &s, path, 0), "");
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_name_the_option, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_names_get_a_suggestion, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error_keeps_the_value, setup, teardown),
        cmocka_unit_test_setup_teardown(test_custom_error_code, setup, teardown),
        cmocka_unit_test_setup_teardown(test_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_finish, setup, teardown),
        cmocka_unit_test_setup_teardown(test_print_ceiling, setup, teardown),
        cmocka_unit_test(test_bad_default),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_secrets_that_others_see),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
