/* JSON -> AttributeValue -> JSON: what was encoded must be valid JSON and decode again. */
#include "aws/attribute.h"
#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct attribute_encoder encoder;
    struct buffer encoded;
    struct buffer decoded;
    struct json_token whole;
    size_t counted = 0;
    attribute_encoder_init(&encoder);
    buffer_init(&encoded, 1 << 20);
    buffer_init(&decoded, 1 << 20);
    enum err e = attribute_encode(&encoder, bytes_make(data, size), &encoded, &counted);
    if (e == E_OK) {
        if (json_parse(buffer_bytes(&encoded), JSON_DEPTH_MAX, &whole) != E_OK ||
            attribute_decode(buffer_bytes(&encoded), &decoded) != E_OK ||
            json_parse(buffer_bytes(&decoded), JSON_DEPTH_MAX, &whole) != E_OK || counted > 3 * encoded.len) {
            abort();
        }
    } else if (encoded.len != 0) {
        abort();
    }
    /* the decoder on its own */
    buffer_clear(&decoded);
    if (attribute_decode(bytes_make(data, size), &decoded) == E_OK &&
        json_parse(buffer_bytes(&decoded), JSON_DEPTH_MAX, &whole) != E_OK) {
        abort();
    }
    attribute_encoder_finish(&encoder);
    buffer_finish(&encoded);
    buffer_finish(&decoded);
    return 0;
}
