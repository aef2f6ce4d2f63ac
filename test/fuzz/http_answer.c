/* What a server answers, any bytes, for the light HTTP client: in one piece and in cuts that the second byte chooses it must come to
 * the same. The first byte says what was asked and whether the connection ends behind the answer. */
#include "net/http_reader.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 300 };

struct outcome {
    enum err err;
    size_t taken; /* by the last call, and before it */
};

/* `cuts` 0: in one piece. */
static struct outcome read_answer(struct http_reader *r, uint8_t how, struct bytes in, unsigned cuts)
{
    struct outcome o = {E_AGAIN, 0};
    size_t taken = 0;
    http_reader_start(r, (enum http_reader_kind)((how & 0x7f) % 3), BODY_MAX);
    while (o.err == E_AGAIN && in.len > 0) {
        cuts = cuts * 1103515245u + 12345u * (cuts != 0);
        struct bytes piece = bytes_sub(in, 0, cuts ? 1 + (cuts >> 16) % 40 : in.len);
        o.err = http_reader_feed(r, piece, &taken);
        o.taken += o.err == E_OK ? taken : piece.len;
        if (taken > piece.len) {
            abort();
        }
        in = bytes_sub(in, piece.len, in.len);
    }
    if (o.err == E_AGAIN && how & 0x80) {
        o.err = http_reader_end(r);
    }
    return o;
}

static void check_answer(const struct http_reader *r)
{
    struct bytes value = http_reader_header(r, "content-type");
    if (http_reader_status(r) < 200 || http_reader_body(r).len > BODY_MAX ||
        memchr(value.data ? value.data : (const uint8_t *)"-", '\n', value.len)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct http_reader *whole = http_reader_create();
    struct http_reader *cut = http_reader_create();
    if (!whole || !cut) {
        abort();
    }
    struct bytes in = bytes_make(data + 2, size - 2);
    struct outcome a = read_answer(whole, data[0], in, 0);
    struct outcome b = read_answer(cut, data[0], in, data[1] + 1u);
    if (a.err != b.err || (a.err == E_OK && a.taken != b.taken)) {
        abort();
    }
    if (a.err == E_OK) {
        check_answer(whole);
        if (http_reader_status(whole) != http_reader_status(cut) ||
            http_reader_keeps_alive(whole) != http_reader_keeps_alive(cut) ||
            !bytes_equal(http_reader_body(whole), http_reader_body(cut)) ||
            !bytes_equal(http_reader_header(whole, "date"), http_reader_header(cut, "date"))) {
            abort();
        }
    } else if (a.err != E_AGAIN && !http_reader_detail(whole)[0]) {
        abort();
    }
    http_reader_destroy(whole);
    http_reader_destroy(cut);
    return 0;
}
