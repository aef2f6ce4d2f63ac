/* The JSON reader on any bytes: it ends, its tokens lie within the document, both ways of reading agree, and what is
 * unescaped can be escaped and read again. */
#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void check_text(const struct json_token *t)
{
    struct buffer plain;
    struct buffer again;
    buffer_init(&plain, 1u << 20);
    buffer_init(&again, 8u << 20);
    require(json_unescape(t, &plain) == E_OK);
    require(bytes_is_utf8(buffer_bytes(&plain)));
    require(json_text_equal(t, buffer_bytes(&plain)));
    require(json_append_string(&again, buffer_bytes(&plain)) == E_OK);
    struct json_token parsed;
    require(json_parse(buffer_bytes(&again), 0, &parsed) == E_OK);
    require(json_text_equal(&parsed, buffer_bytes(&plain)));
    buffer_finish(&again);
    buffer_finish(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes document = bytes_make(data, size);
    struct json_reader r;
    struct json_token t;
    struct json_token name = {0};
    enum err e;
    json_reader_init(&r, document, 50);
    while ((e = json_next(&r, &t)) == E_OK && t.type != JSON_END) {
        struct bytes raw = json_raw(&t);
        require(raw.data >= data && raw.len <= size && raw.data + raw.len <= data + size);
        if (t.type == JSON_STRING || t.type == JSON_NAME) {
            check_text(&t);
        }
        if (t.type == JSON_NAME) {
            name = t;
        }
    }
    struct json_token whole;
    require(json_parse(document, 50, &whole) == e);
    if (e == E_OK && whole.type == JSON_OBJECT && name.text.data && !name.escaped) {
        e = json_find(document, name.text, 50, &t);
        require(e == E_OK || e == E_NOT_FOUND);
    }
    return 0;
}
