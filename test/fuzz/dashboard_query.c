/* A request line's path and query, separated by the first '?': what is taken keeps its limits. */
#include "dashboard/config.h"
#include "dashboard/request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct request r;
    struct request_error why = {0};
    const uint8_t *mark = size ? memchr(data, '?', size) : NULL;
    size_t len = mark ? (size_t)(mark - data) : size;
    struct bytes path = bytes_make(data, len);
    struct bytes query = mark ? bytes_make(mark + 1, size - len - 1) : bytes_make(NULL, 0);
    if (request_parse(path, query, &r, &why) != E_OK) {
        check(why.status >= 400 && why.status < 500 && why.text[0]);
        check(bytes_is_utf8(bytes_str(why.text)));
        return 0;
    }
    check(r.sensor.len <= REQUEST_SENSOR_MAX && bytes_is_utf8(r.sensor));
    check(r.metric.len <= REQUEST_METRIC_MAX && bytes_is_utf8(r.metric));
    check(r.text_len <= path.len + query.len);
    check(!r.has_from || (r.from_ms >= 0 && r.from_ms <= REQUEST_TIME_MAX));
    check(!r.has_from || !r.has_to || r.from_ms <= r.to_ms);
    check(!r.has_points || (r.points >= 1 && r.points <= CONFIG_POINTS_MAX));
    for (size_t i = 0; i < r.text_len; i++) {
        check(r.text[i] >= 0x20 && r.text[i] != 0x7F);
    }
    return 0;
}
