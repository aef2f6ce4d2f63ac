#include "unit.h"

#include "option_sample.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct sample *new_sample(void)
{
    struct sample *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    assert_int_equal(options_init(&sample_table, s), E_OK);
    return s;
}

static void free_sample(struct sample *s)
{
    options_finish(&sample_table, s);
    free(s);
}

static enum err read_text(struct sample *s, struct bytes text, struct option_error *error)
{
    error->text[0] = '\0';
    return options_read(&sample_table, s, text, "sample.conf", error);
}

static void assert_refused(struct bytes text, const char *why)
{
    struct sample *s = new_sample();
    struct option_error error;
    assert_int_equal(read_text(s, text, &error), E_INVALID);
    assert_string_equal(error.text, why);
    free_sample(s);
}

static void test_syntax(void **state)
{
    (void)state;
    struct sample *s = new_sample();
    struct option_error error;
    assert_int_equal(read_text(s,
                               BYTES("# comment\n"
                                     "\n"
                                     "   \t \n"
                                     "#count 99\n"
                                     "   # indented comment\n"
                                     "name first  second\t\n"
                                     "count\t42\n"
                                     "  colour   red\r\n"
                                     "path /a path/with # inside\n"
                                     "entry a\nentry b \"\"\n"
                                     "sync never"),
                               &error),
                     E_OK);
    assert_string_equal(s->name, "first  second");
    assert_int_equal(s->count, 42);
    assert_int_equal(s->colour, SAMPLE_RED);
    assert_string_equal(s->path, "/a path/with # inside");
    assert_int_equal(s->entry_count, 2);
    assert_int_equal(s->sync, UINT64_MAX);
    assert_int_equal(read_text(s,
                               BYTES("\xEF\xBB\xBF"
                                     "count 43\r\n"),
                               &error),
                     E_OK);
    assert_int_equal(s->count, 43);
    assert_int_equal(read_text(s, BYTES("\xEF\xBB\xBF"), &error), E_OK);
    assert_int_equal(read_text(s, BYTES(""), &error), E_OK);
    assert_int_equal(read_text(s, (struct bytes){NULL, 0}, &error), E_OK);
    free_sample(s);
}

static void test_errors_name_file_and_line(void **state)
{
    (void)state;
    assert_refused(BYTES("colour pink"), "sample.conf:1: option colour: \"pink\" is not red, green or blue");
    assert_refused(BYTES("\n# c\n\nbogus 1\n"), "sample.conf:4: unknown option bogus");
    assert_refused(BYTES("count 1\r\ncount\r\n"), "sample.conf:2: option count: a value is missing");
    assert_refused(BYTES("count 1\ncount 1\n"), "sample.conf:2: option count: it is set more than once");
    assert_refused(BYTES("pair 1 1\npair 1 1\n"), "sample.conf:2: option pair: it is set more than once");
    assert_refused(BYTES("name a\0b\n"), "sample.conf:1: a NUL byte");
    assert_refused(BYTES("name a\x01\n"), "sample.conf:1: option name: a control character in the value");
    assert_refused(BYTES("count=1\n"),
                   "sample.conf:1: unknown option count=1: name and value stand without '=': count VALUE");
    assert_refused(BYTES("entry\n"), "sample.conf:1: option entry: a value is missing");
}

static void test_long_lines(void **state)
{
    (void)state;
    struct sample *s = new_sample();
    struct option_error error;
    char line[4200];
    memset(line, 'x', sizeof(line));
    memcpy(line, "name ", 5);
    assert_int_equal(read_text(s, bytes_make(line, 4096), &error), E_OK);
    assert_int_equal(strlen(s->name), 4091);
    line[0] = '#';
    assert_int_equal(read_text(s, bytes_make(line, 4097), &error), E_INVALID);
    assert_string_equal(error.text, "sample.conf:1: the line is longer than 4096 bytes");
    memset(line, 'n', sizeof(line));
    assert_int_equal(read_text(s, bytes_make(line, 4000), &error), E_INVALID);
    assert_non_null(strstr(error.text, "sample.conf:1: unknown option nnnn"));
    free_sample(s);
}

static void test_long_path(void **state)
{
    (void)state;
    struct sample *s = new_sample();
    struct option_error error;
    char path[1000];
    memset(path, 'p', sizeof(path));
    memcpy(path + sizeof(path) - 6, ".conf", 6);
    assert_int_equal(options_read(&sample_table, s, BYTES("colour pink"), path, &error), E_INVALID);
    assert_non_null(strstr(error.text, "ppp.conf:1: option colour: \"pink\" is not red, green or blue"));
    free_sample(s);
}

/* What was read before a mistake stays; the caller throws the whole configuration away. */
static void test_file_over_defaults_and_again(void **state)
{
    (void)state;
    struct sample *s = new_sample();
    struct option_error error;
    assert_int_equal(read_text(s, BYTES("count 5\n"), &error), E_OK);
    assert_int_equal(read_text(s, BYTES("count 6\n"), &error), E_OK);
    assert_int_equal(s->count, 6);
    assert_int_equal(options_set(&sample_table, s, NULL, "count", BYTES("7"), &error), E_OK);
    assert_int_equal(s->count, 7);
    free_sample(s);
}

/* Parse, print, parse: the same text and the same values. */
static void test_parse_print_compare(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "name \"quoted\"\n",
        "path /dev/null\ncode a b\nenabled 0\nquiet true\n",
        "any 0\nsize 1048576\ninterval 90000ms\nsync always\n",
        "size 1099511627776\ninterval 86400\nsync 60\ncolour blue\n",
        "server ::1\npeer [::1]\n",
        "server host\npeer host\n",
        "entry \"\"\"\nentry \"a\nentry \"b c\" \"d e\"\nentry #/x \"\"\npair 0 0\n",
        "name \xff\xfe not UTF-8\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sample *a = new_sample();
        struct sample *b = new_sample();
        struct buffer first;
        struct buffer second;
        struct option_error error;
        buffer_init(&first, 10000);
        buffer_init(&second, 10000);
        assert_int_equal(read_text(a, bytes_str(texts[i]), &error), E_OK);
        assert_int_equal(options_print(&sample_table, a, &first), E_OK);
        assert_int_equal(read_text(b, buffer_bytes(&first), &error), E_OK);
        assert_int_equal(options_print(&sample_table, b, &second), E_OK);
        assert_true(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
        assert_int_equal(a->size, b->size);
        assert_int_equal(a->interval, b->interval);
        assert_int_equal(a->sync, b->sync);
        assert_int_equal(a->any, b->any);
        assert_int_equal(a->entry_count, b->entry_count);
        buffer_finish(&first);
        buffer_finish(&second);
        free_sample(a);
        free_sample(b);
    }
}

static void write_file(const char *path, const char *text, size_t size)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void test_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_option_XXXXXX";
    assert_non_null(mkdtemp(dir));
    char path[64];
    char expected[200];
    snprintf(path, sizeof(path), "%s/a.conf", dir);
    struct sample *s = new_sample();
    struct option_error error;

    assert_int_equal(options_read_file(&sample_table, s, path, &error), E_NOT_FOUND);
    snprintf(expected, sizeof(expected), "%s: cannot open it: No such file or directory", path);
    assert_string_equal(error.text, expected);

    write_file(path, "count 9\nbogus x\n", 16);
    assert_int_equal(options_read_file(&sample_table, s, path, &error), E_INVALID);
    snprintf(expected, sizeof(expected), "%s:2: unknown option bogus", path);
    assert_string_equal(error.text, expected);

    write_file(path, "count 9\n", 8);
    assert_int_equal(options_read_file(&sample_table, s, path, &error), E_OK);
    assert_int_equal(s->count, 9);

    assert_int_equal(options_read_file(&sample_table, s, dir, &error), E_IO);
    assert_non_null(strstr(error.text, "cannot read it: Is a directory"));

    size_t size = (1u << 20) + 1;
    char *large = malloc(size);
    assert_non_null(large);
    memset(large, '\n', size);
    write_file(path, large, size);
    assert_int_equal(options_read_file(&sample_table, s, path, &error), E_TOO_LARGE);
    snprintf(expected, sizeof(expected), "%s: the file is larger than 1 MiB", path);
    assert_string_equal(error.text, expected);
    write_file(path, large, size - 1);
    assert_int_equal(options_read_file(&sample_table, s, path, &error), E_OK);
    free(large);

    unlink(path);
    rmdir(dir);
    free_sample(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_errors_name_file_and_line),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_long_path),
        cmocka_unit_test(test_file_over_defaults_and_again),
        cmocka_unit_test(test_parse_print_compare),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
