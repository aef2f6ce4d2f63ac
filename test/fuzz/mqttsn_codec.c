/* Any datagram: decoding reads nothing outside, and what decodes can be written again and decodes to the same. */
#include "mqttsn/codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check(struct bytes datagram)
{
    static uint8_t first[65536], second[65536];
    struct mqttsn_packet p, back;
    if (mqttsn_decode(datagram, &p) != E_OK) {
        return;
    }
    require(mqttsn_type_name((uint8_t)p.type)[0] != '?');
    size_t written = mqttsn_encode(&p, first, sizeof(first));
    require(written >= 2 && written == mqttsn_encoded_size(&p));
    require(mqttsn_decode(bytes_make(first, written), &back) == E_OK && back.type == p.type);
    require(mqttsn_encode(&back, second, sizeof(second)) == written && memcmp(first, second, written) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes datagram = bytes_make(data, size);
    struct mqttsn_forward forward;
    struct bytes inner;
    check(datagram);
    if (mqttsn_is_forwarded(datagram) && mqttsn_decode_forward(datagram, &forward, &inner) == E_OK) {
        uint8_t header[MQTTSN_FORWARD_MAX];
        require(mqttsn_encode_forward(&forward, header, sizeof(header)) > 0);
        require(inner.len > 0);
        check(inner);
    }
    return 0;
}
