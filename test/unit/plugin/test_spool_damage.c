/* Fault injection: bits, truncations, missing and foreign files. Never a crash, never a wrong record, and the accounts are right. */
#include "unit.h"

#include "base/crc32c.h"
#include "base/log.h"
#include "plugin/little_endian.h"
#include "plugin/spool_internal.h"
#include "spool_fixture.h"

#include <stdlib.h>
#include <unistd.h>

#define SQLITE SINK_BIT(SINK_SQLITE)
#define IOTCORE SINK_BIT(SINK_IOTCORE)

/* A spool of two full segments and a third with some records: 20,000 B each, three to a segment. */
#define RECORDS 8u
#define RECORD_SIZE 20000u
#define SEGMENTS 3u
#define IN_LAST 2u

struct image {
    struct fixture f;
    char segment[SEGMENTS][FIXTURE_PATH_SIZE];
    char cursor[FIXTURE_PATH_SIZE];
    uint8_t *bytes[SEGMENTS];
    size_t size;
    uint8_t *cursor_bytes;
    size_t cursor_size;
};

/* Lines "spool.gone" since it was set to 0. */
static unsigned told_gone;

static void on_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    told_gone += strncmp(line, "spool.gone:", 11) == 0;
}

/* No line is suppressed. */
static struct mono log_clock(void)
{
    static struct mono now;
    return now = mono_add_ms(now, 2 * LOG_WINDOW_MS);
}

static int set_up(void **state)
{
    struct image *im = calloc(1, sizeof(*im));
    struct fixture *f = &im->f;
    fixture_init(f);
    fixture_open(f);
    for (uint64_t n = 0; n < RECORDS; n++) {
        assert_int_equal(fixture_append(f, n, RECORD_SIZE, SQLITE), E_OK);
    }
    fixture_close(f);
    assert_int_equal(fixture_count_files(f, ".seg"), SEGMENTS);
    for (unsigned i = 0; i < SEGMENTS; i++) {
        fixture_find(f, ".seg", i, im->segment[i]);
        im->bytes[i] = fixture_read(im->segment[i], &im->size);
    }
    fixture_find(f, "cursor-sqlite", 0, im->cursor);
    im->cursor_bytes = fixture_read(im->cursor, &im->cursor_size);
    *state = im;
    return 0;
}

static int tear_down(void **state)
{
    struct image *im = *state;
    fixture_finish(&im->f);
    for (unsigned i = 0; i < SEGMENTS; i++) {
        free(im->bytes[i]);
    }
    free(im->cursor_bytes);
    free(im);
    return 0;
}

/* The folder as it was before the fault. */
static void restore(struct image *im)
{
    char path[FIXTURE_PATH_SIZE];
    while (fixture_count_files(&im->f, "") > 0) {
        fixture_find(&im->f, "", 0, path);
        assert_int_equal(unlink(path), 0);
    }
    for (unsigned i = 0; i < SEGMENTS; i++) {
        fixture_write(im->segment[i], im->bytes[i], im->size);
    }
    fixture_write(im->cursor, im->cursor_bytes, im->cursor_size);
}

struct outcome {
    size_t read;
    uint64_t numbers[RECORDS + 2];
    uint64_t dropped, torn, damaged;
    size_t set_aside;
};

/* Opens, appends one more record, reads everything; checks what must hold after any fault; opens again, which must find nothing
 * wrong any more. */
static struct outcome survive(struct image *im)
{
    struct fixture *f = &im->f;
    struct outcome o = {0};
    fixture_open(f);
    const struct spool_stats *stats = spool_stats(f->spool);
    uint64_t lag = cursor_lag(spool_cursor(f->spool, SINK_SQLITE));
    o.torn = metric_get(&stats->torn);
    o.damaged = metric_get(&stats->damaged);
    o.dropped = cursor_dropped(spool_cursor(f->spool, SINK_SQLITE));
    assert_int_equal(metric_get(&stats->dropped), o.dropped);
    assert_int_equal(fixture_append(f, RECORDS, 100, SQLITE), E_OK);
    fixture_close(f);
    o.set_aside = fixture_count_files(f, ".damaged");

    fixture_open(f);
    stats = spool_stats(f->spool);
    assert_int_equal(metric_get(&stats->torn) + metric_get(&stats->damaged), 0);
    assert_int_equal(metric_get(&stats->dropped), 0);
    assert_int_equal(cursor_lag(spool_cursor(f->spool, SINK_SQLITE)), lag + 1);
    o.read = fixture_drain(f, SINK_SQLITE, RECORDS + 2, o.numbers);
    assert_int_equal(o.read, lag + 1);
    assert_int_equal(cursor_lag(spool_cursor(f->spool, SINK_SQLITE)), 0);
    for (size_t i = 1; i < o.read; i++) {
        assert_true(o.numbers[i] > o.numbers[i - 1]);
    }
    assert_int_equal(o.numbers[o.read - 1], RECORDS);
    o.read--;
    fixture_close(f);
    return o;
}

/* Bytes worth flipping: all of the header and of each record's beginning and end, some of the rest. */
static bool interesting(size_t offset)
{
    if (offset < SEGMENT_HEADER_SIZE + 64) {
        return true;
    }
    size_t room = (RECORD_SIZE + 64) & ~(size_t)63;
    size_t in_record = (offset - SEGMENT_HEADER_SIZE) % room;
    return offset % 1009 == 0 || (in_record < 96 && offset % 3 == 0);
}

static void flip_bits(struct image *im, unsigned segment)
{
    for (size_t offset = 0; offset < im->size; offset++) {
        if (interesting(offset)) {
            unsigned bit = (unsigned)(offset * 5 % 8);
            uint8_t byte = im->bytes[segment][offset] ^ (uint8_t)(1u << bit);
            bool last = segment == SEGMENTS - 1;
            restore(im);
            fixture_poke(im->segment[segment], (long)offset, &byte, 1);
            struct outcome o = survive(im);
            /* One record at most is gone. If it was the last of all, it looks like a torn tail. */
            assert_true(o.read >= RECORDS - 1);
            assert_true(o.dropped + o.read == RECORDS || (last && o.torn == 1 && o.damaged == 0));
            assert_int_equal(o.set_aside, o.damaged);
            assert_true(o.damaged + o.torn <= 1);
            assert_true(o.damaged == 1 || o.read == RECORDS || o.torn == 1);
            assert_true(offset >= SEGMENT_HEADER_SIZE || (o.damaged == 1 && o.read == RECORDS));
        }
    }
}

static void bits_of_the_first_segment(void **state)
{
    flip_bits(*state, 0);
}

static void bits_of_the_last_segment(void **state)
{
    flip_bits(*state, SEGMENTS - 1);
}

/* A file cut at any place: what is whole is read, what is missing is counted. */
static void truncate_at(struct image *im, unsigned segment, size_t size, size_t whole)
{
    bool last = segment == SEGMENTS - 1;
    restore(im);
    assert_int_equal(truncate(im->segment[segment], (off_t)size), 0);
    struct outcome o = survive(im);
    assert_int_equal(o.read, RECORDS - (last ? IN_LAST : 3) + whole);
    assert_true(last || o.read + o.dropped == RECORDS);
}

static void truncations(void **state)
{
    struct image *im = *state;
    for (unsigned segment = 0; segment < SEGMENTS; segment += SEGMENTS - 1) {
        size_t offset = SEGMENT_HEADER_SIZE;
        size_t in_segment = segment == SEGMENTS - 1 ? IN_LAST : 3;
        for (size_t size = 0; size <= SEGMENT_HEADER_SIZE; size += 8) {
            truncate_at(im, segment, size, 0);
        }
        for (size_t whole = 0; whole < in_segment; whole++) {
            size_t length = get_le32(im->bytes[segment] + offset);
            for (size_t cut = 0; cut < 80; cut += 3) {
                truncate_at(im, segment, offset + cut, whole);
            }
            truncate_at(im, segment, offset + length / 2, whole);
            truncate_at(im, segment, offset + length - 1, whole);
            truncate_at(im, segment, offset + length, whole + 1);
            offset += (length + 7) & ~(size_t)7;
        }
    }
}

/* A tail that the appender had begun: everything but the length, cut after any number of bytes. */
static void unfinished_record(void **state)
{
    struct image *im = *state;
    uint8_t *last = im->bytes[SEGMENTS - 1];
    size_t begin = SEGMENT_HEADER_SIZE + ((get_le32(last + SEGMENT_HEADER_SIZE) + 7u) & ~(size_t)7);
    size_t length = get_le32(last + begin);
    for (size_t done = 1; done < length - 4; done += done < 100 ? 1 : 997) {
        uint8_t *copy = malloc(im->size);
        memcpy(copy, last, im->size);
        memset(copy + begin, 0, 4);
        memset(copy + begin + 4 + done, 0, im->size - begin - 4 - done);
        restore(im);
        fixture_write(im->segment[SEGMENTS - 1], copy, im->size);
        struct outcome o = survive(im);
        assert_int_equal(o.read, RECORDS - 1);
        assert_int_equal(o.damaged, 0);
        assert_int_equal(o.dropped, 0);
        free(copy);
    }
}

/* Pages that a power cut has lost in the middle: what is behind them is read. */
static void lost_pages(void **state)
{
    struct image *im = *state;
    static const uint8_t zeros[4096];
    for (unsigned segment = 0; segment < SEGMENTS; segment++) {
        for (size_t offset = 0; offset < 60000; offset += 4096) {
            restore(im);
            fixture_poke(im->segment[segment], (long)offset, zeros, sizeof(zeros));
            struct outcome o = survive(im);
            assert_true(o.read >= RECORDS - 2);
            assert_true(o.read + o.dropped == RECORDS || (segment == SEGMENTS - 1 && o.torn == 1));
        }
    }
}

static void rubbish_behind_the_end(void **state)
{
    struct image *im = *state;
    for (unsigned segment = 0; segment < SEGMENTS; segment++) {
        restore(im);
        fixture_poke(im->segment[segment], (long)im->size - 100, "rubbish", 7);
        struct outcome o = survive(im);
        assert_int_equal(o.read, RECORDS);
        assert_int_equal(o.dropped, 0);
        assert_int_equal(segment == SEGMENTS - 1 ? o.torn : o.damaged, 1);
    }
}

static void missing_segment(void **state)
{
    struct image *im = *state;
    restore(im);
    unlink(im->segment[1]);
    struct outcome o = survive(im);
    assert_int_equal(o.read, RECORDS - 3);
    assert_int_equal(o.dropped, 3);
    assert_int_equal(o.set_aside, 0);
}

static void nothing_left_but_the_cursor(void **state)
{
    struct image *im = *state;
    restore(im);
    for (unsigned i = 0; i < SEGMENTS; i++) {
        unlink(im->segment[i]);
    }
    told_gone = 0;
    struct outcome o = survive(im);
    assert_int_equal(o.read, 0);
    assert_int_equal(told_gone, 1);
}

/* What is gone from the ends of the spool is told once, and never what the spool has removed itself. */
static void segments_gone_from_the_ends(void **state)
{
    struct image *im = *state;
    struct fixture *f = &im->f;
    restore(im);
    told_gone = 0;
    assert_int_equal(survive(im).read, RECORDS);
    assert_int_equal(told_gone, 0);

    restore(im);
    unlink(im->segment[2]);
    assert_int_equal(survive(im).read, RECORDS - IN_LAST);
    assert_int_equal(told_gone, 1);

    restore(im);
    unlink(im->segment[0]);
    struct outcome o = survive(im);
    assert_int_equal(o.read, RECORDS - 3);
    assert_int_equal(o.dropped, 3);
    assert_int_equal(told_gone, 2);

    restore(im);
    fixture_open(f);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, 6, NULL), 6);
    fixture_close(f);
    assert_int_equal(fixture_count_files(f, ".seg"), 1);
    fixture_open(f);
    fixture_crash(f);
    fixture_open(f);
    assert_int_equal(told_gone, 2);
}

/* The newest segment without its contents, or without the end of them. */
static void newest_segment_emptied(void **state)
{
    struct image *im = *state;
    restore(im);
    told_gone = 0;
    fixture_write(im->segment[2], "", 0);
    assert_int_equal(survive(im).read, RECORDS - IN_LAST);
    assert_int_equal(told_gone, 1);

    restore(im);
    assert_int_equal(truncate(im->segment[2], SEGMENT_HEADER_SIZE), 0);
    assert_int_equal(survive(im).read, RECORDS - IN_LAST);
    assert_int_equal(told_gone, 2);
}

static void whole_segment_of_rubbish(void **state)
{
    struct image *im = *state;
    uint8_t *rubbish = malloc(im->size);
    for (size_t i = 0; i < im->size; i++) {
        rubbish[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    for (unsigned segment = 0; segment < SEGMENTS; segment++) {
        restore(im);
        fixture_write(im->segment[segment], rubbish, im->size);
        struct outcome o = survive(im);
        assert_int_equal(o.read, RECORDS - (segment == SEGMENTS - 1 ? IN_LAST : 3));
        assert_int_equal(o.damaged, 1);
        assert_true(segment == SEGMENTS - 1 || o.dropped == 3);
    }
    free(rubbish);
}

/* A crash between any two steps of replacing a damaged segment. */
static void interrupted_salvage(void **state)
{
    struct image *im = *state;
    char salvaged[FIXTURE_PATH_SIZE + 16];
    uint8_t byte = (uint8_t)~im->bytes[0][SEGMENT_HEADER_SIZE + 40];
    restore(im);
    fixture_poke(im->segment[0], SEGMENT_HEADER_SIZE + 40, &byte, 1);
    fixture_open(&im->f); /* makes the salvaged segment */
    fixture_close(&im->f);
    size_t size;
    uint8_t *whole = fixture_read(im->segment[0], &size);
    snprintf(salvaged, sizeof(salvaged), "%s.salvaged", im->segment[0]);
    /* Both are there: done again. */
    restore(im);
    fixture_poke(im->segment[0], SEGMENT_HEADER_SIZE + 40, &byte, 1);
    fixture_write(salvaged, whole, size);
    struct outcome o = survive(im);
    assert_int_equal(o.read, RECORDS - 1);
    assert_int_equal(o.dropped, 1);
    assert_int_equal(o.damaged, 1);
    /* The damaged one is set aside already. */
    restore(im);
    unlink(im->segment[0]);
    fixture_write(salvaged, whole, size);
    o = survive(im);
    assert_int_equal(o.read, RECORDS - 1);
    assert_int_equal(o.damaged, 0);
    free(whole);
}

/* --- cursors --- */

static void damaged_cursor(void **state)
{
    struct image *im = *state;
    struct fixture *f = &im->f;
    restore(im);
    fixture_open(f);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, 5, NULL), 5);
    fixture_close(f);
    size_t size;
    uint8_t *good = fixture_read(im->cursor, &size);
    const uint64_t all = RECORDS - 3; /* the first segment was passed */
    /* Any one byte: the other slot or, if it is not in use, nothing: never beyond what was confirmed. */
    for (size_t offset = 0; offset < size; offset += offset % 4096 < 64 ? 1 : 503) {
        uint8_t byte = (uint8_t)~good[offset];
        fixture_write(im->cursor, good, size);
        fixture_poke(im->cursor, (long)offset, &byte, 1);
        fixture_open(f);
        uint64_t lag = cursor_lag(spool_cursor(f->spool, SINK_SQLITE));
        assert_true(lag == RECORDS - 5 || lag == all);
        fixture_crash(f);
        fixture_find(f, "cursor-sqlite", 0, im->cursor);
    }
    static const char *const contents[] = {"", "garbage"};
    for (unsigned i = 0; i < 2; i++) {
        fixture_write(im->cursor, contents[i], strlen(contents[i]));
        fixture_open(f);
        assert_int_equal(cursor_lag(spool_cursor(f->spool, SINK_SQLITE)), all);
        fixture_crash(f);
        fixture_find(f, "cursor-sqlite", 0, im->cursor);
    }
    free(good);
}

static void deleted_cursor(void **state)
{
    struct image *im = *state;
    restore(im);
    unlink(im->cursor);
    struct outcome o = survive(im);
    assert_int_equal(o.read, RECORDS);
}

/* The log lost its end in a power cut, the cursor did not: no sequence is given out twice. */
static void cursor_ahead_of_the_log(void **state)
{
    struct image *im = *state;
    struct fixture *f = &im->f;
    restore(im);
    fixture_open(f);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, RECORDS, NULL), RECORDS);
    fixture_crash(f);
    fixture_open(f);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, RECORDS, NULL), RECORDS);
    fixture_close(f); /* the cursor stands at RECORDS + 1 */
    char path[FIXTURE_PATH_SIZE];
    fixture_find(f, ".seg", fixture_count_files(f, ".seg") - 1, path);
    static const uint8_t zeros[SPOOL_SEGMENT_MIN - SEGMENT_HEADER_SIZE];
    fixture_poke(path, SEGMENT_HEADER_SIZE, zeros, sizeof(zeros));
    for (unsigned i = 0; i < 2; i++) {
        struct record r;
        fixture_open(f);
        assert_int_equal(fixture_append(f, RECORDS + i, 100, SQLITE), E_OK);
        assert_int_equal(cursor_next(spool_cursor(f->spool, SINK_SQLITE), &r), E_OK);
        assert_int_equal(r.sequence, RECORDS + 1 + i);
        assert_int_equal(fixture_number(&r), RECORDS + i);
        cursor_confirm(spool_cursor(f->spool, SINK_SQLITE), r.sequence);
        assert_int_equal(metric_get(&spool_stats(f->spool)->damaged), 0);
        assert_int_equal(metric_get(&spool_stats(f->spool)->dropped), 0);
        fixture_close(f);
    }
}

/* --- versions and files of others --- */

static void expect_version_error(struct image *im, const char *file)
{
    struct spool *s;
    struct spool_error error;
    size_t count = fixture_count_files(&im->f, "");
    assert_int_equal(spool_open(&im->f.options, &s, &error), E_VERSION);
    assert_non_null(strstr(error.text, "version"));
    assert_non_null(strstr(error.text, strrchr(file, '/') + 1));
    assert_int_equal(fixture_count_files(&im->f, ""), count);
}

static void other_version(void **state)
{
    struct image *im = *state;
    size_t size;
    for (unsigned i = 0; i < SEGMENTS; i++) {
        restore(im);
        fixture_open(&im->f);
        fixture_close(&im->f); /* the lock file is there */
        uint8_t *data = fixture_read(im->segment[i], &size);
        put_le32(data + 8, 2);
        put_le32(data + 124, crc32c(crc32c(0, bytes_make(data, 120)), bytes_make((uint8_t[4]){0}, 4)));
        fixture_write(im->segment[i], data, size);
        expect_version_error(im, im->segment[i]);
        free(data);
    }
    restore(im);
    fixture_open(&im->f);
    fixture_close(&im->f);
    uint8_t *data = fixture_read(im->cursor, &size);
    for (unsigned slot = 0; slot < 2; slot++) {
        put_le32(data + slot * 4096 + 8, 9);
        put_le32(data + slot * 4096 + 60, crc32c(0, bytes_make(data + slot * 4096, 60)));
    }
    fixture_write(im->cursor, data, size);
    expect_version_error(im, im->cursor);
    free(data);
}

static void files_of_others(void **state)
{
    struct image *im = *state;
    static const char *const names[] = {"README", "99999999999999999999.seg", "00000000000000000000.seg", "1.seg",
                                        "00000000000000000009.seg.bak"};
    char path[FIXTURE_PATH_SIZE + 32];
    restore(im);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(path, sizeof(path), "%s/%s", im->f.dir, names[i]);
        fixture_write(path, "mine", 4);
    }
    snprintf(path, sizeof(path), "%s/left-behind.tmp", im->f.dir);
    fixture_write(path, "x", 1);
    struct outcome o = survive(im);
    assert_int_equal(o.read, RECORDS);
    assert_int_equal(o.damaged, 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(fixture_count_files(&im->f, names[i]), 1);
    }
    assert_int_equal(fixture_count_files(&im->f, ".tmp"), 0);
}

static void damaged_files_are_limited(void **state)
{
    struct image *im = *state;
    for (unsigned i = 0; i < 2 * SPOOL_DAMAGED_MAX; i++) {
        for (unsigned k = 0; k < SEGMENTS; k++) {
            fixture_write(im->segment[k], im->bytes[k], im->size);
        }
        fixture_poke(im->segment[i % 2], SEGMENT_HEADER_SIZE + 40, "?", 1);
        fixture_open(&im->f);
        fixture_crash(&im->f);
        for (unsigned k = 0; k < SEGMENTS; k++) {
            fixture_find(&im->f, ".seg", 0, im->segment[k]);
            char name[SEGMENT_NAME_SIZE];
            segment_name(3 * k + 1, name);
            snprintf(im->segment[k], FIXTURE_PATH_SIZE, "%.200s/%s", im->f.dir, name);
        }
    }
    assert_int_equal(fixture_count_files(&im->f, ".damaged"), SPOOL_DAMAGED_MAX);
}

/* --- damage that is met while reading --- */

static void damage_while_open(void **state)
{
    struct image *im = *state;
    struct fixture *f = &im->f;
    uint64_t numbers[RECORDS];
    f->options.sinks = SQLITE | IOTCORE;
    restore(im);
    fixture_open(f);
    uint8_t byte = (uint8_t)~im->bytes[0][SEGMENT_HEADER_SIZE + 40];
    size_t second = SEGMENT_HEADER_SIZE + ((get_le32(im->bytes[0] + SEGMENT_HEADER_SIZE) + 7u) & ~(size_t)7);
    fixture_poke(im->segment[0], (long)second + 2000, &byte, 1);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, RECORDS, numbers), RECORDS - 1);
    assert_int_equal(numbers[0], 0);
    assert_int_equal(numbers[1], 2);
    assert_int_equal(cursor_dropped(spool_cursor(f->spool, SINK_SQLITE)), 1);
    assert_int_equal(cursor_lag(spool_cursor(f->spool, SINK_SQLITE)), 0);
    assert_int_equal(metric_get(&spool_stats(f->spool)->damaged), 1);
    assert_int_equal(metric_get(&spool_stats(f->spool)->dropped), 1);
    fixture_close(f);
    /* Passed by all: set aside instead of deleted. */
    assert_int_equal(fixture_count_files(f, ".damaged"), 1);
}

/* A wrong length leads the fast way over other sinks' records astray: it is noticed, and the good ones are found again. */
static void wrong_length_among_records_of_others(void **state)
{
    struct image *im = *state;
    struct fixture *f = &im->f;
    restore(im);
    f->options.sinks = SQLITE | IOTCORE;
    fixture_open(f);
    for (uint64_t n = 0; n < 300; n++) {
        assert_int_equal(fixture_append(f, n, 100, (uint8_t)(n < 200 ? SQLITE : SQLITE | IOTCORE)), E_OK);
    }
    char path[FIXTURE_PATH_SIZE];
    fixture_find(f, ".seg", fixture_count_files(f, ".seg") - 1, path);
    size_t size;
    uint8_t *data = fixture_read(path, &size);
    size_t offset = SEGMENT_HEADER_SIZE;
    while (get_le64(data + offset + 8) < RECORDS + 60) {
        offset += (get_le32(data + offset) + 7u) & ~(size_t)7;
    }
    uint32_t length = get_le32(data + offset) + 1600;
    uint8_t wrong[4];
    put_le32(wrong, length);
    fixture_poke(path, (long)offset, wrong, 4);
    free(data);
    assert_int_equal(fixture_drain(f, SINK_IOTCORE, 400, NULL), 100);
    assert_int_equal(cursor_dropped(spool_cursor(f->spool, SINK_IOTCORE)), 0);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, 400, NULL), RECORDS + 299);
}

static void file_deleted_while_open(void **state)
{
    struct image *im = *state;
    struct fixture *f = &im->f;
    restore(im);
    fixture_open(f);
    unlink(im->segment[1]);
    assert_int_equal(fixture_drain(f, SINK_SQLITE, RECORDS, NULL), RECORDS - 3);
    assert_int_equal(cursor_dropped(spool_cursor(f->spool, SINK_SQLITE)), 3);
    assert_int_equal(cursor_lag(spool_cursor(f->spool, SINK_SQLITE)), 0);
}

/* Somebody cuts the file that is being read: no SIGBUS, the rest is lost and counted. */
static void file_cut_while_open(void **state)
{
    struct image *im = *state;
    struct fixture *f = &im->f;
    struct record r;
    restore(im);
    fixture_open(f);
    struct cursor *c = spool_cursor(f->spool, SINK_SQLITE);
    assert_int_equal(cursor_next(c, &r), E_OK);
    assert_int_equal(truncate(im->segment[0], 8192), 0);
    assert_true(fixture_drain(f, SINK_SQLITE, RECORDS, NULL) >= RECORDS - 3);
    assert_int_equal(cursor_lag(c), 1);
    cursor_confirm(c, r.sequence);
    assert_int_equal(cursor_lag(c), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(bits_of_the_first_segment),
        TEST(bits_of_the_last_segment),
        TEST(truncations),
        TEST(unfinished_record),
        TEST(lost_pages),
        TEST(rubbish_behind_the_end),
        TEST(missing_segment),
        TEST(nothing_left_but_the_cursor),
        TEST(segments_gone_from_the_ends),
        TEST(newest_segment_emptied),
        TEST(whole_segment_of_rubbish),
        TEST(interrupted_salvage),
        TEST(damaged_cursor),
        TEST(deleted_cursor),
        TEST(cursor_ahead_of_the_log),
        TEST(other_version),
        TEST(files_of_others),
        TEST(damaged_files_are_limited),
        TEST(damage_while_open),
        TEST(wrong_length_among_records_of_others),
        TEST(file_deleted_while_open),
        TEST(file_cut_while_open),
    };
    log_init(on_line, NULL, LOG_ERROR);
    log_set_clock(log_clock);
    if (access("/dev/shm", W_OK) == 0) {
        setenv("TMPDIR", "/dev/shm", 0); /* thousands of spools: not one fsync each */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
