/* From a URL to what is asked for: the table of requests in CONFIG.md. Strict: whatever is not known, is there twice or is out of
 * range is refused with a reason. No I/O. Any thread. */
#ifndef DASHBOARD_REQUEST_H
#define DASHBOARD_REQUEST_H

#include "base/bytes.h"
#include "base/err.h"

#define REQUEST_PATH_MAX 8192u
#define REQUEST_QUERY_MAX 8192u
#define REQUEST_SENSOR_MAX 2048u                  /* bytes; DynamoDB's limit of a partition key */
#define REQUEST_METRIC_MAX 256u                   /* bytes */
#define REQUEST_TIME_MAX INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

enum route {
    ROUTE_PAGE,     /* / */
    ROUTE_FILE,     /* /page/NAME */
    ROUTE_CONFIG,   /* /api/config */
    ROUTE_SENSORS,  /* /api/sensors */
    ROUTE_RANGE,    /* /api/sensors/ID/range */
    ROUTE_LAST,     /* /api/sensors/ID/last */
    ROUTE_CSV,      /* /api/sensors/ID/export.csv */
    ROUTE_OLD_LIST, /* /ID/ */
    ROUTE_OLD_LAST, /* /ID/last */
};

struct request {
    enum route route;
    struct bytes sensor; /* of routes with an ID; decoded, UTF-8, in `text` */
    struct bytes file;   /* ROUTE_FILE: its name; in `text` */
    struct bytes metric; /* data NULL = all; in `text` */
    bool has_from, has_to, has_since, has_points, has_version;
    int64_t from_ms, to_ms, since_ms;
    uint32_t points; /* 1 to CONFIG_POINTS_MAX */
    uint8_t text[REQUEST_PATH_MAX + REQUEST_QUERY_MAX];
    size_t text_len;
};

struct request_error {
    int status;     /* of HTTP: 400, 404, 414 */
    char text[160]; /* fit for the answer: holds nothing of the request but names of ours */
};

/* `path` and `query` as they stand in the request line, percent-encoded; the path begins with '/', the query has no '?'.
 * `out` points into itself: it must not be copied. */
MUST_CHECK enum err request_parse(struct bytes path, struct bytes query, struct request *out,
                                  struct request_error *error);

#endif
