/* Packets that must be refused, each with the rule that it breaks. MQTT 5.0 unless noted. */
#include "unit.h"

#include "mqtt/codec.h"

#include "hex.h"

struct case_ {
    const char *rule;
    enum mqtt_version version;
    const char *packet;
    enum err err;
};

/* clang-format off */
/* Refused by the first byte or the length alone. */
static const struct {
    const char *rule;
    const char *packet;
} frames[] = {
    {"2.1.2: type 0 is reserved", "00 00"},
    {"2.1.3: flags of PINGREQ", "C1 00"},
    {"2.1.3: flags of PUBREL", "60 02 0001"},
    {"2.1.3: flags of SUBSCRIBE", "80 07 0001 00 0001 61 00"},
    {"2.1.4: length shorter than the packet", "C0 00 00"},
    {"2.1.4: length longer than the packet", "C0 01"},
    {"1.5.5: length of five bytes", "C0 80808080 00"},
    {"3.3.1.2: QoS 3", "36 06 0001 61 0001 00"},
};

static const struct case_ cases[] = {
    {"3.1.1 2.2.1: type 15 is forbidden", MQTT_V311, "F0 00", E_MALFORMED},
    {"1.5.5: length not minimal", MQTT_V5, "C0 8000", E_MALFORMED},
    {"body behind a PINGRESP", MQTT_V5, "D0 01 00", E_MALFORMED},

    {"3.1.2.1: protocol name", MQTT_V5, "10 0E 0006 4D5149736470 03 02 0000 0000", E_VERSION},
    {"3.1.2.2: protocol level", MQTT_V5, "10 0C 0004 4D515454 06 02 0000 0000", E_VERSION},
    {"3.1.2.3: reserved flag", MQTT_V5, "10 0D 0004 4D515454 05 03 0000 00 0000", E_MALFORMED},
    {"3.1.2.6: will QoS 3", MQTT_V5, "10 13 0004 4D515454 05 1E 0000 00 0000 00 0001 61 0000", E_MALFORMED},
    {"3.1.2.6: will QoS without will", MQTT_V5, "10 0D 0004 4D515454 05 0A 0000 00 0000", E_MALFORMED},
    {"3.1.2.7: will retain without will", MQTT_V5, "10 0D 0004 4D515454 05 22 0000 00 0000", E_MALFORMED},
    {"3.1.1 MQTT-3.1.2-22: password without user name", MQTT_V311, "10 0E 0004 4D515454 04 42 0000 0000 0000", E_MALFORMED},
    {"CONNECT ends before its client id", MQTT_V5, "10 0B 0004 4D515454 05 02 0000 00", E_MALFORMED},
    {"CONNECT: client id is not UTF-8", MQTT_V5, "10 0E 0004 4D515454 05 02 0000 00 0001 FF", E_MALFORMED},
    {"CONNECT: client id holds U+0000", MQTT_V5, "10 0E 0004 4D515454 05 02 0000 00 0001 00", E_MALFORMED},
    {"CONNECT: client id holds a surrogate", MQTT_V5, "10 10 0004 4D515454 05 02 0000 00 0003 EDA080", E_MALFORMED},
    {"CONNECT: wildcard in the will topic", MQTT_V5, "10 13 0004 4D515454 05 06 0000 00 0000 00 0001 23 0000", E_MALFORMED},
    {"CONNECT: bytes behind the payload", MQTT_V5, "10 0E 0004 4D515454 05 02 0000 00 0000 00", E_MALFORMED},
    {"CONNECT: user name announced and missing", MQTT_V5, "10 0D 0004 4D515454 05 82 0000 00 0000", E_MALFORMED},
    {"3.1.2.11.3: Receive Maximum 0", MQTT_V5, "10 10 0004 4D515454 05 02 0000 03 210000 0000", E_PROTOCOL},
    {"3.1.2.11.4: Maximum Packet Size 0", MQTT_V5, "10 12 0004 4D515454 05 02 0000 05 2700000000 0000", E_PROTOCOL},
    {"3.1.2.11.6: Request Response Information 2", MQTT_V5, "10 0F 0004 4D515454 05 02 0000 02 1902 0000", E_PROTOCOL},
    {"3.1.2.11.7: Request Problem Information 2", MQTT_V5, "10 0F 0004 4D515454 05 02 0000 02 1702 0000", E_PROTOCOL},
    {"3.1.2.11.10: Authentication Data without method", MQTT_V5, "10 10 0004 4D515454 05 02 0000 03 160000 0000", E_PROTOCOL},
    {"3.1.2.11.2: Session Expiry Interval twice", MQTT_V5, "10 17 0004 4D515454 05 02 0000 0A 1100000001 1100000001 0000", E_PROTOCOL},
    {"2.2.2.2: property of PUBLISH in CONNECT", MQTT_V5, "10 0F 0004 4D515454 05 02 0000 02 0100 0000", E_MALFORMED},
    {"2.2.2.2: unknown property", MQTT_V5, "10 0F 0004 4D515454 05 02 0000 02 7F00 0000", E_MALFORMED},
    {"2.2.2.1: properties longer than the packet", MQTT_V5, "10 0D 0004 4D515454 05 02 0000 7F 0000", E_MALFORMED},
    {"2.2.2.1: property cut by the end of its block", MQTT_V5, "10 10 0004 4D515454 05 02 0000 03 110000 0000", E_MALFORMED},

    {"3.2.2.1: acknowledge flags", MQTT_V5, "20 03 02 00 00", E_MALFORMED},
    {"3.2.2.1.1: session present with a refusal", MQTT_V5, "20 03 01 87 00", E_PROTOCOL},
    {"3.1.1 3.2.2.2: session present with a refusal", MQTT_V311, "20 02 01 05", E_PROTOCOL},
    {"3.1.1 3.2: CONNACK too short", MQTT_V311, "20 01 00", E_MALFORMED},
    {"3.1.1 3.2: CONNACK too long", MQTT_V311, "20 03 00 00 00", E_MALFORMED},
    {"3.2.2.3.4: Maximum QoS 2", MQTT_V5, "20 05 00 00 02 2402", E_PROTOCOL},
    {"3.2.2.3.5: Retain Available 2", MQTT_V5, "20 05 00 00 02 2502", E_PROTOCOL},
    {"3.2.2: CONNACK without properties", MQTT_V5, "20 02 00 00", E_MALFORMED},

    {"3.3.1.1: DUP with QoS 0", MQTT_V5, "38 04 0001 61 00", E_PROTOCOL},
    {"3.3.2.1: wildcard in the topic", MQTT_V5, "30 06 0003 612F23 00", E_MALFORMED},
    {"3.3.2.1: empty topic without an alias", MQTT_V5, "30 03 0000 00", E_PROTOCOL},
    {"3.1.1 4.7.3: empty topic", MQTT_V311, "30 02 0000", E_MALFORMED},
    {"3.3.2.1: U+0000 in the topic", MQTT_V5, "30 04 0001 00 00", E_MALFORMED},
    {"3.3.2.1: topic is not UTF-8 (overlong)", MQTT_V5, "30 05 0002 C0AF 00", E_MALFORMED},
    {"2.2.1: packet id 0", MQTT_V5, "32 06 0001 61 0000 00", E_PROTOCOL},
    {"3.3.2: no room for the packet id", MQTT_V311, "32 03 0001 61", E_MALFORMED},
    {"3.3.2.3.2: payload format 2", MQTT_V5, "30 06 0001 61 02 0102", E_PROTOCOL},
    {"3.3.2.3.4: topic alias 0", MQTT_V5, "30 07 0001 61 03 230000", E_PROTOCOL},
    {"3.3.2.3.4: topic alias twice", MQTT_V5, "30 0A 0001 61 06 230001 230001", E_PROTOCOL},
    {"3.3.2.3.5: wildcard in the response topic", MQTT_V5, "30 08 0001 61 04 08000123", E_PROTOCOL},
    {"3.3.2.3.8: subscription identifier 0", MQTT_V5, "30 06 0001 61 02 0B00", E_PROTOCOL},
    {"3.3.2.3.7: user property without a value", MQTT_V5, "30 08 0001 61 04 26000161", E_MALFORMED},
    {"3.3.2.3.9: content type is not UTF-8", MQTT_V5, "30 08 0001 61 04 030001FF", E_MALFORMED},
    {"PUBLISH without properties length", MQTT_V5, "30 03 0001 61", E_MALFORMED},

    {"3.4.2: PUBACK without packet id", MQTT_V5, "40 00", E_MALFORMED},
    {"3.4.2: packet id 0", MQTT_V5, "40 02 0000", E_PROTOCOL},
    {"3.1.1 3.4: PUBACK with a reason code", MQTT_V311, "40 03 0001 00", E_MALFORMED},
    {"3.4.2.2: properties cut", MQTT_V5, "40 04 0001 00 05", E_MALFORMED},
    {"3.4.2.2.2: reason string twice", MQTT_V5, "40 0A 0001 00 06 1F0000 1F0000", E_PROTOCOL},
    {"3.4.2.2: content type in PUBACK", MQTT_V5, "40 07 0001 00 03 030000", E_MALFORMED},

    {"3.8.3: no filter", MQTT_V5, "82 03 0001 00", E_PROTOCOL},
    {"3.8.3.1: reserved bits of the options", MQTT_V5, "82 07 0001 00 0001 61 40", E_MALFORMED},
    {"3.1.1 3.8.3: reserved bits of the QoS", MQTT_V311, "82 06 0001 0001 61 04", E_MALFORMED},
    {"3.8.3.1: QoS 3", MQTT_V5, "82 07 0001 00 0001 61 03", E_MALFORMED},
    {"3.8.3.1: retain handling 3", MQTT_V5, "82 07 0001 00 0001 61 30", E_PROTOCOL},
    {"3.8.3.1: no local with a shared subscription", MQTT_V5, "82 10 0001 00 000A 2473686172652F672F61 04", E_PROTOCOL},
    {"3.8.3: options missing", MQTT_V5, "82 06 0001 00 0001 61", E_MALFORMED},
    {"4.7.1: '#' is not last", MQTT_V5, "82 09 0001 00 0003 232F61 00", E_MALFORMED},
    {"4.7.1: '+' beside a letter", MQTT_V5, "82 08 0001 00 0002 612B 00", E_MALFORMED},
    {"3.8.2.1.2: subscription identifier 0", MQTT_V5, "82 09 0001 02 0B00 0001 61 00", E_PROTOCOL},
    {"3.8.2.1.2: subscription identifier twice", MQTT_V5, "82 0B 0001 04 0B010B01 0001 61 00", E_PROTOCOL},
    {"3.9.3: no code", MQTT_V5, "90 03 0001 00", E_PROTOCOL},
    {"3.1.1 3.9.3: code 3", MQTT_V311, "90 03 0001 03", E_MALFORMED},
    {"3.10.3: no filter", MQTT_V5, "A2 03 0001 00", E_PROTOCOL},
    {"3.10.3: empty filter", MQTT_V5, "A2 05 0001 00 0000", E_MALFORMED},
    {"3.11.3: no code", MQTT_V5, "B0 03 0001 00", E_PROTOCOL},
    {"3.1.1 3.11: UNSUBACK with a payload", MQTT_V311, "B0 03 0001 00", E_MALFORMED},

    {"3.1.1 3.14: DISCONNECT with a body", MQTT_V311, "E0 01 00", E_MALFORMED},
    {"3.14.2.2: topic alias in DISCONNECT", MQTT_V5, "E0 05 00 03 230001", E_MALFORMED},
    {"3.15.2.2.2: AUTH without method", MQTT_V5, "F0 02 18 00", E_PROTOCOL},
    {"3.15.2: AUTH with a reason alone", MQTT_V5, "F0 01 18", E_MALFORMED},
};
/* clang-format on */

static void test_frames_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        struct bytes packet = hex_to_bytes(frames[i].packet);
        struct mqtt_packet out;
        if (mqtt_decode(MQTT_V5, packet, &out) != E_MALFORMED || mqtt_decode(MQTT_V311, packet, &out) != E_MALFORMED) {
            fail_msg("%s", frames[i].rule);
        }
        free((void *)(uintptr_t)packet.data);
    }
}

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes packet = hex_to_bytes(cases[i].packet);
        struct mqtt_packet out;
        size_t length;
        if (mqtt_frame(packet, 0, &length) != E_OK || length != packet.len) {
            fail_msg("%s: the test's own length is wrong", cases[i].rule);
        }
        enum err err = mqtt_decode(cases[i].version, packet, &out);
        if (err != cases[i].err) {
            fail_msg("%s: %s, expected %s", cases[i].rule, err_name(err), err_name(cases[i].err));
        }
        free((void *)(uintptr_t)packet.data);
    }
}

/* No valid packet is valid when it is cut or when a byte follows. */
static void test_every_length_counts(void **state)
{
    (void)state;
    static const char *const packets[] = {
        "10 1F 0004 4D515454 05 C6 003C 05 1100000E10 0002 6964 00 0001 77 0000 0001 75 0000",
        "32 0F 0003 612F62 0007 05 0300026A6E 7B7D",
        "82 0A 0001 02 0B05 0002 612F 01",
        "20 0B 00 00 08 210064 2400 220008",
    };
    for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
        struct bytes packet = hex_to_bytes(packets[i]);
        struct mqtt_packet out;
        assert_int_equal(mqtt_decode(MQTT_V5, packet, &out), E_OK);
        for (size_t n = 0; n < packet.len; n++) {
            uint8_t *cut = malloc(n + 1);
            assert_non_null(cut);
            memcpy(cut, packet.data, n);
            assert_int_equal(mqtt_decode(MQTT_V5, (struct bytes){cut, n}, &out), E_MALFORMED);
            free(cut);
        }
        free((void *)(uintptr_t)packet.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_refused),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_length_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
