#include "store/payload.h"

enum err payload_error(enum err e, struct measurement_error *error)
{
    if (e == E_TOO_LARGE) {
        measurement_error_set(error, "the payload's JSON is nested deeper than %u levels", MEASUREMENT_DEPTH_MAX);
    } else {
        measurement_error_set(error, "the payload is not JSON");
    }
    return E_INVALID;
}

enum err payload_find(struct bytes payload, struct bytes path, struct json_token *value,
                      struct measurement_error *error)
{
    enum err e = json_find(payload, path, MEASUREMENT_DEPTH_MAX, value);
    return e == E_OK || e == E_NOT_FOUND ? e : payload_error(e, error);
}

enum err payload_members(struct bytes object, const char *const *names, struct json_token *values, size_t count,
                         struct measurement_error *error)
{
    for (size_t i = 0; i < count; i++) {
        values[i] = (struct json_token){.type = JSON_END};
    }
    struct json_reader r;
    struct json_token t;
    json_reader_init(&r, object, MEASUREMENT_DEPTH_MAX);
    enum err e = json_next(&r, &t);
    bool is_object = e == E_OK && t.type == JSON_OBJECT;
    while (e == E_OK && (e = json_next(&r, &t)) == E_OK && t.type != JSON_END) {
        for (size_t i = 0; is_object && r.depth == 1 && t.type == JSON_NAME && i < count; i++) {
            if (json_text_equal(&t, bytes_str(names[i]))) {
                e = json_next_whole(&r, &values[i]);
                break;
            }
        }
    }
    return e == E_OK ? E_OK : payload_error(e, error);
}
