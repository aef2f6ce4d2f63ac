/* plugin/segment_format.h, segment_scan.h: headers, walking over damage. */
#include "unit.h"

#include "plugin/record_codec.h"
#include "plugin/segment_scan.h"

#include <stdlib.h>

#define SIZE 8192u

/* A segment of records with 100-byte payloads and these sequences; 0 ends them. */
struct image {
    uint8_t *data;
    size_t begin[64]; /* of each record; behind the last, the tail */
    unsigned count;
};

static struct image build(uint64_t first, const uint64_t *sequences, const uint8_t *sinks)
{
    struct image im = {.data = calloc(1, SIZE)};
    struct segment_header h = {.size = SIZE, .first_sequence = first, .previous_sequence = first - 1};
    uint8_t payload[100];
    memset(payload, 'p', sizeof(payload));
    segment_header_encode(&h, im.data);
    size_t at = SEGMENT_HEADER_SIZE;
    for (; sequences[im.count] != 0; im.count++) {
        struct record r = {.sequence = sequences[im.count],
                           .sinks = sinks ? sinks[im.count] : 1,
                           .topic = BYTES("t"),
                           .payload = bytes_make(payload, sizeof(payload))};
        size_t length;
        assert_int_equal(record_length(&r, &length), E_OK);
        record_encode(&r, length, im.data + at);
        record_commit(im.data + at, length);
        im.begin[im.count] = at;
        at += record_room(length);
    }
    im.begin[im.count] = at;
    return im;
}

static struct bytes bytes_of(const struct image *im)
{
    return bytes_make(im->data, SIZE);
}

static void header_round_trip(void **state)
{
    (void)state;
    struct segment_header in = {.size = 1 << 24,
                                .first_sequence = 77,
                                .previous_sequence = 70,
                                .created_ms = -1,
                                .capture_high_ms = INT64_MIN,
                                .records_before = {1, 2, 3, 4, 5, 6, 7, UINT64_MAX},
                                .marks = {true, false, true}};
    struct segment_header out;
    uint8_t bytes[SEGMENT_HEADER_SIZE];
    segment_header_encode(&in, bytes);
    assert_int_equal(segment_header_decode(bytes_make(bytes, sizeof(bytes)), &out), E_OK);
    assert_memory_equal(&in.records_before, &out.records_before, sizeof(in.records_before));
    assert_true(in.size == out.size && in.first_sequence == out.first_sequence);
    assert_true(in.previous_sequence == out.previous_sequence && in.created_ms == out.created_ms);
    assert_true(in.capture_high_ms == out.capture_high_ms && out.marks[0] && !out.marks[1] && out.marks[2]);
    for (size_t n = 0; n < sizeof(bytes); n++) {
        assert_int_equal(segment_header_decode(bytes_make(bytes, n), &out), E_CORRUPT);
        bytes[n] ^= 1;
        assert_int_equal(segment_header_decode(bytes_make(bytes, sizeof(bytes)), &out), E_CORRUPT);
        bytes[n] ^= 1;
    }
}

static void sequences_of_a_header_make_sense(void **state)
{
    (void)state;
    struct segment_header h = {.first_sequence = 5, .previous_sequence = 5};
    uint8_t bytes[SEGMENT_HEADER_SIZE];
    segment_header_encode(&h, bytes);
    assert_int_equal(segment_header_decode(bytes_make(bytes, sizeof(bytes)), &h), E_CORRUPT);
    h = (struct segment_header){0};
    segment_header_encode(&h, bytes);
    assert_int_equal(segment_header_decode(bytes_make(bytes, sizeof(bytes)), &h), E_CORRUPT);
}

static void walk_to_the_end(void **state)
{
    (void)state;
    struct image im = build(5, (uint64_t[]){5, 6, 7, 0}, NULL);
    struct segment_walk w = segment_walk_start(bytes_of(&im), 5);
    struct record r;
    for (uint64_t n = 5; n < 8; n++) {
        assert_int_equal(segment_walk(&w, &r), SEGMENT_RECORD);
        assert_int_equal(r.sequence, n);
    }
    assert_int_equal(segment_walk(&w, &r), SEGMENT_END);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_END);
    assert_int_equal(w.offset, im.begin[3]);
    free(im.data);
}

static void gap_and_on(void **state)
{
    (void)state;
    struct image im = build(1, (uint64_t[]){1, 2, 3, 4, 0}, NULL);
    struct segment_walk w = segment_walk_start(bytes_of(&im), 1);
    struct record r;
    im.data[im.begin[1] + 60] ^= 1;
    im.data[im.begin[2]] ^= 0x40; /* the length */
    assert_int_equal(segment_walk(&w, &r), SEGMENT_RECORD);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_GAP);
    assert_int_equal(w.expected, 4);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_RECORD);
    assert_int_equal(r.sequence, 4);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_END);
    free(im.data);
}

static void tail(void **state)
{
    (void)state;
    struct image im = build(1, (uint64_t[]){1, 2, 0}, NULL);
    struct segment_walk w = segment_walk_start(bytes_of(&im), 1);
    struct record r;
    im.data[im.begin[1] + 60] ^= 1;
    assert_int_equal(segment_walk(&w, &r), SEGMENT_RECORD);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_TAIL);
    assert_int_equal(w.offset, im.begin[1]);
    free(im.data);
}

/* A sequence of the past or of a far future is not one of this place: stale bytes are never read as records. */
static void stale_records_are_not_read(void **state)
{
    (void)state;
    struct image im = build(10, (uint64_t[]){10, 3, 11, 0x200000000, 12, 0}, NULL);
    struct segment_walk w = segment_walk_start(bytes_of(&im), 10);
    struct record r;
    assert_int_equal(segment_walk(&w, &r), SEGMENT_RECORD);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_GAP);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_RECORD);
    assert_int_equal(r.sequence, 11);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_GAP);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_RECORD);
    assert_int_equal(r.sequence, 12);
    assert_int_equal(segment_walk(&w, &r), SEGMENT_END);
    free(im.data);
}

static void skip_what_is_for_others(void **state)
{
    (void)state;
    struct image im = build(1, (uint64_t[]){1, 2, 3, 4, 5, 0}, (uint8_t[]){2, 1, 2, 2, 1});
    struct segment_walk w = segment_walk_start(bytes_of(&im), 1);
    segment_walk_skip(&w, 1, 0);
    assert_int_equal(w.expected, 2);
    segment_walk_skip(&w, 1, 3);
    assert_int_equal(w.expected, 5);
    w = segment_walk_start(bytes_of(&im), 1);
    segment_walk_skip(&w, 4, 0);
    assert_int_equal(w.offset, im.begin[5]);
    w = segment_walk_start(bytes_of(&im), 1);
    im.data[im.begin[2] + 8] ^= 0x10; /* a sequence that does not fit */
    segment_walk_skip(&w, 4, 0);
    assert_int_equal(w.offset, im.begin[2]);
    free(im.data);
}

static void scan_counts(void **state)
{
    (void)state;
    struct image im = build(1, (uint64_t[]){1, 2, 3, 4, 5, 6, 0}, (uint8_t[]){1, 5, 4, 4, 5, 1});
    struct segment_scan s = {.from = {3, 1, UINT64_MAX}};
    segment_scan(bytes_of(&im), 1, false, &s);
    assert_int_equal(s.records, 6);
    assert_int_equal(s.count[0], 4);
    assert_int_equal(s.count[1], 0);
    assert_int_equal(s.count[2], 4);
    assert_int_equal(s.before[0], 2);
    assert_int_equal(s.before[2], 4);
    assert_int_equal(s.last_sequence, 6);
    assert_int_equal(s.tail, im.begin[6]);
    assert_true(!s.damaged && !s.tail_dirty && s.missing == 0);
    im.data[im.begin[1] + 60] ^= 1;
    im.data[im.begin[2] + 60] ^= 1;
    segment_scan(bytes_of(&im), 1, false, &s);
    assert_true(s.damaged && s.records == 4 && s.missing == 2);
    assert_int_equal(s.missing_from[0], 1);
    assert_int_equal(s.missing_from[1], 2);
    assert_int_equal(s.missing_from[2], 0);
    free(im.data);
}

static void known_gaps_are_no_news(void **state)
{
    (void)state;
    struct image im = build(1, (uint64_t[]){1, 4, 5, 0}, NULL);
    struct segment_scan s = {.from = {1, 1, 1}};
    segment_scan(bytes_of(&im), 1, true, &s);
    assert_true(!s.damaged && s.missing == 0 && s.records == 3);
    segment_scan(bytes_of(&im), 1, false, &s);
    assert_true(!s.damaged && s.missing == 2 && s.records == 3);
    free(im.data);
}

/* A payload that looks like records at every offset must not make looking for the next one quadratic. */
static void hostile_payload(void **state)
{
    (void)state;
    size_t size = 1u << 20;
    uint8_t *data = calloc(1, size);
    for (size_t at = SEGMENT_HEADER_SIZE; at + 64 < size; at += 16) {
        uint32_t length = (uint32_t)(size - at - 8);
        memcpy(data + at, &length, 4);
        data[at + 8] = 1;
    }
    struct segment_walk w = segment_walk_start(bytes_make(data, size), 1);
    struct record r;
    assert_int_equal(segment_walk(&w, &r), SEGMENT_TAIL);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_round_trip),
        cmocka_unit_test(sequences_of_a_header_make_sense),
        cmocka_unit_test(walk_to_the_end),
        cmocka_unit_test(gap_and_on),
        cmocka_unit_test(tail),
        cmocka_unit_test(stale_records_are_not_read),
        cmocka_unit_test(skip_what_is_for_others),
        cmocka_unit_test(scan_counts),
        cmocka_unit_test(known_gaps_are_no_news),
        cmocka_unit_test(hostile_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
