#include "plugin/segment_format.h"

#include "base/crc32c.h"
#include "plugin/little_endian.h"
#include "plugin/record_codec.h"

/* Offsets in the header of a segment. Magic, version and the CRC's place are the same in every format version. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_SIZE = 16,
    AT_FIRST = 24,
    AT_PREVIOUS = 32,
    AT_CREATED = 40,
    AT_CAPTURE_HIGH = 48,
    AT_RECORDS_BEFORE = 56,
    AT_MARKS = SEGMENT_HEADER_SIZE - 8, /* SEGMENT_MARKS bytes and one 0 */
    AT_CRC = SEGMENT_HEADER_SIZE - 4,
};

static const char magic[8] = {'M', 'Q', 'A', 'W', 'S', 'S', 'E', 'G'};

/* No segment holds that many records: a sequence further ahead is not one of ours. */
#define SEQUENCE_LEAP_MAX UINT64_C(0x100000000)

#define RESYNC_EFFORT 16u /* times the size of the image */

size_t segment_mark_offset(enum segment_mark mark)
{
    return AT_MARKS + (size_t)mark;
}

/* As if there were no marks. */
static uint32_t header_crc(struct bytes header)
{
    static const uint8_t unmarked[AT_CRC - AT_MARKS];
    return crc32c(crc32c(0, bytes_sub(header, 0, AT_MARKS)), bytes_make(unmarked, sizeof(unmarked)));
}

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_SIZE])
{
    memset(out, 0, SEGMENT_HEADER_SIZE);
    memcpy(out + AT_MAGIC, magic, sizeof(magic));
    put_le32(out + AT_VERSION, SEGMENT_VERSION);
    put_le64(out + AT_SIZE, h->size);
    put_le64(out + AT_FIRST, h->first_sequence);
    put_le64(out + AT_PREVIOUS, h->previous_sequence);
    put_le64(out + AT_CREATED, (uint64_t)h->created_ms);
    put_le64(out + AT_CAPTURE_HIGH, (uint64_t)h->capture_high_ms);
    for (unsigned i = 0; i < SEGMENT_SINKS; i++) {
        put_le64(out + AT_RECORDS_BEFORE + 8 * i, h->records_before[i]);
    }
    put_le32(out + AT_CRC, header_crc(bytes_make(out, SEGMENT_HEADER_SIZE)));
    for (unsigned i = 0; i < SEGMENT_MARKS; i++) {
        out[AT_MARKS + i] = h->marks[i] ? SEGMENT_MARKED : 0;
    }
}

/* False: there is something else than marks in their place. */
static bool decode_marks(const uint8_t *at, bool marks[SEGMENT_MARKS])
{
    bool sound = true;
    for (unsigned i = 0; i < AT_CRC - AT_MARKS; i++) {
        bool set = i < SEGMENT_MARKS && at[i] == SEGMENT_MARKED;
        sound = sound && (set || at[i] == 0);
        if (i < SEGMENT_MARKS) {
            marks[i] = set;
        }
    }
    return sound;
}

enum err segment_header_decode(struct bytes data, struct segment_header *out)
{
    if (data.len < SEGMENT_HEADER_SIZE || memcmp(data.data + AT_MAGIC, magic, sizeof(magic)) != 0 ||
        get_le32(data.data + AT_CRC) != header_crc(data)) {
        return E_CORRUPT;
    }
    if (get_le32(data.data + AT_VERSION) != SEGMENT_VERSION) {
        return E_VERSION;
    }
    struct segment_header h = {
        .size = get_le64(data.data + AT_SIZE),
        .first_sequence = get_le64(data.data + AT_FIRST),
        .previous_sequence = get_le64(data.data + AT_PREVIOUS),
        .created_ms = (int64_t)get_le64(data.data + AT_CREATED),
        .capture_high_ms = (int64_t)get_le64(data.data + AT_CAPTURE_HIGH),
    };
    for (unsigned i = 0; i < SEGMENT_SINKS; i++) {
        h.records_before[i] = get_le64(data.data + AT_RECORDS_BEFORE + 8 * i);
    }
    if (!decode_marks(data.data + AT_MARKS, h.marks) || h.first_sequence == 0 || h.first_sequence > SEQUENCE_MAX ||
        h.previous_sequence >= h.first_sequence) {
        return E_CORRUPT;
    }
    *out = h;
    return E_OK;
}

bool segment_is_blank(struct bytes image, size_t offset)
{
    struct bytes rest = bytes_sub(image, offset, image.len);
    /* All bytes are equal to their neighbours, and the first is 0. */
    return rest.len == 0 || (rest.data[0] == 0 && memcmp(rest.data, rest.data + 1, rest.len - 1) == 0);
}

static struct bytes rest_of(const struct segment_walk *w, size_t offset)
{
    return bytes_sub(w->image, offset, w->image.len);
}

static bool plausible(const struct segment_walk *w, uint64_t sequence)
{
    return sequence >= w->expected && sequence - w->expected < SEQUENCE_LEAP_MAX && sequence <= SEQUENCE_MAX;
}

/* Looks behind w->offset for the next sound record and moves the walk there. A payload may be made to look like records at every
 * offset: the bytes that are summed up are limited, so that this stays linear. */
static bool resynchronise(struct segment_walk *w)
{
    size_t budget = RESYNC_EFFORT * w->image.len;
    for (size_t offset = w->offset + RECORD_ALIGN; offset < w->image.len; offset += RECORD_ALIGN) {
        struct bytes rest = rest_of(w, offset);
        struct record_head head;
        struct record found;
        if (!record_peek(rest, &head) || !plausible(w, head.sequence)) {
            continue;
        }
        if (record_decode(rest, &found) == E_OK) {
            w->offset = offset;
            w->expected = found.sequence;
            return true;
        }
        if (head.length > budget) {
            break;
        }
        budget -= head.length;
    }
    return false;
}

enum segment_step segment_walk(struct segment_walk *w, struct record *out)
{
    struct bytes rest = rest_of(w, w->offset);
    struct record_head head;
    struct record found;
    if (record_peek(rest, &head) && plausible(w, head.sequence) && record_decode(rest, &found) == E_OK) {
        if (found.sequence != w->expected) {
            w->expected = found.sequence;
            return SEGMENT_GAP;
        }
        w->offset += record_room(head.length);
        w->expected++;
        *out = found;
        return SEGMENT_RECORD;
    }
    if (segment_is_blank(w->image, w->offset)) {
        return SEGMENT_END;
    }
    return resynchronise(w) ? SEGMENT_GAP : SEGMENT_TAIL;
}

void segment_walk_skip(struct segment_walk *w, uint8_t sinks, uint64_t from)
{
    struct record_head head;
    while (record_peek(rest_of(w, w->offset), &head) && head.sequence == w->expected &&
           ((head.sinks & sinks) == 0 || head.sequence < from)) {
        w->offset += record_room(head.length);
        w->expected++;
    }
}
