/* A `store` line and a message: three lines "words", "topic", and the rest is the payload. A mapping prints and parses
 * back to itself; a measurement that is made is UTF-8 with a JSON object that every later reader takes; one that is refused
 * has a reason in words. */
#include "store/measurement.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static struct bytes take_line(struct bytes *rest)
{
    const uint8_t *newline = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
    size_t n = newline ? (size_t)(newline - rest->data) : rest->len;
    struct bytes line = bytes_sub(*rest, 0, n);
    *rest = bytes_sub(*rest, n + 1, rest->len);
    return line;
}

static void check_print(const struct measurement_mapping *m)
{
    struct buffer first;
    struct buffer second;
    struct measurement_mapping again;
    struct measurement_error error;
    buffer_init(&first, 1u << 16);
    buffer_init(&second, 1u << 16);
    require(measurement_mapping_print(m, &first) == E_OK);
    require(measurement_mapping_parse(BYTES("a/+/#"), buffer_bytes(&first), &again, &error) == E_OK);
    require(measurement_mapping_print(&again, &second) == E_OK);
    require(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
    measurement_mapping_finish(&again);
    buffer_finish(&second);
    buffer_finish(&first);
}

static void check_make(const struct measurement_mapping *m, struct bytes topic, struct bytes payload)
{
    struct buffer scratch;
    struct buffer text;
    struct bytes sensor;
    struct measurement out;
    struct measurement_error error = {""};
    struct json_token t;
    buffer_init(&scratch, 1u << 20);
    buffer_init(&text, 8u << 20);
    if (measurement_sensor(m, topic, BYTES("client"), payload, &scratch, &sensor) == E_OK) {
        struct measurement_source source = {.topic = topic,
                                            .payload = payload,
                                            .sensor = sensor,
                                            .capture_ms = 1,
                                            .time_path = bytes_str(m->time_path),
                                            .message_path = bytes_str(m->message_path)};
        enum err e = measurement_make(&source, &text, &out, &error);
        if (e == E_OK) {
            require(out.sensor.len > 0 && bytes_is_utf8(out.sensor) && out.timestamp_ms >= 0);
            require(json_parse(out.message, JSON_DEPTH_MAX, &t) == E_OK && t.type == JSON_OBJECT);
            require(t.text.data == out.message.data && t.text.len == out.message.len);
        } else {
            require(e == E_INVALID && error.text[0] != 0 && bytes_is_utf8(bytes_str(error.text)));
        }
    }
    buffer_finish(&text);
    buffer_finish(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = bytes_make(data, size);
    struct bytes words = take_line(&rest);
    struct bytes topic = take_line(&rest);
    struct measurement_mapping m;
    struct measurement_error error = {""};
    if (measurement_mapping_parse(BYTES("a/+/#"), words, &m, &error) != E_OK) {
        require(error.text[0] != 0);
        return 0;
    }
    check_print(&m);
    check_make(&m, topic, rest);
    measurement_mapping_finish(&m);
    return 0;
}
