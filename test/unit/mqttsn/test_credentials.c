#include "unit.h"

#include "mqttsn/credentials.h"

static void clients_are_found(void **state)
{
    (void)state;
    struct credentials *c = NULL;
    struct option_error error = {""};
    assert_int_equal(
        credentials_read(BYTES("# who\nriot-2 username=u password=\nriot-1 dtls=device-1 username=u1 \"password=a b\"\n"
                               "riot-3\n"),
                         "f", &c, &error),
        E_OK);
    const struct credentials_entry *e = credentials_find(c, BYTES("riot-1"));
    assert_non_null(e);
    assert_string_equal(e->username, "u1");
    assert_string_equal(e->password, "a b");
    assert_string_equal(e->dtls, "device-1");
    e = credentials_find(c, BYTES("riot-2"));
    assert_string_equal(e->password, "");
    assert_null(e->dtls);
    assert_non_null(credentials_find(c, BYTES("riot-3")));
    assert_null(credentials_find(c, BYTES("riot-10")));
    assert_null(credentials_find(NULL, BYTES("riot-1")));
    credentials_destroy(c);
}

static void wrong_lines(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a username=x username=y\n", "a user=x\n", "a password=x\n", "\"\" username=x\n", "a b\n", "a\na\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct credentials *c = NULL;
        struct option_error error = {""};
        assert_int_equal(credentials_read(bytes_str(texts[i]), "file", &c, &error), E_INVALID);
        assert_non_null(strstr(error.text, "file:"));
    }
}

static void keys_are_found(void **state)
{
    (void)state;
    struct psk_table *p = NULL;
    struct option_error error = {""};
    uint8_t key[PSK_KEY_MAX];
    assert_int_equal(psk_read(BYTES("two 000102030405060708090a0b0c0d0e0F\n\"an identity\" "
                                    "ffffffffffffffffffffffffffffffffff\n"),
                              "f", &p, &error),
                     E_OK);
    assert_int_equal(psk_find(p, "two", key), 16);
    assert_int_equal(key[15], 0x0f);
    assert_int_equal(psk_find(p, "an identity", key), 17);
    assert_int_equal(psk_find(p, "three", key), 0);
    assert_int_equal(psk_find(NULL, "two", key), 0);
    psk_destroy(p);
    static const char *const texts[] = {"a 00\n", "a 000102030405060708090a0b0c0d0e0\n",
                                        "a 0g0102030405060708090a0b0c0d0e0f\n", "a\n",
                                        "a 000102030405060708090a0b0c0d0e0f\na 000102030405060708090a0b0c0d0e0f\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(psk_read(bytes_str(texts[i]), "file", &p, &error), E_INVALID);
        assert_null(strstr(error.text, "0102")); /* no key in an error */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_are_found),
        cmocka_unit_test(wrong_lines),
        cmocka_unit_test(keys_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
