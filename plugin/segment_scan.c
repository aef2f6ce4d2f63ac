#include "plugin/segment_scan.h"

#include "plugin/capture_clock.h"

uint64_t sequences_from(uint64_t first, uint64_t end, uint64_t from)
{
    if (first < from) {
        first = from;
    }
    return end > first ? end - first : 0;
}

static void count_record(struct segment_scan *s, const struct record *r)
{
    s->records++;
    s->last_sequence = r->sequence;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        uint32_t wanted = (r->sinks & SINK_BIT(k)) != 0;
        s->count[k] += wanted;
        s->before[k] += r->sequence < s->from[k] ? wanted : 0;
    }
    if (r->sensor.len > 0) {
        s->capture_high = capture_clock_high(s->capture_high, r->capture_ms);
    }
}

static void count_missing(struct segment_scan *s, uint64_t first, uint64_t end)
{
    s->missing += end - first;
    for (unsigned k = 0; k < SINK_COUNT; k++) {
        s->missing_from[k] += sequences_from(first, end, s->from[k]);
    }
}

void segment_scan(struct bytes image, uint64_t first_sequence, bool incomplete, struct segment_scan *s)
{
    struct segment_scan result = {.last_sequence = first_sequence - 1, .tail = SEGMENT_HEADER_SIZE};
    memcpy(result.from, s->from, sizeof(result.from));
    result.capture_high = INT64_MIN;
    struct segment_walk w = segment_walk_start(image, first_sequence);
    for (;;) {
        struct segment_walk before = w;
        struct record r;
        switch (segment_walk(&w, &r)) {
        case SEGMENT_RECORD:
            count_record(&result, &r);
            result.tail = w.offset;
            continue;
        case SEGMENT_GAP:
            if (w.offset != before.offset || !incomplete) {
                count_missing(&result, before.expected, w.expected);
            }
            result.damaged |= w.offset != before.offset;
            continue;
        case SEGMENT_TAIL:
            result.tail_dirty = true;
            break;
        case SEGMENT_END:
            break;
        }
        break;
    }
    *s = result;
}
