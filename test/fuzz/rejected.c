/* Any text as a file in rejected/: what can be read is printed and read again as the same. */
#include "plugin/rejected_json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer memory;
    struct buffer again_memory;
    struct buffer text;
    struct record r;
    struct record again;
    enum sink_id sink;
    enum sink_id again_sink;
    buffer_init(&memory, 1 << 20);
    buffer_init(&again_memory, 1 << 20);
    buffer_init(&text, 4 << 20);
    if (rejected_parse(bytes_make(data, size), &memory, &r, &sink) == E_OK) {
        check(rejected_print(&r, sink, "reason", 0, &text) == E_OK);
        check(rejected_parse(buffer_bytes(&text), &again_memory, &again, &again_sink) == E_OK);
        check(sink == again_sink && r.sequence == again.sequence && r.capture_ms == again.capture_ms);
        for (const struct bytes *x = &r.topic, *y = &again.topic; x <= &r.table; x++, y++) {
            check(bytes_equal(*x, *y));
        }
    }
    buffer_finish(&memory);
    buffer_finish(&again_memory);
    buffer_finish(&text);
    return 0;
}
