#include "store/things_stack.h"

#include "store/payload.h"
#include "store/timestamp.h"

/* How a gateway heard the uplink; of type JSON_END when it did not say. */
struct signal {
    struct json_token rssi;
    struct json_token snr;
};

/* Roughly the value of a JSON number: to compare, never to store. */
static double rough_value(const struct json_token *t)
{
    double value = 0;
    double unit = 1;
    bool fraction = false;
    if (t->type != JSON_NUMBER) {
        return 0;
    }
    for (size_t i = 0; i < t->text.len && (t->text.data[i] | 0x20) != 'e'; i++) {
        uint8_t c = t->text.data[i];
        if (c == '.') {
            fraction = true;
        } else if (c != '-') {
            unit = fraction ? unit / 10 : unit;
            value = fraction ? value + (c - '0') * unit : value * 10 + (c - '0');
        }
    }
    return t->text.data[0] == '-' ? -value : value;
}

static bool is_better(const struct signal *a, const struct signal *b)
{
    if (b->rssi.type != JSON_NUMBER) {
        return true;
    }
    double snr_a = rough_value(&a->snr);
    double snr_b = rough_value(&b->snr);
    if (snr_a > snr_b || snr_a < snr_b) {
        return snr_a > snr_b;
    }
    return rough_value(&a->rssi) > rough_value(&b->rssi);
}

/* `rx_metadata`: an array with one object for each gateway. */
static enum err best_signal(const struct json_token *metadata, struct signal *best, struct measurement_error *error)
{
    static const char *const names[] = {"rssi", "snr"};
    struct json_reader r;
    struct json_token t;
    *best = (struct signal){{.type = JSON_END}, {.type = JSON_END}};
    if (metadata->type != JSON_ARRAY) {
        return E_OK;
    }
    json_reader_init(&r, metadata->text, MEASUREMENT_DEPTH_MAX);
    enum err e = json_next(&r, &t);
    while (e == E_OK && (e = json_next_whole(&r, &t)) == E_OK && t.type != JSON_ARRAY_END) {
        struct json_token values[2];
        e = payload_members(t.text, names, values, 2, error);
        struct signal s = {values[0], values[1]};
        if (e == E_OK && s.rssi.type == JSON_NUMBER && is_better(&s, best)) {
            *best = s;
        }
    }
    return e;
}

static enum err append_member(struct buffer *text, const char *name, struct bytes value)
{
    const char *comma = text->data[text->len - 1] == '{' ? "" : ",";
    enum err e = buffer_appendf(text, "%s\"%s\":", comma, name);
    return e == E_OK ? buffer_append(text, value) : e;
}

/* All of an object but its closing bracket. */
static enum err append_open(struct buffer *text, struct bytes object)
{
    size_t end = object.len - 1;
    while (strchr(" \t\r\n", object.data[end - 1])) {
        end--;
    }
    return buffer_append(text, bytes_sub(object, 0, end));
}

static enum err append_payload(const struct json_token *decoded, const struct json_token *frm, struct buffer *text)
{
    if (decoded->type == JSON_OBJECT) {
        return append_open(text, decoded->text);
    }
    enum err e = buffer_append_byte(text, '{');
    if (e == E_OK) {
        e = append_member(text, "frm_payload", frm->type == JSON_STRING ? json_raw(frm) : BYTES("\"\""));
    }
    return e;
}

/* rssi and snr, unless `decoded` has its own. An snr of 0 is left out by the sender. */
static enum err append_signal(const struct json_token *decoded, const struct signal *signal, struct buffer *text,
                              struct measurement_error *error)
{
    static const char *const names[] = {"rssi", "snr"};
    struct json_token own[2] = {{.type = JSON_END}, {.type = JSON_END}};
    enum err e = E_OK;
    if (signal->rssi.type != JSON_NUMBER) {
        return E_OK;
    }
    if (decoded->type == JSON_OBJECT) {
        e = payload_members(decoded->text, names, own, 2, error);
    }
    if (e == E_OK && own[0].type == JSON_END) {
        e = append_member(text, "rssi", signal->rssi.text);
    }
    if (e == E_OK && own[1].type == JSON_END) {
        e = append_member(text, "snr", signal->snr.type == JSON_NUMBER ? signal->snr.text : BYTES("0"));
    }
    return e;
}

enum err things_stack_message(struct bytes payload, struct buffer *text, int64_t *received_ms,
                              struct measurement_error *error)
{
    static const char *const outer_names[] = {"received_at", "uplink_message"};
    static const char *const uplink_names[] = {"decoded_payload", "frm_payload", "rx_metadata"};
    struct json_token outer[2];
    struct json_token uplink[3];
    struct signal signal;
    enum err e = payload_members(payload, outer_names, outer, 2, error);
    if (e == E_OK && outer[1].type != JSON_OBJECT) {
        measurement_error_set(error, "no uplink of The Things Stack: there is no object \"uplink_message\"");
        return E_INVALID;
    }
    if (e == E_OK && outer[0].type != JSON_END && timestamp_parse(&outer[0], received_ms) != E_OK) {
        measurement_error_set(error, "received_at of the uplink is not a time");
        return E_INVALID;
    }
    if (e == E_OK) {
        e = payload_members(outer[1].text, uplink_names, uplink, 3, error);
    }
    if (e == E_OK) {
        e = best_signal(&uplink[2], &signal, error);
    }
    if (e == E_OK) {
        e = append_payload(&uplink[0], &uplink[1], text);
    }
    if (e == E_OK) {
        e = append_signal(&uplink[0], &signal, text, error);
    }
    return e == E_OK ? buffer_append_byte(text, '}') : e;
}
