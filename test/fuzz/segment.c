/* Any bytes as a segment file: the header, scanning, walking over damage; what is read as a record is exactly what its bytes
 * say. */
#include "plugin/little_endian.h"
#include "plugin/record_codec.h"
#include "plugin/segment_scan.h"

#include "base/crc32c.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* Encoding a record again gives the bytes that it was read from. */
static void check_record(const struct record *r, const uint8_t *raw)
{
    size_t length;
    check(record_length(r, &length) == E_OK);
    uint8_t *again = calloc(1, record_room(length));
    check(again != NULL);
    record_encode(r, length, again);
    record_commit(again, length);
    check(memcmp(again, raw, length) == 0);
    free(again);
}

static void walk_all(struct bytes image, uint64_t first, struct segment_scan *seen)
{
    struct segment_walk w = segment_walk_start(image, first);
    enum segment_step step;
    do {
        struct record r;
        struct segment_walk before = w;
        step = segment_walk(&w, &r);
        check(w.offset >= before.offset && w.expected >= before.expected);
        if (step == SEGMENT_RECORD) {
            check(r.sequence == before.expected && w.expected == r.sequence + 1);
            check_record(&r, image.data + before.offset);
            seen->records++;
            seen->last_sequence = r.sequence;
        }
    } while (step == SEGMENT_RECORD || step == SEGMENT_GAP);
}

static void read_segment(struct bytes image)
{
    struct segment_header h = {.first_sequence = 1};
    (void)!segment_header_decode(image, &h);
    struct segment_scan seen = {.last_sequence = h.first_sequence - 1};
    struct segment_scan scan = {.from = {1, h.first_sequence + 1, UINT64_MAX}};
    segment_scan(image, h.first_sequence, h.marks[SEGMENT_INCOMPLETE], &scan);
    walk_all(image, h.first_sequence, &seen);
    check(scan.records == seen.records && scan.last_sequence == seen.last_sequence);
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        check(scan.count[k] <= scan.records && scan.before[k] <= scan.count[k]);
        check(scan.missing_from[k] <= scan.missing);
    }
    struct segment_walk w = segment_walk_start(image, h.first_sequence);
    segment_walk_skip(&w, 2, h.first_sequence + 3);
    check(w.offset <= image.len + RECORD_ALIGN || w.offset == SEGMENT_HEADER_SIZE);
}

/* Makes checksums and sequences right, so that what is inside is looked at, too. */
static void repair(uint8_t *data, size_t size)
{
    if (size < SEGMENT_HEADER_SIZE) {
        return;
    }
    static const uint8_t unmarked[4];
    uint8_t *marks = data + SEGMENT_HEADER_SIZE - 8;
    for (unsigned i = 0; i < sizeof(unmarked); i++) {
        marks[i] = i < SEGMENT_MARKS && marks[i] % 2 ? SEGMENT_MARKED : 0;
    }
    uint32_t crc = crc32c(crc32c(0, bytes_make(data, SEGMENT_HEADER_SIZE - 8)), bytes_make(unmarked, sizeof(unmarked)));
    put_le32(data + SEGMENT_HEADER_SIZE - 4, crc);
    struct segment_header h = {.first_sequence = 1};
    (void)!segment_header_decode(bytes_make(data, size), &h);
    uint64_t sequence = h.first_sequence;
    struct record_head head;
    for (size_t at = SEGMENT_HEADER_SIZE; at < size && record_peek(bytes_make(data + at, size - at), &head);
         at += record_room(head.length)) {
        put_le64(data + at + 8, sequence++);
        put_le32(data + at + 4, crc32c((uint32_t)head.length, bytes_make(data + at + 8, head.length - 8)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) {
        return 0;
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    read_segment(bytes_make(copy, size));
    repair(copy, size);
    read_segment(bytes_make(copy, size));
    free(copy);
    return 0;
}
