/* Reads one JSON document per line and prints: size, tab, AttributeValue, tab, that decoded again; or the name of the error. */
#include "aws/attribute.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    struct attribute_encoder encoder;
    struct buffer encoded;
    struct buffer decoded;
    attribute_encoder_init(&encoder);
    buffer_init(&encoded, 64u << 20);
    buffer_init(&decoded, 64u << 20);
    for (ssize_t n = getline(&line, &room, stdin); n > 0; n = getline(&line, &room, stdin)) {
        size_t size = 0;
        buffer_clear(&encoded);
        buffer_clear(&decoded);
        enum err e = attribute_encode(&encoder, bytes_make(line, (size_t)n), &encoded, &size);
        e = e ? e : attribute_decode(buffer_bytes(&encoded), &decoded);
        if (e) {
            printf("%s\n", err_name(e));
        } else {
            printf("%zu\t%.*s\t%.*s\n", size, (int)encoded.len, (const char *)encoded.data, (int)decoded.len,
                   (const char *)decoded.data);
        }
    }
    attribute_encoder_finish(&encoder);
    buffer_finish(&encoded);
    buffer_finish(&decoded);
    free(line);
    return EXIT_SUCCESS;
}
