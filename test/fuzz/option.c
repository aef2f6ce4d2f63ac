/* options_read on any text; what it accepts must print and read back to the same text. */
#include "base/option.h"
#include "option_sample.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void read_and_print(struct bytes text, bool must_be_accepted, struct buffer *out)
{
    struct sample *s = calloc(1, sizeof(*s));
    struct option_error error = {""};
    require(s != NULL);
    require(options_init(&sample_table, s) == E_OK);
    enum err err = options_read(&sample_table, s, text, "fuzz.conf", &error);
    require(err == E_OK || !must_be_accepted);
    require(err == E_OK || (strncmp(error.text, "fuzz.conf:", 10) == 0 && strlen(error.text) > 14));
    if (err == E_OK) {
        require(options_print(&sample_table, s, out) == E_OK);
    }
    options_finish(&sample_table, s);
    free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer first;
    struct buffer second;
    buffer_init(&first, 4u << 20);
    buffer_init(&second, 4u << 20);
    read_and_print(bytes_make(data, size), false, &first);
    if (first.len > 0) {
        read_and_print(buffer_bytes(&first), true, &second);
        require(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
    }
    buffer_finish(&first);
    buffer_finish(&second);
    return 0;
}
